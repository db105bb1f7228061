"""The daemon's client against a server of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from carrick.host.portholder.client import PortHolderClient
from carrick.host.portholder.contract import HeldPort, PortTaken
from carrick.host.portholder.protocol import (
    Done,
    Hold,
    Release,
    Reply,
    Request,
    Sync,
    encode,
    parse_request,
    render_error,
)
from carrick.model.errors import Unavailable

PORT = HeldPort("tcp", "0.0.0.0", 8080)


class Server:
    """Notes requests and answers them by `answer`; None leaves one without an answer."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Reply | None] = lambda request: Done(request.number)
        self.writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while line := await reader.readline():
                request = parse_request(line)
                self.requests.append(request)
                if (reply := self.answer(request)) is not None:
                    writer.write(encode(reply) + b"\n")
        except ConnectionError:
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        for writer in list(self.writers):
            writer.transport.abort()


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_unix_server(server.serve, path)
    try:
        yield server
    finally:
        listener.close()
        server.hang_up()
        await asyncio.sleep(0.01)
        path.unlink(missing_ok=True)


@asynccontextmanager
async def client_of(
    path: Path, on_connect: Callable[[], Awaitable[object]] | None = None, timeout_s: float = 5.0
) -> AsyncIterator[PortHolderClient]:
    client = PortHolderClient(path, on_connect=on_connect, timeout_s=timeout_s)
    try:
        yield client
    finally:
        await client.close()
        await asyncio.sleep(0)


async def test_requests_go_through(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(path) as server, client_of(path) as client:
        await client.hold("a", [PORT])
        await client.hold("a", [])
        await client.release("a", [PORT])
        await client.release("a", [])
        await client.release("a")
        server.answer = lambda request: Done(request.number, {"a": "taken"})
        assert await client.sync({"a": [PORT]}) == {"a": "taken"}
        assert server.requests == [
            Hold(1, "a", (PORT,)),
            Release(2, "a", (PORT,)),
            Release(3, "a"),
            Sync(4, {"a": (PORT,)}),
        ]


async def test_many_at_once_are_under_way_together(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(path) as server, client_of(path) as client:
        waiting: list[Request] = []

        def answer_backwards(request: Request) -> None:
            waiting.append(request)
            if len(waiting) == 50:
                for late in reversed(waiting):
                    for writer in server.writers:
                        writer.write(encode(Done(late.number)) + b"\n")

        server.answer = answer_backwards
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(client.hold(str(number), [PORT]))
        assert [request.number for request in waiting] == list(range(1, 51))


async def test_errors_are_raised(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(path) as server, client_of(path) as client:
        server.answer = lambda request: render_error(request.number, PortTaken(PORT, "nginx (pid 3)"))
        with pytest.raises(PortTaken, match="nginx"):
            await client.hold("a", [PORT])


async def test_nobody_there(tmp_path: Path) -> None:
    async with client_of(tmp_path / "s") as client:
        with pytest.raises(Unavailable, match="does not answer") as caught:
            await client.hold("a", [PORT])
        assert caught.value.remedy


async def test_it_connects_again_and_syncs_first(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def on_connect() -> None:
        await client.sync({"kept": [PORT]})

    async with client_of(path, on_connect) as client:
        for _ in range(2):
            async with serving(path) as server:
                async with asyncio.TaskGroup() as group:
                    for owner in "abc":
                        group.create_task(client.hold(owner, [PORT]))
                kinds = [type(request) for request in server.requests]
                assert kinds == [Sync, Hold, Hold, Hold]


async def test_a_sync_of_ones_own_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "s"
    calls = 0

    async def on_connect() -> None:
        nonlocal calls
        calls += 1

    async with serving(path), client_of(path, on_connect) as client:
        await client.sync({})
        await client.hold("a", [PORT])
        assert calls == 0


async def test_a_failed_sync_fails_the_request_and_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "s"
    attempts = 0

    async def on_connect() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Unavailable("the store is away")

    async with serving(path) as server, client_of(path, on_connect) as client:
        with pytest.raises(Unavailable, match="store"):
            await client.hold("a", [PORT])
        assert server.requests == []
        await client.hold("a", [PORT])
        assert attempts == 2


async def test_a_lost_connection_fails_what_is_under_way(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(path) as server, client_of(path) as client:
        server.answer = lambda _: server.hang_up()
        with pytest.raises(Unavailable, match="lost"):
            await client.hold("a", [PORT])
        server.answer = lambda request: Done(request.number)
        await client.hold("a", [PORT])


async def test_no_answer_in_time(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(path) as server, client_of(path, timeout_s=0.05) as client:
        server.answer = lambda _: None
        with pytest.raises(Unavailable, match=r"has not answered in 0\.05 s"):
            await client.hold("a", [PORT])
        assert not client.is_connected


async def test_nonsense_ends_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(path) as server, client_of(path) as client:

        def nonsense(_: Request) -> None:
            for writer in server.writers:
                writer.write(b"HTTP/1.1 200 OK\n")

        server.answer = nonsense
        with pytest.raises(Unavailable):
            await client.hold("a", [PORT])


async def test_a_cancelled_request_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(path) as server, client_of(path) as client:
        server.answer = lambda request: (
            None if getattr(request, "owner", "") == "slow" else Done(request.number)
        )
        slow = asyncio.create_task(client.hold("slow", [PORT]))
        await asyncio.sleep(0.01)
        slow.cancel()
        await client.hold("a", [PORT])
        with pytest.raises(asyncio.CancelledError):
            await slow


async def test_run_keeps_it_connected(tmp_path: Path) -> None:
    path = tmp_path / "s"
    synced = asyncio.Event()

    async def on_connect() -> None:
        await client.sync({})
        synced.set()

    async with client_of(path, on_connect) as client:
        task = asyncio.create_task(client.run())
        await asyncio.sleep(0.02)
        for _ in range(2):
            async with serving(path):
                await asyncio.wait_for(synced.wait(), 5)
                synced.clear()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_after_close_nothing_goes(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(path), client_of(path) as client:
        await client.hold("a", [PORT])
        await client.close()
        await client.close()
        with pytest.raises(Unavailable):
            await client.hold("a", [PORT])
