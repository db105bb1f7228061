"""A program on a terminal, as a person has it: type, and see what comes."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Self

from .daemon import Daemon


class Terminal:
    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, **environment, "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(slave)

    @classmethod
    def of(cls, daemon: Daemon, *arguments: str) -> Self:
        """Run `carrick` for a daemon."""
        return cls(daemon.command(*arguments), daemon.environment)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str, timeout_s: float = 15.0) -> str:
        """Return what was written since the last time, up to and with `text`."""
        wanted, data = text.encode(), b""
        end = time.monotonic() + timeout_s
        while wanted not in data:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"{text!r} did not come; got {data!r}")
            try:
                data += os.read(self.master, 4096)
            except OSError:
                raise AssertionError(f"it ended, and {text!r} did not come; got {data!r}") from None
        return data.decode(errors="replace")

    def end(self) -> int:
        """Wait for the program's end; return its exit code."""
        code = self.process.wait(15)
        os.close(self.master)
        return code
