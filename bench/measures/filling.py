"""Memory, the docker client, recovery and growth: what changes with the number of containers.

So they share one filling: a host is filled step by step and looked at on the way up. Memory, the client
and recovery at `fill`, one more endpoint at each of the `growth` numbers.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ..metrics import growth_key
from ..recorder import interleaved
from ..systems.contract import ContainerSpec, Port, System
from .client import measure_client_full
from .context import Context, container, network, quickest
from .memory import weigh

_NET, _EXTRA, _TARGET = "grown", "grownextra", "growntarget"
#: Podman's own choice of subnet ends at 253 addresses, so all get a bigger one.
_SUBNET, _EXTRA_SUBNET = "10.201.0.0/16", "10.202.0.0/16"


@dataclass(frozen=True, slots=True)
class Stop:
    """What to look at once a system has `containers`."""

    containers: int
    memory: bool = False
    client: bool = False
    recovery: bool = False
    growth: bool = False


def plan_stops(wanted: Sequence[str], fill: int, growth: Sequence[int]) -> tuple[Stop, ...]:
    """Return the stops on the way up, ascending; none if none of the four measures is wanted. Pure."""
    numbers = set(growth) if "growth" in wanted else set()
    if {"memory", "client", "recovery"} & set(wanted):
        numbers.add(fill)
    return tuple(
        Stop(
            number,
            memory="memory" in wanted and number == fill,
            client="client" in wanted and number == fill,
            recovery="recovery" in wanted and number == fill,
            growth="growth" in wanted and number in growth,
        )
        for number in sorted(numbers)
    )


def measure_filling(context: Context) -> None:
    """Fill every system and look at it at each stop. The containers are left: the run ends with them."""
    options, recorder = context.options, context.recorder
    filled: Counter[str] = Counter()
    for stop in plan_stops(options.measures, options.fill, options.growth):
        for system in context.systems:
            recorder.note(f"filling: {system.name} to {stop.containers} containers")
            with recorder.attempt(
                system.name,
                "filling",
                "memory.full.",
                "client.ps",
                "client.exec_full",
                "recovery.",
                "growth.",
            ):
                _fill(system, filled, stop.containers)
        able = [system for system in context.systems if not recorder.has_failed(system.name, "filling")]
        if stop.memory:
            for system in able:
                with recorder.attempt(system.name, "memory", "memory.full."):
                    weigh(context, system, "full")
        if stop.client:
            measure_client_full(context, able, stop.containers)
        if stop.recovery:
            _recover(context, able, stop.containers)
        if stop.growth:
            _grow(context, able, stop.containers)


def _fill(system: System, filled: Counter[str], count: int) -> None:
    door = quickest(system)
    if not filled[system.name] and count:
        door.create_network(_NET, _SUBNET)
    for number in range(filled[system.name], count):
        door.run(ContainerSpec(f"grown{number}", _NET, (Port(30000 + number, 80),)))
        filled[system.name] += 1


def _recover(context: Context, systems: Sequence[System], count: int) -> None:
    recorder = context.recorder
    for number in range(context.options.recoveries):
        recorder.note(f"recovery: round {number + 1} of {context.options.recoveries}")
        for system in interleaved([system for system in systems if system.has_daemon], number):
            with recorder.attempt(system.name, "recovery", "recovery."):
                recorder.add("recovery.ready", system.name, system.kill_and_wait(count) * 1000)


def _grow(context: Context, systems: Sequence[System], there: int) -> None:
    recorder, repetitions = context.recorder, context.options.growth_repetitions
    with ExitStack() as stack:
        ready: list[System] = []
        for system in systems:
            with recorder.attempt(system.name, "growth", "growth."):
                if there == 0:
                    stack.enter_context(network(system, _NET, _SUBNET))
                stack.enter_context(network(system, _EXTRA, _EXTRA_SUBNET))
                stack.enter_context(container(system, ContainerSpec(_TARGET, _NET)))
                ready.append(system)
        for number in range(repetitions + 1):
            if number % 5 == 0:
                recorder.note(f"growth with {there} there: repetition {number} of {repetitions}")
            for system in interleaved(ready, number):
                if not recorder.has_failed(system.name, "growth"):
                    with recorder.attempt(system.name, "growth", "growth."):
                        _one_more(context, system, there, number)


def _one_more(context: Context, system: System, there: int, number: int) -> None:
    """Time one repetition; number 0 warms up."""
    recorder, door, keep = context.recorder, quickest(system), number > 0
    one = ContainerSpec(f"onemore{there}x{number}", _NET, (Port(29000 + number, 80),))
    with recorder.timed(growth_key("run_publish", there), system.name, keep=keep):
        door.run(one)
    with recorder.timed(growth_key("rm_publish", there), system.name, keep=keep):
        door.remove(one.name)
    with recorder.timed(growth_key("connect", there), system.name, keep=keep):
        door.connect(_EXTRA, _TARGET)
    door.disconnect(_EXTRA, _TARGET)
