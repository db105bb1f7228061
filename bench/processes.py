"""Read other processes from `/proc`: which are in a network namespace, and what they weigh."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """One process. PSS divides a shared page by its users, so that sums of it are honest."""

    pid: int
    command: tuple[str, ...]
    rss_mib: float
    pss_mib: float

    @property
    def program(self) -> str:
        """The last part of its first word."""
        return Path(self.command[0]).name


def processes_in(namespace_inode: int) -> Iterator[Process]:
    """Yield the processes in one network namespace, without zombies and kernel threads."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        # A process may end between any two of these lines.
        with suppress(OSError):
            if (entry / "ns/net").stat().st_ino != namespace_inode:
                continue
            command = tuple((entry / "cmdline").read_text(errors="replace").rstrip("\0").split("\0"))
            if not command[0]:
                continue
            sizes = parse_rollup((entry / "smaps_rollup").read_text())
            yield Process(int(entry.name), command, sizes.get("Rss", 0.0), sizes.get("Pss", 0.0))


class BusyCores:
    """How many of the machine's cores were in use during the body, whoever used them."""

    def __init__(self) -> None:
        self.cores = 0.0
        self._before = (0.0, 0.0)

    def __enter__(self) -> "BusyCores":
        self._before = _busy()
        return self

    def __exit__(self, *_: object) -> None:
        at, used = _busy()
        self.cores = (used - self._before[1]) / max(at - self._before[0], 0.001)


def _busy() -> tuple[float, float]:
    line = Path("/proc/stat").read_text().splitlines()[0]
    return time.monotonic(), parse_busy(line) / os.sysconf("SC_CLK_TCK")


def parse_busy(line: str) -> int:
    """Return the ticks of all cores in use from the first line of `/proc/stat`."""
    user, nice, system, _idle, _waiting, hard, soft, *_ = map(int, line.split()[1:])
    return user + nice + system + hard + soft


def parse_rollup(text: str) -> dict[str, float]:
    """Return the fields of `/proc/PID/smaps_rollup` in MiB."""
    sizes: dict[str, float] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            sizes[name] = int(words[0]) / 1024
    return sizes
