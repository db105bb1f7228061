"""A real Docker Engine on a machine that is there already: a `Machine`, or a host of a lab.

It starts a containerd of its own; its fixed names are all in the machine's own /run. What remains of it
when the machine ends are files and cgroups, which `close` removes.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from .machine import Result

DOCKERD = "/usr/sbin/dockerd"
DOCKER = "/usr/bin/docker"
SOCKET = "/run/docker-engine.sock"
_PID = "/run/docker-engine.pid"
_START_TIMEOUT_S = 90.0
_CGROUPS = Path("/sys/fs/cgroup")


class Place(Protocol):
    """Where it runs."""

    def command(self, *arguments: str) -> list[str]: ...
    def run(self, *arguments: str, input: str | None = None, timeout_s: float = 60.0) -> Result: ...


class Dockerd:
    """`directory` is its own, on a real file system; `name` that of its cgroup."""

    def __init__(
        self, place: Place, directory: Path, name: str, *, socket: str = SOCKET, options: Sequence[str] = ()
    ) -> None:
        self._place = place
        self._directory = directory
        self._name = name
        self._socket = socket
        self._options = tuple(options)
        self._process: subprocess.Popen[bytes] | None = None
        self.log = directory / "dockerd.log"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        # An empty configuration: that of the host must not speak.
        (self._directory / "daemon.json").write_text("{}")
        command = self._place.command(
            *(DOCKERD, "-H", f"unix://{self._socket}", "--config-file", str(self._directory / "daemon.json")),
            *("--data-root", str(self._directory / "data"), "--exec-root", "/run/docker-exec"),
            *("--pidfile", _PID, "--cgroup-parent", f"/{self._name}", "--log-level", "info"),
            *self._options,
        )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end and self._process.poll() is None:
            if self.run("version").code == 0:
                return
            time.sleep(0.1)
        tail = self.log.read_text(errors="replace")[-4000:]
        raise AssertionError(f"dockerd did not start:\n{tail}")

    def kill(self) -> None:
        """End it as a crash would; its containers and its containerd go on."""
        assert self._process is not None, "it does not run"
        pid = self._place.run("cat", _PID).out.strip()
        killed = self._place.run("kill", "-9", pid)
        assert killed.code == 0, killed
        self._process.wait(20)
        self._process = None

    def run(self, *arguments: str, input: str | None = None, timeout_s: float = 120.0) -> Result:
        """Run `docker` to its end, whatever that is."""
        return self._place.run(
            *("env", f"DOCKER_HOST=unix://{self._socket}", DOCKER, *arguments),
            input=input,
            timeout_s=timeout_s,
        )

    def do(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """Run `docker`, which must succeed; return what it wrote, without the last newline."""
        result = self.run(*arguments, timeout_s=timeout_s)
        if result.code != 0:
            raise AssertionError(f"{result}\n--- log:\n{self.log.read_text(errors='replace')[-3000:]}")
        return result.out.rstrip("\n")

    def fails(self, *arguments: str) -> str:
        """Run `docker`, which must fail; return what it said."""
        result = self.run(*arguments)
        assert result.code != 0, result
        return result.err

    def import_image(self, archive: Path, name: str = "busybox") -> None:
        """Make an image of a file system, which is read where the machine sees it."""
        self.do("import", "-c", 'CMD ["sh"]', str(archive), name)

    def close(self) -> None:
        """Remove what it leaves once its machine has ended. Repeatable."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None
        end = time.monotonic() + 10
        while (left := self._cgroups()) and time.monotonic() < end:
            for path in left:
                with suppress(OSError):
                    path.rmdir()
            time.sleep(0.01)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _cgroups(self) -> list[Path]:
        tops = [*_CGROUPS.glob(self._name), *_CGROUPS.glob(f"*/{self._name}")]
        found = [Path(place) for top in tops for place, _, _ in os.walk(top, topdown=False)]
        return sorted(found, key=lambda path: -len(path.parts))
