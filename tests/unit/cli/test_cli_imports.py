"""What a plain command imports: starting Python takes longer than most requests, so it is little.

No time is measured here. A module of the list below in a command's way is a mistake, unless the
command cannot do without it; see `carrick.doors.cli` for the habits that keep it so.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from fake_daemon import FakeDaemon, Reply

from carrick.doors.client.frames import STDOUT, encode_frame

ID = "0123456789abcdef" * 4
REPOSITORY = Path(__file__).parents[3]

# Slow to import themselves, or by what they bring along.
SLOW = frozenset(
    (
        *("aiohttp", "asyncio", "click", "msgspec", "pyroute2", "rich"),
        *("argparse", "collections", "concurrent.futures", "contextlib", "csv", "dataclasses"),
        *("datetime", "decimal", "difflib", "enum", "fractions", "functools", "gettext", "http.client"),
        *("importlib", "inspect", "ipaddress", "json", "locale", "logging", "pathlib", "platform", "re"),
        *("shutil", "signal", "socket", "ssl", "string", "subprocess", "tarfile", "tempfile", "textwrap"),
        *("threading", "typing", "urllib", "uuid", "weakref"),
    )
)
# Of a session with a terminal or a pipe: signals are an enum's, its end must be looked after.
FOR_SESSIONS = frozenset(("collections", "contextlib", "enum", "functools", "signal", "weakref"))

PROGRAM = """
import sys
before = set(sys.modules)
from carrick.doors.cli.main import run
environ = {"CARRICK_HOST": sys.argv[1]}
code = run(sys.argv[2:], stdin=sys.stdin, out=sys.stdout, err=sys.stderr, environ=environ)
added = set(sys.modules) - before
print()
print(code, *sorted(added))
"""


def imported(daemon: FakeDaemon, words: list[str]) -> set[str]:
    """Return the modules that a command adds to those of the bare interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, daemon.address, *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
    )
    code, *modules = done.stdout.splitlines()[-1].split()
    assert code == "0", done.stderr
    return set(modules)


@pytest.fixture
def ready(daemon: FakeDaemon) -> FakeDaemon:
    container = {"Id": ID, "Names": ["/web"], "Image": "busybox", "Command": "sh", "Created": 1_700_000_000}
    web = {"Id": ID, "Config": {}, "NetworkSettings": {"Ports": {"80/tcp": [{"HostPort": "80"}]}}}
    daemon.on("GET /containers/json", [container])
    daemon.on("GET /containers/web/json", web)
    daemon.on("GET /images/json", [{"Id": ID, "RepoTags": ["busybox:latest"], "Created": 1_700_000_000}])
    daemon.on("GET /networks", [{"Id": ID, "Name": "front2"}, {"Id": ID, "Name": "front10"}])
    daemon.on("GET /version", {"Components": [{"Name": "Engine", "Version": "1"}]})
    daemon.on("GET /volumes", {"Volumes": [{"Name": "data", "Driver": "local"}]})
    daemon.on("POST /containers/create", {"Id": ID, "Warnings": []})
    daemon.on(f"POST /containers/{ID}/wait", {"StatusCode": 0})
    daemon.on("POST /containers/web/exec", {"Id": "e1"})
    daemon.on("GET /exec/e1/json", {"ExitCode": 0})
    daemon.on("POST /networks/create", {"Id": ID})
    daemon.on("POST /volumes/create", {"Name": "data"})
    for route in (
        *(f"POST /containers/web/{action}" for action in ("start", "stop", "kill", "rename", "pause")),
        *("POST /networks/front/connect", "POST /networks/front/disconnect"),
        *("DELETE /containers/web", "DELETE /networks/front", "DELETE /volumes/data"),
        *("POST /carrick/v1/containers/web/ports", f"POST /containers/{ID}/start"),
    ):
        daemon.on(route, Reply(204))
    output = Reply(takeover=lambda connection: connection.sendall(encode_frame(STDOUT, b"hi")))
    daemon.on("POST /exec/e1/start", output)
    daemon.on(f"POST /containers/{ID}/attach", output)
    return daemon


@pytest.mark.parametrize(
    "line",
    [
        "ps",
        "ps -aq --no-trunc",
        "container ls -f name=web",
        "version",
        "images",
        "run -d busybox",
        "run -d --name web -p 8080:80 -p 53:53/udp --network front -e A=1 -v /a:/b registry.example:5000/a:1",
        "create --network name=front,alias=db --restart on-failure:3 --label a=b busybox sh",
        "start web",
        "stop -t 3 web",
        "kill -s HUP web",
        "pause web",
        "rename web old",
        "rm -f web",
        "container rm -fv web",
        "port web",
        "port add web -p 8081:80",
        "network ls",
        "network create front",
        "network connect --ip 10.9.0.7 --alias db front web",
        "network disconnect -f front web",
        "network rm front",
        "volume create data",
        "volume ls",
        "volume rm data",
        "exec -d web true",
        "--version",
    ],
)
def test_a_plain_command_imports_nothing_slow(ready: FakeDaemon, line: str) -> None:
    ready.on("POST /exec/e1/start", Reply(200))
    assert sorted(imported(ready, line.split()) & SLOW) == []


@pytest.mark.parametrize("line", ["run --rm busybox true", "exec web true"])
def test_a_session_imports_little(ready: FakeDaemon, line: str) -> None:
    assert sorted(imported(ready, line.split()) & (SLOW - FOR_SESSIONS)) == []


def test_a_command_imports_no_other_command(ready: FakeDaemon) -> None:
    modules = {name for name in imported(ready, ["rm", "-f", "web"]) if ".cli.commands." in name}
    assert modules == {"carrick.doors.cli.commands.lifecycle", "carrick.doors.cli.commands.targets"}
