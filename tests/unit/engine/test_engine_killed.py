"""Kill the daemon at every effect of every operation, start it again, and look at what is left.

The invariants: the operation is wholly done or wholly undone and can be repeated; nothing bears our mark
that no record knows; a bystander container is never touched.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from carrick.engine.engine import CarrickEngine
from carrick.engine.values import Attachment, CreateContainer, CreateNetwork
from carrick.host.runtime.api import ProcessStatus
from carrick.model.containers import ContainerConfig, HostConfig, PortBinding
from carrick.model.errors import CarrickError, NotFound, NotModified
from carrick.model.networks import EndpointSettings
from carrick.testing.fake_machine import FakeMachine

MOST_EFFECTS = 60


def request(name: str, network: str = "net", port: int = 0) -> CreateContainer:
    bindings = (PortBinding(80, "tcp", "", str(port)),) if port else ()
    return CreateContainer(
        config=ContainerConfig(image="busybox", cmd=("sleep", "1d")),
        host_config=HostConfig(network_mode=network, port_bindings=bindings),
        attachments=(Attachment(network),),
        name=name,
    )


async def running(engine: CarrickEngine, network: str = "net") -> None:
    await engine.containers.create(request("subject", network, port=8081))
    await engine.containers.start("subject")


Operation = Callable[[CarrickEngine], Awaitable[object]]
OPERATIONS: dict[str, tuple[Operation | None, Operation]] = {
    "network create": (None, lambda e: e.networks.create(CreateNetwork("other"))),
    "network rm": (lambda e: e.networks.create(CreateNetwork("other")), lambda e: e.networks.remove("other")),
    "create": (None, lambda e: e.containers.create(request("subject", port=8081))),
    "start": (
        lambda e: e.containers.create(request("subject", port=8081)),
        lambda e: e.containers.start("subject"),
    ),
    "connect": (
        lambda e: running(e, "bridge"),
        lambda e: e.networks.connect("net", "subject", EndpointSettings()),
    ),
    "disconnect": (
        lambda e: running(e, "net"),
        lambda e: e.networks.disconnect("net", "subject"),
    ),
    "stop": (running, lambda e: e.containers.stop("subject")),
    "restart": (running, lambda e: e.containers.restart("subject")),
    "rm -f": (running, lambda e: e.containers.remove("subject", force=True)),
    "port add": (
        running,
        lambda e: e.containers.add_ports("subject", [PortBinding(81, "tcp", "", "8082")]),
    ),
    "port rm": (
        running,
        lambda e: e.containers.remove_ports("subject", [PortBinding(80, "tcp", "", "8081")]),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_killed_at_every_effect(name: str, tmp_path: Path) -> None:
    prepare, operate = OPERATIONS[name]
    for effects in range(MOST_EFFECTS):
        directory = tmp_path / str(effects)
        directory.mkdir()
        machine = FakeMachine(directory)
        end_on_kill(machine)
        async with machine.start() as engine:
            await engine.networks.create(CreateNetwork("net"))
            await engine.containers.create(request("bystander", port=8080))
            await engine.containers.start("bystander")
            if prepare is not None:
                await prepare(engine)
            before = bystander(machine, engine)
            machine.kill_after(effects)
            await machine.until_done_or_dead(operate(engine))
            finished = not machine.is_dead
        async with machine.start() as engine:
            await machine.settle()
            assert bystander(machine, engine) == before, f"{name}, killed after {effects} effects"
            assert_nothing_leaked(machine, engine, f"{name}, killed after {effects} effects")
            with suppress(NotFound, NotModified):
                await repeat(operate, engine)
            assert_nothing_leaked(machine, engine, f"{name} repeated, killed after {effects} effects")
        if finished:
            assert effects > 0
            return
    pytest.fail(f"{name} has more than {MOST_EFFECTS} effects")


async def repeat(operate: Operation, engine: CarrickEngine) -> None:
    """Do it again: what was done already may say so, anything else must work."""
    try:
        await operate(engine)
    except CarrickError as error:
        text = str(error)
        done_already = ("already", "is not connected", "not running", "does not publish")
        if not any(word in text for word in done_already):
            raise


def end_on_kill(machine: FakeMachine) -> None:
    """Make signals end the processes, as `sleep` would end by SIGKILL."""
    kill = machine.runtime.kill

    async def kill_and_end(container_id: object, signal: int) -> None:
        await kill(container_id, signal)  # type: ignore[arg-type]
        if machine.runtime.containers[container_id].status is not ProcessStatus.EXITED:  # type: ignore[index]
            machine.runtime.exit(container_id, 128 + signal)  # type: ignore[arg-type]

    machine.runtime.kill = kill_and_end  # type: ignore[method-assign]


def bystander(machine: FakeMachine, engine: CarrickEngine) -> tuple[object, ...]:
    record = engine.state.find_container("bystander")
    assert record.sandbox_id is not None
    sandbox = engine.state.sandboxes[record.sandbox_id]
    links = machine.kernel.look().links
    inside = machine.kernel.look(sandbox.netns)
    return (
        record.state.status,
        record.state.pid,
        record.ports,
        [links[endpoint.host_interface].index for endpoint in sandbox.endpoints],
        [(link.name, link.up, sorted(link.addresses)) for link in inside.links.values()],
        inside.routes,
        machine.holder.held.get(record.id),
    )


def assert_nothing_leaked(machine: FakeMachine, engine: CarrickEngine, when: str) -> None:
    state = engine.state
    known = {str(item) for item in state.networks}
    active = [sandbox for sandbox in state.sandboxes.values() if sandbox.active]
    wanted = {endpoint.host_interface for sandbox in active for endpoint in sandbox.endpoints}
    links = machine.kernel.look().links
    for link in links.values():
        if link.alias.startswith("carrick:"):
            mark = link.alias.removeprefix("carrick:")
            assert mark in known or link.name in wanted, f"{when}: link {link.name} leaked"
    assert wanted <= links.keys(), f"{when}: links are missing"
    assert machine.kernel.namespaces == {sandbox.netns for sandbox in active}, when
    running = {item.id for item in state.containers.values() if item.state.is_running}
    alive = {
        key
        for key, item in machine.runtime.containers.items()
        if item.status in {ProcessStatus.RUNNING, ProcessStatus.PAUSED, ProcessStatus.CREATED}
    }
    assert alive == running, when
    assert machine.runtime.containers.keys() <= state.containers.keys(), f"{when}: a container leaked"
    assert machine.holder.held.keys() == {item.id for item in state.containers.values() if item.ports}, (
        f"{when}: held ports"
    )
    owners = {sandbox.id for sandbox in state.sandboxes.values()}
    leased = {
        lease.owner
        for allocator in engine._addresses._allocators.values()
        for lease in allocator.leases()
        if lease.is_active and lease.kind not in {"gateway", "aux"}
    }
    assert leased <= owners, f"{when}: leases leaked"
    assert {item.sandbox_id for item in state.containers.values() if item.sandbox_id} == owners, when
