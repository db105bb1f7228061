"""Routed networks and sealed ones on three hosts in two segments, by every transport."""

import json
from itertools import permutations

import pytest

from carrick.testing.boxes import Box, box
from carrick.testing.daemon import eventually
from carrick.testing.lab import TempLab

WEB = 'echo "$(hostname)" >/index.html; exec httpd -f -h / -p 80'
KINDS = {
    "vxlan": ("-d", "routed"),
    "vxlan where it must": ("-d", "routed", "--opt", "cross-subnet=true"),
    "point": ("-d", "routed", "--opt", "carrick.routed.mode=point"),
    "wireguard": ("-d", "routed", "--opt", "backend=wireguard"),
    "sealed overlay": ("-d", "overlay", "--opt", "encrypted"),
}


def boxes_on(cluster: TempLab, network: str) -> list[Box]:
    return [
        box(host, f"r{number}", network, "--hostname", f"r{number}", command=WEB)
        for number, host in enumerate(cluster.hosts, start=1)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_containers_reach_each_other_by_name_and_serve(cluster: TempLab, kind: str) -> None:
    first = cluster.hosts[0]
    first.carrick("network", "create", *KINDS[kind], "net")
    boxes = boxes_on(cluster, "net")
    for source, target in permutations(boxes, 2):
        eventually(lambda source=source, target=target: target.ip() in source.resolve(target.name), 10)
        eventually(lambda source=source, target=target: source.reaches(target.ip()), 10)
        assert source.run("wget", "-q", "-O-", f"http://{target.name}/").out.strip() == target.name


def test_addresses_are_the_nodes_own_blocks_and_stay_the_senders(cluster: TempLab) -> None:
    first = cluster.hosts[0]
    first.carrick("network", "create", "-d", "routed", "--subnet", "10.44.0.0/16", "net")
    boxes = boxes_on(cluster, "net")
    blocks = {box.ip().rsplit(".", 1)[0] + f".{int(box.ip().rsplit('.', 1)[1]) // 64}" for box in boxes}
    assert len(blocks) == 3
    source, target = boxes[0], boxes[1]
    eventually(lambda: source.reaches(target.ip()), 10)
    routes = source.host.do("ip", "route", "get", target.ip())
    assert "vx-" in routes


def test_direct_routes_within_a_segment_and_nothing_across(cluster: TempLab) -> None:
    first, _, third = cluster.hosts
    first.carrick("network", "create", "-d", "routed", "--opt", "backend=direct", "net")
    boxes = boxes_on(cluster, "net")
    eventually(lambda: boxes[0].reaches(boxes[2].ip()), 10)
    assert f"via {third.ipv4}" in first.do("ip", "route", "get", boxes[2].ip())
    assert not boxes[0].reaches(boxes[1].ip())
    listed = [json.loads(line) for line in first.carrick("peer", "ls", "--format", "json").splitlines()]
    assert {peer["Name"] for peer in listed} == {"host2", "host3"}
    assert "direct" in json.dumps(listed)


def test_a_published_port_leads_to_a_container_on_a_routed_network(cluster: TempLab) -> None:
    first, second, _ = cluster.hosts
    first.carrick("network", "create", "-d", "routed", "net")
    eventually(lambda: "net" in second.carrick("network", "ls", "--format", "{{.Name}}").split(), 10)
    box(first, "r1", "net", "-p", "8080:80", "--hostname", "r1", command=WEB)
    url = f"http://{first.ipv4}:8080/"
    eventually(lambda: second.run("busybox", "wget", "-q", "-O-", url).out.strip() == "r1", 10)
