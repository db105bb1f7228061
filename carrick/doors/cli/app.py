"""What a command is given: the client, the streams, the environment. Built once, in `main`."""

from __future__ import annotations

import os

from carrick.doors.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO, TextIO

DEFAULT_HOST = "unix:///run/carrick/carrick.sock"


class App:
    """One run of the command line. The client connects when it is first used."""

    def __init__(
        self,
        *,
        stdin: TextIO,
        out: TextIO,
        err: TextIO,
        environ: Mapping[str, str],
        host: str = "",
        debug: bool = False,
    ) -> None:
        self.stdin = stdin
        self.out = out
        self.err = err
        self.environ = environ
        self.host = host or environ.get("CARRICK_HOST", "") or DEFAULT_HOST
        self.debug = debug
        # Of the command that is being parsed or run: for messages and exit codes.
        self.command_path = "carrick"
        self.usage = ""
        self.own = False
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The daemon's client."""
        if self._client is None:
            self._client = Client(self.host, version=self.environ.get("CARRICK_API_VERSION", ""))
        return self._client

    def close(self) -> None:
        """Let go of the daemon."""
        if self._client is not None:
            self._client.close()

    def print(self, text: str) -> None:
        """Print a line to standard output."""
        self.out.write(text + "\n")

    def warn(self, text: str) -> None:
        """Print a line to standard error."""
        self.out.flush()
        self.err.write(text + "\n")
        self.err.flush()

    def complain(self, text: str) -> None:
        """Print an error line, red on a terminal."""
        self.warn(f"\x1b[31m{text}\x1b[0m" if self.colours(self.err) else text)

    def colours(self, stream: TextIO) -> bool:
        """Say whether `stream` is a terminal that wants colour (https://no-color.org)."""
        return not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb" and is_terminal(stream)

    def raw_out(self) -> BinaryIO:
        """Return standard output for bytes, with what was printed before already out."""
        return _binary(self.out)

    def raw_err(self) -> BinaryIO:
        """Return standard error for bytes."""
        return _binary(self.err)

    def raw_in(self) -> BinaryIO:
        """Return standard input for bytes."""
        buffer = getattr(self.stdin, "buffer", None)
        assert buffer is not None, "standard input has no bytes"
        return buffer  # type: ignore[no-any-return]


def _binary(stream: TextIO) -> BinaryIO:
    stream.flush()
    return stream.buffer


def is_terminal(stream: TextIO) -> bool:
    """Say whether `stream` is a terminal."""
    try:
        return os.isatty(stream.fileno())
    except (OSError, ValueError):
        return False
