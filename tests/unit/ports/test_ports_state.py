"""The file with what is to be held, and the lock."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.host.lock import take_lock
from carrick.host.portholder.contract import HeldPort
from carrick.host.portholder.state import StateFile
from carrick.host.resolver.reactor import Reactor
from carrick.model.errors import Conflict, Unavailable

WANTED = {"a": (HeldPort("tcp", "::", 8080, ("10.0.0.2", 80)), HeldPort("udp", "0.0.0.0", 53)), "b": ()}


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = Reactor()
    yield made
    made.close()


def test_what_is_saved_is_read(tmp_path: Path, reactor: Reactor) -> None:
    path = tmp_path / "ports.json"
    state = StateFile(path, reactor, lambda: WANTED)
    assert state.read() == {}
    state.save()
    assert not path.exists()  # nothing was due
    state.save_soon()
    state.save()
    assert StateFile(path, reactor, dict).read() == WANTED
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["ports.json"]


def test_many_changes_are_one_write(tmp_path: Path, reactor: Reactor) -> None:
    writes = 0

    def wanted() -> dict[str, tuple[HeldPort, ...]]:
        nonlocal writes
        writes += 1
        return {}

    state = StateFile(tmp_path / "ports.json", reactor, wanted)
    for _ in range(10):
        state.save_soon()
    reactor.call_at(reactor.now() + 0.3, reactor.stop)
    reactor.run()
    assert writes == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version":1,"wanted":{"a":[7]}}', b'{"version":9,"wanted":{}}']
)
def test_a_broken_file_is_said_to_be(tmp_path: Path, reactor: Reactor, content: bytes) -> None:
    path = tmp_path / "ports.json"
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"ports\.json"):
        StateFile(path, reactor, dict).read()


def test_a_disk_that_refuses_is_tried_again(
    tmp_path: Path, reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "not-yet"
    state = StateFile(directory / "ports.json", reactor, lambda: WANTED)
    state.save_soon()
    state.save()
    assert "cannot keep" in caplog.text
    directory.mkdir()
    state.save()
    assert state.read() == WANTED


def test_one_lock_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = take_lock(path, "carrick-ports")
    with pytest.raises(Conflict, match=f"process {os.getpid()}"):
        take_lock(path, "carrick-ports")
    os.close(first)
    os.close(take_lock(path, "carrick-ports"))
