"""Attach and exec over hijacked connections, as Docker's clients use them."""

import asyncio
from functools import partial
from typing import Any

import aiohttp

from carrick.model.errors import Conflict
from carrick.testing.waiting import until

EXEC = "/exec/{}/start"


async def attach(
    api: Any, *args: str, query: str = "stream=1&stdin=1&stdout=1&stderr=1", **config: Any
) -> str:
    identifier = await api.create(*args, **config)
    return f"/containers/{identifier}/attach?{query}"


async def start(api: Any, path: str) -> None:
    assert (await api.call("POST", path.partition("/attach")[0] + "/start")).status == 204


def process_of(api: Any, path: str) -> Any:
    return api.engine.containers.processes[path.split("/")[2]]


def is_left_alone(process: Any) -> bool:
    return not process.sessions


async def make_exec(api: Any, *args: str, **config: Any) -> str:
    identifier = await api.run("sleep")
    body = {"Cmd": list(args), "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, **config}
    reply = await api.call("POST", f"/containers/{identifier}/exec", body)
    assert reply.status == 201
    return str(reply.document["Id"])


async def test_attach_before_start_misses_nothing(api: Any) -> None:
    path = await attach(api, "echo", "hello")
    async with api.hijack(path) as raw:
        head = await raw.head()
        assert head.startswith("HTTP/1.1 101 UPGRADED\r\n")
        assert "Content-Type: application/vnd.docker.multiplexed-stream\r\n" in head
        assert "Upgrade: tcp\r\n" in head
        await start(api, path)
        assert await raw.frame() == (1, b"hello\n")
        assert await raw.rest() == b""


async def test_without_an_upgrade_the_answer_is_200(api: Any) -> None:
    path = await attach(api, "warn", "oh")
    async with api.hijack(path, upgrade=False) as raw:
        head = await raw.head()
        assert head.startswith("HTTP/1.1 200 OK\r\n")
        assert "application/vnd.docker.raw-stream" in head
        await start(api, path)
        assert await raw.frame() == (2, b"oh\n")


async def test_half_close_ends_stdin_and_output_flows_on(api: Any) -> None:
    path = await attach(api, "cat", OpenStdin=True, StdinOnce=True)
    async with api.hijack(path) as raw:
        await raw.head()
        await start(api, path)
        raw.writer.write(b"abc")
        assert await raw.frame() == (1, b"abc")
        raw.writer.write(b"last")
        raw.writer.write_eof()
        assert await raw.frame() == (1, b"last")
        assert await raw.rest() == b""


async def test_half_close_without_stdin_keeps_the_output(api: Any) -> None:
    path = await attach(api, "cat", OpenStdin=True, query="stream=1&stdout=1")
    async with api.hijack(path) as raw:
        await raw.head()
        raw.writer.write_eof()
        await start(api, path)
        await asyncio.sleep(0.05)
        identifier = path.split("/")[2]
        api.engine.containers.processes[identifier].write_stdin(b"from elsewhere")
        assert await raw.frame() == (1, b"from elsewhere")


async def test_end_of_input_detaches_where_stdin_stays_open(api: Any) -> None:
    path = await attach(api, "cat", OpenStdin=True)
    async with api.hijack(path) as raw:
        await raw.head()
        await start(api, path)
        raw.writer.write_eof()
        assert await raw.rest() == b""
    identifier = path.split("/")[2]
    assert (await api.get(f"/containers/{identifier}/json"))["State"]["Running"]


async def test_a_terminal_is_raw_and_detach_keys_leave_it(api: Any) -> None:
    path = await attach(api, "cat", OpenStdin=True, Tty=True)
    async with api.hijack(path) as raw:
        assert "application/vnd.docker.raw-stream" in await raw.head()
        await start(api, path)
        raw.writer.write(b"hi\x10")
        assert await raw.reader.readexactly(2) == b"hi"
        raw.writer.write(b"\x11ignored")
        assert await raw.rest() == b""
    identifier = path.split("/")[2]
    assert (await api.get(f"/containers/{identifier}/json"))["State"]["Running"]
    assert not api.engine.containers.processes[identifier].sessions


async def test_bad_detach_keys_are_refused_before_the_upgrade(api: Any) -> None:
    path = await attach(api, "cat", query="stream=1&detachKeys=ctrl-")
    async with api.hijack(path) as raw:
        assert (await raw.head()).startswith("HTTP/1.1 400 ")


async def test_attach_to_the_past_gives_the_log_and_ends(api: Any) -> None:
    identifier = await api.run("echo", "hello")
    await asyncio.sleep(0.02)
    async with api.hijack(f"/containers/{identifier}/attach?logs=1&stdout=1") as raw:
        await raw.head()
        assert await raw.frame() == (1, b"hello\n")
        assert await raw.rest() == b""


async def test_only_the_streams_asked_for(api: Any) -> None:
    path = await attach(api, "warn", "oh", query="stream=1&stdout=1")
    async with api.hijack(path) as raw:
        await raw.head()
        await start(api, path)
        assert await raw.rest() == b""


async def test_a_client_that_does_not_read_delays_no_other(api: Any) -> None:
    path = await attach(api, "flood", "8000000")
    async with api.hijack(path) as lazy, api.hijack(path) as eager:
        await lazy.head()
        await eager.head()
        await start(api, path)
        body = await eager.rest()
        assert sum(1 for byte in body if byte == ord("x")) == 8_000_000
    await api.settle()


async def test_a_client_that_vanishes_leaves_nothing_behind(api: Any) -> None:
    for query in ("stream=1&stdout=1", "stream=1&stdin=1&stdout=1"):
        path = await attach(api, "cat", OpenStdin=True, StdinOnce=True, query=query)
        async with api.hijack(path) as raw:
            await raw.head()
            await start(api, path)
        await until(partial(is_left_alone, process_of(api, path)))


async def test_a_client_that_vanishes_after_a_half_close_is_noticed(api: Any) -> None:
    path = await attach(api, "sleep", query="stream=1&stdout=1")
    async with api.hijack(path) as raw:
        await raw.head()
        await start(api, path)
        raw.writer.write_eof()
        await asyncio.sleep(0.05)
        assert process_of(api, path).sessions
    await until(lambda: not process_of(api, path).sessions)


async def test_attach_over_a_websocket(api: Any) -> None:
    identifier = await api.create("cat", OpenStdin=True, StdinOnce=True)
    path = f"/containers/{identifier}/attach/ws?stdin=1&stdout=1&stream=1"
    async with api.session.ws_connect(f"http://x{path}") as socket:
        await start(api, f"/containers/{identifier}/attach")
        await socket.send_bytes(b"one")
        assert await socket.receive_bytes() == b"one"
        await socket.send_str("two")
        assert await socket.receive_bytes() == b"two"
        api.engine.containers.processes[identifier].close_stdin()
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    await api.settle()


async def test_exec(api: Any) -> None:
    identifier = await make_exec(api, "cat")
    async with api.hijack(EXEC.format(identifier), b'{"Detach":false,"Tty":false}') as raw:
        assert (await raw.head()).startswith("HTTP/1.1 101")
        raw.writer.write(b"abc")
        raw.writer.write_eof()
        assert await raw.frame() == (1, b"abc")
        assert await raw.rest() == b""
    shown = await api.get(f"/exec/{identifier}/json")
    assert (shown["ExitCode"], shown["Running"]) == (0, False)
    assert shown["ProcessConfig"]["entrypoint"] == "cat"


async def test_exec_detached_and_resized(api: Any) -> None:
    identifier = await make_exec(api, "sleep", Tty=True)
    reply = await api.call("POST", EXEC.format(identifier), {"Detach": True})
    assert (reply.status, reply.body) == (200, b"")
    assert (await api.get(f"/exec/{identifier}/json"))["Running"]
    assert (await api.call("POST", f"/exec/{identifier}/resize?h=10&w=20")).status == 200
    process = api.engine.containers.execs[identifier][1]
    assert (process.sizes[0].rows, process.sizes[0].columns) == (10, 20)
    process.kill(0)


async def test_exec_of_what_does_not_exist_is_told_as_output(api: Any) -> None:
    identifier = await make_exec(api, "nosuch")
    async with api.hijack(EXEC.format(identifier), b"{}") as raw:
        await raw.head()
        stream, text = await raw.frame()
        assert (stream, text.endswith(b"not found in $PATH: unknown\r\n")) == (1, True)
    assert (await api.get(f"/exec/{identifier}/json"))["ExitCode"] == 127
    assert (await api.call("POST", "/exec/nope/start", {})).document == {
        "message": "No such exec instance: nope"
    }


async def test_our_own_client_understands_it_all(api: Any) -> None:
    from carrick.doors.client import Client
    from carrick.doors.client.frames import FrameDecoder

    identifier = await make_exec(api, "cat")

    def talk() -> tuple[list[tuple[int, bytes]], int]:
        client = Client(f"unix://{api.path}", version="1.48")
        connection = client.hijack(f"/exec/{identifier}/start", body={"Detach": False})
        connection.send(b"hello")
        connection.close_write()
        decoder, parts = FrameDecoder(), []
        while data := connection.receive():
            parts += decoder.feed(data)
        connection.close()
        code = client.get(f"/exec/{identifier}/json")["ExitCode"]
        client.close()
        return parts, code

    parts, code = await asyncio.to_thread(talk)
    assert b"".join(data for _, data in parts) == b"hello"
    assert code == 0


async def test_exec_that_fails_after_the_head_says_so_in_the_stream(api: Any) -> None:
    identifier = await make_exec(api, "cat")

    async def refuse(exec_id: str, *, size: Any = None) -> None:
        raise Conflict("it is paused")

    api.engine.containers.exec_start = refuse
    async with api.hijack(EXEC.format(identifier), b"{}") as raw:
        assert (await raw.head()).startswith("HTTP/1.1 101")
        assert await raw.frame() == (1, b"it is paused\r\n")
        assert await raw.rest() == b""


async def test_a_websocket_without_a_handshake_is_a_bad_request(api: Any) -> None:
    identifier = await api.run("sleep")
    reply = await api.call("GET", f"/containers/{identifier}/attach/ws?stream=1")
    assert (reply.status, "WebSocket handshake" in reply.document["message"]) == (400, True)
