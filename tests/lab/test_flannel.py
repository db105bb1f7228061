"""Stock Docker Engines as parts of a routed network, as under flannel; and flannel's hooks."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import pytest

from carrick.lab.images import busybox_archive
from carrick.testing.boxes import box
from carrick.testing.daemon import eventually
from carrick.testing.lab import LabHost, TempLab

pytestmark = pytest.mark.timeout(420)
GONE_AFTER_S = 5
DOCKER, SOCKET = "/usr/bin/docker", "unix:///run/dk/docker.sock"
WAIT_S = 60.0
START = """
set -e
mkdir -p /run/dk
echo '{{}}' >/run/dk/daemon.json
. /run/flannel/subnet.env
setsid dockerd -H {socket} --config-file /run/dk/daemon.json --data-root /run/dk/data \
  --exec-root /run/dk/exec --pidfile /run/dk/pid --cgroup-parent {cgroup} --log-level warn \
  --bip=$FLANNEL_SUBNET --mtu=$FLANNEL_MTU --ip-masq=false >/run/dk/log 2>&1 </dev/null &
"""
STOP = """
kill $(cat /run/dk/pid 2>/dev/null) 2>/dev/null
for try in $(seq 300); do [ -e /run/dk/pid ] || break; sleep 0.1; done
ip link del docker0
rm -rf /run/dk
true
"""
SERVE = """while true; do nc -l -p {port} -e {answer}; done"""
SHOW_CLIENT = SERVE.format(port="{port}", answer="""sh -c "netstat -tn | grep ':{port} '" """)
"""Says what its side of a connection is, in netstat's words: the client's address is the fifth."""
COUNT = SERVE.format(port="{port}", answer="wc -c")


@pytest.fixture(scope="module")
def standing_cluster() -> Iterator[TempLab]:
    """Three hosts in two segments that let networks run commands."""
    with TempLab(
        hosts=3, segments=2, cluster=True, gone_after_s=GONE_AFTER_S, configuration="allow_hooks = true\n"
    ) as lab:
        yield lab


class StockDocker:
    """A Docker Engine on a lab's host that knows of Carrick what stands in `subnet.env`, and no more."""

    def __init__(self, lab: TempLab, host: LabHost, network: str) -> None:
        self.host = host
        self.network = network
        self._cgroup = f"/{lab.record().cgroup}/dk-{host.name}"

    def __enter__(self) -> Self:
        try:
            self.host.carrick("flannel", "env", self.network)
            self.host.do("sh", "-c", START.format(socket=SOCKET, cgroup=self._cgroup))
            eventually(lambda: self.host.run(DOCKER, "-H", SOCKET, "version").code == 0, WAIT_S)
            # As an engine does that has turned forwarding on by itself.
            self.host.do("iptables", "-P", "FORWARD", "DROP")
            # A text is what a lab's host takes on standard input.
            archive = self.host.path("/run/dk/busybox.tar")
            archive.write_bytes(busybox_archive())
            self("import", "/run/dk/busybox.tar", "busybox")
        except BaseException:
            self.close()
            raise
        return self

    def __call__(self, *arguments: str) -> str:
        return self.host.do(DOCKER, "-H", SOCKET, *arguments)

    def sleeper(self, name: str) -> str:
        """Run a container; return its address."""
        self("run", "-d", "--name", name, "--cap-add", "NET_ADMIN", "busybox", "sleep", "1d")
        return self("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.host.run("sh", "-c", f"{DOCKER} -H {SOCKET} ps -aq | xargs -r {DOCKER} -H {SOCKET} rm -f")
        self.host.run("sh", "-c", STOP)
        self.host.run("iptables", "-P", "FORWARD", "ACCEPT")
        self.host.run("carrick", "flannel", "release", self.network)


def create(cluster: TempLab, **keys: object) -> None:
    """Create the network that a `net-conf.json` asks for; return when every host sees it."""
    cluster.hosts[0].do("carrick", "flannel", "import", "-", "--network", "apps", input=json.dumps(keys))
    for host in cluster.hosts:
        eventually(
            lambda host=host: "apps" in host.carrick("network", "ls", "--format", "{{.Name}}").split(), WAIT_S
        )


def serve(docker: StockDocker, container: str) -> None:
    docker("exec", "-d", container, "sh", "-c", COUNT.format(port=9000))
    docker("exec", "-d", container, "sh", "-c", SHOW_CLIENT.format(port=9001))


def asked(docker: StockDocker, container: str, address: str, port: int, script: str = "true") -> str:
    """Return what a server says to a container that sends it what a script writes."""
    result = docker.host.run(
        *(DOCKER, "-H", SOCKET, "exec", container, "sh", "-c", f"{script} | nc -w 20 {address} {port}")
    )
    return result.out.strip()


def client_seen(docker: StockDocker, container: str, address: str, port: int) -> str:
    """Return the address that a server has of a container that connects to it."""
    words = asked(docker, container, address, port).split()
    return words[4].rpartition(":")[0].rpartition(":")[2] if len(words) > 4 else ""


def check_pair(one: StockDocker, other: StockDocker, addresses: tuple[str, str]) -> None:
    here, there = addresses
    eventually(lambda: "1 packets received" in one("exec", "web", "ping", "-c", "1", there), WAIT_S)
    assert "1 packets received" in other("exec", "web", "ping", "-c", "1", here)
    serve(other, "web")
    large = "dd if=/dev/zero bs=65536 count=64 2>/dev/null"
    eventually(lambda: asked(one, "web", there, 9000, large) == str(64 * 65536), WAIT_S)
    # Nobody has masqueraded it on the way.
    eventually(lambda: client_seen(one, "web", there, 9001) == here, WAIT_S)


def test_two_docker_engines_and_carrick_over_vxlan(cluster: TempLab) -> None:
    first, second, third = cluster.hosts
    create(
        cluster,
        Network="10.45.0.0/16",
        SubnetMin="10.45.10.0",
        SubnetMax="10.45.12.0",
        Backend={"Type": "vxlan", "VNI": 9},
    )
    with ExitStack() as stack:
        one, two = (stack.enter_context(StockDocker(cluster, host, "apps")) for host in (first, second))
        here, there = one.sleeper("web"), two.sleeper("web")
        assert {address.rpartition(".")[0] for address in (here, there)} < {
            "10.45.10",
            "10.45.11",
            "10.45.12",
        }
        assert one("inspect", "-f", "{{.NetworkSettings.IPPrefixLen}}", "web") == "24"
        check_pair(one, two, (here, there))
        # Carrick's containers are on it too, on a host without Docker.
        mine = box(third, "mine", "apps", command=SHOW_CLIENT.format(port=9001))
        for docker, address in ((one, here), (two, there)):
            eventually(lambda address=address: mine.reaches(address), WAIT_S)
            eventually(
                lambda docker=docker, address=address: client_seen(docker, "web", mine.ip(), 9001) == address,
                WAIT_S,
            )
        # To the outside they are their host.
        script = SHOW_CLIENT.format(port=9002)
        third.path("/run/serve").write_text(
            script.replace("nc -l", "busybox nc -l").replace("netstat", "busybox netstat")
        )
        pid = third.do("sh", "-c", "setsid sh /run/serve >/dev/null 2>&1 & echo $!")
        try:
            eventually(lambda: client_seen(one, "web", third.ipv4, 9002) == first.ipv4, WAIT_S)
        finally:
            third.run("kill", "--", f"-{pid}")
        # Neither does a packet stop when the daemon does, nor is anything different when it is back.
        before = first.path("/run/flannel/subnet.env").read_text()
        first.do("sh", "-c", "kill -9 $(cat /run/carrick/carrickd.pid); rm /run/flannel/subnet.env")
        assert "1 packets received" in two("exec", "web", "ping", "-c", "1", here)
        cluster.start("host1")
        eventually(lambda: first.path("/run/flannel/subnet.env").exists(), WAIT_S)
        assert first.path("/run/flannel/subnet.env").read_text() == before
        assert "1 packets received" in two("exec", "web", "ping", "-c", "1", here)
        # What is in use is not given away.
        refused = first.run("carrick", "flannel", "release", "apps")
        assert refused.code == 4
        assert "docker0 has" in refused.err
        refused = second.run("carrick", "network", "rm", "apps")
        assert "docker0 of node host1" in refused.err
        assert "flannel release" in second.run("carrick", "leave").err
    for host in cluster.hosts:
        assert not host.run("iptables", "-S", "FORWARD").out.count("carrick")


def test_docker_engines_on_one_segment_over_plain_routes(cluster: TempLab) -> None:
    first, _, third = cluster.hosts
    create(cluster, Network="10.46.0.0/16", Backend={"Type": "host-gw"})
    with ExitStack() as stack:
        one, three = (stack.enter_context(StockDocker(cluster, host, "apps")) for host in (first, third))
        here, there = one.sleeper("web"), three.sleeper("web")
        assert f"via {third.ipv4}" in first.do("ip", "route", "get", there)
        check_pair(one, three, (here, there))
        assert "MTU=1500" in first.path("/run/flannel/subnet.env").read_text().replace("FLANNEL_", "")
        # A container of Carrick's beside those of Docker, on a bridge and in a block of its own.
        mine = box(first, "mine", "apps")
        assert mine.ip().rpartition(".")[0] != here.rpartition(".")[0]
        for address in (here, there):
            eventually(lambda address=address: mine.reaches(address), WAIT_S)
        assert "1 packets received" in one("exec", "web", "ping", "-c", "1", mine.ip())
        assert "1 packets received" in three("exec", "web", "ping", "-c", "1", mine.ip())


def test_hooks_lead_from_node_to_node(cluster: TempLab) -> None:
    first, _, third = cluster.hosts
    note = "echo {} >>/run/hooks"
    create(
        cluster,
        Network="10.47.0.0/16",
        Backend={
            "Type": "extension",
            "PreStartupCommand": f"{note.format('pre')}; echo i am $(hostname)",
            "PostStartupCommand": note.format("post $NETWORK $SUBNET $PUBLIC_IP"),
            "SubnetAddCommand": f"read data; {note.format('add $SUBNET $PUBLIC_IP $data')}; "
            "ip route replace $SUBNET via $PUBLIC_IP",
            "SubnetRemoveCommand": f"{note.format('remove $SUBNET')}; ip route del $SUBNET",
            "ShutdownCommand": note.format("shutdown"),
        },
    )

    def log(host: LabHost) -> list[str]:
        path = host.path("/run/hooks")
        return path.read_text().splitlines() if path.exists() else []

    boxes = [box(host, f"h-{host.name}", "apps") for host in (first, third)]
    blocks = [f"{item.ip().rpartition('.')[0]}.0/24" for item in boxes]
    for number, host in enumerate((first, third)):
        other = (third, first)[number]
        assert log(host)[:2] == ["pre", f"post 10.47.0.0/16 {blocks[number]} {host.ipv4}"]
        added = f"add {blocks[1 - number]} {other.ipv4} i am {other.name}"
        eventually(lambda host=host, added=added: added in log(host), WAIT_S)
    eventually(lambda: boxes[0].reaches(boxes[1].ip()), WAIT_S)
    third.carrick("rm", "-f", boxes[1].name)
    eventually(lambda: log(third)[-1] == "shutdown", WAIT_S)
    # Its block goes with the node, at the latest.
    third.carrick("leave")
    eventually(lambda: log(first)[-1] == f"remove {blocks[1]}", WAIT_S)
    first.carrick("rm", "-f", boxes[0].name)
    eventually(lambda: log(first)[-1] == "shutdown", WAIT_S)


def test_a_failing_hook_is_said_to_whoever_starts_a_container(cluster: TempLab) -> None:
    first = cluster.hosts[0]
    create(
        cluster,
        Network="10.48.0.0/16",
        Backend={"Type": "extension", "PreStartupCommand": "echo no such tunnel >&2; exit 3"},
    )
    result = first.run("carrick", "run", "--rm", "--network", "apps", "busybox", "true")
    assert "PreStartupCommand failed" in result.err
    assert "exit code 3; output: no such tunnel" in result.err
