"""Garbage, clients that vanish, and an orderly end: no traceback, no task left."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from carrick.doors.api import ApiServer
from carrick.doors.api.streams import begin
from carrick.testing.fake_engine import FakeEngine
from carrick.testing.waiting import until


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        os.urandom(1024 * 1024),
        b"\r\n" * 500_000,
        b"A" * 1024 * 1024,
    ],
)
async def test_garbage(api: Any, garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with api.connect() as raw:
            try:
                raw.writer.write(garbage)
                await asyncio.wait_for(raw.writer.drain(), 5)
                raw.writer.write_eof()
                answer = await raw.rest()
            except ConnectionError:
                answer = b""  # cut off while we were still talking
            if answer:
                assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
                assert b'{"message":"' in answer
        assert (await api.call("GET", "/_ping")).status == 200
    assert "Traceback" not in caplog.text
    assert not caplog.records


async def test_paths_and_queries_with_anything_in_them(api: Any) -> None:
    for path in (
        "/containers/%00/json",
        "/containers/%ff%fe/json",
        "/containers/..%2f..%2fetc/json",
        "/networks/%F0%9F%98%80",
        "/images/%2e%2e/json",
        "/volumes/a%20b",
        "/v1.48//json",
        "/containers/a/json?size=%ff&x=%00",
    ):
        async with api.connect() as raw:
            raw.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = await raw.rest()
            assert answer.split()[1] in (b"404", b"400"), (path, answer)


async def test_a_body_that_is_too_long_is_refused_before_it_is_read(api: Any) -> None:
    async with api.connect() as raw:
        raw.writer.write(
            b"POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 999999999999\r\n\r\n{"
        )
        assert (await raw.head()).startswith("HTTP/1.1 400")


async def test_clients_that_vanish_in_a_stream(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    identifier = await api.run("sleep")
    paths = (
        "GET /events",
        f"GET /containers/{identifier}/logs?follow=1&stdout=1",
        f"GET /containers/{identifier}/stats",
        f"POST /containers/{identifier}/wait",
    )
    with caplog.at_level(logging.WARNING):
        before = len(asyncio.all_tasks())
        for path in paths:
            async with api.connect() as raw:
                raw.writer.write(f"{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await raw.head()
        for _ in range(100):
            if len(asyncio.all_tasks()) <= before:
                break
            await asyncio.sleep(0.02)
        assert len(asyncio.all_tasks()) <= before
    assert not api.engine.bus.queues
    assert not api.engine.containers.processes[identifier].sessions
    assert not caplog.records


async def test_an_upload_that_breaks_off_changes_nothing(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    identifier = await api.create()
    with caplog.at_level(logging.WARNING):
        async with api.connect() as raw:
            raw.writer.write(
                f"PUT /containers/{identifier}/archive?path=/x HTTP/1.1\r\nHost: x\r\n"
                "Content-Length: 1000\r\n\r\nabc".encode()
            )
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
    assert not api.engine.containers.archives
    assert not caplog.records


async def test_a_change_outlives_its_client(api: Any) -> None:
    gate = asyncio.Event()
    create = api.engine.networks.create

    async def slow(request: Any) -> Any:
        await gate.wait()
        return await create(request)

    api.engine.networks.create = slow
    async with api.connect() as raw:
        body = b'{"Name":"web"}'
        raw.writer.write(
            b"POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    gate.set()
    await api.settle()
    assert api.engine.networks.id_of("web")


async def test_a_bug_is_an_answer_with_an_id(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(reference: str) -> None:
        raise KeyError("secret")

    api.engine.networks.get = broken
    reply = await api.call("GET", "/networks/x")
    assert reply.status == 500
    assert reply.document["message"].startswith("internal error ")
    assert "secret" not in reply.document["message"]
    assert "KeyError" in caplog.text


async def test_many_at_once(api: Any) -> None:
    await asyncio.gather(*(api.create(name=f"c{index}") for index in range(100)))
    assert len(await api.get("/containers/json?all=1")) == 100


async def test_stop_ends_streams_and_waits_for_changes(socket_path: Path) -> None:
    engine = FakeEngine()
    server = ApiServer(engine, socket_path, stop_grace_s=5)
    await server.start()
    gate = asyncio.Event()
    create = engine.networks.create

    async def slow(request: Any) -> Any:
        await gate.wait()
        return await create(request)

    engine.networks.create = slow  # type: ignore[method-assign]
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket_path))) as session:
        change = asyncio.create_task(session.post("http://x/networks/create", json={"Name": "web"}))
        async with session.get("http://x/events") as events:
            await asyncio.sleep(0.05)
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0.05)
            assert not stopping.done()
            gate.set()
            await asyncio.wait_for(stopping, 3)
            with pytest.raises(aiohttp.ClientError):
                await events.read()
        assert (await change).status == 201
    assert engine.networks.id_of("web")
    assert not socket_path.exists()
    await server.stop()


async def test_a_stream_that_was_begun_and_never_read_lets_go_of_its_source() -> None:
    released = asyncio.Event()

    async def source() -> Any:
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            released.set()

    begun = await begin(source(), endless=True)
    await begun.aclose()
    assert released.is_set()

    async def empty() -> Any:
        for item in ():
            yield item

    assert [item async for item in await begin(empty(), endless=False)] == []

    async def three() -> Any:
        for item in range(3):
            yield item

    assert [item async for item in await begin(three(), endless=True)] == [0, 1, 2]


async def test_bytes_that_are_no_text_are_shown_as_go_shows_them(api: Any) -> None:
    async with api.connect() as raw:
        raw.writer.write(
            b"POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Type: a\x80b\r\nContent-Length: 2\r\n"
            b"Connection: close\r\n\r\n{}"
        )
        answer = await raw.rest()
    assert answer.startswith(b"HTTP/1.1 400")
    assert "unsupported Content-Type header (a\ufffdb)".encode() in answer


async def test_a_request_line_without_a_version_is_answered_in_http_1(api: Any) -> None:
    async with api.connect() as raw:
        raw.writer.write(b"GET /\r\nHost: x\r\n\r\n")
        answer = await raw.rest()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"malformed HTTP request" in answer


async def test_clients_that_are_gone_before_they_are_answered(
    api: Any, caplog: pytest.LogCaptureFixture
) -> None:
    identifier = await api.run("sleep")
    tasks = len(asyncio.all_tasks())
    created = await api.call("POST", f"/containers/{identifier}/exec", {"Cmd": ["cat"], "AttachStdin": True})
    heads = (
        f"POST /exec/{created.document['Id']}/start HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n",
        f"POST /containers/{identifier}/attach?stream=1&stdout=1 HTTP/1.1\r\n",
        f"GET /containers/{identifier}/attach/ws?stream=1 HTTP/1.1\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n",
        "GET /events HTTP/1.1\r\n",
        "GET /images/busybox/get HTTP/1.1\r\n",
    )
    for head in heads:
        for _ in range(20):
            async with api.connect() as raw:
                raw.writer.write(f"{head}Host: x\r\n\r\n".encode())
    await until(lambda: len(asyncio.all_tasks()) <= tasks + 1)
    assert not api.engine.bus.queues
    assert not caplog.records
