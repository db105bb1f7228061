"""Many clients, and clients that behave badly, at a real daemon with real containers.

Each test ends with as many open descriptors in the daemon as it began with, whoever was cut off.
"""

import asyncio
import json
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import pytest

from carrick.testing.daemon import Daemon, eventually, split_frames

CLIENTS = 200
IDLE = 1000
FLOOD_MIB = 60
# What the daemon may grow by in a test: its allocator keeps some of what it had.
GROWTH_MIB = 48


def proc(daemon: Daemon, command: str) -> str:
    return daemon.machine.do("sh", "-c", command.replace("PID", str(daemon.pid)))


def descriptors(daemon: Daemon) -> list[str]:
    """Return what each open descriptor of the daemon is, but for netlink sockets: each of its kernel's few
    threads has one from its first work on."""
    table = proc(daemon, "cat /proc/PID/net/netlink").splitlines()[1:]
    netlink = {f"socket:[{line.split()[-1]}]" for line in table}
    found = proc(daemon, "for fd in /proc/PID/fd/*; do readlink $fd || true; done").split()
    return sorted(item for item in found if item not in netlink)


def resident_mib(daemon: Daemon) -> int:
    return int(proc(daemon, "grep VmRSS /proc/PID/status").split()[1]) // 1024


@pytest.fixture(autouse=True)
def nothing_is_left(daemon: Daemon) -> Iterator[None]:
    """Whatever a test does, the daemon lives on, with no descriptor more and no traceback."""
    assert daemon.is_ready()
    pid, known, before = daemon.pid, daemon.tracebacks(), descriptors(daemon)
    yield
    daemon.remove_all()
    try:
        eventually(lambda: len(descriptors(daemon)) <= len(before), 30)
    except AssertionError:
        raise AssertionError(f"now {descriptors(daemon)}; before {before}") from None
    assert daemon.pid == pid
    assert daemon.tracebacks() == known


@pytest.fixture(autouse=True, scope="module")
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def create(daemon: Daemon, name: str, script: str, **more: Any) -> None:
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "StopSignal": "SIGKILL", **more}
    assert daemon.api.post(f"/containers/create?name={name}", body).status == 201


def run(daemon: Daemon, name: str, script: str, **more: Any) -> None:
    create(daemon, name, script, **more)
    start(daemon, name)


def start(daemon: Daemon, name: str) -> None:
    assert daemon.api.post(f"/containers/{name}/start").status == 204


def wait_end(daemon: Daemon, name: str, timeout_s: float = 120) -> int:
    reply = daemon.api.call("POST", f"/containers/{name}/wait", timeout_s=timeout_s)
    return int(reply.json["StatusCode"])


@contextmanager
def sent(daemon: Daemon, data: bytes) -> Iterator[socket.socket]:
    """A connection that has sent something and takes little in."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(daemon.socket))
        connection.sendall(data)
        yield connection


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *lines, "", "")).encode()


UPGRADE = ("Connection: Upgrade", "Upgrade: tcp")


@asynccontextmanager
async def attached(daemon: Daemon, name: str) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_unix_connection(str(daemon.socket))
    try:
        writer.write(head("POST", f"/containers/{name}/attach?stream=1&stdout=1&stderr=1", *UPGRADE))
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).startswith(b"HTTP/1.1 101")
        yield reader
    finally:
        writer.close()


async def frames(reader: asyncio.StreamReader) -> dict[int, str]:
    """Read frames to the end; return what each stream carries."""
    return split_frames(await asyncio.wait_for(reader.read(), 120))


async def test_two_hundred_attached_clients(daemon: Daemon) -> None:
    """Each gets everything, on two containers that write much, and standard error besides."""
    script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; echo done >&2"
    expected = {1: "".join(f"line {number}\n" for number in range(1, 3001)), 2: "done\n"}
    for name in ("one", "two"):
        await asyncio.to_thread(create, daemon, name, script)
    began = time.monotonic()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        tasks = []
        for number in range(CLIENTS):
            reader = await stack.enter_async_context(attached(daemon, ("one", "two")[number % 2]))
            tasks.append(group.create_task(frames(reader)))
        at_most = await asyncio.to_thread(resident_mib, daemon)
        for name in ("one", "two"):
            await asyncio.to_thread(start, daemon, name)
        outputs = await asyncio.gather(*tasks)
    print(f"{CLIENTS} attached: {time.monotonic() - began:.1f} s, RSS {at_most} MiB")
    for output in outputs:
        assert output == expected


def flood(mib: int) -> str:
    """A script that writes so much, in lines of a thousand bytes."""
    return f"head -c {mib * 2**20} /dev/zero | tr '\\0' x | fold -w 1000"


STALLED = {
    "logs": lambda name: head("GET", f"/containers/{name}/logs?follow=1&stdout=1"),
    "attach": lambda name: head("POST", f"/containers/{name}/attach?stream=1&logs=1&stdout=1", *UPGRADE),
}


@pytest.mark.parametrize("way", sorted(STALLED))
def test_a_client_that_stops_reading(daemon: Daemon, way: str) -> None:
    """The container writes on to its end, others get everything, and the daemon keeps nothing for it."""
    create(daemon, "flood", f"read go; {flood(FLOOD_MIB)}", OpenStdin=True, StdinOnce=True)
    start(daemon, "flood")
    before = resident_mib(daemon)
    with sent(daemon, STALLED[way]("flood")) as stalled:
        assert stalled.recv(100)
        with sent(daemon, head("POST", "/containers/flood/attach?stream=1&stdin=1", *UPGRADE)) as stdin:
            assert stdin.recv(100).startswith(b"HTTP/1.1 101")
            stdin.sendall(b"go\n")
        began = time.monotonic()
        reader = daemon.api.connection(120)
        reader.request("GET", "/containers/flood/logs?follow=1&stdout=1")
        answer, length = reader.getresponse(), 0
        while piece := answer.read(1 << 20):
            length += len(piece)
        reader.close()
        lines = FLOOD_MIB * 2**20 // 1000
        assert length >= FLOOD_MIB * 2**20 + lines
        assert wait_end(daemon, "flood") == 0
        grown = resident_mib(daemon) - before
        print(
            f"{way}: {length / 2**20:.0f} MiB to the other in {time.monotonic() - began:.1f} s, +{grown} MiB"
        )
        assert grown < GROWTH_MIB
        assert daemon.is_ready()


@pytest.mark.parametrize("tty", [False, True])
def test_a_client_that_vanishes_in_the_middle_of_an_exec(daemon: Daemon, tty: bool) -> None:
    """As in Docker, the process goes on; its output goes nowhere, and does not block it."""
    run(daemon, "box", "sleep 1d")
    filler = "x=$(head -c 1000 /dev/zero | tr '\\0' x)"
    script = f"{filler}; i=0; while true; do i=$((i+1)); echo $i $x; echo $i >/count; done"
    created = daemon.api.post(
        "/containers/box/exec",
        {
            "Cmd": ["sh", "-c", script],
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": tty,
        },
    )
    exec_id = created.json["Id"]
    body = json.dumps({"Tty": tty}).encode()
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}", *UPGRADE)
    with sent(daemon, head("POST", f"/exec/{exec_id}/start", *lines) + body) as client:
        received = b""
        while len(received) < 10_000:
            received += client.recv(4096)

    def count() -> int:
        return int(daemon.exec("box", "cat", "/count").out.strip() or 0)

    reached = count()
    eventually(lambda: count() > reached + 2000, 60, "the process goes on")
    assert daemon.api.get(f"/exec/{exec_id}/json").json["Running"]
    before = resident_mib(daemon)
    later = count()
    eventually(lambda: count() > later + 2000, 60)
    assert resident_mib(daemon) - before < GROWTH_MIB
    # Its parent is gone as well: it is the container's now, and ends with it.
    daemon.exec("box", "sh", "-c", "kill -9 $(pidof sh)")


def test_fifty_execs_whose_clients_vanish(daemon: Daemon) -> None:
    run(daemon, "box", "sleep 1d")
    before = descriptors(daemon)
    for _ in range(50):
        created = daemon.api.post(
            "/containers/box/exec", {"Cmd": ["sh", "-c", "sleep 1"], "AttachStdout": True}
        )
        lines = ("Content-Type: application/json", "Content-Length: 2", *UPGRADE)
        with sent(daemon, head("POST", f"/exec/{created.json['Id']}/start", *lines) + b"{}"):
            pass
    eventually(lambda: len(descriptors(daemon)) <= len(before), 30)
    eventually(lambda: len(daemon.api.get("/containers/box/top").json["Processes"]) == 1, 30)


IDLERS = {
    "idle": b"",
    "half a head": b"GET /containers/json HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "half a body": head("POST", "/networks/create", "Content-Type: application/json", "Content-Length: 9")
    + b"{",
    "watching": head("GET", "/events"),
}


@pytest.mark.parametrize("kind", sorted(IDLERS))
def test_a_thousand_connections_that_do_nothing(daemon: Daemon, kind: str) -> None:
    before = resident_mib(daemon)
    opened = []
    try:
        for _ in range(IDLE):
            connection = socket.socket(socket.AF_UNIX)
            opened.append(connection)
            connection.connect(str(daemon.socket))
            connection.sendall(IDLERS[kind])
        assert daemon.api.get("/containers/json").status == 200
        began = time.monotonic()
        daemon.sleeper("box")
        print(
            f"{IDLE} {kind}: run took {time.monotonic() - began:.2f} s, +{resident_mib(daemon) - before} MiB"
        )
        assert daemon.exec("box", "echo", "hi").out == "hi\n"
    finally:
        for connection in opened:
            connection.close()


def endless(first: bytes, piece: bytes) -> Callable[[socket.socket], int]:
    """Return what sends pieces for ever, and counts how many were taken."""

    def send(connection: socket.socket) -> int:
        connection.sendall(first)
        taken = 0
        try:
            while taken < 4096:
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                taken += 1
        except OSError:
            return taken
        return taken

    return send


@pytest.mark.parametrize(
    "request_line",
    [
        ("POST", "/networks/create", "Content-Type: application/json"),
        ("POST", "/containers/create", "Content-Type: application/json"),
        ("POST", "/images/load"),
        ("POST", "/images/create?fromSrc=-&repo=endless"),
        ("PUT", "/containers/box/archive?path=/"),
    ],
)
def test_a_body_that_never_ends(daemon: Daemon, request_line: tuple[str, ...]) -> None:
    """256 MiB of nothing; the daemon refuses it or keeps it off its memory, and nothing stays behind."""
    run(daemon, "box", "sleep 1d")
    before = resident_mib(daemon)
    images = daemon.api.get("/images/json").json
    send = endless(head(*request_line, "Transfer-Encoding: chunked"), b" " * 65536)
    with sent(daemon, b"") as connection:
        taken = send(connection)
        grown = resident_mib(daemon) - before
        assert daemon.is_ready()
    print(f"{request_line[1]}: took {taken // 16} MiB, +{grown} MiB")
    assert grown < GROWTH_MIB
    assert daemon.api.get("/images/json").json == images
    eventually(lambda: not list((daemon.state_dir / "tmp").glob("*")), 30)


def test_a_body_that_is_said_to_be_huge(daemon: Daemon) -> None:
    for path in ("/containers/create", "/networks/create", "/exec/x/start", "/auth"):
        lines = ("Content-Type: application/json", "Content-Length: 99999999999999")
        with sent(daemon, head("POST", path, *lines) + b"{") as connection:
            answer = connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 400"), (path, answer)
            assert b"larger than" in answer


def test_clients_that_leave_at_any_moment(daemon: Daemon) -> None:
    """Two hundred that ask for something long and go away without looking."""
    run(daemon, "box", "while true; do echo x; sleep 0.01; done")
    paths = (
        ("GET", "/events"),
        ("GET", "/containers/box/logs?follow=1&stdout=1"),
        ("GET", "/containers/box/stats"),
        ("POST", "/containers/box/wait"),
        ("POST", "/containers/box/attach?stream=1&stdout=1"),
        ("GET", "/containers/box/export"),
        ("GET", "/containers/box/archive?path=/bin"),
        ("GET", "/images/busybox/get"),
        ("GET", "/system/df"),
    )
    for number in range(CLIENTS):
        method, path = paths[number % len(paths)]
        with sent(daemon, head(method, path)) as connection:
            if number % 3:
                connection.recv(number * 50 + 1)
    assert daemon.exec("box", "echo", "hi").out == "hi\n"
