"""The etcd store against a scripted server: what a real one does too rarely to wait for.

The server speaks HTTP/2 by `h2`, in this process; what it answers is written out in each test.
"""

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from carrick.host.store import Changed, Put, Watch
from carrick.host.store import etcd_wire as wire
from carrick.host.store.contract import OutcomeUnknown
from carrick.host.store.etcd import EtcdStore
from carrick.host.store.etcd_config import Endpoint, EtcdConfig
from carrick.host.store.etcd_watch import EtcdWatch
from carrick.model.errors import Denied, Failed, Unavailable

Handler = Callable[["Peer", int, str, bytes], None]


class Peer(asyncio.Protocol):
    """One connection, seen from the server. A handler gets every whole message."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self._methods: dict[int, str] = {}
        self._data: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    self._methods[event.stream_id] = str(dict(event.headers)[":path"])
                    self._data[event.stream_id] = b""
                case h2.events.DataReceived():
                    self._data[event.stream_id] += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    self._handle(event.stream_id)
        self.flush()

    def _handle(self, stream: int) -> None:
        while len(data := self._data[stream]) >= (size := 5 + int.from_bytes(data[1:5], "big")) and data:
            self._data[stream] = data[size:]
            self._handler(self, stream, self._methods[stream], data[5:size])

    def answer(self, stream: int, *messages: bytes) -> None:
        self.begin(stream)
        for message in messages:
            self.say(stream, message)
        self.end(stream)

    def begin(self, stream: int) -> None:
        self.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])

    def say(self, stream: int, message: bytes) -> None:
        self.h2.send_data(stream, struct.pack(">BI", 0, len(message)) + message)

    def end(self, stream: int, code: int = 0, text: str = "") -> None:
        self.h2.send_headers(stream, [("grpc-status", str(code)), ("grpc-message", text)], end_stream=True)

    def refuse(self, stream: int, code: int, text: str) -> None:
        headers = [(":status", "200"), ("grpc-status", str(code)), ("grpc-message", text)]
        self.h2.send_headers(stream, headers, end_stream=True)

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.transport.write(data)


@asynccontextmanager
async def serving(*handlers: Handler) -> AsyncIterator[EtcdStore]:
    """A store whose members are these handlers, asked in this order."""
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda handler=handler: Peer(handler), "127.0.0.1", 0)  # type: ignore[misc]
        for handler in handlers
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    config = EtcdConfig(
        tuple(Endpoint("127.0.0.1", port, tls=False) for port in ports), request_timeout_s=5.0
    )
    store = EtcdStore(config, rng=random.Random(1))
    store.transport._endpoints.sort(key=lambda endpoint: ports.index(endpoint.port))
    try:
        async with store:
            yield store
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


def header(revision: int) -> bytes:
    inner = b"\x18" + bytes((revision,))
    return b"\x0a" + bytes((len(inner),)) + inner


def news(revision: int) -> bytes:
    """The beginning of an answer to the first watch of a call."""
    return header(revision) + b"\x10\x01"


def event(key: bytes, revision: int) -> bytes:
    entry = b"\x0a" + bytes((len(key),)) + key + b"\x18" + bytes((revision,))
    inner = b"\x12" + bytes((len(entry),)) + entry
    return b"\x5a" + bytes((len(inner),)) + inner


CREATED, FRAGMENT = b"\x18\x01", b"\x38\x01"
DONE = header(9) + b"\x10\x01"


def commits(peer: Peer, stream: int, method: str, message: bytes) -> None:
    peer.answer(stream, DONE if method == wire.TXN else header(9))


async def take(watch: Watch, number: int) -> list[object]:
    async with asyncio.timeout(30):
        return [await anext(watch) for _ in range(number)]


async def test_what_a_leaving_member_has_not_seen_is_done_by_another() -> None:
    def leave(peer: Peer, stream: int, method: str, message: bytes) -> None:
        peer.h2.close_connection(additional_data=b"bye", last_stream_id=0)

    async with serving(leave, commits) as store:
        assert await store.commit([Put("a", b"")]) == 9


async def test_what_a_leaving_member_has_seen_is_uncertain() -> None:
    def leave(peer: Peer, stream: int, method: str, message: bytes) -> None:
        peer.h2.close_connection(additional_data=b"bye", last_stream_id=stream)

    async with serving(leave, commits) as store:
        with pytest.raises(OutcomeUnknown, match="bye"):
            await store.commit([Put("a", b"")])
        assert await store.commit([Put("a", b"")]) == 9, "the next one goes elsewhere"


async def test_a_connection_that_breaks_under_a_call() -> None:
    def cut(peer: Peer, stream: int, method: str, message: bytes) -> None:
        peer.transport.abort()

    async with serving(cut, commits) as store:
        with pytest.raises(OutcomeUnknown):
            await store.commit([Put("a", b"")])
    async with serving(cut, commits) as store:
        assert await store.newest_revision() == 9, "what only reads is asked again"


async def test_a_call_that_was_refused_is_repeated() -> None:
    refused: list[str] = []

    def refuse_once(peer: Peer, stream: int, method: str, message: bytes) -> None:
        if refused:
            commits(peer, stream, method, message)
        else:
            refused.append(method)
            peer.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)

    async with serving(refuse_once) as store:
        assert await store.commit([Put("a", b"")]) == 9


async def test_a_member_without_a_leader_is_left_for_another() -> None:
    def lost(peer: Peer, stream: int, method: str, message: bytes) -> None:
        peer.refuse(stream, 14, "etcdserver: no leader")

    async with serving(lost, commits) as store:
        assert await store.commit([Put("a", b"")]) == 9
        assert not store.outage
    async with serving(lost) as store:
        with pytest.raises(Unavailable, match="no leader"):
            await store.commit([Put("a", b"")])


@pytest.mark.parametrize("ending", ["status", "no status", "http", "nothing", "garbage", "huge"])
async def test_half_an_answer_is_none(ending: str) -> None:
    def half(peer: Peer, stream: int, method: str, message: bytes) -> None:
        match ending:
            case "http":
                peer.h2.send_headers(stream, [(":status", "502")], end_stream=True)
            case "garbage":
                peer.answer(stream, b"\xff\xff\xff")
            case "nothing":
                peer.answer(stream)
            case "huge":
                peer.begin(stream)
                peer.h2.send_data(stream, b"\x00\x7f\xff\xff\xff")
            case _:
                peer.begin(stream)
                peer.say(stream, DONE)
                if ending == "status":
                    peer.end(stream, 13, "it broke")
                else:
                    peer.h2.end_stream(stream)

    async with serving(half) as store:
        with pytest.raises((Failed, Unavailable)):
            await store.commit([Put("a", b"")])


async def test_fragments_that_break_off_inside_a_revision() -> None:
    asked: list[bytes] = []

    def serve(peer: Peer, stream: int, method: str, message: bytes) -> None:
        asked.append(message)
        peer.begin(stream)
        peer.say(stream, news(7) + CREATED)
        if len(asked) == 1:
            peer.say(stream, news(7) + FRAGMENT + event(b"carrick/a", 6) + event(b"carrick/b", 7))
            peer.end(stream, 14, "gone")
        else:
            both = event(b"carrick/a", 6) + event(b"carrick/b", 7) + event(b"carrick/c", 7)
            peer.say(stream, news(7) + both + event(b"carrick/d", 8))

    async with serving(serve) as store, store.watch("", after=5) as watch:
        assert await take(watch, 4) == [
            Changed("a", b"", 6),
            Changed("b", b"", 7),
            Changed("c", b"", 7),
            Changed("d", b"", 8),
        ]
    assert asked == [
        wire.watch_request(b"carrick/", b"carrick0", 5, 1),
        wire.watch_request(b"carrick/", b"carrick0", 7, 1),
    ]


async def test_news_of_progress_keep_ahead_of_compaction() -> None:
    asked: list[bytes] = []

    def serve(peer: Peer, stream: int, method: str, message: bytes) -> None:
        if method == wire.RANGE:
            peer.answer(stream, header(50))
            return
        asked.append(message)
        peer.begin(stream)
        peer.say(stream, news(7) + CREATED)
        if len(asked) == 1:
            peer.say(stream, news(40))
            peer.end(stream, 14, "gone")
        else:
            peer.say(stream, news(50) + event(b"carrick/a", 40) + event(b"carrick/a", 41))

    async with serving(serve) as store, store.watch("", after=5) as watch:
        # A member that lags (7 after 40) is not taken for an etcd that was restored.
        assert await take(watch, 1) == [Changed("a", b"", 41)]
    assert asked[1] == wire.watch_request(b"carrick/", b"carrick0", 40, 1)


async def test_a_watch_is_refused_at_once_but_interrupted_patiently() -> None:
    answers = ["open", "denied", "denied", "denied", "events"]

    def serve(peer: Peer, stream: int, method: str, message: bytes) -> None:
        answer = answers.pop(0)
        peer.begin(stream)
        if answer == "denied":
            reason = b"etcdserver: permission denied"
            peer.say(stream, news(7) + CREATED + b"\x20\x01\x32" + bytes((len(reason),)) + reason)
            return
        peer.say(stream, news(7) + CREATED)
        if answer == "open":
            peer.end(stream, 14, "gone")
        else:
            peer.say(stream, news(8) + event(b"carrick/a", 8))

    async with serving(serve) as store, store.watch("", after=5) as watch:
        assert await take(watch, 1) == [Changed("a", b"", 8)]
    answers[:] = ["denied", "denied"]
    async with serving(serve) as store, store.watch("", after=5) as watch:
        with pytest.raises(Denied):
            await take(watch, 1)


async def test_watches_share_a_call_and_a_slow_one_holds_up_nobody() -> None:
    calls: list[int] = []
    asked: list[bytes] = []
    big = b"\x2a" + b"\x80\x80\x20" + bytes(512 * 1024)  # a value of 512 KiB

    def change(revision: int) -> bytes:
        entry = b"\x0a\x09carrick/s\x18" + bytes((revision,)) + big
        inner = b"\x12" + wire._varint(len(entry)) + entry
        return b"\x5a" + wire._varint(len(inner)) + inner

    def serve(peer: Peer, stream: int, method: str, message: bytes) -> None:
        if stream not in calls:
            calls.append(stream)
            peer.begin(stream)
        asked.append(message)

    async def settle(number: int) -> None:
        async with asyncio.timeout(30):
            while len(asked) < number:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    peers: list[Peer] = []

    def remember(peer: Peer, stream: int, method: str, message: bytes) -> None:
        peers[:] = [peer]
        serve(peer, stream, method, message)

    def say(number: int, content: bytes) -> None:
        data = header(9) + b"\x10" + bytes((number,)) + content
        framed = struct.pack(">BI", 0, len(data)) + data
        for start in range(0, len(framed), 16384):
            peers[0].h2.send_data(calls[0], framed[start : start + 16384])
        peers[0].flush()

    async with (
        serving(remember) as store,
        store.watch("s", after=5) as slow,
        store.watch("q", after=5) as quick,
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(anext(slow))
        await settle(1)
        other = group.create_task(anext(quick))
        await settle(2)
        say(1, CREATED)
        say(1, change(6))
        await first
        for revision in (7, 8, 9):
            say(1, change(revision))
            await asyncio.sleep(0.05)
        await settle(3)
        assert asked[2] == wire.watch_cancel_request(1), "one too many for its lane"
        say(2, CREATED)
        say(2, event(b"carrick/q", 9))
        async with asyncio.timeout(30):
            assert await other == Changed("q", b"", 9)
            taken = [await anext(slow)]
            rest = group.create_task(anext(slow))
            await settle(4)
        assert [item.revision for item in taken] == [7]
        assert asked[3] == wire.watch_request(b"carrick/s", b"carrick/t", 7, 3), "and goes on from there"
        say(3, CREATED)
        say(3, event(b"carrick/s", 7) + event(b"carrick/s", 8))
        async with asyncio.timeout(30):
            assert (await rest).revision == 8
    assert len(calls) == 1


async def test_a_watch_that_is_refused_without_its_number() -> None:
    def serve(peer: Peer, stream: int, method: str, message: bytes) -> None:
        if b"carrick/bad" not in message:
            peer.begin(stream)
            peer.say(stream, header(7) + b"\x10\x01" + CREATED)
            return
        reason = b"etcdserver: permission denied"
        peer.say(stream, header(7) + b"\x10" + wire._varint(-1) + CREATED + b"\x20\x01\x32\x1d" + reason)

    async with serving(serve) as store, asyncio.TaskGroup() as group:
        good = group.create_task(anext(store.watch("good", after=5)))
        await asyncio.sleep(0.1)
        watch = EtcdWatch(store, b"carrick/bad", b"carrick/bae", 5)
        watch._logged_in_again = True
        with pytest.raises(Denied):
            await take(watch, 1)
        assert not good.done(), "the other one goes on"
        good.cancel()


async def test_keys_of_others_below_the_prefix_hide_nothing() -> None:
    def serve(peer: Peer, stream: int, method: str, message: bytes) -> None:
        entry = b"\x0a\x0a" + b"carrick/\xff\xfe" + b"\x18\x03"
        peer.answer(stream, header(5) + b"\x12" + bytes((len(entry),)) + entry)

    async with serving(serve) as store:
        (found,) = (await store.list("")).entries
        assert found.key == r"\xff\xfe"
