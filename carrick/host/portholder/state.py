"""What `carrick-ports` keeps on disk: the lock of its run directory, and the ports it is to hold."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ...model.errors import Unavailable
from ..resolver.reactor import Reactor
from .contract import HeldPort

SAVE_AFTER_S = 0.1
RETRY_AFTER_S = 5.0
_VERSION = 1
_LOG = logging.getLogger(__name__)

Wanted = Mapping[str, tuple[HeldPort, ...]]


class _State(msgspec.Struct, frozen=True):
    version: int
    wanted: dict[str, tuple[HeldPort, ...]]


class StateFile:
    """Replaced whole, a moment after a change. Not synced to disk: it has to survive a process.

    After a power cut the file may be older than the last change. The daemon syncs anyway.
    """

    def __init__(self, path: Path, reactor: Reactor, wanted: Callable[[], Wanted]) -> None:
        self._path = path
        self._reactor = reactor
        self._wanted = wanted
        self._is_due = False

    def read(self) -> Wanted:
        """Return what was kept; nothing if there is no file. Raises Unavailable for one that is broken."""
        try:
            state = msgspec.json.decode(self._path.read_bytes(), type=_State)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            raise Unavailable(f"{self._path} is of no use: {error}") from error
        if state.version != _VERSION:
            raise Unavailable(f"{self._path} is of version {state.version}, not {_VERSION}")
        return state.wanted

    def save_soon(self) -> None:
        """Write within `SAVE_AFTER_S`; many calls make one write."""
        self._schedule(SAVE_AFTER_S)

    def save(self) -> None:
        """Write now what is due. If that fails, it is tried again."""
        if not self._is_due:
            return
        self._is_due = False
        fresh = self._path.with_name(f".{self._path.name}.new")
        try:
            fresh.write_bytes(msgspec.json.encode(_State(_VERSION, dict(self._wanted()))))
            fresh.chmod(0o600)
            fresh.replace(self._path)
        except OSError as error:
            _LOG.warning("cannot keep the list of ports in %s: %s", self._path, error)
            self._schedule(RETRY_AFTER_S)

    def _schedule(self, seconds: float) -> None:
        if not self._is_due:
            self._is_due = True
            self._reactor.call_at(self._reactor.now() + seconds, self.save)
