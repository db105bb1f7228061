"""What a system under test can be asked, whichever engine it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ..namespaces import Host
from ..processes import Process

#: What every container runs: it listens to nothing and costs nothing.
COMMAND = ("sleep", "1000000")


@dataclass(frozen=True, slots=True)
class Port:
    """A TCP port of the host that leads to one of the container."""

    host: int
    container: int


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to run, detached. Without `network` it goes to the default one."""

    name: str
    network: str = ""
    ports: tuple[Port, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolver:
    """Where a container's names are asked, and what is put behind a name there."""

    address: str
    suffix: str = ""


class Part(StrEnum):
    """What a process of an engine is for: the parts of the memory figures."""

    CONTROL = "control"
    PORTS = "ports"
    CONTAINER = "container"


class Door(Protocol):
    """One way to give commands: the raw API, or the engine's own command. Calls return when it is done."""

    name: str

    def floor(self) -> None:
        """Do the least that this door can: what every other figure contains."""
        ...

    def create_network(self, name: str, subnet: str = "") -> None: ...

    def remove_network(self, name: str) -> None: ...

    def connect(self, network: str, container: str) -> None: ...

    def disconnect(self, network: str, container: str) -> None: ...

    def run(self, spec: ContainerSpec) -> None: ...

    def remove(self, container: str) -> None: ...


class System(Protocol):
    """An engine on a host of its own."""

    name: str
    host: Host

    @property
    def doors(self) -> Sequence[Door]:
        """The ways in, the quickest first."""
        ...

    @property
    def has_daemon(self) -> bool: ...

    def start(self) -> None:
        """Start it and wait until it answers."""
        ...

    def stop(self) -> None:
        """End its daemon. Containers and helpers end with the namespaces of the run."""
        ...

    def version(self) -> str: ...

    def import_image(self, tarball: Path) -> None: ...

    def pid_of(self, container: str) -> int: ...

    def address_of(self, container: str, network: str) -> str: ...

    def resolver_of(self, container: str) -> Resolver: ...

    def part_of(self, process: Process) -> Part | None:
        """Say what a process on its host is for; None if it isn't the engine's."""
        ...

    def kill_and_wait(self, running: int) -> float:
        """Kill the daemon (SIGKILL), start it at once, wait until it lists `running` containers.

        Returns the seconds from the kill on.
        """
        ...
