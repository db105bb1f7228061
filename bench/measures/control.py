"""Control plane: each operation through each door, one repetition of every system in turn.

A fast answer counts only if the work is done: the first repetition, which is not timed, also looks whether
each operation had its effect by the time it returned.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import BenchError
from ..namespaces import Namespace
from ..recorder import interleaved
from ..systems.contract import COMMAND, ContainerSpec, Door, Port, System
from .context import Context, container, network

_TARGET, _NET, _EXTRA = "target", "home", "extra"
_WORDS = ("net", "run", "pub")


def measure_control(context: Context) -> None:
    """Time every operation `repetitions` times."""
    recorder = context.recorder
    ways = [(system, door) for system in context.systems for door in system.doors]
    with ExitStack() as stack:
        for system in context.systems:
            with recorder.attempt(system.name, "control", "control."):
                stack.enter_context(_prepared(system))
        for number in range(context.options.repetitions + 1):
            # Number 0 warms up: the first of everything loads modules and makes chains and tables.
            recorder.note(f"control: repetition {number}" if number else "control: warming up")
            for system, door in interleaved(ways, number):
                what = f"control, {door.name}"
                if recorder.has_failed(system.name, "control") or recorder.has_failed(system.name, what):
                    continue
                with recorder.attempt(system.name, what, f"control.{door.name}."):
                    for operation, work in _operations(door, number):
                        with recorder.timed(f"control.{door.name}.{operation}", system.name, keep=number > 0):
                            work()
                        if number == 0:
                            _check_effect(system, door, operation)


@contextmanager
def _prepared(system: System) -> Iterator[None]:
    """Have what connect and disconnect use; Podman joins nobody who is on its default network."""
    with (
        network(system, _NET),
        network(system, _EXTRA),
        container(system, ContainerSpec(_TARGET, _NET)),
    ):
        yield


def _operations(door: Door, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the operations of one repetition in order: each undoes the one before it."""
    made, ran, published = (f"{word}{door.name}{number}" for word in _WORDS)
    port = Port(20000 + number, 80)
    yield "floor", door.floor
    yield "network_create", lambda: door.create_network(made)
    yield "network_rm", lambda: door.remove_network(made)
    yield "connect", lambda: door.connect(_EXTRA, _TARGET)
    yield "disconnect", lambda: door.disconnect(_EXTRA, _TARGET)
    yield "run", lambda: door.run(ContainerSpec(ran))
    yield "rm", lambda: door.remove(ran)
    yield "run_publish", lambda: door.run(ContainerSpec(published, ports=(port,)))
    yield "rm_publish", lambda: door.remove(published)


def _check_effect(system: System, door: Door, operation: str) -> None:
    """Raise BenchError unless the links and the processes are as the operation has to leave them."""
    if operation in ("connect", "disconnect"):
        wanted = 2 if operation == "connect" else 1
        found = _addressed_links(system, _TARGET)
        if found != wanted:
            raise BenchError(f"after {operation} {_TARGET} has {found} links with an address, not {wanted}")
    elif operation in ("run", "run_publish"):
        name = f"{_WORDS[1] if operation == 'run' else _WORDS[2]}{door.name}0"
        if not _runs_its_command(system.pid_of(name)):
            raise BenchError(f"after {operation} {name} does not run {COMMAND[0]}")
        if _addressed_links(system, name) != 1:
            raise BenchError(f"after {operation} {name} has no link with an address")


def _runs_its_command(pid: int) -> bool:
    """Tell whether a container runs what it should, or does so within a moment.

    `runc start` returns when its init has been told to go on, just before that becomes the command.
    """
    deadline = time.monotonic() + 0.2
    while True:
        first = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")[0].decode()
        if Path(first).name == COMMAND[0] or time.monotonic() > deadline:
            return Path(first).name == COMMAND[0]
        time.sleep(0.005)


def _addressed_links(system: System, container_name: str) -> int:
    """Count a container's links, without `lo`, that are up and have an IPv4 address."""
    inside = Namespace.of_process(system.pid_of(container_name))
    lines = inside.ip("-o", "-4", "address", "show", "up").splitlines()
    return len({line.split()[1] for line in lines if line.split()[1] != "lo"})
