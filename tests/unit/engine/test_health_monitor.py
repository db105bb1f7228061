"""Health checks over fakes, on a clock that the tests advance."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from carrick.engine.engine import CarrickEngine
from carrick.engine.health import is_probe, probe_id
from carrick.engine.values import Attachment, CreateContainer, Event, ExecConfig
from carrick.host.runtime.api import ExecRequest, ProcessStatus
from carrick.model.containers import (
    ContainerConfig,
    Health,
    Healthcheck,
    HealthStatus,
    HostConfig,
    RestartPolicy,
    RestartPolicyName,
)
from carrick.model.errors import Failed
from carrick.model.ids import ContainerId
from carrick.testing.fake_clock import FakeClock, settle
from carrick.testing.fake_machine import FakeMachine
from carrick.testing.fake_runtime import FakeSession

CHECK = Healthcheck(("CMD", "probe"), interval_s=10, timeout_s=3, retries=2)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def machine(tmp_path: Path, clock: FakeClock) -> FakeMachine:
    return FakeMachine(tmp_path, clock=clock)


@pytest.fixture
async def engine(machine: FakeMachine) -> AsyncIterator[CarrickEngine]:
    async with machine.start() as running:
        yield running


async def run(
    engine: CarrickEngine, name: str = "web", check: Healthcheck | None = CHECK, **host: object
) -> ContainerId:
    created = await engine.containers.create(
        CreateContainer(
            config=ContainerConfig(image="busybox", healthcheck=check),
            host_config=replace(HostConfig(), **host),  # type: ignore[arg-type]
            attachments=(Attachment("bridge"),),
            name=name,
        )
    )
    await engine.containers.start(name)
    await settle()
    return ContainerId(created.id)


def health(engine: CarrickEngine, name: str = "web") -> Health:
    found = engine.state.find_container(name).state.health
    assert found is not None
    return found


def probes(machine: FakeMachine, engine: CarrickEngine, name: str = "web") -> list[FakeSession]:
    """The sessions of all probes so far, in their order."""
    container_id = engine.state.find_container(name).id
    execs = machine.runtime.containers[container_id].execs
    return [session for exec_id, (_, session) in execs.items() if is_probe(exec_id, container_id)]


async def answer(machine: FakeMachine, engine: CarrickEngine, code: int, text: bytes = b"") -> None:
    """Let an interval pass and the probe end."""
    await engine_clock(machine).advance(10)
    session = probes(machine, engine)[-1]
    if text:
        session.emit(text)
    session.exit(code)
    await settle()


def engine_clock(machine: FakeMachine) -> FakeClock:
    assert isinstance(machine.clock, FakeClock)
    return machine.clock


async def events_of(engine: CarrickEngine) -> list[Event]:
    now = engine._clock.now_ns()
    return [event async for event in engine.system.events(since_ns=0, until_ns=now)]


async def test_from_starting_to_healthy_to_unhealthy(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    await run(engine)
    assert health(engine) == Health(HealthStatus.STARTING)
    await clock.advance(9)
    assert not probes(machine, engine)
    await clock.advance(1)
    (session,) = probes(machine, engine)
    session.emit(b"all is ")
    session.emit(b"well\n")
    await clock.advance(2)
    session.exit(0)
    await settle()
    assert health(engine).status is HealthStatus.HEALTHY
    (entry,) = health(engine).log
    assert (entry.exit_code, entry.output) == (0, "all is well\n")
    assert (entry.end - entry.start).total_seconds() == 2
    await answer(machine, engine, 1)
    assert (health(engine).status, health(engine).failing_streak) == (HealthStatus.HEALTHY, 1)
    await answer(machine, engine, 2)
    assert (health(engine).status, health(engine).failing_streak) == (HealthStatus.UNHEALTHY, 2)
    assert len(probes(machine, engine)) == 3


async def test_the_events_are_dockers(engine: CarrickEngine, machine: FakeMachine) -> None:
    await run(engine, check=Healthcheck(("CMD-SHELL", "probe it"), interval_s=10))
    await answer(machine, engine, 0)
    await answer(machine, engine, 0)
    seen = [event for event in await events_of(engine) if event.type == "container"]
    actions = [event.action for event in seen]
    one = ["exec_create: /bin/sh -c probe it", "exec_start: /bin/sh -c probe it", "exec_die"]
    assert actions == ["create", "start", *one, "health_status: healthy", *one]
    ids = [event.attributes["execID"] for event in seen if event.action.startswith("exec_")]
    assert len(set(ids)) == 2
    assert all(len(item) == 64 for item in ids)
    assert seen[4].attributes["exitCode"] == "0"


async def test_a_probe_runs_as_the_container_does(engine: CarrickEngine, machine: FakeMachine) -> None:
    container_id = await run(engine)
    await engine_clock(machine).advance(10)
    ((request, _),) = machine.runtime.containers[container_id].execs.values()
    assert request == ExecRequest(request.exec_id, request.container_id, ("probe",))


async def test_what_takes_too_long_is_killed(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    await run(engine)
    await clock.advance(10)
    (session,) = probes(machine, engine)
    session.emit(b"thinking")
    await clock.advance(3)
    assert session.exit_code is not None
    assert session.exit_code.result() == 137
    (entry,) = health(engine).log
    assert (entry.exit_code, entry.output) == (-1, "Health check exceeded timeout (3s): thinking")
    assert health(engine).failing_streak == 1
    # The next one comes an interval after the end of this one.
    assert clock.pauses == [10]


async def test_what_cannot_run_is_a_failure_with_its_reason(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    await run(engine, check=replace(CHECK, test=("CMD", "nonexistent")))
    await clock.advance(20)
    assert health(engine).status is HealthStatus.UNHEALTHY
    assert health(engine).log[0].exit_code == -1
    assert "executable file not found in $PATH" in health(engine).log[0].output


async def test_an_error_of_the_runtime_does_not_end_the_checks(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    await run(engine)
    machine.runtime.fail_at["exec"] = Failed("no more memory")
    await clock.advance(10)
    assert health(engine).log[0].output == "no more memory"
    await answer(machine, engine, 0)
    assert health(engine).status is HealthStatus.HEALTHY


@pytest.mark.parametrize("check", [None, Healthcheck(("NONE",)), Healthcheck(("MAGIC", "x"))])
async def test_without_a_check_nothing_runs(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock, check: Healthcheck | None
) -> None:
    await run(engine, check=check)
    await clock.advance(1000)
    assert not probes(machine, engine)
    assert engine.state.find_container("web").state.health is None
    assert not clock.pauses


async def test_the_start_period_has_its_own_interval_and_forgives(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    await run(engine, check=replace(CHECK, start_period_s=5, start_interval_s=2, retries=1))
    for count in (1, 2):
        await clock.advance(2)
        assert len(probes(machine, engine)) == count
        probes(machine, engine)[-1].exit(1)
        await settle()
    assert (health(engine).status, health(engine).failing_streak) == (HealthStatus.STARTING, 0)
    await clock.advance(2)
    probes(machine, engine)[-1].exit(1)
    await settle()
    assert health(engine).status is HealthStatus.UNHEALTHY
    assert clock.pauses == [10]


async def test_a_paused_container_is_not_probed(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    await run(engine)
    await answer(machine, engine, 0)
    await clock.advance(10)
    session = probes(machine, engine)[-1]
    await engine.containers.pause("web")
    # The probe under way was ended, and says nothing.
    assert session.exit_code is not None
    assert session.exit_code.result() == 137
    assert len(health(engine).log) == 1
    assert health(engine).status is HealthStatus.UNHEALTHY
    await clock.advance(100)
    assert len(probes(machine, engine)) == 2
    await engine.containers.unpause("web")
    await answer(machine, engine, 0)
    assert health(engine).status is HealthStatus.HEALTHY


async def test_a_pause_that_fails_leaves_the_checks_running(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    await run(engine)
    machine.runtime.fail_at["pause"] = Failed("no freezer")
    with pytest.raises(Failed):
        await engine.containers.pause("web")
    await answer(machine, engine, 0)
    assert health(engine).status is HealthStatus.HEALTHY


async def test_the_end_of_the_container_ends_its_checks(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    container_id = await run(engine)
    await answer(machine, engine, 0)
    await clock.advance(10)
    machine.runtime.exit(container_id, 1)
    await settle()
    # Nobody looks any more; Docker calls that unhealthy, without an event.
    assert health(engine).status is HealthStatus.UNHEALTHY
    assert len(health(engine).log) == 1
    assert not clock.pauses
    await engine.containers.start("web")
    assert (health(engine).status, len(health(engine).log)) == (HealthStatus.STARTING, 1)
    actions = [event.action for event in await events_of(engine)]
    assert actions.count("health_status: healthy") == 1
    assert "health_status: unhealthy" not in actions


async def test_a_restart_by_policy_begins_anew(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    container_id = await run(engine, restart_policy=RestartPolicy(RestartPolicyName.ALWAYS))
    await answer(machine, engine, 0)
    machine.runtime.exit(container_id, 1)
    for _ in range(100):
        await asyncio.sleep(0.01)
        if engine.state.find_container("web").state.is_running:
            break
    assert health(engine).status is HealthStatus.STARTING
    await answer(machine, engine, 0)
    assert health(engine).status is HealthStatus.HEALTHY


async def test_removal_ends_the_checks(engine: CarrickEngine, machine: FakeMachine, clock: FakeClock) -> None:
    await run(engine)
    await clock.advance(10)
    await engine.containers.remove("web", force=True)
    await settle()
    assert not clock.pauses


async def test_probes_do_not_push_out_the_execs_of_users(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    container_id = await run(engine)
    exec_id = await engine.containers.exec_create("web", ExecConfig(("true",)))
    await engine.containers.exec_start(exec_id)
    machine.runtime.containers[container_id].execs[exec_id][1].exit(7)
    await settle()
    for _ in range(300):
        await answer(machine, engine, 0)
    assert (await engine.containers.exec_get(exec_id)).exit_code == 7


async def test_only_a_new_status_is_stored(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    await run(engine)
    commits = 0
    commit = machine.store.commit

    async def counted(*arguments: object) -> object:
        nonlocal commits
        commits += 1
        return await commit(*arguments)  # type: ignore[arg-type]

    machine.store.commit = counted  # type: ignore[method-assign, assignment]
    for _ in range(5):
        await answer(machine, engine, 0)
    assert commits == 1
    # What memory has more goes along with the next write.
    await engine.containers.rename("web", "site")
    assert len(health(engine, "site").log) == 5


async def test_a_daemons_restart_leaves_a_healthy_container_healthy(
    machine: FakeMachine, clock: FakeClock
) -> None:
    async with machine.start() as first:
        container_id = await run(first)
        await answer(machine, first, 0)
        await clock.advance(10)
    machine.runtime.containers[container_id].status = ProcessStatus.RUNNING
    async with machine.start() as second:
        assert health(second).status is HealthStatus.HEALTHY
        await settle()
        # Sooner than an interval, so that many containers are spread over it.
        (pause,) = clock.pauses
        assert 0 <= pause <= 10
        count = len(probes(machine, second))
        await clock.advance(pause)
        assert len(probes(machine, second)) == count + 1
        probes(machine, second)[-1].exit(1)
        await settle()
        assert (health(second).status, health(second).failing_streak) == (HealthStatus.HEALTHY, 1)
        assert clock.pauses == [10]
        actions = [event.action for event in await events_of(second)]
        assert not [action for action in actions if action.startswith("health_status")]


async def test_a_killed_daemons_probe_is_ended_by_the_next(machine: FakeMachine, clock: FakeClock) -> None:
    async with machine.start() as engine:
        container_id = await run(engine)
    container = machine.runtime.containers[container_id]
    left: dict[str, FakeSession] = {}
    for exec_id in ("a" * 64, probe_id(container_id)):
        session = FakeSession(exit_code=asyncio.get_running_loop().create_future())
        left[exec_id] = session
        container.execs[exec_id] = (
            ExecRequest(exec_id, container_id, ("probe",)),
            session,
        )
    async with machine.start():
        await settle()
        of_user, of_probe = left.values()
        assert of_user.exit_code is not None
        assert not of_user.exit_code.done()
        assert of_probe.exit_code is not None
        assert of_probe.exit_code.result() == 137


async def test_only_so_many_probes_start_at_a_time(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    names = [f"many{number}" for number in range(12)]
    for name in names:
        await run(engine, name)
    starting = 0
    go_on = asyncio.Event()
    execute = machine.runtime.exec

    async def slow(request: ExecRequest) -> object:
        nonlocal starting
        starting += 1
        await go_on.wait()
        return await execute(request)

    machine.runtime.exec = slow  # type: ignore[method-assign, assignment]
    await clock.advance(10)
    assert starting == 4
    go_on.set()
    await settle()
    assert all(len(probes(machine, engine, name)) == 1 for name in names)


async def test_a_start_that_hangs_is_a_failure(
    engine: CarrickEngine, machine: FakeMachine, clock: FakeClock
) -> None:
    container_id = await run(engine)
    hanging = asyncio.Event()
    execute = machine.runtime.exec

    async def hang(request: ExecRequest) -> object:
        await hanging.wait()
        return await execute(request)

    machine.runtime.exec = hang  # type: ignore[method-assign, assignment]
    await clock.advance(10 + 30)
    assert health(engine).log[0].output == f"timed out starting health check for container {container_id}"
    hanging.set()
    await settle()
    (late,) = probes(machine, engine)
    assert late.exit_code is not None
    assert late.exit_code.result() == 137
