"""Times with nanoseconds, as conmon and images write them (RFC 3339). Pure."""

from datetime import UTC, datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_rfc3339(text: str) -> int:
    """Return nanoseconds since the epoch; 0 for what is no time.

    `datetime` knows microseconds only, so the fraction is read apart.
    """
    head, _, tail = text.partition(".")
    digits = ""
    if tail:
        digits = tail[: next((i for i, c in enumerate(tail) if not c.isdigit()), len(tail))]
        head += tail[len(digits) :]
    try:
        moment = datetime.fromisoformat(head)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = int((moment - _EPOCH).total_seconds())
    return seconds * 1_000_000_000 + int(digits[:9].ljust(9, "0") if digits else 0)


def parse_moment(text: str) -> datetime | None:
    """Return an aware datetime, None for "" and for the year 1 that Go writes for "never"."""
    nanoseconds = parse_rfc3339(text)
    if nanoseconds == 0:
        return None
    return datetime.fromtimestamp(nanoseconds / 1_000_000_000, tz=UTC)
