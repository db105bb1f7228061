"""WireGuard keys that change under traffic: what is lost of it, and what never is in the clear."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from carrick.testing.boxes import Box, Pinger, box
from carrick.testing.daemon import eventually
from carrick.testing.lab import LabHost, TempLab

pytestmark = pytest.mark.skipif(shutil.which("wg") is None, reason="needs wireguard-tools")
_REKEY_S = 5.0
"""WireGuard's REKEY_TIMEOUT."""
KINDS = {
    "overlay": ("-d", "overlay", "--opt", "encrypted"),
    "routed": ("-d", "routed", "--opt", "backend=wireguard"),
}


def key_of(lab: TempLab, name: str) -> str:
    """Return the public key that a node has published."""
    words = ("env", "ETCDCTL_API=3", "etcdctl", "get", "carrick/nodes/", "--prefix", "--print-value-only")
    nodes = [json.loads(line) for line in lab.etcd.do(*words).splitlines() if line]
    return str(next(node["wireguard_key"] for node in nodes if node["name"] == name))


def in_use(host: LabHost) -> str:
    """Return the public key that a host's device goes by."""
    return host.do("wg", "show", "all", "public-key").split()[-1]


def make_old(host: LabHost) -> None:
    """Have a host's key be older than keys get."""
    (path,) = host.do("find", "/var/lib/carrick", "-name", "wireguard.key").splitlines()
    host.do("touch", "-d", "100 days ago", path)


@pytest.fixture
def pair(cluster: TempLab, request: pytest.FixtureRequest) -> Iterator[list[Box]]:
    first, _, third = cluster.hosts
    first.carrick("network", "create", *KINDS[request.param], "--subnet", "10.20.0.0/16", "sealed")
    boxes = [box(first, "one", "sealed"), box(third, "three", "sealed")]
    for source, target in (boxes, boxes[::-1]):
        eventually(lambda s=source, t=target: s.reaches(t.ip()), 30)
    yield boxes


@pytest.mark.parametrize("pair", KINDS, indirect=True)
def test_keys_change_under_traffic(cluster: TempLab, pair: list[Box]) -> None:
    first, _, third = cluster.hosts
    with ExitStack() as stack:
        pingers = [
            stack.enter_context(Pinger(source, target.ip(), interval_s=0.05))
            for source, target in (pair, pair[::-1])
        ]
        seen = {first: key_of(cluster, "host1"), third: key_of(cluster, "host3")}
        # One after the other, then both at once.
        for hosts in ((first,), (third,), (first, third)):
            for host in hosts:
                make_old(host)
            for host in hosts:
                eventually(lambda h=host: key_of(cluster, h.name) != seen[h], 60)
                seen[host] = key_of(cluster, host.name)
                assert in_use(host) == seen[host]
            before = [pinger.answered for pinger in pingers]
            eventually(lambda b=before: all(p.answered > n + 20 for p, n in zip(pingers, b, strict=True)), 60)
    for pinger in pingers:
        print(pinger.report)
    # A handshake each. On a busy machine the other one may know the key only after the first handshake came,
    # and that is tried again after five seconds.
    assert all(pinger.longest_gap_s < 2 * _REKEY_S for pinger in pingers), [p.report for p in pingers]
    for host in (first, third):
        (directory,) = {
            line.rpartition("/")[0]
            for line in host.do("find", "/var/lib/carrick", "-name", "wireguard.*").splitlines()
        }
        assert host.do("ls", directory).split().count("wireguard.key") == 1
        assert "wireguard.old" not in host.do("ls", directory)
