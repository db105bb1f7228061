"""Slow down hosts that guess at tokens: whoever fails more than a few times waits, ever longer. Pure.

A token has 160 random bits, so this is not what keeps guessers out; it keeps them from costing anything.
"""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from ...model.errors import Unavailable

_FREE = 5
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_FORGET_S = 600.0
_MOST_SOURCES = 4096


@dataclass(slots=True)
class _Source:
    failures: int = 0
    until: float = 0.0
    last: float = 0.0


class Throttle:
    """Failures by where they came from; of IPv6 a /64 is one place. Times are a monotonic clock's."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}

    def check(self, address: str, now: float) -> None:
        """Raise Unavailable if that place has to wait."""
        source = self._sources.get(_place(address))
        if source is not None and now < source.until:
            raise Unavailable(
                f"too many failed attempts from {_place(address)}",
                remedy=f"try again in {max(1, round(source.until - now))} s, with a new token",
            )

    def failed(self, address: str, now: float) -> None:
        """Take note of a wrong token."""
        place = _place(address)
        source = self._sources.pop(place, None)
        if source is None or now - source.last > _FORGET_S:
            source = _Source()
        source.failures += 1
        source.last = now
        if (over := source.failures - _FREE) > 0:
            source.until = now + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(over - 1, 10))
        self._sources[place] = source
        while len(self._sources) > _MOST_SOURCES:
            # The one that was quiet for the longest.
            del self._sources[next(iter(self._sources))]

    def succeeded(self, address: str) -> None:
        self._sources.pop(_place(address), None)

    def __len__(self) -> int:
        return len(self._sources)


def _place(address: str) -> str:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, 64), strict=False))
