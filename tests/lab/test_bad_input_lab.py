"""What a cluster is given that is wrong: clocks, records, subnets, pools. Who says what, and what goes on.

Tokens and certificates are in tests/e2e/test_joining.py; an etcd that is away, or has lost its data, in
test_cluster_faults.py.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carrick.lab import daemons, services
from carrick.lab.nodes import base_environment, files_of
from carrick.testing.boxes import Box, Pinger, box, cluster_keys, node_status, settle_nodes
from carrick.testing.daemon import eventually
from carrick.testing.lab import LabHost, TempLab

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
GARBAGE = ("", "{", '{"id": "x', "[]", "7", "\x01\x02")


def etcdctl(lab: TempLab, *words: str, value: str | None = None) -> str:
    return lab.etcd.do("env", "ETCDCTL_API=3", "etcdctl", *words, input=value)


def spoil(lab: TempLab, key: str, value: str) -> None:
    etcdctl(lab, "put", key, value=value or " ")


def read(lab: TempLab, key: str) -> str:
    return etcdctl(lab, "get", key, "--print-value-only")


# --- Clocks --------------------------------------------------------------------------------------


def start_with_clock(lab: TempLab, name: str, offset: str) -> None:
    """Start a host's carrickd with a wall clock that is wrong by so much."""
    lab.stop(name, daemon_only=True)
    process, files = lab[name].process, files_of(lab.record(), name)
    words = (f"LD_PRELOAD={FAKETIME}", f"FAKETIME={offset}", "FAKETIME_DONT_FAKE_MONOTONIC=1")
    command = ["env", *words, sys.executable, "-m", "carrick.daemon"]
    services.start(process, command, files.log, base_environment())
    daemons.wait_ready(name, process, files)


def clock_of(host: LabHost) -> datetime:
    """Return what a host's carrickd takes for the time."""
    text = host.api.get("/info").json["SystemTime"]
    return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)


@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime (apt-get install faketime)")
def test_clocks_an_hour_off_either_way() -> None:
    with TempLab(hosts=3, segments=2) as lab:
        start_with_clock(lab, "host2", "+1h")
        start_with_clock(lab, "host3", "-1h")
        now = datetime.now(UTC)
        for name, hours in (("host2", 1), ("host3", -1)):
            assert abs(clock_of(lab[name]) - now - timedelta(hours=hours)) < timedelta(minutes=5)
        # Founded by one that is an hour early, so that certificates are from what is the future elsewhere.
        first, second, third = lab.hosts
        endpoints = [f"--etcd={item}" for item in lab.plan.etcd_endpoints]
        second.carrick("cluster", "init", "--gone-after", "5s", *endpoints)
        token = json.loads(json.dumps(second.carrick("cluster", "token").split()[-1]))
        short = second.carrick("cluster", "token", "--ttl", "2s").split()[-1]
        for host in (first, third):
            host.carrick("join", second.ipv4, "--token", token)
        settle_nodes(lab)
        first.carrick("network", "create", "-d", "overlay", "--subnet", "10.5.0.0/24", "net")
        boxes = [box(host, f"c{n}", "net", "--restart", "always") for n, host in enumerate(lab.hosts, 1)]
        check(boxes)
        # Nobody is missed for it, and nobody misses anybody who is not away.
        with Pinger(boxes[0], boxes[2].ip()) as pinger:
            lab.kill("host2", daemon_only=True)
            assert set(node_status(first).values()) == {"ready"}
            eventually(lambda: node_status(first).get("host2") != "ready", 60)
            eventually(lambda: "host2" not in node_status(third), 60)
            assert node_status(first) == {"host1": "ready", "host3": "ready"}
            start_with_clock(lab, "host2", "+1h")
            eventually(lambda: node_status(first).get("host2") == "ready", 60)
            # A clock that jumps while everything is at rest: by two hours, the other way.
            start_with_clock(lab, "host2", "-1h")
            settle_nodes(lab)
            check([each.refresh() for each in boxes])
        assert not pinger.lost, pinger.report
        # What expired did so by etcd's time.
        third.carrick("rm", "-f", "c3")
        third.carrick("leave")
        refused = third.run("carrick", "join", second.ipv4, "--token", short)
        assert refused.code == 6 and "wrong or expired token" in refused.err, refused
        third.carrick("join", second.ipv4, "--token", token)
        settle_nodes(lab)


def check(boxes: list[Box]) -> None:
    """All reach all, and find them by name."""
    for source in boxes:
        for target in boxes:
            eventually(lambda s=source, t=target: s.resolve(t.name) == [t.ip()], 30, f"{target.name}")
            eventually(lambda s=source, t=target: s.reaches(t.ip()), 30, f"{source.name} to {target.name}")


# --- Records -------------------------------------------------------------------------------------


@contextmanager
def traffic(boxes: list[Box]) -> Iterator[None]:
    """Ping from each to the next meanwhile; nothing may be lost."""
    pingers = [Pinger(source, boxes[place - 1].ip()) for place, source in enumerate(boxes)]
    for pinger in pingers:
        pinger.__enter__()
    try:
        yield
    finally:
        for pinger in pingers:
            pinger.__exit__(None, None, None)
    assert not [pinger.report for pinger in pingers if pinger.lost]


@pytest.fixture
def trio(cluster: TempLab) -> list[Box]:
    cluster.hosts[0].carrick("network", "create", "-d", "overlay", "--subnet", "10.5.0.0/24", "net")
    boxes = [box(host, f"c{n}", "net", "--restart", "always") for n, host in enumerate(cluster.hosts, 1)]
    check(boxes)
    return boxes


@pytest.mark.parametrize("garbage", GARBAGE[:4], ids=repr)
def test_half_written_records_of_every_kind(cluster: TempLab, trio: list[Box], garbage: str) -> None:
    lab, (first, second, third) = cluster, cluster.hosts
    begun = {host.name: len(host.log_text()) for host in lab.hosts}
    kinds = ("nodes", "alive", "networks", "blocks", "endpoints", "network-index")
    keys = [key for key in cluster_keys(lab) if key.removeprefix("carrick/").partition("/")[0] in kinds]
    assert len({key.split("/")[1] for key in keys}) == len(kinds)
    before = {key: read(lab, key) for key in keys}
    with traffic(trio):
        for key in keys:
            spoil(lab, key, garbage)
        # Whatever is a node's own it writes again, and says so.
        wrong = [key for key in keys if not key.startswith("carrick/network")]
        eventually(lambda: not [key for key in wrong if read(lab, key).strip() == garbage.strip()], 60)
        for key in keys:
            if not key.startswith(("carrick/alive/", "carrick/network")):
                assert json.loads(read(lab, key)) == json.loads(before[key]), key
        # A network is nobody's own. Repaired or removed, it is there again: whoever is on it writes it.
        (network,) = (key for key in keys if key.startswith("carrick/networks/"))
        assert read(lab, network).strip() == garbage.strip()
        if garbage:
            spoil(lab, network, before[network])
        else:
            etcdctl(lab, "del", network)
        eventually(lambda: json.loads(read(lab, network) or "{}") == json.loads(before[network]), 20)
        # New containers, a new network; one that starts meanwhile.
        new = box(first, "new", "net")
        eventually(lambda: trio[2].resolve("new") == [new.ip()], 20)
        third.carrick("network", "create", "-d", "overlay", "more")
        box(second, "of-more", "more")
        lab.kill("host3", daemon_only=True)
        lab.start("host3")
        settle_nodes(lab)
        check([*trio, new])
    logs = {host.name: host.log_text()[begun[host.name] :] for host in lab.hosts}
    for key in keys:
        if "index" not in key:
            name = key.removeprefix("carrick/")
            said = [
                text for text in logs.values() if f"the record {name} in the store cannot be read" in text
            ]
            assert said, key
    for text in logs.values():
        assert "Traceback" not in text and "it begins again" not in text, text[-3000:]
        assert "repair or remove the record" in text


def test_records_of_nobody_and_of_other_versions(cluster: TempLab, trio: list[Box]) -> None:
    lab, (first, second, _) = cluster, cluster.hosts
    key = next(key for key in cluster_keys(lab) if key.startswith("carrick/nodes/"))
    network = next(key for key in cluster_keys(lab) if key.startswith("carrick/networks/"))
    node = json.loads(read(lab, key))
    old = {name: node[name] for name in ("name", "epoch", "underlays")} | {"id": "o" * 26, "name": "older"}
    new = node | {"id": "n" * 26, "name": "newer", "colour": ["green"], "version": "99.0", "state": "active"}
    wrong = {
        "carrick/nodes/xxx": "{",
        f"carrick/nodes/{'y' * 26}": json.dumps(node),
        "carrick/networks/zzz": json.dumps(json.loads(read(lab, network)) | {"pools": [{"subnet": "all"}]}),
        f"carrick/endpoints/{network.split('/')[-1]}/n/e": '{"id": "e", "mac_address": "none"}',
        "carrick/blocks/strange": "[]",
        "carrick/something/else": "?",
    }
    with traffic(trio):
        for place, value in wrong.items():
            spoil(lab, place, value)
        spoil(lab, f"carrick/nodes/{old['id']}", json.dumps(old))
        spoil(lab, f"carrick/nodes/{new['id']}", json.dumps(new))
        for host in lab.hosts:
            eventually(lambda h=host: {"older", "newer"} <= node_status(h).keys(), 20)
            assert node_status(host)["older"] == "unreachable"
        shown = second.carrick("peer", "ls")
        assert "older" in shown and "newer" in shown
        fresh = box(second, "fresh", "net")
        check([*trio, fresh])
        for name in ("older", "newer"):
            first.carrick("node", "rm", "--force", name)
        for place in wrong:
            etcdctl(lab, "del", place)
        etcdctl(lab, "del", "carrick/removed/", "--prefix")
        eventually(lambda: set(node_status(second)) == {"host1", "host2", "host3"}, 20)
        check([*trio, fresh])
    for host in lab.hosts:
        assert "Traceback" not in host.log_text()


def test_the_cluster_s_own_record(cluster: TempLab, trio: list[Box]) -> None:
    lab, (first, second, third) = cluster, cluster.hosts
    before = read(lab, "carrick/meta/cluster")
    # What host3 knows of the others is written behind, and all that it will have.
    time.sleep(2.5)
    with traffic(trio), ExitStack() as stack:
        stack.callback(spoil, lab, "carrick/meta/cluster", before)
        for value, words in (
            ('{"id": ', "the record meta/cluster in the store cannot be read"),
            (json.dumps(json.loads(before) | {"format": 99}), "format 99"),
        ):
            spoil(lab, "carrick/meta/cluster", value)
            # Who comes looks at it before anything else, and those who were there go on.
            lab.kill("host3", daemon_only=True)
            lab.start("host3")
            eventually(lambda w=words: w in problem(third), 60)
            check(trio)
            spoil(lab, "carrick/meta/cluster", before)
            eventually(lambda: not problem(third), 60)
        box(second, "fresh", "net")
        box(third, "fresh3", "net")
    assert not problem(first)
    assert "Traceback" not in third.log_text()


def problem(host: LabHost) -> str:
    return str(host.api.get("/carrick/v1/cluster").json["Problem"])


# --- Subnets -------------------------------------------------------------------------------------


def test_subnets_that_clash(cluster: TempLab) -> None:
    first, second, third = cluster.hosts
    first.carrick("network", "create", "-d", "overlay", "--subnet", "10.7.0.0/24", "one")
    second.do("ip", "route", "add", "10.8.0.0/24", "via", cluster.plan.hosts[1].ipv4.ip.exploded)
    first.carrick("network", "create", "--subnet", "10.9.0.0/24", "local")
    underlay = str(cluster.plan.hosts[0].ipv4.network)
    for host, subnet, named in (
        (second, "10.7.0.128/25", "one"),
        (third, underlay, "has the underlay address " + underlay.rpartition(".")[0]),
        (first, "10.9.0.0/16", "local"),
    ):
        for driver in ("overlay", "routed"):
            words = ("-d", driver, "--subnet", subnet)
            refused = host.run("carrick", "network", "create", *words, "two")
            assert refused.code != 0 and subnet in refused.err and named in refused.err, refused.err
    # What only this host cannot reach any more is its own affair: it is warned, as on one host.
    warned = second.run("carrick", "network", "create", "-d", "overlay", "--subnet", "10.8.0.0/16", "eight")
    assert warned.code == 0 and "overlaps route 10.8.0.0/24" in warned.err, warned
    second.do("ip", "route", "del", "10.8.0.0/24")


# --- Pools ---------------------------------------------------------------------------------------


def test_a_pool_is_used_to_its_last_address_and_then_said_to_be_full(cluster: TempLab) -> None:
    cluster.hosts[0].carrick("network", "create", "-d", "overlay", "--subnet", "10.6.0.0/29", "small")
    made: dict[str, Box] = {}
    refused = []
    for number in range(9):
        host = cluster.hosts[number % 3]
        words = ("run", "-d", "--name", f"s{number}", "--stop-signal", "KILL", "--network", "small")
        done = host.run("carrick", *words, "busybox", "sleep", "1d")
        if done.code == 0:
            made[f"s{number}"] = Box(host, f"s{number}")
        else:
            refused.append(done)
            host.run("carrick", "rm", "-f", f"s{number}")
    # 8, less the network's, the gateway's and the broadcast's; what is left over is in others' blocks.
    assert 3 <= len(made) <= 5 and len({each.ip() for each in made.values()}) == len(made)
    for done in refused:
        assert "no available IPv4 addresses" in done.err and "small" in done.err, done.err
    check(list(made.values()))
    # One goes: its host gives the address at once; others, once the block is empty and has gone back.
    name, gone = next(iter(made.items()))
    gone.host.carrick("rm", "-f", name)
    box(gone.host, "again", "small")
