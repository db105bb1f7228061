"""The two engines that are compared: a real `dockerd` and a real `carrickd`, each on a machine of its own.

`dockerd` starts a containerd of its own. Both end with their machine's init, by which everything they
started ends too; what remains are files and cgroups, which `close` removes.
"""

import http.client
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from carrick.testing.daemon import Api
from carrick.testing.machine import Machine

DOCKERD = "/usr/sbin/dockerd"
_START_TIMEOUT_S = 60.0
_CGROUPS = Path("/sys/fs/cgroup")


class Docker:
    """A Docker Engine as Debian packages it. Use it as a context manager."""

    def __init__(self) -> None:
        self.name = f"ckref-{secrets.token_hex(3)}"
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.directory.chmod(0o711)
        self.socket = self.directory / "docker.sock"
        self.log = self.directory / "dockerd.log"
        (self.directory / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        # An empty configuration: that of the host must not speak.
        (self.directory / "daemon.json").write_text(json.dumps({}))
        self.machine = Machine(self.directory / "resolv.conf")
        self.api = Api(self.socket)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.machine.boot()
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        # /run is the machine's own, so that fixed names in it meet nobody.
        command = self.machine.command(
            *(DOCKERD, "-H", f"unix://{self.socket}", "--config-file", str(self.directory / "daemon.json")),
            *("--data-root", str(self.directory / "data"), "--exec-root", "/run/docker-exec"),
            *("--pidfile", "/run/docker-reference.pid", "--cgroup-parent", f"/{self.name}"),
            *("--log-level", "warn"),
        )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end and self._process.poll() is None:
            with suppress(OSError, http.client.HTTPException):
                if self.api.call("GET", "/_ping", timeout_s=5).status == 200:
                    return
            time.sleep(0.02)
        tail = self.log.read_text(errors="replace")[-4000:]
        raise AssertionError(f"dockerd did not start:\n{tail}")

    def close(self) -> None:
        """End everything and remove every file. Repeatable."""
        self.machine.shut_down()
        if self._process is not None:
            self._process.wait(20)
            self._process = None
        self._remove_cgroups()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _remove_cgroups(self) -> None:
        end = time.monotonic() + 5
        while (left := self._cgroups()) and time.monotonic() < end:
            for path in left:
                with suppress(OSError):
                    path.rmdir()
            time.sleep(0.01)

    def _cgroups(self) -> list[Path]:
        tops = [*_CGROUPS.glob(self.name), *_CGROUPS.glob(f"*/{self.name}")]
        found = [Path(place) for top in tops for place, _, _ in os.walk(top, topdown=False)]
        return sorted(found, key=lambda path: -len(path.parts))
