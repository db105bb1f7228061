"""Two whole engines in one cluster: networks, addresses, rows and names across, on fake kernels."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from carrick.engine.cluster.records import ClusterRecords
from carrick.engine.values import CreateNetwork
from carrick.host.store.contract import Change, Delete, Put, Requirement, Snapshot
from carrick.model.cluster import NodeId
from carrick.model.errors import Conflict, Denied, InvalidRequest, NotFound, Unavailable
from carrick.model.ids import short
from carrick.model.networks import PoolConfig
from carrick.model.steps import ANY_MAC, CreateBridge, DeleteLink
from carrick.testing.cluster import Wire
from carrick.testing.fake_machine import FakeMachine
from carrick.testing.members import ClusterMember
from carrick.testing.memory_store import MemoryStore
from carrick.testing.waiting import until


class Host(ClusterMember):
    """A member whose rows are looked at."""

    def address(self, name: str) -> str:
        return self.endpoint(name).ipv4_address

    def mac(self, name: str) -> str:
        return self.endpoint(name).mac_address

    async def rows(self, network: str) -> tuple[dict[str, set[str]], dict[str, str]]:
        mark = self.engine.state.find_network(network).id[:12]
        fdb = await self.machine.kernel.read_fdb(f"vx-{mark}")
        neighbours = await self.machine.kernel.read_neighbours(f"br-{mark}")
        return {k: set(v) for k, v in fdb.items()}, {k: v.mac for k, v in neighbours.items()}

    def links(self) -> set[str]:
        return set(self.engine._host.view.state.links)


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[tuple[Host, Host]]:
    store = MemoryStore()
    one = Host("one", tmp_path / "one", store, 11)
    two = Host("two", tmp_path / "two", store, 12)
    await one.start()
    await two.start()
    yield one, two
    await one.stop()
    await two.stop()
    await store.aclose()


BLUE = CreateNetwork("blue", "overlay", pools=(PoolConfig("10.5.0.0/24"),))


async def test_a_network_is_created_once_and_seen_everywhere(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    created = await one.engine.networks.create(BLUE)
    await until(lambda: two.engine.state.network_or_none("blue"))
    view = await two.engine.networks.get("blue")
    assert view.network.id == created.id
    assert view.network.scope == "global"
    with pytest.raises(Conflict, match="network with name blue already exists"):
        await two.engine.networks.create(BLUE)
    await one.machine.kernel.read()
    assert not [link for link in (await one.machine.kernel.read()).links if created.id[:12] in link]


async def test_containers_get_distinct_addresses_and_rows_lead_to_each_other(
    hosts: tuple[Host, Host],
) -> None:
    one, two = hosts
    await one.engine.networks.create(BLUE)
    await until(lambda: two.engine.state.network_or_none("blue"))
    web = await one.run("web", "blue")
    db = await two.run("db", "blue")
    assert web != db

    async def led() -> bool:
        fdb, neighbours = await one.rows("blue")
        return fdb.get(two.mac("db")) == {"10.99.1.12"} and neighbours.get(db) == two.mac("db")

    await until(led)
    fdb, neighbours = await two.rows("blue")
    assert fdb[one.mac("web")] == {"10.99.1.11"}
    assert fdb["00:00:00:00:00:00"] == {"10.99.1.11"}
    assert neighbours == {web: one.mac("web")}
    names = {
        name for item in one.engine.names.snapshot(1).networks for e in item.endpoints for name in e.names
    }
    assert {"web", "db", "db-alias"} <= names
    shown = {item.name: item.ipv4 for item in (await one.engine.networks.get("blue")).endpoints}
    assert shown == {"web": f"{web}/24", "db": f"{db}/24"}

    await two.engine.containers.remove("db", force=True)

    async def gone() -> bool:
        fdb, neighbours = await one.rows("blue")
        # It owns addresses for a while yet, and may use one without anybody's knowing.
        return fdb == {ANY_MAC: {"10.99.1.12"}} and not neighbours

    await until(gone)
    # With its last container the network leaves the host.
    assert not [link for link in (await two.machine.kernel.read()).links if link.startswith(("vx-", "br-"))]
    snapshot = one.engine.names.snapshot(2)
    assert "db" not in {n for item in snapshot.networks for e in item.endpoints for n in e.names}


async def test_a_network_in_use_anywhere_is_not_removed(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    await one.engine.networks.create(BLUE)
    await until(lambda: two.engine.state.network_or_none("blue"))
    await two.run("db", "blue")
    await until(two.engine.link.runtime.publisher._settled.is_set)  # type: ignore[union-attr]
    with pytest.raises(Denied, match=r'has active endpoints \(name:"db"'):
        await one.engine.networks.remove("blue")
    await two.engine.containers.remove("db", force=True)
    await until(two.engine.link.runtime.publisher._settled.is_set)  # type: ignore[union-attr]
    await one.engine.networks.remove("blue")
    await until(lambda: not two.engine.state.network_or_none("blue"))
    assert (await one.store.list("blocks/")).entries == ()
    assert (await one.store.list("network-names/")).entries == ()


async def test_an_endpoint_that_comes_while_its_network_is_removed_keeps_it(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its network's record stays as it was: it may be that of a newer version, and say more."""
    one, two = hosts
    blue = await one.engine.networks.create(BLUE)
    await until(lambda: two.engine.state.network_or_none("blue"))
    record, commit = await one.store.get(f"networks/{blue.id}"), one.wire.commit
    started: list[str] = []

    async def in_between(changes: Sequence[Change], conditions: Sequence[Requirement] = ()) -> int:
        if Delete(f"networks/{blue.id}") in changes and not started:
            started.append("db")
            await two.run("db", "blue")
            await until(two.engine.link.runtime.publisher._settled.is_set)  # type: ignore[union-attr]
        return await commit(changes, conditions)

    monkeypatch.setattr(one.wire, "commit", in_between)
    with pytest.raises(Denied, match=r'has active endpoints \(name:"db"'):
        await one.engine.networks.remove("blue")
    assert await one.store.get(f"networks/{blue.id}") == record


async def test_after_a_restart_the_gateway_is_still_nobodys_address(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a node that the network came to from another one, too."""
    one, two = hosts
    await one.engine.networks.create(BLUE)
    await until(lambda: two.engine.state.network_or_none("blue"))
    await two.stop()
    await two.start()
    first, gateway = IPv4Network("10.5.0.0/28"), two.engine.state.find_network("blue").pools[0].gateway
    assert IPv4Address(gateway) in first
    monkeypatch.setattr("carrick.engine.cluster.blocks.choose_block", lambda *_: first)
    await two.run("web", "blue")
    assert IPv4Address(two.address("web")) in first
    assert two.address("web") != gateway
    with pytest.raises(Denied, match="Address already in use"):
        await two.run("other", "blue", gateway)


async def test_two_nodes_creating_at_once_get_different_subnets_and_vnis(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    await asyncio.gather(
        *(
            host.engine.networks.create(CreateNetwork(f"net-{host.name}-{n}", "overlay"))
            for n in range(4)
            for host in hosts
        )
    )
    await until(lambda: len(one.engine.state.networks) == len(two.engine.state.networks) == 11)
    nets = [item for item in one.engine.state.networks.values() if item.driver == "overlay"]
    assert len({item.pools[0].subnet for item in nets}) == 8
    assert len({item.options["com.docker.network.driver.overlay.vxlanid_list"] for item in nets}) == 8
    assert one.engine.state.networks.keys() - {n.id for n in nets} != two.engine.state.networks.keys()


async def test_a_daemon_restarted_without_the_store_keeps_the_ways_open(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    await one.engine.networks.create(BLUE)
    await until(lambda: two.engine.state.network_or_none("blue"))
    await one.run("web", "blue")
    await two.run("db", "blue")

    async def led() -> bool:
        return bool((await one.rows("blue"))[1])

    await until(led)
    await asyncio.sleep(1.2)  # the cache is written behind, once a second
    before = await one.rows("blue")
    await one.stop()
    one.wire.cut()
    await one.start()
    assert await one.rows("blue") == before
    assert one.address("web") in {e.ipv4[:-3] for e in (await one.engine.networks.get("blue")).endpoints}
    # And it starts another one, from the block that it has.
    await one.run("alone", "blue")
    one.wire.heal()

    async def known() -> bool:
        return one.address("alone") in (await two.rows("blue"))[1]

    await until(known)


async def test_what_was_not_written_down_before_the_end_is_not_taken_away(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    await one.engine.networks.create(BLUE)
    await until(lambda: two.engine.state.network_or_none("blue"))
    await one.run("web", "blue")
    await asyncio.sleep(1.5)
    db = await two.run("db", "blue")

    async def led() -> bool:
        return db in (await one.rows("blue"))[1]

    await until(led)
    before = await one.rows("blue")
    # At once: what one knows of db is in its kernel, and not in its cache.
    await one.stop()
    one.wire.cut()
    await one.start()
    assert await one.rows("blue") == before
    assert one.engine._host.view.cluster.recalled == {one.engine.state.find_network("blue").id}
    await two.engine.containers.remove("db", force=True)
    one.wire.heal()

    async def gone() -> bool:
        return db not in (await one.rows("blue"))[1]

    await until(gone)
    fdb, _ = await one.rows("blue")
    assert set(fdb) <= {ANY_MAC}


async def test_the_first_on_a_network_is_found_by_name_on_its_own_host(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    await one.engine.networks.create(BLUE)
    await until(lambda: two.engine.state.network_or_none("blue"))
    await one.run("before", "blue")
    await one.engine.containers.remove("before", force=True)
    # Without anything that the cluster could say of it.
    one.wire.cut()
    await one.run("alone", "blue")
    found = {
        name for item in one.engine.names.snapshot(1).networks for e in item.endpoints for name in e.names
    }
    assert "alone" in found and "before" not in found


async def test_those_who_own_addresses_are_asked_what_nobody_knows(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    await one.engine.networks.create(BLUE)
    await until(lambda: two.engine.state.network_or_none("blue"))
    await two.run("first", "blue")
    await two.engine.containers.remove("first", force=True)
    await one.run("web", "blue")
    fdb, neighbours = await one.rows("blue")
    assert (fdb, neighbours) == ({ANY_MAC: {"10.99.1.12"}}, {})


async def test_a_narrow_way_makes_the_network_narrow(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    await one.engine.networks.create(BLUE)
    await until(lambda: two.engine.state.network_or_none("blue"))
    await one.run("web", "blue")
    device = f"vx-{one.engine.state.find_network('blue').id[:12]}"
    assert (await one.machine.kernel.read()).links[device].mtu == 1450
    one.machine.prober.narrow["10.99.1.12"] = 1400
    await one.engine.link.paths.look()

    async def narrower() -> bool:
        return (await one.machine.kernel.read()).links[device].mtu == 1350

    await until(narrower)
    peer = (await one.engine.cluster.peers())[0]
    assert (peer.record.name, peer.verified_mtu, peer.status) == ("two", 1400, "ready")
    one.machine.prober.silent.add("10.99.1.12")
    await one.engine.link.paths.look()
    assert await narrower(), "silence says nothing of the size"


async def test_without_a_cluster_an_overlay_is_refused_in_dockers_words(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    async with machine.start() as engine:
        with pytest.raises(Denied, match="This node is not a swarm manager"):
            await engine.networks.create(BLUE)


async def test_the_doctor_misses_a_bridge_only_where_its_network_is_to_be(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    blue = await one.engine.networks.create(BLUE)
    bridge = f"br-{short(blue.id)}"
    await until(lambda: two.engine.state.network_or_none("blue"))
    await one.run("web", "blue")
    for host in hosts:
        assert await bridges_found(host) == [("ok", "bridges")]
    await one.machine.kernel.apply([DeleteLink(bridge)])
    assert await bridges_found(one) == [("error", bridge)]
    await one.engine.system.fix()
    assert await bridges_found(one) == [("ok", "bridges")]
    # One that was left when the last container had gone.
    await two.machine.kernel.apply([CreateBridge(bridge, f"carrick:{blue.id}", 1500)])
    assert await bridges_found(two) == [("warning", bridge)]
    await two.engine.system.fix()
    await one.engine.containers.remove("web", force=True)
    for host in hosts:
        assert await bridges_found(host) == [("ok", "bridges")]


async def bridges_found(host: Host) -> list[tuple[str, str]]:
    findings = await host.engine.system.doctor()
    return [
        (item.level, item.subject) for item in findings if item.subject.startswith(("bridges", "br-", "vx-"))
    ]


async def test_an_option_that_nobody_knows_is_refused(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    asked = replace(BLUE, options={"encryptd": ""})
    with pytest.raises(InvalidRequest, match="unknown option encryptd of driver overlay") as caught:
        await one.engine.networks.create(asked)
    assert (caught.value.remedy or "").startswith("known are carrick.dns.local_first, encrypted, and")
    assert one.engine.state.network_or_none("blue") is None
    assert (await one.store.list("network-names/")).entries == ()


# --- Records that cannot be read, and those that are lost ----------------------------------------


async def test_what_cannot_be_read_is_shown_with_its_key_and_remedy(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    assert await records_found(one) == [("ok", "cluster records")]
    await one.store.commit([Put("nodes/nobody", b"{"), Put("nodes/a\nb", b"")])
    for host in hosts:
        await until(lambda h=host: len(h.engine.cluster.unreadable()) == 2)
        assert await records_found(host) == [
            ("error", "cluster record 'nodes/a\\nb'"),
            ("error", "cluster record nodes/nobody"),
        ]
    found = next(item for item in await two.engine.system.doctor() if item.subject.endswith("nobody"))
    assert "cannot be read" in found.problem and "repair or remove the record" in found.remedy
    await one.store.commit([Delete("nodes/nobody"), Delete("nodes/a\nb")])
    await until(lambda: not two.engine.cluster.unreadable())
    assert await records_found(two) == [("ok", "cluster records")]


async def test_the_doctor_says_that_the_store_does_not_answer(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    assert await store_found(one) == [("ok", "answers", "")]
    one.wire.cut()
    await until(lambda: one.engine.cluster.trouble()[0])
    ((level, problem, _),) = await store_found(one)
    assert level == "error" and problem.endswith("the wire is cut")
    one.wire.heal()
    await until(lambda: not one.engine.cluster.trouble()[0])
    assert await store_found(one) == [("ok", "answers", "")]


async def test_a_node_that_was_removed_is_told_so_and_what_to_do(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    await one.engine.cluster.remove_node("two", force=True)
    await until(lambda: two.engine.cluster.trouble()[0])
    removed, remedy = "this node was removed from the cluster", "carrick leave --force, then carrick join"
    assert await store_found(two) == [("error", removed, remedy)]
    with pytest.raises(Unavailable, match=f"^{removed}$") as caught:
        await two.engine.networks.create(BLUE)
    assert caught.value.remedy == remedy


async def store_found(host: Host) -> list[tuple[str, str, str]]:
    findings = await host.engine.system.doctor()
    return [(item.level, item.problem, item.remedy) for item in findings if item.subject == "cluster store"]


async def records_found(host: Host) -> list[tuple[str, str]]:
    findings = await host.engine.system.doctor()
    return [(item.level, item.subject) for item in findings if item.subject.startswith("cluster record")]


async def test_a_host_in_no_cluster_has_no_records_to_read(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    async with machine.start() as engine:
        assert engine.cluster.unreadable() == ()
        assert not [item for item in await engine.system.doctor() if "cluster" in item.subject]
        for asked in (engine.cluster.recover, engine.cluster.rotate_key):
            with pytest.raises(NotFound):
                await asked()


async def test_a_store_that_holds_the_cluster_is_not_written_over(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    before = (await one.store.list("")).entries
    with pytest.raises(Conflict, match="there is nothing to recover"):
        await one.engine.cluster.recover()
    assert (await one.store.list("")).entries == before


async def test_who_leaves_does_not_come_back_because_its_record_is_gone(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the record's removal and the end of the membership, the node hears that it was given up."""
    _, two = hosts
    records = ClusterRecords(two.store)
    listing = two.wire.list

    async def slow(prefix: str) -> Snapshot:
        if prefix == records.nodes.prefix and await records.nodes.get(NodeId("two-id")) is None:
            await asyncio.sleep(0.2)
        return await listing(prefix)

    monkeypatch.setattr(two.wire, "list", slow)
    await two.engine.cluster.leave()
    assert [record.name for record in (await records.nodes.list()).values] == ["one"]
    assert (await records.alive.list()).records.keys() == {"one-id"}


async def test_what_one_cluster_said_is_not_taken_over_in_the_next(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node leaves while its worker still has something to do, and joins another cluster."""
    one, two = hosts
    working = asyncio.Event()

    async def never() -> None:
        working.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(two.engine.link.follower, "_write_own", never)
        await one.engine.networks.create(BLUE)
        await working.wait()
        # More is noted while the worker is at it.
        await one.engine.networks.create(CreateNetwork("green", "overlay"))
        await until(lambda: len(two.engine.link.require().mirror.networks.live()) == 2)
        await two.engine.cluster.leave()
    async with MemoryStore() as another:
        two.wire = Wire(another)
        await two.join()
        await two.engine.link.settled()
        assert two.engine.state.network_or_none("blue") is None
        assert two.engine.state.network_or_none("green") is None
        await two.stop()
