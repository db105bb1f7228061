"""The files of `carrick-dns`: its state, its lock, and the host's resolv.conf."""

import logging
from collections.abc import Callable
from pathlib import Path

from .reactor import Reactor

SAVE_AFTER_S = 0.25
_LOG = logging.getLogger(__name__)


class StateFile:
    """Keeps the last state, replaced whole, so that a restart answers without the daemon.

    Not synced to disk: it only has to survive this process. After a power cut the kernel's
    namespaces are gone as well, and the daemon sends everything anew.
    """

    def __init__(self, path: Path, reactor: Reactor, render: Callable[[], bytes]) -> None:
        self._path = path
        self._reactor = reactor
        self._render = render
        self._is_due = False

    def read(self) -> bytes | None:
        """Return what was kept, or None if there is nothing."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def save_soon(self) -> None:
        """Write within `SAVE_AFTER_S`; many calls make one write."""
        if not self._is_due:
            self._is_due = True
            self._reactor.call_at(self._reactor.now() + SAVE_AFTER_S, self.save_due)

    def save_due(self) -> None:
        """Write now, if there is anything new."""
        if not self._is_due:
            return
        self._is_due = False
        fresh = self._path.with_name(f".{self._path.name}.new")
        try:
            fresh.write_bytes(self._render())
            fresh.chmod(0o600)
            fresh.replace(self._path)
        except OSError as error:
            _LOG.warning("cannot keep the names in %s: %s", self._path, error)


class WatchedFile:
    """Calls back with a file's text when it has changed; at once for the first time."""

    def __init__(self, path: Path, on_change: Callable[[str], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._seen: tuple[int, int, int] | None = (0, 0, 0)

    def check(self) -> None:
        """Look. A file that is missing reads as empty."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        except OSError:
            seen = None
        if seen == self._seen:
            return
        self._seen = seen
        try:
            text = self._path.read_text(errors="replace") if seen else ""
        except OSError:
            text = ""
        self._on_change(text)
