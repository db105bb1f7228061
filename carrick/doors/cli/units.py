"""Sizes, durations and times as people read them, in Docker's spelling, and back. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_SIZE = r"(\d+(?:\.\d+)?)\s?([kmgtp])?(?:i?b)?"
_DURATION_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
}
_INT64 = 1 << 63


def human_size(size: float, digits: int = 4) -> str:
    """Return a size in decimal units, `1.98MB`, with `digits` significant digits."""
    return _scaled(size, 1000, _DECIMAL, digits)


def binary_size(size: float, digits: int = 4) -> str:
    """Return a size in binary units, `616KiB`."""
    return _scaled(size, 1024, _BINARY, digits)


def _scaled(size: float, base: int, names: tuple[str, ...], digits: int) -> str:
    index = 0
    while size >= base and index < len(names) - 1:
        size /= base
        index += 1
    return f"{size:.{digits}g}{names[index]}"


def human_duration(seconds: float) -> str:
    """Return a rough span: `3 minutes`, `About an hour`, `2 weeks`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, divisor, unit in (
        (48, 1, "hours"),
        (24 * 7 * 2, 24, "days"),
        (24 * 30 * 2, 24 * 7, "weeks"),
        (24 * 365 * 2, 24 * 30, "months"),
    ):
        if hours < limit:
            return f"{hours // divisor} {unit}"
    return f"{int(seconds / 3600) // (24 * 365)} years"


def parse_bytes(text: str) -> int:
    """Return a size in bytes: `64m`, `1.5g`, `1KiB`; units are binary. Raises ValueError."""
    import re
    from fractions import Fraction

    match = re.fullmatch(_SIZE, text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    number, unit = match.groups()
    scale = 1 << (10 * (" kmgtp".index(unit.lower()) if unit else 0))
    value = int(Fraction(number) * scale)
    if value >= _INT64:
        raise ValueError(f"invalid size: '{text}'")
    return value


def parse_memory_swap(text: str) -> int:
    """As `parse_bytes`, and -1 for no limit."""
    return -1 if text == "-1" else parse_bytes(text)


def parse_nano_cpus(text: str) -> int:
    """Return CPUs as billionths: `1.5` → 1500000000. Raises ValueError."""
    import re
    from fractions import Fraction

    try:
        if not re.fullmatch(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18}|\d{1,18}/\d{1,18})", text, re.A):
            raise ValueError
        nano = Fraction(text) * 1_000_000_000
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if nano.denominator != 1:
        raise ValueError("value is too precise")
    return int(nano)


def go_duration(nanoseconds: int) -> str:
    """Return whole seconds as Go prints them: `1h0m0s`, `1m30s`, `5s`."""
    minutes, seconds = divmod(nanoseconds // 1_000_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def parse_duration_ns(text: str) -> int:
    """Return a duration like `1m30s` in nanoseconds, signed. Raises ValueError."""
    import re
    from fractions import Fraction

    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    sign = -1 if text.startswith("-") else 1
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0
    part = re.compile(_DURATION_PART, re.ASCII)
    total = Fraction(0)
    position = 0
    while position < len(body):
        match = part.match(body, position)
        if match is None:
            if re.fullmatch(r"[\d.]+", body[position:], re.ASCII):
                raise ValueError(f'time: missing unit in duration "{quoted}"')
            raise ValueError(f'time: invalid duration "{quoted}"')
        total += Fraction(match.group(1)) * _NANOSECONDS[match.group(2)]
        position = match.end()
    if not body or total >= _INT64:
        raise ValueError(f'time: invalid duration "{quoted}"')
    return sign * int(total)


def parse_time(text: str) -> datetime | None:
    """Return an RFC 3339 time as the API has it (up to nanoseconds); None for Go's zero time.

    Raises ValueError for anything else.
    """
    from datetime import UTC, datetime

    if not text or text.startswith("0001-01-01T00:00:00"):
        return None
    head, dot, rest = text.partition(".")
    if dot:
        zone = rest.lstrip("0123456789")
        digits = rest.removesuffix(zone)
        text = f"{head}.{digits[:6].ljust(6, '0')}{zone}"
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def go_time(moment: datetime) -> str:
    """Return a time as Go prints one, to the second: `2026-01-02 15:04:05 +0000 UTC`."""
    zone = moment.tzname() or ""
    return moment.strftime("%Y-%m-%d %H:%M:%S %z ") + zone


def parse_since(text: str, now: datetime) -> str:
    """Return `--since`/`--until` as the API takes it: Unix seconds with a fraction.

    `text` is a duration before `now`, a Unix time, or a time in RFC 3339 (parts may be missing,
    a missing zone is the machine's). Raises ValueError.
    """
    import re
    from datetime import timedelta

    if re.fullmatch(r"-?\d+(\.\d{1,9})?", text, re.ASCII):
        return text
    try:
        moment = now - timedelta(microseconds=parse_duration_ns(text) / 1000)
    except (ValueError, OverflowError):
        try:
            moment = _parse_loose_time(text)
        except ValueError:
            raise ValueError(f'failed to parse value as time or duration: "{text}"') from None
    stamp = moment.timestamp()
    whole = int(stamp // 1)
    return f"{whole}.{moment.microsecond * 1000:09d}"


def _parse_loose_time(text: str) -> datetime:
    import re

    moment = parse_time(text if len(text) != 13 else text + ":00")
    if moment is None:
        raise ValueError(text)
    has_zone = text.endswith("Z") or re.search(r"T.*[+-]\d\d:?\d\d$", text, re.ASCII)
    return moment if has_zone else moment.replace(tzinfo=None).astimezone()
