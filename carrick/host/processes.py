"""Companion processes: start `carrick-dns` and `carrick-ports`, and see that they stay.

They must survive the daemon, so each is started by a double fork into a session of its own. Whether one runs
is asked by connecting to its socket, never by a pid file alone. Under systemd they are units of their own,
and then nothing is started here.
"""

import asyncio
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)
_CHECK_S = 1.0
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Companion:
    """A process of ours: a module to run, its arguments, and the socket that it listens on."""

    name: str
    module: str
    arguments: tuple[str, ...]
    socket: Path
    log: Path


async def is_listening(path: Path) -> bool:
    """Tell whether something accepts connections at a Unix socket."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True


def spawn(companion: Companion) -> None:
    """Start the process so that it belongs to nobody: a shell starts it in the background and ends."""
    companion.log.parent.mkdir(parents=True, exist_ok=True)
    with companion.log.open("ab") as log:
        subprocess.run(
            [
                *("/bin/sh", "-c", '"$@" </dev/null &', "sh"),
                *(sys.executable, "-m", companion.module, *companion.arguments),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=True,
        )


async def ensure(companion: Companion, timeout_s: float = 10.0) -> bool:
    """Start the process unless it listens already; return whether it does within the time."""
    if await is_listening(companion.socket):
        return True
    spawn(companion)
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while loop.time() < end:
        await asyncio.sleep(0.01)
        if await is_listening(companion.socket):
            return True
    _log.error("%s did not start within %.0f s; see %s", companion.name, timeout_s, companion.log)
    return False


async def keep(companion: Companion) -> None:
    """See that the process runs, for ever; one that keeps dying is started ever less often."""
    pause = _CHECK_S
    while True:
        await asyncio.sleep(pause)
        if await is_listening(companion.socket):
            pause = _CHECK_S
            continue
        _log.warning("%s is gone; starting it", companion.name)
        pause = _CHECK_S if await ensure(companion) else min(pause * 2, _LONGEST_PAUSE_S)
