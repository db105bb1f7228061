"""The clock and the randomness, given to whoever needs them, so that tests can give others."""

import asyncio
import secrets
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now_ns(self) -> int:
        """Nanoseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when so much time has gone by."""
        ...


class SystemClock:
    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def as_datetime(time_ns: int) -> datetime:
    """Return the aware UTC datetime of a time in nanoseconds (which loses the last three digits)."""
    return datetime.fromtimestamp(time_ns / 1e9, tz=UTC)


def new_id() -> str:
    """Return 64 random hex digits, never 12 decimal ones in front (those would pass for a number)."""
    while (identifier := secrets.token_hex(32))[:12].isdigit():
        continue
    return identifier
