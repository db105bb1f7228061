"""Shortcuts of overlay and routed networks, with whole daemons: taken, outlived, given up without a loss."""

import json
import time

from carrick.testing.boxes import Box, Pinger, box
from carrick.testing.daemon import eventually
from carrick.testing.lab import LabHost, TempLab

FILTER = "net.bridge.bridge-nf-call-iptables"
TAKEN = "ok       shortcuts: overlay networks take them, and routed ones by VXLAN"


def device_of(host: LabHost, network: str) -> str:
    return f"vx-{host.api.get(f'/networks/{network}').json['Id'][:12]}"


def through(host: LabHost, device: str) -> int:
    """Return how many packets a device has sent."""
    (link,) = json.loads(host.run("ip", "-j", "-s", "link", "show", device).out)
    return int(link["stats64"]["tx"]["packets"])


def programs(host: LabHost, link: str) -> str:
    return host.run("tc", "filter", "show", "dev", link, "ingress").out


def tracked(host: LabHost, item: Box) -> list[str]:
    """Return the connections of a container that a host tracks."""
    ends = {f"src={item.ip()}", f"dst={item.ip()}"}
    rows = host.run("conntrack", "-L").out.splitlines()
    return [row for row in rows if not ends.isdisjoint(row.split())]


def test_they_outlive_the_daemon_and_go_with_the_network(cluster: TempLab) -> None:
    first, second, _ = cluster.hosts
    first.carrick("network", "create", "-d", "overlay", "short")
    one, near, far = box(first, "one", "short"), box(first, "near", "short"), box(second, "far", "short")
    device = device_of(first, "short")
    assert TAKEN in first.run("carrick", "doctor").out
    assert one.reaches(far.ip()) and one.reaches(near.ip())
    before = through(first, device)
    with Pinger(one, far.ip(), 0.01) as across, Pinger(one, near.ip(), 0.01) as within:
        cluster.kill("host1", daemon_only=True)
        time.sleep(0.5)
        cluster.start("host1")
        time.sleep(0.5)
    assert (across.lost, within.lost) == ([], []) and across.answered > 50
    # A question for a neighbour's address may cross it; the pings do not.
    assert through(first, device) - before < 10
    assert "ck_recv_" in programs(first, device)
    for item in (one, near):
        first.carrick("rm", "-f", item.name)
    eventually(lambda: device not in first.run("ip", "-br", "link").out)


def test_given_up_and_taken_again_without_a_loss(cluster: TempLab) -> None:
    first, second, _ = cluster.hosts
    first.carrick("network", "create", "-d", "overlay", "short")
    one, far = box(first, "one", "short"), box(second, "far", "short")
    device = device_of(first, "short")
    assert one.reaches(far.ip())
    mac = second.container("far")["NetworkSettings"]["Networks"]["short"]["MacAddress"]
    # Nothing announces a sysctl. The doctor looks; and a row that somebody takes away has all looked at.
    with Pinger(one, far.ip(), 0.01) as pinger:
        first.run("sysctl", "-w", f"{FILTER}=1")
        assert f"not taken: bridged packets are to pass the host's IP rules ({FILTER}=1)" in (
            first.run("carrick", "doctor").out
        )
        first.run("bridge", "fdb", "delete", mac, "dev", device, "self")
        eventually(lambda: "ck_recv_" not in programs(first, device))
        before = through(first, device)
        eventually(lambda: through(first, device) > before + 10)
        first.run("sysctl", "-w", f"{FILTER}=0")
        assert TAKEN in first.run("carrick", "doctor").out
        first.run("bridge", "fdb", "delete", mac, "dev", device, "self")
        eventually(lambda: "ck_recv_" in programs(first, device))
    assert pinger.lost == [] and pinger.answered > 20


def test_routed_networks_take_them_and_outlive_the_daemon(cluster: TempLab) -> None:
    first, second, third = cluster.hosts
    first.carrick("network", "create", "-d", "routed", "ways")
    # What an earlier container with the same address did is remembered for half a minute.
    first.do("conntrack", "-F")
    one, near = box(first, "one", "ways"), box(first, "near", "ways")
    far, farther = box(second, "far", "ways"), box(third, "farther", "ways")
    device = device_of(first, "ways")
    assert TAKEN in first.run("carrick", "doctor").out
    for other in (near, far, farther):
        eventually(lambda other=other: one.reaches(other.ip()), 30)
    before = through(first, device)
    with Pinger(one, far.ip(), 0.01) as across, Pinger(one, near.ip(), 0.01) as within:
        cluster.kill("host1", daemon_only=True)
        time.sleep(0.5)
        cluster.start("host1")
        time.sleep(0.5)
    assert (across.lost, within.lost) == ([], []) and across.answered > 50
    assert through(first, device) - before < 10
    assert tracked(first, one) == []
    for item in (one, near):
        first.carrick("rm", "-f", item.name)
    eventually(lambda: device not in first.run("ip", "-br", "link").out)


def test_who_filters_what_is_forwarded_sees_all_of_it(cluster: TempLab) -> None:
    """And what is between two containers goes on while rules come, hold, and go."""
    first, second, _ = cluster.hosts
    first.carrick("network", "create", "-d", "routed", "ways")
    one, far = box(first, "one", "ways"), box(second, "far", "ways")
    device = device_of(first, "ways")
    eventually(lambda: one.reaches(far.ip()), 30)
    admin = ("inet", "carrick", "admin")
    for chain, family, target in (("admin", *admin[:2]), ("mine", "ip", "filter")):
        with Pinger(one, far.ip(), 0.01) as pinger:
            assert "ck_rrcv_" in programs(first, device)
            if chain == "mine":
                first.run("nft", "add", "table", family, target)
                first.run("nft", "add chain ip filter mine { type filter hook forward priority 0; }")
            first.run("nft", "add", "rule", family, target, chain, "ct", "state", "established", "accept")
            eventually(lambda: "ck_rrcv_" not in programs(first, device))
            first.run("nft", "add", "rule", family, target, chain, "tcp", "dport", "81", "drop")
            eventually(lambda: tracked(first, one))
            before = through(first, device)
            eventually(lambda before=before: through(first, device) > before + 10)
            why = "in the chain admin of inet carrick" if chain == "admin" else "in the chain ip filter mine"
            shown = first.run("carrick", "doctor").out
            assert "overlay networks take them, routed ones do not: there are rules" in shown and why in shown
            first.run("nft", "flush", "chain", family, target, chain)
            eventually(lambda: "ck_rrcv_" in programs(first, device))
        assert pinger.lost == [] and pinger.answered > 20
        if chain == "mine":
            first.run("nft", "delete", "table", family, target)
