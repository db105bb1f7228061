"""Moments as Go prints them, and how long ago they are, as people say it (docker/go-units)."""

from datetime import UTC, datetime

ZERO = "0001-01-01T00:00:00Z"
NANOSECONDS = 10**9
_MICROSECOND_NS = 1000


def render_time(moment: datetime | None) -> str:
    """Return RFC 3339 with as many digits as there are; None is Go's zero time."""
    if moment is None:
        return ZERO
    moment = moment.astimezone(UTC)
    return _with_fraction(moment.strftime("%Y-%m-%dT%H:%M:%S"), moment.microsecond * _MICROSECOND_NS)


def render_time_ns(time_ns: int) -> str:
    """Return RFC 3339 of nanoseconds since the epoch."""
    seconds, fraction = divmod(time_ns, NANOSECONDS)
    return _with_fraction(datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S"), fraction)


def render_log_time(time_ns: int) -> bytes:
    """Return the stamp of `logs --timestamps`, which always has nine digits."""
    seconds, fraction = divmod(time_ns, NANOSECONDS)
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{fraction:09d}Z".encode()


def _with_fraction(stamp: str, nanoseconds: int) -> str:
    fraction = f"{nanoseconds:09d}".rstrip("0")
    return f"{stamp}.{fraction}Z" if fraction else f"{stamp}Z"


def unix(moment: datetime | None) -> int:
    """Return whole seconds since the epoch, 0 for None."""
    return int(moment.timestamp()) if moment else 0


def human_duration(seconds: float) -> str:
    """Return `About a minute`, `3 hours`, …"""
    whole = int(seconds)
    minutes = int(seconds / 60)
    hours = round(seconds / 3600)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"
