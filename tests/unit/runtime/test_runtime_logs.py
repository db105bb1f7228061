"""Reading and rotating logs, on files that the test writes as conmon would."""

import asyncio
from pathlib import Path

import pytest

from carrick.host.runtime.api import LogQuery, Stream
from carrick.host.runtime.logs import (
    LogCursor,
    cursor_at_tail,
    finish_rotation,
    log_files,
    parse_record,
    read_log,
    remove_logs,
    rotate,
)

BOTH = frozenset({Stream.STDOUT, Stream.STDERR})
TIME = "2026-01-02T03:04:05.000000006+00:00"


def line(text: str, stream: str = "stdout", flag: str = "F") -> bytes:
    return f"{TIME} {stream} {flag} {text}\n".encode()


def append(log: Path, *texts: str) -> None:
    with open(log, "ab") as file:
        file.writelines(line(text) for text in texts)


def drain(cursor: LogCursor) -> bytes:
    text = b""
    while records := cursor.read():
        text += b"".join(record.data for record in records)
    return text


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_records() -> None:
    whole = parse_record(line("a b  c ")[:-1])
    assert whole is not None
    assert (whole.data, whole.partial, whole.stream) == (b"a b  c \n", False, Stream.STDOUT)
    assert whole.entry().time_ns % 1000 == 6
    part = parse_record(line("x\r", "stderr", "P")[:-1])
    assert part is not None
    assert (part.data, part.partial, part.stream) == (b"x\r", True, Stream.STDERR)
    empty = parse_record(f"{TIME} stdout F".encode())
    assert empty is not None and empty.data == b"\n"
    assert parse_record(b"torn") is None and parse_record(b"a b c d") is None


def test_a_cursor_reads_on_and_keeps_half_lines(log: Path) -> None:
    cursor = LogCursor(log)
    assert drain(cursor) == b""
    append(log, "one")
    assert drain(cursor) == b"one\n"
    with open(log, "ab") as file:
        file.write(line("two")[:10])
        file.flush()
        assert drain(cursor) == b""
        file.write(line("two")[10:])
    assert drain(cursor) == b"two\n"
    late = LogCursor(log).at_end()
    append(log, "three")
    assert drain(late) == drain(cursor) == b"three\n"
    late.close()
    cursor.close()


def test_rotation_loses_nothing_for_a_follower(log: Path) -> None:
    append(log, "one")
    cursor = LogCursor(log)
    assert drain(cursor) == b"one\n"

    def reopen() -> bool:
        # conmon still writes to the old file until it has opened the new one.
        append(log.with_name("log.1"), "late")
        return True

    assert rotate(log, 1, 3, reopen)
    assert drain(cursor) == b"late\n"
    append(log.with_name("log.1"), "later")
    append(log, "two")
    assert drain(cursor) == b"later\ntwo\n"
    for number in range(3, 6):
        assert rotate(log, 1, 3, lambda: True)
        append(log, f"new {number}")
    rotate(log, 0, 3, lambda: True)
    assert sorted(path.name for path in log.parent.iterdir()) == ["log", "log.1", "log.2"]
    assert drain(cursor).endswith(b"new 5\n")
    cursor.close()
    remove_logs(log)
    assert list(log.parent.iterdir()) == []


def test_rotation_that_cannot_be_is_undone(log: Path) -> None:
    append(log, "one")
    assert not rotate(log, 1, 2, lambda: False)
    assert not rotate(log, 1 << 20, 2, lambda: True)
    assert [path.name for path in log.parent.iterdir()] == ["log"]
    assert not rotate(log.with_name("absent"), 1, 2, lambda: True)


def test_looks_at_a_log_whose_conmon_is_gone_lose_nothing(log: Path) -> None:
    for number in range(5):
        append(log, f"new {number}")
        assert rotate(log, 1, 3, lambda: True)
    append(log, "last")
    before = {path.name: path.read_bytes() for path in log_files(log)}
    assert list(before) == ["log.2", "log.1", "log"]
    for _ in range(4):
        assert not rotate(log, 1, 3, lambda: False)
    assert {path.name: path.read_bytes() for path in log_files(log)} == before


def test_a_rotation_that_was_cut_off_is_finished(log: Path) -> None:
    told: list[str] = []

    def reopen() -> bool:
        told.append(log.name)
        return True

    assert not finish_rotation(log, reopen)  # conmon has not made the first one yet
    append(log, "one")
    assert not finish_rotation(log, reopen)
    log.rename(log.with_name("log.1"))
    assert not told
    assert finish_rotation(log, reopen)
    assert told == ["log"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 9, 99])
def test_tail_over_files(log: Path, count: int) -> None:
    texts = [f"line {number} {'x' * number}" for number in range(9)]
    append(log.with_name("log.2"), *texts[:3])
    append(log.with_name("log.1"), *texts[3:4])
    append(log, *texts[4:])
    cursor = cursor_at_tail(log, count, BOTH)
    wanted = texts[len(texts) - min(count, 9) :]
    assert drain(cursor) == "".join(f"{text}\n" for text in wanted).encode()
    cursor.close()


def test_tail_counts_lines_not_parts(log: Path) -> None:
    with open(log, "wb") as file:
        file.write(line("a"))
        file.write(line("b1 ", flag="P") + line("e", "stderr") + line("b2"))
        file.write(line("open", flag="P"))
    for count, expected in ((1, b"open"), (2, b"b1 b2\nopen"), (3, b"a\nb1 b2\nopen")):
        cursor = cursor_at_tail(log, count, frozenset({Stream.STDOUT}))
        text = b""
        while records := cursor.read():
            text += b"".join(r.data for r in records if r.stream is Stream.STDOUT)
        assert text == expected
        cursor.close()


async def test_follow_ends_with_the_container_and_has_its_last_words(log: Path) -> None:
    append(log, "one")
    changed = asyncio.Event()
    ended = False

    async def wait() -> None:
        await changed.wait()
        changed.clear()

    async def follow() -> bytes:
        entries = read_log(log, LogQuery(follow=True), wait, lambda: ended)
        return b"".join([entry.data async for entry in entries])

    task = asyncio.create_task(follow())
    await asyncio.sleep(0)
    append(log, "two")
    changed.set()
    await asyncio.sleep(0.01)
    append(log, "three")
    ended = True
    changed.set()
    assert await task == b"one\ntwo\nthree\n"
