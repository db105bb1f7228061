"""An etcd that has lost everything, without a backup: the cluster is written again by one of its hosts."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from carrick.testing.boxes import Box, Pinger, box, cluster_keys, settle_nodes
from carrick.testing.daemon import eventually
from carrick.testing.lab import LabHost, TempLab

NETWORKS = {"flat": ("-d", "overlay", "--subnet", "10.5.0.0/24"), "hilly": ("-d", "routed")}
if shutil.which("wg"):
    NETWORKS["sealed"] = ("-d", "routed", "--opt", "backend=wireguard")


@pytest.fixture
def lab() -> Iterator[TempLab]:
    """A cluster of its own: nobody is given up while it is being lost and found."""
    with TempLab(hosts=3, segments=2, cluster=True) as lab:
        yield lab


def problem(host: LabHost) -> str:
    return str(host.api.get("/carrick/v1/cluster").json["Problem"])


def identity(host: LabHost) -> str:
    return str(host.api.get("/carrick/v1/cluster").json["ID"])


def lose_everything(lab: TempLab) -> None:
    lab.stop("etcd", daemon_only=True)
    lab.etcd.do("sh", "-c", "rm -rf /var/lib/etcd/*")
    lab.start("etcd")
    assert cluster_keys(lab) == []


def check(boxes: list[Box], network: str) -> None:
    """All reach all, and find them by name."""
    for source in boxes:
        for target in boxes:
            address = target.ip(network)
            what = f"{source.name} to {target.name} on {network}"
            eventually(lambda s=source, t=target, a=address: s.resolve(t.name) == [a], 60, what)
            eventually(lambda s=source, a=address: s.reaches(a), 60, what)


def test_etcd_wiped_and_the_cluster_written_again_from_one_host(lab: TempLab) -> None:
    first, second, third = lab.hosts
    boxes = {}
    for network, options in NETWORKS.items():
        first.carrick("network", "create", *options, network)
        boxes[network] = [box(host, f"{network}{n}", network) for n, host in enumerate(lab.hosts, 1)]
        check(boxes[network], network)
    everybody = [each for found in boxes.values() for each in found]
    before, addresses = identity(first), [each.ip() for each in everybody]
    with ExitStack() as stack:
        pingers = [
            stack.enter_context(Pinger(source, target.ip()))
            for found in boxes.values()
            for source in found
            for target in found
            if source is not target
        ]
        lose_everything(lab)
        for host in lab.hosts:
            eventually(lambda h=host: "has lost cluster" in problem(h), 60)
            shown = host.carrick("cluster", "info")
            assert "has lost cluster" in shown and "carrick cluster recover" in shown, shown
        refused = first.run("carrick", "network", "create", "-d", "overlay", "more")
        assert refused.code == 1 and "has lost cluster" in refused.err, refused
        assert "carrick cluster recover" in refused.err, refused
        # All goes on: names, and a container that comes meanwhile, from the block that its host has.
        for network, found in boxes.items():
            check(found, network)
        meanwhile = box(third, "meanwhile", "flat")

        # Not on the host that founded it.
        assert "records are written" in second.carrick("cluster", "recover")
        settle_nodes(lab)
        assert {identity(host) for host in lab.hosts} == {before}
        refused = third.run("carrick", "cluster", "recover")
        assert refused.code == 4 and "there is nothing to recover" in refused.err, refused

        new = box(first, "new", "flat")
        newer = box(second, "newer", "hilly")
        check([*boxes["flat"], meanwhile, new], "flat")
        check([*boxes["hilly"], newer], "hilly")
        third.carrick("network", "create", "-d", "overlay", "more")
        check([box(host, f"more{n}", "more") for n, host in enumerate(lab.hosts)], "more")
    assert not [pinger.report for pinger in pingers if pinger.lost]
    assert [each.refresh().ip() for each in everybody] == addresses
    for host in lab.hosts:
        assert "Traceback" not in host.log_text()
        found = host.api.get("/carrick/v1/doctor").json["findings"]
        assert not [item for item in found if item["level"] != "ok"], found


def test_hosts_join_again_once_who_founded_it_has_said_so(lab: TempLab) -> None:
    _, second, third = lab.hosts
    lose_everything(lab)
    eventually(lambda: "has lost cluster" in problem(second), 60)
    second.carrick("cluster", "recover")
    settle_nodes(lab)
    third.carrick("leave")
    token = second.carrick("cluster", "token").split()[-1]

    def joins() -> bool:
        done = third.run("carrick", "join", second.ipv4, "--token", token)
        assert done.code in (0, 5), done
        return done.code == 0

    eventually(joins, 120)
    settle_nodes(lab)
