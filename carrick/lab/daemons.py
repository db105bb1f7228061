"""`carrickd` on a host of the lab: started, asked, ended; and images given to it.

It is asked over its socket as any client does. The socket is found by way of /proc/PID/root.
"""

import http.client
import json
import signal
import socket
import sys
import time
import urllib.parse
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..model.errors import Failed, Unavailable
from . import services
from .nodes import NodeFiles, base_environment
from .processes import Process
from .record import Record

SOCKET = "/run/carrick/carrick.sock"
_PID_FILE = "/run/carrick/carrickd.pid"
_START_S, _CALL_S = 60.0, 60.0
_LOG_TAIL = 2000


class _Connection(http.client.HTTPConnection):
    """HTTP over the Unix socket at `path`."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("carrick", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def call(
    process: Process,
    method: str,
    path: str,
    body: bytes | None = None,
    timeout_s: float = _CALL_S,
    *,
    body_type: str = "application/x-tar",
) -> Any:
    """Call the host's API; return the answer's JSON, or its text. Raises OSError, HTTPException or Failed."""
    connection = _Connection(services.path_on(process, SOCKET), timeout_s)
    try:
        headers = {"Content-Type": body_type} if body is not None else {}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read().decode(errors="replace")
        if response.status >= 400:
            raise Failed(f"carrickd refused {method} {path}: {data}")
    finally:
        connection.close()
    if "json" in response.headers.get("Content-Type", ""):
        with suppress(ValueError):
            return json.loads(data)
    return data


def post(process: Process, path: str, body: Any) -> Any:
    """Post JSON to the host's API. Raises as `call` does."""
    return call(process, "POST", path, json.dumps(body).encode(), body_type="application/json")


def configure(files: NodeFiles, record: Record, cgroup: str) -> None:
    """Write the host's `carrickd.toml`: the settings asked for, then its cgroup."""
    # First, because what follows a table's header would belong to that.
    text = f"cgroup_parent = {json.dumps(cgroup)}\n{record.spec.configuration}"
    (files.etc_carrick / "carrickd.toml").write_text(text)


def start(process: Process, files: NodeFiles) -> None:
    """Start `carrickd` unless it runs; return without waiting for it."""
    if daemon_pid(process):
        return
    # The last one's, which by now may be the pid of something else.
    services.path_on(process, _PID_FILE).unlink(missing_ok=True)
    # Not by the name of the program: that may be another Carrick's.
    services.start(process, [sys.executable, "-m", "carrick.daemon"], files.log, base_environment())


def wait_ready(name: str, process: Process, files: NodeFiles, timeout_s: float = _START_S) -> None:
    """Return when the API answers. Raises Failed if carrickd has ended, else Unavailable."""
    end = time.monotonic() + timeout_s
    while not is_ready(process):
        now = time.monotonic()
        if not process.is_alive() or not (services.is_starting(process) or daemon_pid(process)):
            raise Failed(f"carrickd on {name} did not start: {_tail(files)}")
        if now > end:
            raise Unavailable(f"carrickd on {name} does not answer after {timeout_s:.0f} s: {_tail(files)}")
        time.sleep(0.02)


def is_ready(process: Process) -> bool:
    """Say whether the API answers."""
    try:
        call(process, "GET", "/_ping", timeout_s=5)
    except (OSError, http.client.HTTPException, Failed):
        return False
    return True


def daemon_pid(process: Process) -> int:
    """Return carrickd's pid as the host sees it; 0 if it does not run."""
    return services.find(process, "carrick", _PID_FILE)


def end(process: Process, with_signal: signal.Signals) -> None:
    """End carrickd and nothing else; return when it has. Raises Unavailable."""
    services.end(process, daemon_pid(process), with_signal, "carrickd")


def containers(process: Process) -> tuple[int, int] | None:
    """Return how many containers run and how many there are; None if carrickd does not answer."""
    try:
        found = call(process, "GET", "/containers/json?all=1", timeout_s=10)
        return sum(item["State"] in ("running", "paused") for item in found), len(found)
    except (OSError, http.client.HTTPException, Failed, TypeError, KeyError):
        return None


def has_image(process: Process, name: str) -> bool:
    """Say whether the host has an image."""
    try:
        call(process, "GET", f"/images/{urllib.parse.quote(name, safe='')}/json")
    except Failed:
        return False
    return True


def import_image(process: Process, archive: bytes, name: str) -> None:
    """Make an image of a root file system. Raises Failed."""
    query = urllib.parse.urlencode({"fromSrc": "-", "repo": name, "changes": 'CMD ["sh"]'})
    _check_stream(call(process, "POST", f"/images/create?{query}", archive), f"importing {name}")


def load_images(process: Process, archive: bytes, source: str) -> None:
    """Load what `save` wrote. Raises Failed."""
    _check_stream(call(process, "POST", "/images/load?quiet=1", archive), f"loading {source}")


def _check_stream(answer: Any, what: str) -> None:
    """Raise Failed if a stream of progress, JSON lines, has an error in it."""
    lines = answer.splitlines() if isinstance(answer, str) else [json.dumps(answer)]
    for line in lines:
        with suppress(ValueError):
            item = json.loads(line)
            if isinstance(item, dict) and (problem := item.get("error")):
                raise Failed(f"{what}: {problem}")


def _tail(files: NodeFiles) -> str:
    try:
        return files.log.read_text(errors="replace")[-_LOG_TAIL:].strip() or "its log is empty"
    except OSError as error:
        return f"no log: {error.strerror}"
