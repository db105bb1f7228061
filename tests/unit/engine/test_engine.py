"""The engine over fakes: addresses that stay, ports that follow, companions, policies, reboots."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from carrick.engine.engine import CarrickEngine
from carrick.engine.host import route_mtu
from carrick.engine.state import Write
from carrick.engine.values import Attachment, CreateContainer, CreateNetwork, WaitCondition
from carrick.host.runtime.api import CannotStart
from carrick.model.containers import (
    ContainerConfig,
    ContainerStatus,
    HostConfig,
    PortBinding,
    RestartPolicy,
    RestartPolicyName,
)
from carrick.model.errors import Conflict, Denied, Failed, InvalidRequest, NotFound
from carrick.model.networks import EndpointSettings, PoolConfig, Sandbox
from carrick.model.observed import LinkState, NamespaceState, RouteState
from carrick.model.steps import Announce, DeleteLink, SetSysctl
from carrick.testing.fake_machine import FakeMachine

STATIC = EndpointSettings(ipv4_address="10.5.0.9")


@pytest.fixture
async def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


@pytest.fixture
async def engine(machine: FakeMachine) -> AsyncIterator[CarrickEngine]:
    async with machine.start() as running:
        await running.networks.create(CreateNetwork("net", pools=(PoolConfig("10.5.0.0/24"),)))
        yield running


async def run(
    engine: CarrickEngine,
    name: str,
    *attachments: Attachment,
    start: bool = True,
    config: ContainerConfig | None = None,
    **host: object,
) -> str:
    attachments = attachments or (Attachment("net"),)
    mode = str(host.pop("network_mode", attachments[0].network))
    created = await engine.containers.create(
        CreateContainer(
            config=config or ContainerConfig(image="busybox"),
            host_config=replace(HostConfig(network_mode=mode), **host),  # type: ignore[arg-type]
            attachments=() if mode.startswith(("container:", "host", "none")) else attachments,
            name=name,
        )
    )
    if start:
        await engine.containers.start(name)
    return created.id


def sandbox_of(engine: CarrickEngine, name: str) -> Sandbox:
    record = engine.state.find_container(name)
    assert record.sandbox_id is not None
    return engine.state.sandboxes[record.sandbox_id]


def address(engine: CarrickEngine, name: str) -> str:
    return sandbox_of(engine, name).endpoints[0].ipv4_address


async def end(engine: CarrickEngine, machine: FakeMachine, name: str, code: int = 0) -> None:
    machine.runtime.exit(engine.state.find_container(name).id, code)
    await machine.settle()


async def test_an_address_and_a_mac_stay_over_a_restart(engine: CarrickEngine, machine: FakeMachine) -> None:
    await run(engine, "one")
    before = sandbox_of(engine, "one").endpoints[0]
    await end(engine, machine, "one")
    await run(engine, "two")
    await engine.containers.start("one")
    after = sandbox_of(engine, "one").endpoints[0]
    assert (after.ipv4, after.mac_address, after.interface) == (
        before.ipv4,
        before.mac_address,
        before.interface,
    )
    # A link of the last run may still be going: the new one must not have its name.
    assert after.host_interface != before.host_interface
    assert address(engine, "two") != before.ipv4_address


async def test_a_configured_address_is_never_anothers(engine: CarrickEngine) -> None:
    await run(engine, "owner", Attachment("net", STATIC), start=False)
    with pytest.raises(Denied, match="Address already in use"):
        await run(engine, "thief", Attachment("net", STATIC))
    for number in range(20):
        await run(engine, f"other{number}")
        assert address(engine, f"other{number}") != "10.5.0.9"
    await engine.containers.start("owner")
    assert address(engine, "owner") == "10.5.0.9"


async def test_a_released_address_is_there_again(engine: CarrickEngine, machine: FakeMachine) -> None:
    await run(engine, "owner", Attachment("net", STATIC))
    await end(engine, machine, "owner")
    await engine.containers.remove("owner")
    await run(engine, "heir", Attachment("net", STATIC))
    assert address(engine, "heir") == "10.5.0.9"


async def test_companions_keep_the_namespace(engine: CarrickEngine, machine: FakeMachine) -> None:
    await run(engine, "main")
    await run(engine, "side", network_mode="container:main")
    netns = sandbox_of(engine, "main").netns
    assert engine.state.find_container("side").sandbox_id == engine.state.find_container("main").sandbox_id
    await end(engine, machine, "main")
    assert netns in machine.kernel.namespaces
    assert set(machine.kernel.look(netns).links) == {"lo"}
    await engine.containers.start("main")
    assert "eth0" in machine.kernel.look(netns).links
    await end(engine, machine, "main")
    await end(engine, machine, "side")
    assert netns not in machine.kernel.namespaces


async def test_a_companion_needs_a_running_target(engine: CarrickEngine) -> None:
    await run(engine, "main", start=False)
    with pytest.raises(Conflict, match="non running container"):
        await run(engine, "side", network_mode="container:main")


async def test_ports_follow_the_gateway(engine: CarrickEngine, machine: FakeMachine) -> None:
    await engine.networks.create(CreateNetwork("second"))
    await run(engine, "web", port_bindings=(PortBinding(80, "tcp", "", "8080"),))
    record = engine.state.find_container("web")
    assert [port.host_port for port in record.ports] == [8080, 8080]
    await engine.networks.connect("second", "web", EndpointSettings(gw_priority=1))
    published = [c for commands in machine.kernel.transactions[-2:] for c in commands]
    new = sandbox_of(engine, "web").endpoints[1].ipv4_address
    assert any(new in command and "add element" in command for command in published)
    await engine.networks.disconnect("second", "web")
    await engine.networks.disconnect("net", "web")
    assert engine.state.find_container("web").ports == ()
    assert machine.holder.held == {}
    await engine.networks.connect("net", "web", EndpointSettings())
    assert [port.host_port for port in engine.state.find_container("web").ports] == [8080, 8080]


async def test_a_clash_names_the_holder_and_leaves_nothing(
    engine: CarrickEngine, machine: FakeMachine
) -> None:
    binding = (PortBinding(80, "tcp", "", "8080"),)
    await run(engine, "first", port_bindings=binding)
    with pytest.raises(Failed, match=r"Bind for 0\.0\.0\.0:8080 failed: port is already allocated .*first"):
        await run(engine, "second", port_bindings=binding)
    record = engine.state.find_container("second")
    assert (record.state.status, record.ports) == (ContainerStatus.CREATED, ())
    assert not sandbox_of(engine, "second").active
    assert len(machine.kernel.namespaces) == 1


async def test_a_command_that_is_not_there(engine: CarrickEngine, machine: FakeMachine) -> None:
    with pytest.raises(CannotStart):
        await run(engine, "lost", config=ContainerConfig(image="busybox", cmd=("nonexistent",)))
    assert engine.state.find_container("lost").state.exit_code == 127
    assert machine.kernel.namespaces == frozenset()


async def test_auto_remove_after_a_failed_start(engine: CarrickEngine, machine: FakeMachine) -> None:
    with pytest.raises(CannotStart):
        await run(
            engine, "lost", config=ContainerConfig(image="busybox", cmd=("nonexistent",)), auto_remove=True
        )
    await machine.settle()
    with pytest.raises(NotFound):
        engine.state.find_container("lost")


async def test_on_failure_counts(engine: CarrickEngine, machine: FakeMachine) -> None:
    policy = RestartPolicy(RestartPolicyName.ON_FAILURE, 1)
    await run(engine, "flaky", restart_policy=policy)
    done = await engine.containers.wait("flaky", WaitCondition.NEXT_EXIT)
    await end(engine, machine, "flaky", 3)
    assert await done == 3
    assert engine.state.find_container("flaky").state.status is ContainerStatus.RESTARTING
    await engine.containers.stop("flaky")
    assert engine.state.find_container("flaky").state.status is ContainerStatus.EXITED


@pytest.mark.parametrize(
    ("policy", "stopped", "runs"),
    [
        (RestartPolicyName.NO, False, False),
        (RestartPolicyName.ON_FAILURE, False, True),
        (RestartPolicyName.UNLESS_STOPPED, False, True),
        (RestartPolicyName.UNLESS_STOPPED, True, False),
        (RestartPolicyName.ALWAYS, True, True),
    ],
)
async def test_reboot(tmp_path: Path, policy: RestartPolicyName, stopped: bool, runs: bool) -> None:
    machine = FakeMachine(tmp_path)
    async with machine.start() as engine:
        await run(engine, "box", Attachment("bridge"), restart_policy=RestartPolicy(policy))
        was = address(engine, "box")
        if stopped:
            # As `stop` writes it before the process ends.
            record = engine.state.find_container("box")
            await engine.state.save(Write(containers=[replace(record, wanted=False)]))
            await end(engine, machine, "box")
    machine.reboot()
    async with machine.start() as engine:
        for _ in range(40):
            await machine.settle()
            await asyncio.sleep(0.01)
        record = engine.state.find_container("box")
        assert record.state.is_running is runs
        assert machine.kernel.look().links["carrick0"].up
        if runs:
            assert address(engine, "box") == was


async def test_repair_does_not_touch_what_is_right(engine: CarrickEngine, machine: FakeMachine) -> None:
    await run(engine, "one")
    done = len(machine.kernel.applied)
    assert await engine.reconciler.converge() == []
    assert await engine.reconciler.inspect_sandboxes() == []
    links = [step for step in machine.kernel.applied[done:] if isinstance(step, DeleteLink)]
    assert links == []


async def test_a_lost_link_comes_back_with_its_route(engine: CarrickEngine, machine: FakeMachine) -> None:
    await run(engine, "one")
    sandbox = sandbox_of(engine, "one")
    before = machine.kernel.look(sandbox.netns)
    await machine.kernel.apply([DeleteLink(sandbox.endpoints[0].host_interface)])
    assert await engine.reconciler.converge() != []
    after = machine.kernel.look(sandbox.netns)
    assert after.links["eth0"].addresses == before.links["eth0"].addresses
    assert after.routes == before.routes


@pytest.mark.parametrize(("count", "repeated"), [("0", 0), ("1", 0), ("3", 2)])
async def test_addresses_are_announced_as_often_as_asked(
    engine: CarrickEngine, machine: FakeMachine, count: str, repeated: int
) -> None:
    options = {
        "com.docker.network.advertise_addr_nmsgs": count,
        "com.docker.network.advertise_addr_ms": "100",
    }
    await engine.networks.create(CreateNetwork("talk", options=options))
    await run(engine, "one", Attachment("talk"))
    quiet = SetSysctl("net.ipv4.conf.eth0.arp_notify", "0", sandbox_of(engine, "one").netns, optional=True)
    assert (quiet in machine.kernel.applied) is (count == "0")
    await asyncio.sleep(0.35)
    told = [step for step in machine.kernel.applied if isinstance(step, Announce)]
    assert [step.addresses for step in told] == [(address(engine, "one"),)] * repeated


async def test_create_says_what_is_wrong_and_changes_nothing(engine: CarrickEngine) -> None:
    known = set(engine.state.networks)
    for request, error, words in (
        (CreateNetwork("net"), Conflict, "network with name net already exists"),
        (CreateNetwork("host"), Denied, "predefined host network"),
        (CreateNetwork(" "), InvalidRequest, "name is empty"),
        (CreateNetwork("x", driver="nope"), NotFound, "could not find plugin nope"),
        (CreateNetwork("x", enable_ipv4=False), InvalidRequest, "IPv4 or IPv6 must be enabled"),
        (CreateNetwork("x", pools=(PoolConfig("10.5.0.0/25"),)), Denied, "Pool overlaps"),
        (CreateNetwork("x", pools=(PoolConfig("10.6.0.1/24"),)), InvalidRequest, "it should be 10.6.0.0/24"),
    ):
        with pytest.raises(error, match=words):
            await engine.networks.create(request)
    assert set(engine.state.networks) == known


async def test_dry_run_changes_nothing(engine: CarrickEngine, machine: FakeMachine) -> None:
    links = machine.kernel.look()
    plan = await engine.networks.plan(CreateNetwork("maybe"))
    assert any("type bridge" in step.describe() for step in plan.steps)
    assert machine.kernel.look() == links
    assert engine.state.network_or_none("maybe") is None


def test_the_mtu_is_that_of_the_best_default_route() -> None:
    links = {name: LinkState(name, index, mtu=mtu) for index, (name, mtu) in enumerate(MTUS.items(), 1)}
    routes = (RouteState("default", "wlan0", metric=600), RouteState("default", "vpn0", metric=50))
    assert route_mtu(NamespaceState(links, routes)) == 1420
    pinned = RouteState("default", "eth0", mtu=1280, metric=10)
    assert route_mtu(NamespaceState(links, (*routes, pinned))) == 1280
    assert route_mtu(NamespaceState(links)) == 1500


MTUS = {"eth0": 9000, "wlan0": 1500, "vpn0": 1420}
