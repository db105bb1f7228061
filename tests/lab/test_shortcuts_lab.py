"""Shortcuts past the bridges of an overlay, with whole daemons: taken, outlived, given up without a loss."""

import json
import time

from carrick.testing.boxes import Pinger, box
from carrick.testing.daemon import eventually
from carrick.testing.lab import LabHost, TempLab

FILTER = "net.bridge.bridge-nf-call-iptables"
TAKEN = "ok       shortcuts: overlay networks take them"


def device_of(host: LabHost, network: str) -> str:
    return f"vx-{host.api.get(f'/networks/{network}').json['Id'][:12]}"


def through(host: LabHost, device: str) -> int:
    """Return how many packets a device has sent."""
    (link,) = json.loads(host.run("ip", "-j", "-s", "link", "show", device).out)
    return int(link["stats64"]["tx"]["packets"])


def programs(host: LabHost, link: str) -> str:
    return host.run("tc", "filter", "show", "dev", link, "ingress").out


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
