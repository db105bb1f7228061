"""A name server for tests to forward to: it knows by rule what it answers, and remembers who asked for what.

*.example          203.0.113.7
nx.example         NXDOMAIN
fail.example       SERVFAIL
silent.example     no answer at all
"""

import socket
import struct
import threading
from types import TracebackType
from typing import Self

from .machine import Machine

ADDRESS = "203.0.113.7"
_NOERROR, _SERVFAIL, _NXDOMAIN = 0, 2, 3


class Upstream:
    """Serves UDP on port 53 of `address`, in the machine's network or in that of `netns`."""

    def __init__(self, machine: Machine, address: str, *, netns: str = "", answer: str = ADDRESS) -> None:
        self.queries: list[tuple[str, str]] = []
        """Who asked, and for which name."""
        self._answer = answer
        self._socket = machine.socket(socket.AF_INET, socket.SOCK_DGRAM, netns=netns)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((address, 53))
        self._socket.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="upstream", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def names(self) -> list[str]:
        """Return what was asked for, in order."""
        return [name for _, name in self.queries]

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                data, client = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            reply = self._reply(data, client[0])
            if reply:
                self._socket.sendto(reply, client)

    def _reply(self, data: bytes, client: str) -> bytes:
        labels, position = [], 12
        while length := data[position]:
            labels.append(data[position + 1 : position + 1 + length].decode())
            position += length + 1
        name = ".".join(labels).lower()
        kind, _ = struct.unpack_from(">HH", data, position + 1)
        question = data[12 : position + 5]
        self.queries.append((client, name))
        if name == "silent.example":
            return b""
        code = {"nx.example": _NXDOMAIN, "fail.example": _SERVFAIL}.get(name, _NOERROR)
        records = b""
        if code == _NOERROR and kind == 1 and name.endswith(".example"):
            records = struct.pack(">HHHLH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(self._answer)
        header = struct.pack(
            ">HHHHHH", *struct.unpack_from(">H", data), 0x8180 | code, 1, bool(records), 0, 0
        )
        return header + question + records
