"""The docker client, the same program for every engine that answers it: what its users feel.

`ps` and `exec` are looked at with `fill` containers there, the others on an empty host.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from ..recorder import interleaved
from ..systems.command_line import CommandLine
from ..systems.contract import ContainerSpec, System
from ..systems.daemons import EngineSystem, docker_client
from .context import Context, container, network

_TARGET, _EXTRA = "clienttarget", "clientextra"


def measure_client(context: Context) -> None:
    """Time the operations that change something, `repetitions` times."""
    recorder = context.recorder
    clients = _clients(context.systems)
    with ExitStack() as stack:
        for system, _ in clients:
            with recorder.attempt(system.name, "client", "client."):
                stack.enter_context(network(system, f"{_EXTRA}home"))
                stack.enter_context(network(system, _EXTRA))
                stack.enter_context(container(system, ContainerSpec(_TARGET, f"{_EXTRA}home")))
        _repeat(context, clients, _changes, "docker client")


def measure_client_full(context: Context, systems: Sequence[System], count: int) -> None:
    """Time what is asked of a host with `count` containers; `grown0` is one of them."""
    _repeat(context, _clients(systems), _looks, f"docker client, {count} containers")


def _clients(systems: Sequence[System]) -> list[tuple[System, CommandLine]]:
    return [(system, docker_client(system)) for system in systems if isinstance(system, EngineSystem)]


Operations = Iterator[tuple[str, Callable[[], object]]]


def _changes(client: CommandLine, number: int) -> Operations:
    name = f"clientrun{number}"
    yield "floor", client.floor
    yield "connect", lambda: client.connect(_EXTRA, _TARGET)
    yield "disconnect", lambda: client.disconnect(_EXTRA, _TARGET)
    yield "run", lambda: client.run(ContainerSpec(name))
    yield "exec", lambda: client.call("exec", name, "true")
    yield "rm", lambda: client.remove(name)


def _looks(client: CommandLine, number: int) -> Operations:
    del number
    yield "ps_full", lambda: client.call("ps")
    yield "exec_full", lambda: client.call("exec", "grown0", "true")


def _repeat(
    context: Context,
    clients: Sequence[tuple[System, CommandLine]],
    operations: Callable[[CommandLine, int], Operations],
    note: str,
) -> None:
    recorder = context.recorder
    for number in range(context.options.repetitions + 1):
        if number % 5 == 0:
            recorder.note(f"{note}: repetition {number}" if number else f"{note}: warming up")
        for system, client in interleaved(clients, number):
            if recorder.has_failed(system.name, "client"):
                continue
            with recorder.attempt(system.name, "client", "client."):
                for operation, work in operations(client, number):
                    with recorder.timed(f"client.{operation}", system.name, keep=number > 0):
                        work()
