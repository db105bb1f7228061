"""A server with a fake engine on a socket of its own, and ways to talk to it."""

import asyncio
import io
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from carrick.doors.api import ApiServer
from carrick.doors.api.describe import Description
from carrick.doors.api.routing import MAX_VERSION, parse_version
from carrick.doors.api.server import all_routes
from carrick.testing.exchanges import Exchange, ExchangeChecker, Undocumented
from carrick.testing.fake_engine import FakeEngine


class Watch:
    """Checks what a session says and hears against the API's description.

    It sees what is read in one go; of streams, status and headers.
    """

    def __init__(self, checker: ExchangeChecker) -> None:
        self.checker = checker
        self.problems: list[Undocumented] = []

    def trace(self) -> aiohttp.TraceConfig:
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._on_start)
        trace.on_request_chunk_sent.append(self._on_sent)
        trace.on_request_end.append(self._on_head)
        trace.on_response_chunk_received.append(self._on_body)
        return trace

    async def _on_start(self, _: Any, context: Any, __: Any) -> None:
        context.sent = b""

    async def _on_sent(self, _: Any, context: Any, piece: Any) -> None:
        context.sent += piece.chunk

    async def _on_head(self, _: Any, context: Any, end: Any) -> None:
        context.end = end
        self._check(context, None)

    async def _on_body(self, _: Any, context: Any, piece: Any) -> None:
        self._check(context, piece.chunk)

    def _check(self, context: Any, body: bytes | None) -> None:
        response = context.end.response
        sent = context.sent if body is not None else None
        target = response.url.raw_path_qs
        exchange = Exchange(response.method, target, response.status, response.headers, body, sent)
        try:
            self.checker.check(exchange)
        except Undocumented as problem:
            self.problems.append(problem)


@dataclass(slots=True)
class Reply:
    status: int
    headers: Any
    body: bytes
    document: Any


class Raw:
    """A raw connection to the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> str:
        return (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode()

    async def frame(self) -> tuple[int, bytes]:
        header = await asyncio.wait_for(self.reader.readexactly(8), 5)
        return header[0], await self.reader.readexactly(int.from_bytes(header[4:], "big"))

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 5)


class Api:
    def __init__(self, server: ApiServer, engine: FakeEngine, path: Path, session: Any) -> None:
        self.server = server
        self.engine = engine
        self.path = path
        self.session = session

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        if isinstance(data := options.get("data"), bytes):
            options["data"] = io.BytesIO(data)
        if body is not None:
            options["json"] = body
        async with self.session.request(method, f"http://carrick{path}", **options) as response:
            content = await response.read()
            is_json = response.content_type == "application/json" and content
            document = await response.json() if is_json and content.count(b"\n") == 1 else None
            return Reply(response.status, response.headers, content, document)

    async def get(self, path: str) -> Any:
        reply = await self.call("GET", path)
        assert reply.status == 200, reply.body
        return reply.document

    async def run(self, *args: str, name: str = "", **config: Any) -> str:
        """Create and start a container; return its id."""
        identifier = await self.create(*args, name=name, **config)
        assert (await self.call("POST", f"/containers/{identifier}/start")).status == 204
        return identifier

    async def create(self, *args: str, name: str = "", **config: Any) -> str:
        query = f"?name={name}" if name else ""
        body = {"Image": "busybox", "Cmd": list(args), **config}
        reply = await self.call("POST", f"/containers/create{query}", body)
        assert reply.status == 201, reply.body
        return str(reply.document["Id"])

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Raw]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            yield Raw(reader, writer)
        finally:
            writer.close()

    @asynccontextmanager
    async def hijack(self, path: str, body: bytes = b"", upgrade: bool = True) -> AsyncIterator[Raw]:
        async with self.connect() as raw:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {len(body)}\r\n"
            if upgrade:
                head += "Connection: Upgrade\r\nUpgrade: tcp\r\n"
            raw.writer.write(head.encode() + b"\r\n" + body)
            yield raw

    async def settle(self) -> None:
        """Wait until no request is being served."""
        async with asyncio.timeout(5):
            while tasks := [task for task in asyncio.all_tasks() if task.get_name().startswith("api ")]:
                await asyncio.wait(tasks)


@pytest.fixture
def socket_path() -> Iterator[Path]:
    # Not tmp_path: a socket's path may have a hundred bytes only.
    directory = tempfile.mkdtemp(prefix="carrick-api-")
    yield Path(directory) / "api.sock"
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def checker() -> ExchangeChecker:
    """What checks every exchange of every test here."""
    description = Description(all_routes(), "0")
    return ExchangeChecker(
        lambda version: description.document(parse_version(version) if version else MAX_VERSION)
    )


@pytest.fixture
async def api(socket_path: Path, checker: ExchangeChecker) -> AsyncIterator[Api]:
    engine = FakeEngine()
    server = ApiServer(engine, socket_path, stats_interval_s=0.02, stop_grace_s=2)
    await server.start()
    watch = Watch(checker)
    async with aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(str(socket_path)), trace_configs=[watch.trace()]
    ) as session:
        yield Api(server, engine, socket_path, session)
    await server.stop()
    await engine.close()
    assert not watch.problems, "\n".join(map(str, watch.problems))
