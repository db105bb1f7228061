"""Sizes, durations, times, tables: as Docker spells them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.cli.tables import align, table
from carrick.doors.cli.units import (
    binary_size,
    go_duration,
    go_time,
    human_duration,
    human_size,
    parse_bytes,
    parse_duration_ns,
    parse_nano_cpus,
    parse_since,
    parse_time,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (45, "45 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (180, "3 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (3600 * 47, "47 hours"),
        (3600 * 48, "2 days"),
        (86400 * 13, "13 days"),
        (86400 * 14, "2 weeks"),
        (86400 * 60, "2 months"),
        (86400 * 365 * 2, "2 years"),
        (86400 * 365 * 5, "5 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_sizes() -> None:
    assert human_size(0) == "0B"
    assert human_size(1_984_000, 3) == "1.98MB"
    assert human_size(1_984_000) == "1.984MB"
    assert human_size(1000) == "1kB"
    assert human_size(1_360, 3) == "1.36kB"
    assert binary_size(616 * 1024) == "616KiB"
    assert binary_size(25_276_000_000) == "23.54GiB"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("64MB", 64 << 20),
        ("64MiB", 64 << 20),
        ("1.5g", 3 << 29),
        ("512 k", 512 << 10),
        ("32b", 32),
    ],
)
def test_bytes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1x", "1 2", "m", "9e9", "99999999999p", "1..2g"])
def test_bad_bytes(text: str) -> None:
    with pytest.raises(ValueError, match=f"invalid size: '{text}'"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("1s", 10**9),
        ("1m30s", 90 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("100ms", 10**8),
        ("-2us", -2000),
        (".5s", 5 * 10**8),
    ],
)
def test_duration_texts(text: str, nanoseconds: int) -> None:
    assert parse_duration_ns(text) == nanoseconds


@pytest.mark.parametrize("text", ["0s", "5s", "1m30s", "10m0s", "1h0m0s", "100h1m59s"])
def test_durations_are_shown_as_go_does(text: str) -> None:
    assert go_duration(parse_duration_ns(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", 'time: invalid duration "x"'),
        ("", 'time: invalid duration ""'),
        ("5", 'time: missing unit in duration "5"'),
        ("1m5", 'time: missing unit in duration "1m5"'),
        ("99999999999h", 'time: invalid duration "99999999999h"'),
    ],
)
def test_bad_duration_texts(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_duration_ns(text)


def test_cpus() -> None:
    assert parse_nano_cpus("1.5") == 1_500_000_000
    assert parse_nano_cpus("1/4") == 250_000_000
    with pytest.raises(ValueError, match="failed to parse x as a rational number"):
        parse_nano_cpus("x")
    with pytest.raises(ValueError, match="failed to parse 1/0"):
        parse_nano_cpus("1/0")
    with pytest.raises(ValueError, match="value is too precise"):
        parse_nano_cpus("0.0000000001")


@given(st.text(max_size=12))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for parse in (parse_bytes, parse_duration_ns, parse_nano_cpus):
        try:
            assert isinstance(parse(text), int)
        except ValueError as error:
            assert str(error)
    try:
        assert isinstance(parse_since(text, datetime(2026, 1, 2, tzinfo=UTC)), str)
    except ValueError as error:
        assert "failed to parse value as time or duration" in str(error)


def test_times() -> None:
    moment = parse_time("2026-01-02T03:04:05.123456789Z")
    assert moment == datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
    assert parse_time("0001-01-01T00:00:00Z") is None
    assert parse_time("2026-01-02T03:04:05+02:00").utcoffset() == timedelta(hours=2)
    assert go_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02 03:04:05 +0000 UTC"


def test_since() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert parse_since("1700000000.5", now) == "1700000000.5"
    assert parse_since("5s", now) == f"{int(now.timestamp()) - 5}.000000000"
    assert parse_since("2026-01-02T03:04:05Z", now) == f"{int(now.timestamp())}.000000000"


def test_columns_are_ten_wide_at_least_and_three_apart() -> None:
    assert table([("ID", "NAME"), ("0123456789ab", "x")]) == ("ID             NAME\n0123456789ab   x\n")
    assert table([("A", "B", "C"), ("1", "", "3")]) == "A         B         C\n1                   3\n"


def test_a_column_ends_where_a_line_has_no_cell() -> None:
    text = "a\tb\n" + "no cells\n" + "a longer cell\tb\n"
    assert align(text) == "a         b\nno cells\na longer cell   b\n"


@given(st.lists(st.lists(st.text(alphabet="ab ", max_size=15), min_size=1, max_size=4), max_size=6))
def test_alignment_loses_nothing(rows: list[list[str]]) -> None:
    text = "".join("\t".join(row) + "\n" for row in rows)
    aligned = align(text)
    assert aligned.count("\n") == len(rows)
    for row, line in zip(rows, aligned.split("\n"), strict=False):
        assert "".join(row).replace(" ", "") == line.replace(" ", "")
