"""Guests over fakes: attached and detached whole, in somebody else's namespaces that go at any moment."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carrick.engine.engine import CarrickEngine
from carrick.engine.state import Write
from carrick.engine.values import CreateNetwork
from carrick.model.containers import PortBinding
from carrick.model.errors import CarrickError, Conflict, Denied, Failed, InvalidRequest, NotFound
from carrick.model.guests import Bandwidth, GuestDns, GuestSpec, guest_id
from carrick.model.ids import SandboxId
from carrick.model.networks import EndpointSettings, PoolConfig
from carrick.model.steps import AddAddress, CreateNetns, CreateVeth, DeleteNetns, SetLink
from carrick.testing.fake_machine import FakeMachine

BOX = "/run/netns/box"


@pytest.fixture
async def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


@pytest.fixture
async def engine(machine: FakeMachine) -> AsyncIterator[CarrickEngine]:
    async with machine.start() as running:
        for number, name in enumerate(("net", "other"), 5):
            pools = (PoolConfig(f"10.{number}.0.0/24"),)
            await running.networks.create(CreateNetwork(name, pools=pools))
        await machine.kernel.apply([CreateNetns(BOX)])
        yield running


def guest(key: str = "c1/eth0", network: str = "net", interface: str = "eth0", **more: Any) -> GuestSpec:
    more.setdefault("name", "web")
    more.setdefault("netns", BOX)
    return GuestSpec("cni", key, "c1" * 32, network, interface, **more)


async def test_it_comes_and_goes_whole(engine: CarrickEngine, machine: FakeMachine) -> None:
    before = set(machine.kernel.look().links)
    view = await engine.guests.add(guest())
    inside = machine.kernel.look(BOX)
    assert view.endpoint.ipv4 == "10.5.0.2/24"
    assert "10.5.0.2/24" in inside.links["eth0"].addresses
    assert inside.links["lo"].up
    assert [route.via for route in inside.routes if route.destination == "default"] == ["10.5.0.1"]
    attached = (await engine.networks.get("net")).endpoints
    assert [(item.name, item.engine, item.container_id) for item in attached] == [("web", "cni", "c1" * 32)]
    assert await engine.guests.check(view.record.id) == ()
    with pytest.raises(Denied, match=r'has active endpoints .name:"web"'):
        await engine.networks.remove("net")
    assert await engine.guests.remove(view.record.id)
    assert not await engine.guests.remove(view.record.id)
    assert set(machine.kernel.look().links) == before
    assert set(machine.kernel.look(BOX).links) == {"lo"}
    again = await engine.guests.add(guest("c2/eth0"))
    assert again.endpoint.ipv4.startswith("10.5.0.")
    assert BOX in machine.kernel.namespaces


async def test_a_second_interface_leaves_the_default_route(
    engine: CarrickEngine, machine: FakeMachine
) -> None:
    await engine.guests.add(guest())
    second = await engine.guests.add(guest("c1/net1", "other", "net1", routes=(("10.99.0.0/16", ""),)))
    inside = machine.kernel.look(BOX)
    assert [route.link for route in inside.routes if route.destination == "default"] == ["eth0"]
    assert [route.via for route in inside.routes if route.destination == "10.99.0.0/16"] == ["10.6.0.1"]
    assert not second.record.has_default_route
    for view in await engine.guests.list("cni"):
        assert await engine.guests.check(view.record.id) == ()
    # What the guests are answered is one for the namespace, the default network first.
    assert [box.networks for box in engine.names.snapshot(1).sandboxes] == [
        tuple(item.id for name in ("net", "other") for item in [engine.state.find_network(name)])
    ]


async def test_refused(engine: CarrickEngine, machine: FakeMachine) -> None:
    await engine.guests.add(guest())
    for spec, error, words in (
        (guest(), Conflict, "is on network net already"),
        (guest("c9/eth0"), Conflict, "there is an interface eth0 in"),
        (
            guest("c9/x", interface="x", netns="/run/netns/none"),
            NotFound,
            "/run/netns/none of cni container web",
        ),
        (guest("c9/x", network="none", interface="x"), InvalidRequest, "has no interfaces to give"),
        (guest("c9/x", network="nonesuch", interface="x"), NotFound, "network nonesuch not found"),
        (guest("c9/x", interface="a/b"), InvalidRequest, "invalid interface name"),
        (
            guest("c9/x", interface="x", settings=EndpointSettings(ipv4_address="10.5.0.2")),
            CarrickError,
            "Address already in use",
        ),
    ):
        with pytest.raises(error, match=words):
            await engine.guests.add(spec)
    assert len(engine.state.guests) == 1
    assert set(machine.kernel.look(BOX).links) == {"lo", "eth0"}


async def test_whatever_fails_leaves_nothing(engine: CarrickEngine, machine: FakeMachine) -> None:
    ports = (PortBinding(80, host_port="8080"),)
    for kind in (CreateVeth, AddAddress):
        machine.kernel.fail_at(lambda step, kind=kind: isinstance(step, kind))
        with pytest.raises(CarrickError, match="the test says no"):
            await engine.guests.add(guest(ports=ports))
        machine.kernel.heal()
        assert not engine.state.guests and not engine.state.sandboxes
        assert set(machine.kernel.look(BOX).links) == {"lo"}
    view = await engine.guests.add(guest(ports=ports))
    assert view.endpoint.ipv4.startswith("10.5.0.")
    assert [port.host_port for port in view.record.ports] == [8080, 8080]


async def test_who_asked_goes_in_the_middle(engine: CarrickEngine, machine: FakeMachine) -> None:
    for pause in range(12):
        task = asyncio.create_task(engine.guests.add(guest()))
        for _ in range(pause):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            assert not engine.state.guests
            assert set(machine.kernel.look(BOX).links) == {"lo"}
        else:
            await engine.guests.remove(guest_id("cni", "c1/eth0"))


async def test_a_restart_changes_nothing(machine: FakeMachine) -> None:
    async with machine.start() as engine:
        await engine.networks.create(CreateNetwork("net", pools=(PoolConfig("10.5.0.0/24"),)))
        await machine.kernel.apply([CreateNetns(BOX)])
        await engine.guests.add(guest(ports=(PortBinding(80, host_port="8080"),)))
        before = machine.kernel.look(BOX), set(machine.kernel.look().links)
    applied = len(machine.kernel.applied)
    async with machine.start() as engine:
        assert (machine.kernel.look(BOX), set(machine.kernel.look().links)) == before
        assert not any(isinstance(s, CreateVeth | SetLink) for s in machine.kernel.applied[applied:])
        (box,) = engine.names.snapshot(1).sandboxes
        assert box.netns_path == BOX
        (held,) = engine.ports.everything_held().values()
        assert {port.host_port for port in held} == {8080}


async def test_killed_at_any_step_it_is_finished_or_gone(machine: FakeMachine) -> None:
    async with machine.start() as engine:
        await engine.networks.create(CreateNetwork("net", pools=(PoolConfig("10.5.0.0/24"),)))
        before = len(machine.kernel.look().links)
    for effects in range(1, 40):
        await machine.kernel.apply([CreateNetns(BOX)])
        async with machine.start() as engine:
            machine.kill_after(effects)
            adding = engine.guests.add(guest(ports=(PortBinding(80, host_port="8080"),)))
            await machine.until_done_or_dead(adding)
            was_killed = machine.is_dead
        async with machine.start() as engine:
            links = set(machine.kernel.look(BOX).links)
            assert links == ({"lo", "eth0"} if engine.state.guests else {"lo"})
            assert len(machine.kernel.look().links) == before + bool(engine.state.guests)
            assert await engine.guests.remove(guest().id) == (links != {"lo"})
            assert set(machine.kernel.look(BOX).links) == {"lo"}
        await machine.kernel.apply([DeleteNetns(BOX)])
        if not was_killed:
            return
    raise AssertionError("attaching takes more than forty effects")


async def test_a_namespace_that_is_gone(engine: CarrickEngine, machine: FakeMachine) -> None:
    view = await engine.guests.add(guest())
    assert await engine.guests.gc() == ()
    await machine.kernel.apply([DeleteNetns(BOX)])
    await engine.reconciler.converge()
    # Another one by the same path is another one.
    await machine.kernel.apply([CreateNetns(BOX)])
    await engine.reconciler.converge()
    assert set(machine.kernel.look(BOX).links) == {"lo"}
    assert (await engine.guests.check(view.record.id))[0].startswith(
        f"network namespace {BOX} is not the one"
    )
    assert [item.record.id for item in await engine.guests.gc()] == [view.record.id]
    assert not engine.state.guests and not engine.state.sandboxes


async def test_the_same_attachment_in_a_new_namespace(engine: CarrickEngine, machine: FakeMachine) -> None:
    await engine.guests.add(guest())
    await machine.kernel.apply([DeleteNetns(BOX), CreateNetns(BOX)])
    view = await engine.guests.add(guest())
    assert view.endpoint.ipv4_address in {a.partition("/")[0] for a in addresses_in(machine)}
    with pytest.raises(Conflict, match="is on network net already"):
        await engine.guests.add(guest())


def addresses_in(machine: FakeMachine) -> set[str]:
    return {item for link in machine.kernel.look(BOX).links.values() for item in link.addresses}


async def test_another_namespace_s_interface_is_nobody_s_of_ours(
    engine: CarrickEngine, machine: FakeMachine
) -> None:
    machine.kernel.add_link("lan0", addresses=("10.9.0.1/24",))
    request = CreateNetwork("lan", "macvlan", pools=(PoolConfig("10.9.0.0/24"),), options={"parent": "lan0"})
    await engine.networks.create(request)
    view = await engine.guests.add(guest(network="lan"))
    assert "eth0" in machine.kernel.look(BOX).links
    # The path leads to another container's namespace by now, which has an eth0 too.
    await machine.kernel.apply([DeleteNetns(BOX), CreateNetns(BOX)])
    await engine.guests.add(guest("c2/eth0", name="second"))
    assert await engine.guests.remove(view.record.id)
    assert "eth0" in machine.kernel.look(BOX).links
    assert [item.record.name for item in await engine.guests.list()] == ["second"]


async def test_gc_while_a_guest_comes(engine: CarrickEngine) -> None:
    """A staged one is known before its link is there."""
    for pause in range(20):
        key = f"ep{pause}"
        spec = guest(key, interface=f"ckp{pause}", netns="", staged=True)
        adding = asyncio.create_task(engine.guests.add(spec))
        for _ in range(pause):
            await asyncio.sleep(0)
        assert await engine.guests.gc() == ()
        await adding
        assert await engine.guests.check(spec.id) == ()


async def test_a_record_without_its_sandbox(machine: FakeMachine) -> None:
    async with machine.start() as engine:
        await engine.networks.create(CreateNetwork("net", pools=(PoolConfig("10.5.0.0/24"),)))
        before = (await engine.networks.get("net")).pools
        await machine.kernel.apply([CreateNetns(BOX)])
        view = await engine.guests.add(guest())
        await engine.state.save(Write(gone_sandboxes=[SandboxId(view.record.id)]))
        assert await engine.guests.list() == ()
        with pytest.raises(NotFound):
            await engine.guests.get(view.record.id)
    async with machine.start() as engine:
        assert not engine.state.guests
        assert (await engine.networks.get("net")).pools == before


async def test_gc_keeps_what_it_is_told(engine: CarrickEngine) -> None:
    await engine.guests.add(guest())
    await engine.guests.add(guest("c1/net1", "other", "net1"))
    gone = await engine.guests.gc(lambda view: view.spec.interface == "eth0")
    assert [view.spec.interface for view in gone] == ["net1"]


async def test_what_is_broken_is_made_again(engine: CarrickEngine, machine: FakeMachine) -> None:
    from carrick.model.steps import DeleteLink

    view = await engine.guests.add(guest(bandwidth=Bandwidth(8_000_000, 0, 4_000_000)))
    assert machine.kernel.rate(view.endpoint.host_interface) == 8_000_000
    assert machine.kernel.rate("eth0", BOX) == 4_000_000
    await machine.kernel.apply([DeleteLink(view.endpoint.host_interface)])
    assert (await engine.guests.check(view.record.id))[0].startswith("ip link add")
    await engine.reconciler.converge()
    assert await engine.guests.check(view.record.id) == ()
    assert machine.kernel.rate("eth0", BOX) == 4_000_000


async def test_an_mtu_of_its_own(engine: CarrickEngine, machine: FakeMachine) -> None:
    view = await engine.guests.add(guest(mtu=1400))
    assert view.mtu == machine.kernel.look(BOX).links["eth0"].mtu == 1400
    # As a later plugin of a chain does.
    await machine.kernel.apply([SetLink("eth0", BOX, mtu=1300)])
    assert await engine.guests.check(view.record.id) == ()
    await engine.reconciler.inspect_sandboxes()
    assert machine.kernel.look(BOX).links["eth0"].mtu == 1300
    assert (await engine.guests.add(guest("c2/x", "other", "x"))).mtu == 1500


async def test_in_a_range(engine: CarrickEngine, machine: FakeMachine) -> None:
    wish = (("10.5.0.40", "10.5.0.41"),)
    views = []
    for number in range(2):
        spec = guest(f"c{number}/e{number}", interface=f"e{number}", ranges=wish)
        views.append(await engine.guests.add(spec))
    assert [view.endpoint.ipv4 for view in views] == ["10.5.0.40/24", "10.5.0.41/24"]
    with pytest.raises(Failed, match=r"10\.5\.0\.40 and 10\.5\.0\.41"):
        await engine.guests.add(guest("c3/e3", interface="e3", ranges=wish))
    await engine.guests.remove(views[0].record.id)
    again = await engine.guests.add(guest("c3/e3", interface="e3", ranges=(("10.5.0.3", "10.5.0.3"), *wish)))
    assert again.endpoint.ipv4 == "10.5.0.3/24"
    more = await engine.guests.add(guest("c4/e4", interface="e4", ranges=wish))
    assert more.endpoint.ipv4 == "10.5.0.40/24"


async def test_staged(engine: CarrickEngine, machine: FakeMachine) -> None:
    spec = guest("ep1", interface="ckp0", netns="", staged=True, name="")
    view = await engine.guests.add(spec)
    host = machine.kernel.look().links
    assert host[view.endpoint.host_interface].master.startswith("br-")
    assert not host["ckp0"].addresses and host["ckp0"].mac == view.endpoint.mac_address
    assert (view.endpoint.ipv4, view.endpoint.gateway4) == ("10.5.0.2/24", "10.5.0.1")
    await engine.reconciler.converge()
    assert "ckp0" in machine.kernel.look().links
    settled = await engine.guests.settle(
        view.record.id, netns=BOX, name="web", aliases=("www",), dns=GuestDns(servers=("127.0.0.11#4053",))
    )
    assert settled.endpoint.dns_names == ("web", "www", "c1" * 6)
    (box,) = engine.names.snapshot(1).sandboxes
    assert (box.netns_path, box.servers[0].address, box.servers[0].port) == (BOX, "127.0.0.11", 4053)
    await engine.guests.settle(view.record.id, netns="")
    assert not engine.names.snapshot(1).sandboxes
    await engine.guests.remove(view.record.id)
    assert not {"ckp0", view.endpoint.host_interface} & set(machine.kernel.look().links)


async def test_ports_later(engine: CarrickEngine) -> None:
    view = await engine.guests.add(guest())
    published = await engine.guests.publish(view.record.id, (PortBinding(80, host_port="8080"),))
    assert {port.host_port for port in published.record.ports} == {8080}
    await engine.guests.add(guest("c2/eth1", "other", "eth1", default_route=True, name="second"))
    with pytest.raises(Failed, match=r"port is already allocated .by web"):
        await engine.guests.publish(guest_id("cni", "c2/eth1"), (PortBinding(81, host_port="8080"),))
    cleared = await engine.guests.publish(view.record.id, ())
    assert cleared.record.ports == () and cleared.spec.ports == ()
    assert not engine.ports.everything_held()


async def test_ports_that_the_engine_binds_itself(engine: CarrickEngine) -> None:
    ports = (PortBinding(80, host_port="8080"),)
    view = await engine.guests.add(guest(ports=ports, hold_ports=False))
    assert [(port.host_ip, port.host_port) for port in view.record.ports] == [("0.0.0.0", 8080)]
    assert not engine.ports.everything_held()
    with pytest.raises(Failed, match=r"port is already allocated .by web"):
        await engine.guests.add(
            guest("c2/x", "other", "x", ports=ports, hold_ports=False, default_route=True, name="two")
        )


async def test_leases_before_there_is_a_guest(engine: CarrickEngine) -> None:
    first = await engine.guests.lease("net", "docker:a")
    assert await engine.guests.lease("net", "docker:a") == first
    asked = await engine.guests.lease("net", "docker:b", "10.5.0.77")
    assert asked == "10.5.0.77/24"
    view = await engine.guests.add(
        guest(lease="docker:b", settings=EndpointSettings(ipv4_address="10.5.0.77"))
    )
    assert view.endpoint.ipv4 == asked
    await engine.guests.remove(view.record.id)
    with pytest.raises(CarrickError, match="Address already in use"):
        await engine.guests.lease("net", "docker:c", "10.5.0.77")
    await engine.guests.end_lease("net", "docker:b")
    assert await engine.guests.lease("net", "docker:c", "10.5.0.77") == asked
    with pytest.raises(InvalidRequest, match="has no IPv6 addresses"):
        await engine.guests.lease("net", "docker:d", "6")


async def test_addresses_of_another_ipam(engine: CarrickEngine, machine: FakeMachine) -> None:
    spec = guest(addresses=("172.30.0.7/16",), gateways=("172.30.0.1",))
    view = await engine.guests.add(spec)
    assert "172.30.0.7/16" in machine.kernel.look(BOX).links["eth0"].addresses
    assert view.endpoint.gateway4 == "172.30.0.1"
    await engine.guests.remove(view.record.id)
    bare = await engine.guests.add(replace(spec, addresses=(), gateways=(), unaddressed=True))
    assert not machine.kernel.look(BOX).links["eth0"].addresses
    link = bare.endpoint.host_interface
    complete = await engine.guests.address(bare.record.id, ("172.30.0.9/16",), ("172.30.0.1",))
    assert complete.endpoint.host_interface == link
    assert "172.30.0.9/16" in machine.kernel.look(BOX).links["eth0"].addresses
    with pytest.raises(Conflict, match="has its addresses already"):
        await engine.guests.address(bare.record.id, ("172.30.0.9/16",))
