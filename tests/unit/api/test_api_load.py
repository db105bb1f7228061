"""Ten thousand containers in a list, and clients that are slow or never finish what they say."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carrick.model.ids import ContainerId
from carrick.testing.fake_ids import make_id

MANY = 10_000


@pytest.fixture
async def crowd(api: Any) -> Any:
    """The API with ten thousand containers, all alike."""
    identifier = await api.create(
        "sleep", "1d", name="c0", Labels={"a": "b"}, ExposedPorts={"80/tcp": {}}, Volumes={"/data": {}}
    )
    records = api.engine.containers.records
    for number in range(1, MANY):
        fresh = ContainerId(make_id("crowd", number))
        records[fresh] = replace(records[identifier], id=fresh, name=f"c{number}")
    return api


def resident_mib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 // 2**20


async def test_others_are_served_while_ten_thousand_are_listed(crowd: Any) -> None:
    async with crowd.connect() as raw:
        raw.writer.write(b"GET /containers/json?all=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        reading = asyncio.create_task(raw.reader.read())
        served = 0
        while not reading.done():
            assert (await crowd.call("GET", "/_ping")).status == 200
            served += 1
            await asyncio.sleep(0)
        assert len(await reading) > 1000 * MANY // 2
    assert served > 5


async def test_the_list_of_ten_thousand_is_whole(crowd: Any) -> None:
    # Past the fixture's session: comparing every entry with the description takes half a minute.
    async with crowd.connect() as raw:
        raw.writer.write(b"GET /containers/json?all=1 HTTP/1.0\r\n\r\n")
        await raw.head()
        entries = json.loads(await asyncio.wait_for(raw.reader.read(), 60))
    assert {entry["Names"][0] for entry in entries} == {f"/c{number}" for number in range(MANY)}
    assert entries[0].keys() == entries[-1].keys()


async def test_a_list_that_nobody_reads_is_kept_once(crowd: Any) -> None:
    """Twenty answers of nine megabytes wait for their clients: their bytes are kept, and no more."""
    tasks, before = await idle(crowd), resident_mib()
    connections = [crowd.connect() for _ in range(20)]
    for connection in connections:
        raw = await connection.__aenter__()
        raw.writer.write(b"GET /containers/json?all=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await raw.head()
    assert resident_mib() - before < 20 * 12 + 40
    for connection in connections:
        await connection.__aexit__(None, None, None)
    await settle(tasks)


async def idle(api: Any) -> int:
    """Return how many tasks there are while nothing is asked, the session's connection included."""
    await api.call("GET", "/_ping")
    return len(asyncio.all_tasks())


async def settle(tasks: int) -> None:
    """Wait until there are no more tasks than at first."""
    async with asyncio.timeout(30):
        while len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("size", [0, 1, 3, 2000])
async def test_a_list_of_any_length_is_json(api: Any, size: int) -> None:
    for number in range(size):
        if number < 3:
            await api.create(name=f"c{number}")
        else:
            records = api.engine.containers.records
            fresh = ContainerId(make_id("crowd", number))
            records[fresh] = replace(next(iter(records.values())), id=fresh, name=f"c{number}")
    reply = await api.call("GET", "/containers/json?all=1", headers={"Connection": "close"})
    assert len(json.loads(reply.body)) == size
    assert int(reply.headers["Content-Length"]) == len(reply.body)


SLOW = [
    b"G",
    b"GET /_ping HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    b"POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 9\r\n\r\n{",
    b"POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    b"POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    b"POST /images/create?fromSrc=- HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\nx",
]


@pytest.mark.parametrize("beginning", SLOW)
async def test_fifty_clients_that_never_finish(
    api: Any, beginning: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = await idle(api)
    connections = [api.connect() for _ in range(50)]
    for raw in [await connection.__aenter__() for connection in connections]:
        raw.writer.write(beginning)
    await asyncio.sleep(0.05)
    assert (await api.call("GET", "/containers/json")).status == 200
    for connection in connections:
        await connection.__aexit__(None, None, None)
    await settle(tasks)
    assert not caplog.records


async def test_an_endless_body_is_refused_at_its_limit(api: Any) -> None:
    async with api.connect() as raw:
        raw.writer.write(
            b"POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        head = asyncio.create_task(raw.head())
        with pytest.raises(ConnectionError):  # refused, and then cut off
            while True:
                raw.writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
                await raw.writer.drain()
                await asyncio.sleep(0)
        assert (await head).startswith("HTTP/1.1 400")
