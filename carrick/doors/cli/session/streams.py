"""Carry bytes between our own streams and a hijacked connection until one of them ends.

One select loop, never blocking on the connection: a container that writes while it is being
written to (`cat`) must not stall. The end of our input half-closes; output goes on.
"""

from __future__ import annotations

import os
import select
import signal

from carrick.doors.cli.errors import CliError
from carrick.doors.cli.session.detach import DetachFilter
from carrick.doors.cli.session.terminal import SignalInbox
from carrick.doors.client import Hijacked
from carrick.doors.client.frames import STDERR, STDOUT, SYSTEM_ERROR, FrameDecoder, error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

_READ_SIZE = 64 * 1024


class Ends:
    """Our ends of a session. `stdin` is a descriptor or None; output goes to `out` and `err`.

    `out` or `err` None: that stream was not asked for. `raw`: the stream is a terminal's, without
    frames.
    """

    __slots__ = ("err", "out", "raw", "stdin")

    def __init__(self, stdin: int | None, out: BinaryIO | None, err: BinaryIO | None, raw: bool) -> None:
        self.stdin = stdin
        self.out = out
        self.err = err
        self.raw = raw


def carry(
    stream: Hijacked,
    ends: Ends,
    *,
    inbox: SignalInbox | None = None,
    on_signal: Callable[[signal.Signals], None] | None = None,
    detach: DetachFilter | None = None,
) -> bool:
    """Carry until the connection ends; return False if the user detached before that.

    Raises CliError for an error frame of the daemon's, BrokenReply for a broken stream.
    """
    decoder = None if ends.raw else FrameDecoder()
    stdin = ends.stdin
    pending = b""
    while True:
        readers: list[Hijacked | SignalInbox | int] = [stream]
        if inbox is not None:
            readers.append(inbox)
        if stdin is not None and not pending:
            readers.append(stdin)
        writers = [stream] if pending else []
        ready, writable, _ = select.select(readers, writers, [], 0 if stream.buffered else None)
        if inbox is not None and inbox in ready and on_signal is not None:
            for number in inbox.take():
                on_signal(number)
        if stream in ready or stream.buffered:
            data = stream.receive()
            if not data:
                return True
            _deliver(data, decoder, ends)
        if stdin is not None and stdin in ready:
            typed = os.read(stdin, _READ_SIZE)
            pending = detach.feed(typed) if typed and detach is not None else typed
            if not typed:
                stdin = None
                stream.close_write()
        if pending and (writable or stdin is not None):
            sent = stream.send_some(pending)
            if sent < 0:
                # The container reads no more; what it still has to say is worth waiting for.
                pending, stdin = b"", None
            else:
                pending = pending[sent:]
        if detach is not None and detach.detached and not pending:
            return False


def _deliver(data: bytes, decoder: FrameDecoder | None, ends: Ends) -> None:
    if decoder is None:
        if ends.out is not None:
            _write(ends.out, data)
        return
    for kind, payload in decoder.feed(data):
        if kind == SYSTEM_ERROR:
            raise CliError(error_text(payload))
        target = ends.err if kind == STDERR else ends.out if kind == STDOUT else None
        if target is not None:
            _write(target, payload)


def _write(target: BinaryIO, data: bytes) -> None:
    target.write(data)
    target.flush()
