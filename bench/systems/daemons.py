"""What Docker and Carrick have in common: a daemon with the Engine API at a socket."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..materials import IMAGE
from ..namespaces import Host
from ..programs import Background, clean_environment
from .command_line import CommandLine
from .contract import Door, Resolver
from .engine_api import EngineApi

_READY_TIMEOUT_S = 120
# Debian's own command where it is installed; there may be another one earlier in PATH.
_DOCKER_CLIENTS = (Path("/usr/bin/docker"), Path("/usr/local/bin/docker"))


class EngineSystem(ABC):
    """A system with a daemon. What is below `directory` is its own."""

    has_daemon = True

    def __init__(self, host: Host, directory: Path, socket: Path) -> None:
        self.host = host
        self.socket = socket
        self.directory = directory
        self.api = EngineApi(socket)
        self._daemon: Background | None = None

    @property
    @abstractmethod
    def command(self) -> CommandLine:
        """The engine's own command."""

    @abstractmethod
    def start_daemon(self) -> Background:
        """Start the daemon and return at once."""

    @property
    def doors(self) -> Sequence[Door]:
        return (self.api, self.command)

    def start(self) -> None:
        self._daemon = self.start_daemon()
        self._wait_until(0, time.monotonic() + _READY_TIMEOUT_S)

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.stop()

    def import_image(self, tarball: Path) -> None:
        self.command.call("import", str(tarball), IMAGE)

    def version(self) -> str:
        found: Any = self.api.call("GET", "/version")
        return str(found["Version"])

    def pid_of(self, container: str) -> int:
        return int(self.api.inspect(container)["State"]["Pid"])

    def address_of(self, container: str, network: str) -> str:
        return str(self.api.inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"])

    def resolver_of(self, container: str) -> Resolver:
        del container
        return Resolver("127.0.0.11")

    def kill_and_wait(self, running: int) -> float:
        if self._daemon is None:
            raise BenchError("the daemon has not been started")
        start = time.monotonic()
        self._daemon.kill()
        self._daemon = self.start_daemon()
        self._wait_until(running, start + _READY_TIMEOUT_S)
        return time.monotonic() - start

    def _wait_until(self, running: int, deadline: float) -> None:
        problem = "it did not answer"
        while time.monotonic() < deadline:
            if self._daemon is not None:
                self._daemon.check()
            try:
                found = self.api.running(timeout_s=30)
                if found >= running:
                    return
                problem = f"it lists {found} running containers of {running}"
            except BenchError as error:
                problem = str(error)
            time.sleep(0.005)
        tail = self._daemon.tail() if self._daemon else ""
        raise BenchError(f"not ready in {_READY_TIMEOUT_S} s: {problem}; its log ends: {tail}")


def docker_client(system: EngineSystem) -> CommandLine:
    """Return the docker command, pointed at a system. Raises BenchError if there is none."""
    program = next((path for path in _DOCKER_CLIENTS if path.exists()), None)
    if program is None:
        raise BenchError("docker: no command; bench/install.sh installs docker.io")
    home = system.directory / "docker-home"
    home.mkdir(exist_ok=True)
    return CommandLine((str(program), "-H", f"unix://{system.socket}"), clean_environment(home))
