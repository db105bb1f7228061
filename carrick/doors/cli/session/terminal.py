"""The terminal: raw mode and its undoing, size, and signals as something to select on."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType, TracebackType
    from typing import Any, Self


class RawMode:
    """Put a terminal into raw mode for the length of a `with` block."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._saved: list[Any] | None = None

    def __enter__(self) -> Self:
        import termios
        import tty

        try:
            self._saved = termios.tcgetattr(self._descriptor)
            tty.setraw(self._descriptor, termios.TCSANOW)
        except termios.error:
            self._saved = None  # no terminal after all
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)


def window_size(descriptor: int) -> tuple[int, int] | None:
    """Return rows and columns, or None where there is no terminal or it has no size."""
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        return None
    return (size.lines, size.columns) if size.lines and size.columns else None


class SignalInbox:
    """Signals as bytes in a pipe, so that a select loop handles them in its own turn.

    Only the main thread may receive signals; elsewhere the inbox stays empty.
    """

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._numbers = tuple(numbers)
        self._previous: dict[signal.Signals, Any] = {}
        self._old_wakeup = -1
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._active = False

    def __enter__(self) -> Self:
        try:
            self._old_wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except ValueError:
            return self  # not the main thread
        self._active = True
        for number in self._numbers:
            self._previous[number] = signal.signal(number, _ignore)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._active:
            for number, previous in self._previous.items():
                signal.signal(number, previous)
            signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Return the descriptor, for select."""
        return self._reader

    def take(self) -> list[signal.Signals]:
        """Return the signals that have come, in order, without waiting."""
        try:
            data = os.read(self._reader, 4096)
        except BlockingIOError:
            return []
        # The wake-up pipe carries every signal that Python handles, not only ours.
        return [number for code in data if (number := signal.Signals(code)) in self._previous]


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: the number is in the wake-up pipe already."""
