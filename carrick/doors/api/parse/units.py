"""Sizes for people (`10m`) and Go's durations."""

import re

from ....model.errors import InvalidRequest

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s?([kKmMgGtTpP]?)[iI]?[bB]?")
_PREFIXES = ("", "k", "m", "g", "t", "p")
NANOSECONDS = 10**9


def parse_size(text: str, kilo: int = 1000) -> int:
    """Return bytes of `10m`, with k = 1000 or 1024. ValueError if it is none."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or len(text) > 32:
        raise ValueError(f"invalid size: '{text}'")
    return int(float(match[1]) * kilo ** _PREFIXES.index(match[2].lower()))


def seconds_of(nanoseconds: int, name: str) -> float:
    """Return a duration of a health check in seconds; Docker refuses those below a millisecond."""
    if nanoseconds and nanoseconds < 1_000_000:
        raise InvalidRequest(f"{name} in Healthcheck cannot be less than 1ms")
    return nanoseconds / NANOSECONDS
