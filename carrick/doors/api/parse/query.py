"""Query parameters: Docker's booleans, filters, timestamps and counts."""

import re

import msgspec

from ....engine.values import Filters
from ....model.errors import InvalidRequest

_FALSE = frozenset(("", "0", "no", "false", "none"))
_TIMESTAMP = re.compile(r"(-?\d{1,18})(?:\.(\d{1,9})\d*)?")
_INTEGER = re.compile(r"[+-]?\d{1,18}")


def parse_flag(text: str | None, default: bool = False) -> bool:
    """Return a boolean: everything but `0`, `no`, `false`, `none` and nothing is true."""
    return default if text is None else text.strip().lower() not in _FALSE


def parse_integer(name: str, text: str | None, default: int | None = None) -> int | None:
    """Return a whole number; empty counts as not given."""
    if not text:
        return default
    if not _INTEGER.fullmatch(text):
        raise InvalidRequest(
            f"invalid value for {name}: strconv.Atoi: parsing {quoted(text)}: invalid syntax"
        )
    return int(text)


def parse_filters(text: str | None) -> Filters:
    """Return filters from either form: `{"k": ["v"]}` and the older `{"k": {"v": true}}`."""
    if not text:
        return {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidRequest("invalid filter") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest("invalid filter")
    return {name: _filter_values(values) for name, values in value.items()}


def _filter_values(values: object) -> tuple[str, ...]:
    if values is None:
        return ()
    if isinstance(values, dict) and all(isinstance(item, bool) for item in values.values()):
        return tuple(values)
    if isinstance(values, list) and all(isinstance(item, str) for item in values):
        return tuple(values)
    raise InvalidRequest("invalid filter")


def parse_timestamp(name: str, text: str | None) -> int | None:
    """Return nanoseconds since the epoch from `seconds[.fraction]`; None for nothing and for 0."""
    if not text:
        return None
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise InvalidRequest(
            f"invalid value for {quoted(name)}: {quoted(text)} is not a Unix timestamp (seconds[.fraction])"
        )
    return int(match[1]) * 10**9 + int((match[2] or "0").ljust(9, "0")) or None


def parse_tail(text: str | None) -> int | None:
    """Return how many lines are wanted; None is all of them, which is what nonsense means too."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None


def quoted(text: str) -> str:
    """Return `text` as Go's %q writes it."""
    return msgspec.json.encode(text).decode()
