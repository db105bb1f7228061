"""What is kept of a check's output, and how a timeout is told. The limits and the words are Docker's."""

_KEPT_BYTES = 4096
_UNITS_NS = (("ns", 1), ("µs", 1_000), ("ms", 1_000_000))
_SECOND_NS = 1_000_000_000


class LimitedOutput:
    """Takes any amount of bytes and keeps the first ones."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._is_cut = False

    def add(self, data: bytes) -> None:
        room = _KEPT_BYTES - len(self._kept)
        self._kept += data[:room]
        self._is_cut = self._is_cut or len(data) > room

    def text(self) -> str:
        """Return what was kept, with "..." after it if that is not all."""
        return self._kept.decode(errors="replace") + ("..." if self._is_cut else "")


def timeout_text(timeout_s: float, output: str) -> str:
    """Return what the log says of a run that was killed."""
    text = f"Health check exceeded timeout ({_duration(timeout_s)})"
    return f"{text}: {output}" if output else text


def _duration(seconds: float) -> str:
    """Write a duration as Go does: 500ms, 1.5s, 1m30s, 1h0m0s."""
    nanoseconds = round(seconds * _SECOND_NS)
    if nanoseconds < _SECOND_NS:
        name, unit = max((item for item in _UNITS_NS if item[1] <= nanoseconds), key=lambda item: item[1])
        return f"{_decimal(nanoseconds, unit)}{name}"
    minutes, rest = divmod(nanoseconds, 60 * _SECOND_NS)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, _SECOND_NS)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(number: int, unit: int) -> str:
    whole, rest = divmod(number, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
