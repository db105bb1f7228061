"""One inotify instance shared by everything that watches files: exits, logs, attach.

The kernel allows few instances per user and many watches per instance, hence one object that its
owner opens and closes. A callback gets the changed entry's name ("" for the watched file itself); after a
queue overflow every callback gets "", and looks at everything.
"""

import asyncio
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import syscalls

_HEADER = struct.Struct("iIII")

Callback = Callable[[str], None]


@dataclass(eq=False, slots=True)
class Watch:
    """One registered callback; hand it back to `remove`."""

    descriptor: int
    callback: Callback


@dataclass(slots=True)
class Inotify:
    """Dispatches inotify events to callbacks in the running loop."""

    _fd: int = -1
    _watches: dict[int, list[Watch]] = field(default_factory=dict)

    def open(self) -> None:
        """Start to listen."""
        self._fd = syscalls.inotify_open()
        asyncio.get_running_loop().add_reader(self._fd, self._on_readable)

    def close(self) -> None:
        """End all watches. Repeatable."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._watches.clear()

    def add(self, path: Path, mask: int, callback: Callback) -> Watch:
        """Call `callback` for each event on `path` in `mask`."""
        descriptor = syscalls.inotify_add_watch(self._fd, path, mask | syscalls.IN_MASK_ADD)
        watch = Watch(descriptor, callback)
        self._watches.setdefault(descriptor, []).append(watch)
        return watch

    def remove(self, watch: Watch) -> None:
        """End one callback; the kernel's watch ends with its last. Repeatable."""
        watches = self._watches.get(watch.descriptor, [])
        if watch in watches:
            watches.remove(watch)
            if not watches:
                del self._watches[watch.descriptor]
                syscalls.inotify_rm_watch(self._fd, watch.descriptor)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        offset = 0
        # One write may be many events; a callback looks at the file, so once per name is enough.
        seen: dict[tuple[int, str], None] = {}
        while offset < len(data):
            descriptor, mask, _cookie, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            if mask & syscalls.IN_Q_OVERFLOW:
                seen |= {(known, ""): None for known in self._watches}
            elif mask & syscalls.IN_IGNORED:
                # The file is gone. Its number is never given out again while the queue holds it.
                seen[descriptor, ""] = None
            else:
                seen[descriptor, name] = None
        for descriptor, name in seen:
            for watch in tuple(self._watches.get(descriptor, ())):
                watch.callback(name)
