"""What every measure is given."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import BenchError
from ..namespaces import Lab, Namespace
from ..options import Options
from ..recorder import Recorder
from ..systems.contract import ContainerSpec, Door, System


@dataclass(frozen=True, slots=True)
class Context:
    """One run: the running systems, where figures go, and the tools."""

    options: Options
    systems: Sequence[System]
    recorder: Recorder
    lab: Lab
    tcploop: Path
    dnsseq: Path
    logs: Path

    @property
    def outside(self) -> Namespace:
        """Where clients from elsewhere are."""
        return self.lab.outside


def quickest(system: System) -> Door:
    """Return the door for what isn't measured."""
    return system.doors[0]


@contextmanager
def network(system: System, name: str, subnet: str = "") -> Iterator[str]:
    """Have a network for the length of the body."""
    door = quickest(system)
    door.create_network(name, subnet)
    try:
        yield name
    finally:
        _quietly_remove_network(door, name)


@contextmanager
def container(system: System, spec: ContainerSpec) -> Iterator[str]:
    """Have a running container for the length of the body."""
    door = quickest(system)
    try:
        door.run(spec)
        yield spec.name
    finally:
        _quietly_remove(door, spec.name)


def _quietly_remove(door: Door, name: str) -> None:
    # A failure here follows one that is already on record, and all ends with the namespaces anyway.
    try:
        door.remove(name)
    except BenchError:
        return


def _quietly_remove_network(door: Door, name: str) -> None:
    try:
        door.remove_network(name)
    except BenchError:
        return
