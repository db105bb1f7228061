"""CNI containers on networks across hosts: overlay and routed, with names, created by whoever is first."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from carrick.testing.daemon import eventually
from carrick.testing.lab import LabHost, TempLab


class Node:
    """A host with Carrick's plugin, and a way to run it there."""

    def __init__(self, host: LabHost, plugins: Path) -> None:
        self.host = host
        self.plugins = plugins / host.name
        host.carrick(
            "cni",
            "install",
            "--no-config",
            "--bin-dir",
            str(self.plugins),
            "--socket",
            "/run/carrick/cni.sock",
        )

    def call(self, command: str, name: str, config: dict[str, Any]) -> Any:
        result = self.host.run(
            *("env", f"CNI_COMMAND={command}", f"CNI_CONTAINERID={name}", "CNI_IFNAME=eth0"),
            *(f"CNI_NETNS=/run/netns/{name}", "CNI_PATH=/usr/lib/cni"),
            *(f"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME={name}",),
            str(self.plugins / "carrick"),
            input=json.dumps(config),
        )
        assert result.code == 0, result
        return json.loads(result.out) if result.out else None

    def run(self, name: str, *command: str) -> tuple[int, str]:
        result = self.host.run("nsenter", f"--net=/run/netns/{name}", *command)
        return result.code, result.out.strip()


@pytest.fixture
def nodes(cluster: TempLab, tmp_path: Path) -> Iterator[list[Node]]:
    yield [Node(host, tmp_path) for host in cluster.hosts]


@pytest.mark.parametrize("driver", ["overlay", "routed"])
def test_pods_on_three_hosts(nodes: list[Node], driver: str) -> None:
    name = f"pods-{driver}"
    config = {
        "cniVersion": "1.0.0",
        "name": name,
        "type": "carrick",
        "create": {"driver": driver, "subnet": "10.80.0.0/16"},
    }
    pods = [f"pod{number}" for number in range(3)]
    for node, pod in zip(nodes, pods, strict=True):
        node.host.do("ip", "netns", "add", pod)
    try:
        with ThreadPoolExecutor(3) as pool:
            results = list(
                pool.map(lambda pair: pair[0].call("ADD", pair[1], config), zip(nodes, pods, strict=True))
            )
        addresses = [result["ips"][0]["address"].partition("/")[0] for result in results]
        assert len(set(addresses)) == 3
        for node, pod in zip(nodes, pods, strict=True):
            for other, address in zip(pods, addresses, strict=True):
                ping = ("busybox", "ping", "-c", "1", "-W", "2", address)
                eventually(lambda: node.run(pod, *ping)[0] == 0, 30, f"{pod} pings {other}")  # noqa: B023
                dig = ("dig", "+short", "+tries=1", "+time=2", "@127.0.0.11", f"{other}.prod")
                eventually(lambda: node.run(pod, *dig) == (0, address), 30, f"{pod} finds {other}")  # noqa: B023
        # A container of Carrick's finds them too.
        nodes[0].host.sleeper("own", "--network", name)
        result = nodes[0].host.run("carrick", "exec", "own", "ping", "-c", "1", "-W", "5", "pod2")
        assert result.code == 0, result
        nodes[0].host.carrick("rm", "-f", "own")
    finally:
        for node, pod in zip(nodes, pods, strict=True):
            for _ in range(2):
                assert node.call("DEL", pod, config) is None
            node.host.do("ip", "netns", "del", pod)
    assert not any(node.host.carrick("guest", "ls", "-q") for node in nodes)
