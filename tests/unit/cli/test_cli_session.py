"""Sessions: detach keys, streams both ways, signals, archives."""

import io
import os
import signal
import socket
import tarfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.cli.commands.copying import Place, parse_place
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.session.archive import ChunkReader, pack, rebase, unpack
from carrick.doors.cli.session.detach import DetachFilter, parse_keys
from carrick.doors.cli.session.streams import Ends, carry
from carrick.doors.cli.session.terminal import SignalInbox
from carrick.doors.client.api import Hijacked
from carrick.doors.client.connection import Connection
from carrick.doors.client.errors import BrokenReply
from carrick.doors.client.frames import STDERR, STDOUT, encode_frame


def test_keys() -> None:
    assert parse_keys("") == b"\x10\x11"
    assert parse_keys("ctrl-a,x,ctrl-\\,ctrl-@") == b"\x01x\x1c\x00"


@pytest.mark.parametrize("text", ["foo", "ctrl-", "ctrl-1", "a,,b", "é"])
def test_bad_keys(text: str) -> None:
    with pytest.raises(ValueError, match="invalid detach keys"):
        parse_keys(text)


@pytest.mark.parametrize(
    ("keys", "typed", "sent", "detached"),
    [
        (b"\x10\x11", b"ls\n", b"ls\n", False),
        (b"\x10\x11", b"a\x10\x11b", b"a", True),
        (b"\x10\x11", b"\x10x", b"\x10x", False),
        (b"\x10\x11", b"\x10\x10\x11", b"\x10", True),
        (b"aab", b"aaab", b"a", True),
        (b"aab", b"aac", b"aac", False),
        (b"x", b"yx", b"y", True),
    ],
)
def test_detaching(keys: bytes, typed: bytes, sent: bytes, detached: bool) -> None:
    whole = DetachFilter(keys)
    assert whole.feed(typed) == sent and whole.detached is detached
    single = DetachFilter(keys)
    parts = b""
    for byte in typed:
        if not single.detached:
            parts += single.feed(bytes((byte,)))
    assert (parts, single.detached) == (sent, detached)


@given(st.binary(max_size=40), st.sampled_from([b"\x10\x11", b"aab", b"abab", b"a"]))
def test_nothing_typed_is_lost(typed: bytes, keys: bytes) -> None:
    filter = DetachFilter(keys)
    sent = filter.feed(typed)
    before, found, _ = typed.partition(keys)
    assert filter.detached == bool(found)
    if found:
        assert sent == before
    else:
        assert typed.startswith(sent) and keys.startswith(typed[len(sent) :])


class Peer:
    """The daemon's end of a hijacked connection, and ours."""

    def __init__(self) -> None:
        ours, self.socket = socket.socketpair()
        self.stream = Hijacked(Connection(ours), b"", "")
        self.out, self.err = io.BytesIO(), io.BytesIO()

    def ends(self, *, stdin: int | None = None, raw: bool = False) -> Ends:
        return Ends(stdin=stdin, out=self.out, err=self.err, raw=raw)

    def close(self) -> None:
        self.socket.close()
        self.stream.close()


@pytest.fixture
def peer():
    pair = Peer()
    yield pair
    pair.close()


def test_output_goes_where_it_belongs(peer: Peer) -> None:
    peer.socket.sendall(encode_frame(STDOUT, b"out") + encode_frame(STDERR, b"err") + encode_frame(0, b"?"))
    peer.socket.close()
    assert carry(peer.stream, peer.ends()) is True
    assert (peer.out.getvalue(), peer.err.getvalue()) == (b"out", b"err")


def test_a_terminals_output_has_no_frames(peer: Peer) -> None:
    peer.socket.sendall(b"\x01\x00raw")
    peer.socket.close()
    assert carry(peer.stream, peer.ends(raw=True)) is True
    assert peer.out.getvalue() == b"\x01\x00raw"


def test_early_bytes_come_first() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b" late")
    theirs.close()
    out = io.BytesIO()
    stream = Hijacked(Connection(ours), b"early", "")
    assert carry(stream, Ends(None, out, None, raw=True)) is True
    stream.close()
    assert out.getvalue() == b"early late"


def test_an_error_frame_ends_it(peer: Peer) -> None:
    peer.socket.sendall(encode_frame(3, b"boom"))
    with pytest.raises(CliError, match="error from daemon in stream: boom"):
        carry(peer.stream, peer.ends())


def test_a_broken_frame_is_refused(peer: Peer) -> None:
    peer.socket.sendall(b"garbage!")
    with pytest.raises(BrokenReply):
        carry(peer.stream, peer.ends())


def test_an_echo_larger_than_every_buffer_does_not_stall(peer: Peer, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "in").write_bytes(data)

    def echo() -> None:
        while received := peer.socket.recv(100_000):
            peer.socket.sendall(received)
        peer.socket.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=echo)
    thread.start()
    with open(tmp_path / "in", "rb") as source:
        assert carry(peer.stream, peer.ends(stdin=source.fileno(), raw=True)) is True
    thread.join(10)
    assert peer.out.getvalue() == data


def test_a_container_that_stops_reading_is_heard_out(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * 1_000_000)

    def head() -> None:
        peer.socket.recv(10)
        peer.socket.shutdown(socket.SHUT_RD)
        peer.socket.sendall(b"done")
        peer.socket.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=head)
    thread.start()
    with open(tmp_path / "in", "rb") as source:
        assert carry(peer.stream, peer.ends(stdin=source.fileno(), raw=True)) is True
    thread.join(10)
    assert peer.out.getvalue() == b"done"


def test_detach_keys_leave(peer: Peer) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"ls\x10\x11more")
    try:
        detach = DetachFilter(parse_keys(""))
        assert carry(peer.stream, peer.ends(stdin=reader, raw=True), detach=detach) is False
    finally:
        os.close(reader)
        os.close(writer)
    assert peer.socket.recv(100) == b"ls"


def test_signals_are_handed_on(peer: Peer) -> None:
    seen: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        seen.append(number)
        peer.socket.shutdown(socket.SHUT_WR)

    before = signal.getsignal(signal.SIGUSR1)
    with SignalInbox([signal.SIGUSR1]) as inbox:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert carry(peer.stream, peer.ends(), inbox=inbox, on_signal=on_signal) is True
    assert seen == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) is before


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("web:/etc", Place("web", "/etc")),
        ("web:", Place("web", "")),
        ("./a:b", Place("", "./a:b")),
        ("/a:b", Place("", "/a:b")),
        ("a", Place("", "a")),
        ("-", Place("", "-")),
        (":x", Place("", ":x")),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    ("name", "old", "new", "result"),
    [
        ("src/a", "src", "dst", "dst/a"),
        ("src", "src", "dst", "dst"),
        ("src/", "src", "", None),
        ("src/a", "src", "", "a"),
        ("./a", ".", "", "a"),
        ("./", ".", "new", "new"),
        ("./a", ".", "new", "new/a"),
        ("other", "src", "dst", "other"),
    ],
)
def test_rebasing(name: str, old: str, new: str, result: str | None) -> None:
    assert rebase(name, old, new) == result


def test_a_tree_survives_the_way_there_and_back(tmp_path: Path) -> None:
    source = tmp_path / "src"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_bytes(os.urandom(300_000))
    (source / "link").symlink_to("sub/file")
    (source / "hard").hardlink_to(source / "sub" / "file")
    (source / "empty").touch()
    sizes: list[int] = []
    parts = pack(source, "dst", contents=False, follow=False, counted=sizes.append)
    unpack(parts, tmp_path, "dst", "back", keep_owner=False)
    assert (tmp_path / "back/sub/file").read_bytes() == (source / "sub/file").read_bytes()
    assert (tmp_path / "back/link").readlink() == Path("sub/file")
    assert (tmp_path / "back/hard").samefile(tmp_path / "back/sub/file")
    assert sum(sizes) == 300_000


def evil(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def test_a_hostile_archive_writes_nothing_outside(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    for members in (
        [(tarfile.TarInfo("src/../../outside/x"), b"evil")],
        [(link("src/l", str(outside)), b""), (tarfile.TarInfo("src/l/x"), b"evil")],
    ):
        with pytest.raises(CliError, match="cannot unpack"):
            unpack([evil(*members)], inside, "src", "src", keep_owner=False)
    unpack([evil((tarfile.TarInfo("/abs/x"), b"ok"))], inside, "src", "src", keep_owner=False)
    assert not list(outside.iterdir()) and not Path("/abs/x").exists()


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="cannot unpack"):
        unpack([b"not a tar" * 100], tmp_path, "a", "b", keep_owner=False)


@given(st.lists(st.binary(min_size=1, max_size=20)), st.integers(1, 30))
def test_chunks_read_as_a_file(chunks: list[bytes], size: int) -> None:
    reader, data = ChunkReader(chunks), b""
    while part := reader.read(size):
        data += part
    assert data == b"".join(chunks) and reader.total == len(data)
