"""A real `carrickd` on a machine of its own, and ways to talk to it: the CLI, the API, the machine.

    with Daemon(images=template) as daemon:
        daemon.do("run", "-d", "--name", "web", "busybox", "sleep", "600")
        assert daemon.api.get("/containers/web/json").json["State"]["Running"]

The daemon, its companions and its containers all live on the `Machine`, so that nothing can be left behind
but files and cgroups, which `close` removes. With `outside=True` the machine has a neighbour, 192.0.2.2,
behind its interface `uplink` (192.0.2.1), which is also its way to the world: 2001:db8:2::/64 likewise.
"""

import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .machine import Machine, Result

_START_TIMEOUT_S = 30.0
_CGROUPS = Path("/sys/fs/cgroup")
_WEB = (
    "sh",
    "-c",
    "mkdir -p /www/cgi-bin && hostname >/www/index.html && "
    "printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' >/www/cgi-bin/peer && chmod +x /www/cgi-bin/peer && "
    "exec httpd -f -p 80 -h /www",
)
OUTSIDE = "/run/netns/outside"
HOST4, NEIGHBOUR4 = "192.0.2.1", "192.0.2.2"
HOST6, NEIGHBOUR6 = "2001:db8:2::1", "2001:db8:2::2"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("carrick", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the API."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The `message` of an error's body."""
        return str(self.json["message"])


class Api:
    """Calls of the Engine API, one connection each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def connection(self, timeout_s: float = 60.0) -> UnixConnection:
        return UnixConnection(self._path, timeout_s)

    def call(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, timeout_s: float = 60.0
    ) -> Reply:
        """Call; `body` goes as JSON, `raw` as it is."""
        connection = self.connection(timeout_s)
        try:
            headers = {"Content-Type": "application/json"} if body is not None or raw is not None else {}
            data = raw if raw is not None else None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            return Reply(response.status, response.read(), dict(response.headers))
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Reply:
        return self.call("POST", path, body)

    def delete(self, path: str) -> Reply:
        return self.call("DELETE", path)


class Daemon:
    """Use it as a context manager.

    `images` is a directory of unpacked images to begin with (see `images_with`). `module` is what runs as
    the daemon; `environment` is added to its own. `configuration` are lines of its TOML file.
    """

    def __init__(
        self,
        *,
        images: Path | None = None,
        outside: bool = False,
        resolv_conf: str = "nameserver 127.0.0.1\n",
        configuration: str = "",
        module: str = "carrick.daemon",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = f"ck-{secrets.token_hex(3)}"
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        # Containers' own users must get to their files through it.
        self.directory.chmod(0o711)
        self.state_dir = self.directory / "state"
        self.run_dir = self.directory / "run"
        self.socket = self.run_dir / "carrick.sock"
        self.log = self.directory / "carrickd.log"
        self._settings = self.directory / "carrickd.toml"
        self._settings.write_text(configuration)
        self._outside = outside
        self._module = module
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        (self.directory / "resolv.conf").write_text(resolv_conf)
        if images is not None:
            self.state_dir.mkdir(mode=0o711)
            shutil.copytree(images, self.state_dir / "images", symlinks=True)
        self.machine = Machine(self.directory / "resolv.conf")
        self.api = Api(self.socket)

    def __enter__(self) -> Self:
        try:
            self.boot()
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

    # Its life --------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start the machine and the daemon on it."""
        self.machine.boot()
        if self._outside:
            self._build_outside()
        self.start()

    def _build_outside(self) -> None:
        do = self.machine.do
        do("ip", "netns", "add", "outside")
        do("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "wire", "netns", "outside")
        for netns, link, address4, address6 in (
            ("", "uplink", HOST4, HOST6),
            (OUTSIDE, "wire", NEIGHBOUR4, NEIGHBOUR6),
        ):
            do("ip", "addr", "add", f"{address4}/24", "dev", link, netns=netns)
            do("ip", "addr", "add", f"{address6}/64", "dev", link, "nodad", netns=netns)
            do("ip", "link", "set", link, "up", netns=netns)
        do("ip", "link", "set", "lo", "up", netns=OUTSIDE)
        do("ip", "route", "add", "default", "via", NEIGHBOUR4)
        do("ip", "-6", "route", "add", "default", "via", NEIGHBOUR6)

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the daemon and wait until it answers."""
        self.spawn(environment)
        self.wait_ready()

    def spawn(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the daemon without waiting for it."""
        assert self._process is None, "it runs"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.machine.command(
                    *(sys.executable, "-m", self._module, "--config", str(self._settings)),
                    *("--state-dir", str(self.state_dir), "--run-dir", str(self.run_dir)),
                    *("--name", self.name),
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment, **(environment or {})},
                start_new_session=True,
            )

    def wait_ready(self, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Return when the API answers; AssertionError with the log's end if it ended or took too long."""
        assert self._process is not None
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and self._process.poll() is None:
            if self.is_ready():
                return
            time.sleep(0.01)
        raise AssertionError(f"carrickd did not start:\n{self.log_text()[-4000:]}")

    def is_ready(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self.api.call("GET", "/_ping", timeout_s=5).status == 200
        return False

    @property
    def pid(self) -> int:
        """The daemon's pid on its machine."""
        return int((self.run_dir / "carrickd.pid").read_text())

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_end(self, timeout_s: float = 30.0) -> int:
        """Wait until the daemon ends by itself; return its exit code (negative: the signal)."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        self._process = None
        # nsenter passes a signal's death on as 128 + number.
        return 128 - code if code > 128 else code

    def kill9(self) -> None:
        """Kill the daemon, however far it has come; everything else goes on."""
        if self._process is None:
            return
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        while self.is_running():
            # Not by its pid file, which may still be its predecessor's.
            with suppress(OSError):
                for pid in children.read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.005)
        self.wait_end()

    def stop(self) -> int:
        """End the daemon in good order; return its exit code."""
        self.machine.do("kill", "-TERM", str(self.pid))
        return self.wait_end()

    def restart(self, environment: Mapping[str, str] | None = None) -> None:
        self.kill9()
        self.start(environment)

    def reboot(self) -> None:
        """Switch the machine off and on: only the state directory (and the log) stays."""
        self.machine.shut_down()
        if self._process is not None:
            self.wait_end()
        self._remove_cgroups()
        shutil.rmtree(self.run_dir, ignore_errors=True)
        self.boot()

    def close(self) -> None:
        """End everything and remove every file. Repeatable."""
        self.machine.shut_down()
        if self._process is not None:
            self.wait_end()
        self._remove_cgroups()
        shutil.rmtree(self.directory, ignore_errors=True)

    def cgroups(self) -> list[Path]:
        """Return every cgroup of ours there is, the deepest first."""
        tops = [*_CGROUPS.glob(self.name), *_CGROUPS.glob(f"*/{self.name}")]
        found = [Path(place) for top in tops for place, _, _ in os.walk(top, topdown=False)]
        return sorted(found, key=lambda path: -len(path.parts))

    def _remove_cgroups(self) -> None:
        end = time.monotonic() + 5
        while (left := self.cgroups()) and time.monotonic() < end:
            for path in left:
                with suppress(OSError):
                    path.rmdir()
            time.sleep(0.01)

    # Talking to it ---------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """What points `carrick` and `docker` at it."""
        host = f"unix://{self.socket}"
        return {"CARRICK_HOST": host, "DOCKER_HOST": host}

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of the CLI, to be run with `environment`."""
        return [sys.executable, "-m", "carrick", *arguments]

    def cli(self, *arguments: str, input: str | None = None, timeout_s: float = 60.0) -> Result:
        """Run `carrick` to its end, whatever that is."""
        done = subprocess.run(
            self.command(*arguments),
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env={**os.environ, **self.environment, "COLUMNS": "300"},
        )
        return Result(("carrick", *arguments), done.returncode, done.stdout, done.stderr)

    def do(self, *arguments: str, input: str | None = None, timeout_s: float = 60.0) -> str:
        """Run `carrick`, which must succeed; return its output without the last newline."""
        result = self.cli(*arguments, input=input, timeout_s=timeout_s)
        if result.code != 0:
            raise AssertionError(f"{result}\n--- log:\n{self.log_text()[-3000:]}")
        return result.out.rstrip("\n")

    def refused(self, *arguments: str, code: int = 1) -> str:
        """Run `carrick`, which must fail with `code`; return what it wrote to stderr."""
        result = self.cli(*arguments)
        if result.code != code:
            raise AssertionError(f"exit code {code} was expected\n{result}")
        return result.err.rstrip("\n")

    # Containers and networks, quickly --------------------------------------------------------

    def sleeper(self, name: str, *options: str) -> str:
        """Run a container that does nothing and ends at once when it is stopped; return its id."""
        return self.do(
            "run", "-d", "--name", name, "--stop-signal", "KILL", *options, "busybox", "sleep", "1d"
        )

    def web(self, name: str, *options: str) -> str:
        """Run a web server, and wait for it: `/` says its host name, `/cgi-bin/peer` the client's address."""
        identifier = self.do("run", "-d", "--name", name, "--stop-signal", "KILL", *options, "busybox", *_WEB)
        if netns := self.netns(name):
            eventually(lambda: self._listens(netns), 30, f"{name} listens on port 80")
        return identifier

    def _listens(self, netns: str) -> bool:
        """Tell whether somebody in a namespace listens on port 80 (proc(5), `net/tcp`)."""
        tables = self.machine.run("cat", "/proc/net/tcp", "/proc/net/tcp6", netns=netns).out
        return any(
            fields[1].endswith(":0050") and fields[3] == "0A"
            for fields in (line.split() for line in tables.splitlines())
            if len(fields) > 3
        )

    def container(self, name: str) -> Any:
        """Return what `GET /containers/NAME/json` says."""
        reply = self.api.get(f"/containers/{name}/json")
        assert reply.status == 200, reply
        return reply.json

    def network(self, name: str) -> Any:
        reply = self.api.get(f"/networks/{name}")
        assert reply.status == 200, reply
        return reply.json

    def address(self, name: str, network: str = "") -> str:
        """Return a running container's IPv4 address on a network, or on its only one."""
        return str(self._endpoint(name, network)["IPAddress"])

    def address6(self, name: str, network: str = "") -> str:
        return str(self._endpoint(name, network)["GlobalIPv6Address"])

    def _endpoint(self, name: str, network: str) -> Any:
        networks = self.container(name)["NetworkSettings"]["Networks"]
        return networks[network] if network else next(iter(networks.values()))

    def is_up(self, name: str) -> bool:
        return bool(self.container(name)["State"]["Running"])

    def exec(self, name: str, *command: str, timeout_s: float = 30.0) -> Result:
        """Run a command in a container through the API; quicker than the CLI."""
        created = self.api.post(
            f"/containers/{name}/exec",
            {"AttachStdout": True, "AttachStderr": True, "Cmd": list(command)},
        )
        assert created.status == 201, created
        exec_id = created.json["Id"]
        body = {"Detach": False, "Tty": False}
        reply = self.api.call("POST", f"/exec/{exec_id}/start", body, timeout_s=timeout_s)
        assert reply.status == 200, reply
        streams = split_frames(reply.body)
        code = self.api.get(f"/exec/{exec_id}/json").json["ExitCode"]
        return Result(command, -1 if code is None else code, streams[1], streams[2])

    def sh(self, name: str, script: str) -> str:
        """Run a shell script in a container, which must succeed; return what it wrote."""
        result = self.exec(name, "sh", "-c", script)
        if result.code != 0:
            raise AssertionError(f"in {name}: {result}")
        return result.out.rstrip("\n")

    def fetch(self, url: str, *, netns: str = "", timeout_s: int = 5) -> str:
        """Fetch from the machine, or from a namespace on it; AssertionError if that does not work."""
        return self.machine.do("curl", "-sS", "-g", "-m", str(timeout_s), url, netns=netns)

    def answers(self, url: str, *, netns: str = "", timeout_s: int = 1) -> bool:
        """Say whether a URL can be fetched within a second."""
        curl = ("curl", "-s", "-g", "-o", "/dev/null", "-m", str(timeout_s), url)
        return self.machine.run(*curl, netns=netns).code == 0

    def dig(self, container: str, *arguments: str, server: str = "127.0.0.11") -> list[str]:
        """Ask a server from inside a container's network; return the lines of `dig +short`."""
        found = self.machine.run(
            "dig", "+short", "+tries=1", "+time=5", f"@{server}", *arguments, netns=self.netns(container)
        )
        return sorted(found.out.split())

    def dig_status(self, container: str, *arguments: str, server: str = "127.0.0.11") -> str:
        """Ask likewise; return the answer's status (NOERROR, NXDOMAIN …)."""
        found = self.machine.run(
            "dig", "+tries=1", "+time=6", f"@{server}", *arguments, netns=self.netns(container)
        )
        status = re.search(r"status: (\w+)", found.out)
        return status[1] if status else "none"

    def netns(self, name: str) -> str:
        """Return the path of a running container's network namespace, as it is on the machine."""
        return str(self.container(name)["NetworkSettings"]["SandboxKey"])

    def remove_all(self) -> None:
        """Remove all containers and all networks but the predefined."""
        for item in self.api.get("/containers/json?all=1").json:
            self.api.delete(f"/containers/{item['Id']}?force=1&v=1")
        for item in self.api.get("/networks").json:
            if item["Name"] not in {"bridge", "host", "none"}:
                self.api.delete(f"/networks/{item['Id']}")

    # What is left ----------------------------------------------------------------------------

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tracebacks(self) -> list[str]:
        """Return every traceback in the logs of the daemon and its companions."""
        texts = [self.log_text()]
        texts += [path.read_text(errors="replace") for path in (self.state_dir / "log").glob("*.log")]
        return [part[:3000] for text in texts for part in re.findall(r"Traceback .*?(?=\n\S|\Z)", text, re.S)]


def split_frames(data: bytes) -> dict[int, str]:
    """Return what each stream carries of Docker's multiplexed format: 1 is stdout, 2 stderr."""
    streams: dict[int, bytes] = {1: b"", 2: b""}
    while len(data) >= 8:
        stream, length = struct.unpack(">BxxxL", data[:8])
        streams[stream] = streams.get(stream, b"") + data[8 : 8 + length]
        data = data[8 + length :]
    return {key: value.decode(errors="replace") for key, value in streams.items()}


def images_with(directory: Path, archives: Sequence[tuple[Path, str, Sequence[str]]]) -> Path:
    """Import root file systems (archive, image's name, `--change`s) once; return what `Daemon` takes."""
    with Daemon() as daemon:
        for archive, name, changes in archives:
            options = [text for change in changes for text in ("--change", change)]
            daemon.do("import", *options, str(archive), name)
        daemon.stop()
        shutil.copytree(daemon.state_dir / "images", directory, symlinks=True)
    return directory


def eventually(condition: Callable[[], Any], timeout_s: float = 10.0, what: str = "") -> Any:
    """Return what `condition` returns once that is true; AssertionError when it does not become so."""
    end = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"it did not happen within {timeout_s:.0f} s: {what or condition}")
        time.sleep(0.02)


__all__ = ["Api", "Daemon", "Reply", "Result", "eventually", "images_with", "split_frames"]
