"""Run a shell command of a network, with a limit on its time.

Its standard streams are files, not pipes: what it leaves running in the background may keep them, and nobody
waits for that. When its time is over, or nobody wants it any more, its whole session is killed.
"""

import asyncio
import os
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

_LONGEST_OUTPUT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. `code` is its exit code, or minus the signal that killed it.

    `output` is what it wrote, to standard error too, without white space at the ends, and cut if it is long.
    """

    code: int
    output: str = ""
    timed_out: bool = False

    @property
    def is_good(self) -> bool:
        return self.code == 0 and not self.timed_out

    def describe(self) -> str:
        """Say what went wrong, for people."""
        if self.timed_out:
            how = "it was ended, as it took too long"
        elif self.code < 0:
            how = f"it was killed by signal {-self.code}"
        else:
            how = f"exit code {self.code}"
        return f"{how}; output: {self.output or '(none)'}"


async def run_hook(command: str, *, environment: Mapping[str, str], stdin: str, timeout_s: float) -> Outcome:
    """Run `sh -c command` with our environment and `environment`."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as written:
        given.write(stdin.encode())
        given.seek(0)
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", command),
            stdin=given,
            stdout=written,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        timed_out = False
        try:
            async with asyncio.timeout(timeout_s):
                code = await process.wait()
        except TimeoutError:
            timed_out = True
            _kill(process)
            code = await process.wait()
        except BaseException:
            _kill(process)
            raise
        written.seek(0)
        output = written.read(_LONGEST_OUTPUT).decode(errors="replace").strip()
        return Outcome(code, output, timed_out)


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
