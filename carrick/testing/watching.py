"""Watch that traffic and names go on while something else is done to the daemon.

Each probe is a thread in the namespace it looks from; it tries over and over, twenty times a second, and
remembers every failure. Nothing of it goes through the daemon.
"""

import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from .machine import Machine, enter

_PAUSE_S = 0.05
_TIMEOUT_S = 2.0


@dataclass(slots=True)
class Probe:
    """One thing to try. `attempt` raises OSError or AssertionError when it fails."""

    name: str
    place: Path
    attempt: Callable[[], None]
    tries: int = 0
    failures: list[str] = field(default_factory=list)


class Watch:
    """Runs probes while the block lasts; `failures` are all that went wrong."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._probes: list[Probe] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def fetch(self, name: str, address: str, port: int, *, netns: str = "") -> Self:
        """Try to fetch `/` of a web server."""

        def attempt() -> None:
            with socket.create_connection((address, port), _TIMEOUT_S) as connection:
                connection.settimeout(_TIMEOUT_S)
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert connection.recv(100).startswith(b"HTTP/1."), "no answer"

        return self._add(name, netns, attempt)

    def resolve(self, name: str, wanted: str, address: str, *, netns: str) -> Self:
        """Try to resolve a name at 127.0.0.11."""

        def attempt() -> None:
            answer = query(wanted)
            assert answer == [address], f"{wanted} is {answer}"

        return self._add(name, netns, attempt)

    def _add(self, name: str, netns: str, attempt: Callable[[], None]) -> Self:
        place = self._machine.path(netns) if netns else Path(f"/proc/{self._machine.pid}/ns/net")
        self._probes.append(Probe(name, place, attempt))
        return self

    def __enter__(self) -> Self:
        for probe in self._probes:
            thread = threading.Thread(
                target=self._run, args=(probe,), name=f"watch {probe.name}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S * 3)

    def _run(self, probe: Probe) -> None:
        enter(probe.place)
        begun = time.monotonic()
        while not self._stop.wait(_PAUSE_S):
            probe.tries += 1
            try:
                probe.attempt()
            except (OSError, AssertionError) as error:
                probe.failures.append(f"{probe.name} after {time.monotonic() - begun:.2f} s: {error!r}")

    @property
    def failures(self) -> list[str]:
        """What failed so far; a probe that never tried is a failure as well."""
        idle = [f"{probe.name} was never tried" for probe in self._probes if not probe.tries]
        return idle + [text for probe in self._probes for text in probe.failures]


def query(name: str, server: str = "127.0.0.11", *, wait_s: float = _TIMEOUT_S) -> list[str]:
    """Ask for A records over UDP; return the addresses in the answer. Raises OSError if there is none."""
    identifier = secrets.randbelow(1 << 16)
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = (
        struct.pack(">HHHHHH", identifier, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(wait_s)
        connection.connect((server, 53))
        connection.send(question)
        answer = connection.recv(4096)
    assert struct.unpack_from(">H", answer)[0] == identifier, "the answer to another question"
    (count,) = struct.unpack_from(">H", answer, 6)
    found, position = [], len(question)
    for _ in range(count):
        # Names in our answers are pointers, or begin with one.
        while answer[position] and answer[position] < 0xC0:
            position += answer[position] + 1
        position += 2 if answer[position] >= 0xC0 else 1
        kind, _, _, length = struct.unpack_from(">HHLH", answer, position)
        position += 10
        if kind == 1:
            found.append(socket.inet_ntoa(answer[position : position + 4]))
        position += length
    return found
