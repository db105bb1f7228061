"""Small pieces that several records share. Pure."""

from __future__ import annotations

from carrick.doors.cli.units import go_time, human_duration, parse_time
from carrick.doors.client.jsontext import quote_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def short_id(value: str) -> str:
    """Return an id's twelve characters, without its digest's name."""
    return value.removeprefix("sha256:")[:12]


def ellipsis(text: str, size: int) -> str:
    """Cut `text` to `size` characters, the last of them telling that it was cut."""
    return text if len(text) <= size else text[: size - 1] + "…"


def quoted(text: str) -> str:
    """Return `text` in double quotes, with the escapes of a Go string."""
    return quote_text(text).replace("\x7f", "\\x7f")


def joined(labels: Mapping[str, Any] | None) -> str:
    """Return labels as `key=value,key=value`, sorted."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def since_epoch(seconds: float) -> str:
    """Return a Unix time as Go prints it, in the machine's zone."""
    from datetime import UTC, datetime

    return go_time(datetime.fromtimestamp(seconds, UTC).astimezone())


def ago(seconds: float, now_s: float) -> str:
    """Return how long before `now_s` a Unix time is; nothing for Go's zero time."""
    if seconds <= 0:
        return "N/A"
    return f"{human_duration(now_s - seconds)} ago"


def rfc3339_ago(text: str, now_s: float) -> str:
    """Return how long before `now_s` a time of the API's is."""
    moment = parse_time(text)
    return "" if moment is None else ago(moment.timestamp(), now_s)


def go_nano_time(text: str) -> str:
    """Return a time of the API's as Go prints it, with all its digits, in its own zone."""
    moment = parse_time(text)
    if moment is None:
        return "0001-01-01 00:00:00 +0000 UTC"
    _, dot, rest = text.partition(".")
    digits = ""
    for character in rest if dot else "":
        if not character.isdigit():
            break
        digits += character
    digits = digits.rstrip("0")
    zone = moment.strftime("%z ") + (moment.tzname() or "")
    fraction = f".{digits}" if digits else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} {zone}"
