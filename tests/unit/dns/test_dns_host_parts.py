"""The parts around the sockets that need no root: redirection text, files, the loop's timers."""

import os
from pathlib import Path

import pytest

from carrick.host.lock import take_lock
from carrick.host.resolver._redirect import parse_redirect, render_redirect
from carrick.host.resolver.files import StateFile, WatchedFile
from carrick.host.resolver.reactor import Reactor
from carrick.model.errors import Conflict


def test_the_redirection_is_read_as_it_was_written() -> None:
    assert parse_redirect(render_redirect(40053)) == 40053


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("udp dport 53 udp dport set 40053", "udp dport 53 udp dport set 40054"),
        ("ip saddr 127.0.0.11 tcp sport 40053 tcp sport set 53 notrack", ""),
        ("tcp", "udp"),
        ("notrack", ""),
    ],
)
def test_a_redirection_that_was_tampered_with_counts_as_none(old: str, new: str) -> None:
    assert parse_redirect(render_redirect(40053).replace(old, new)) is None
    assert parse_redirect("") is None


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    held = take_lock(tmp_path / "lock", "carrick-dns")
    with pytest.raises(Conflict, match=str(os.getpid())):
        take_lock(tmp_path / "lock", "carrick-dns")
    os.close(held)
    os.close(take_lock(tmp_path / "lock", "carrick-dns"))


def test_a_watched_file_calls_once_for_each_change(tmp_path: Path) -> None:
    path, seen = tmp_path / "resolv.conf", []
    watched = WatchedFile(path, seen.append)
    watched.check()
    watched.check()
    path.write_text("one")
    watched.check()
    watched.check()
    fresh = tmp_path / "new"
    fresh.write_text("two")
    fresh.replace(path)
    watched.check()
    path.unlink()
    watched.check()
    assert seen == ["", "one", "two", ""]


def test_the_state_is_written_once_for_many_changes(tmp_path: Path) -> None:
    now, renders = [100.0], []
    reactor = Reactor(lambda: now[0])

    def render() -> bytes:
        renders.append(now[0])
        return b"state %d" % len(renders)

    state = StateFile(tmp_path / "state", reactor, render)
    assert state.read() is None
    state.save_due()
    assert state.read() is None
    for _ in range(5):
        state.save_soon()
    reactor.call_at(now[0], lambda: now.__setitem__(0, 101.0))
    reactor.call_at(100.9, reactor.stop)
    reactor.run()
    reactor.close()
    assert state.read() == b"state 1"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_an_error_in_a_callback_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    reactor = Reactor()
    near, far = os.pipe()
    calls = []

    def fail(_events: int) -> None:
        os.read(near, 1)
        calls.append("descriptor")
        raise ValueError("on purpose")

    def fail_too() -> None:
        calls.append("timer")
        raise ValueError("on purpose")

    reactor.add(near, fail)
    reactor.call_at(reactor.now(), fail_too)
    reactor.call_every(0.01, lambda: reactor.stop() if len(calls) == 2 else None)
    os.write(far, b"x")
    reactor.run()
    reactor.remove(near)
    reactor.close()
    os.close(near)
    os.close(far)
    assert sorted(calls) == ["descriptor", "timer"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
