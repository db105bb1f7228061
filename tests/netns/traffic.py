"""What containers send each other in tests: echoes, a mebibyte by TCP both ways, streams of datagrams."""

import os
import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from ipaddress import ip_address

from hosts import FAMILY, WAIT_S, HostOnSwitch, make_room

_STREAM_PORT = 7002
_AGAIN_S = 1.0
"""After so long a ping is sent again: on a busy machine a link that has just come up takes a moment."""
_SILENCE_S = 1.0
"""A receiver that heard nothing for so long has heard all."""


def ping(
    host: HostOnSwitch, address: str, *, packet: int = 100, whole: bool = False, wait_s: float = WAIT_S
) -> None:
    """`echo` from the host's container."""
    host.inside(lambda: echo(address, packet, whole=whole, wait_s=wait_s))


def echo(address: str, packet: int = 100, *, whole: bool = False, wait_s: float = WAIT_S) -> None:
    """Ping, until there is an answer, with a packet of so many bytes, which may not be fragmented if `whole`.

    Raises OSError, of which TimeoutError is one, if no answer comes.
    """
    version = ip_address(address).version
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    level, receive_errors, discover = (
        (socket.IPPROTO_IP, 11, 10) if version == 4 else (socket.IPPROTO_IPV6, 25, 23)
    )
    request, reply, headers = (8, 0, 28) if version == 4 else (128, 129, 48)
    payload = os.urandom(packet - headers)
    with socket.socket(FAMILY[version], socket.SOCK_RAW, protocol) as raw:
        raw.setsockopt(level, receive_errors, 1)
        raw.setsockopt(level, discover, 2 if whole else 0)
        raw.connect((address, 0))
        header = struct.pack("!BBHHH", request, 0, 0, 7, 1)
        if version == 4:
            # Of an IPv6 one the kernel sees to it.
            header = struct.pack("!BBHHH", request, 0, checksum(header + payload), 7, 1)
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            raw.send(header + payload)
            again = min(end, time.monotonic() + _AGAIN_S)
            while (left := again - time.monotonic()) > 0:
                raw.settimeout(left)
                try:
                    answer = raw.recv(1 << 16)
                except TimeoutError:
                    break
                answer = answer[20:] if version == 4 else answer
                if answer[0] == reply and answer[8:] == payload:
                    return
    raise TimeoutError(f"the ping of {address} timed out")


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def exchange(one: HostOnSwitch, other: HostOnSwitch, here: str, there: str) -> str:
    """Send a mebibyte by TCP both ways; return the address that the client was seen with."""
    version = ip_address(there).version
    data = os.urandom(1 << 20)
    seen: list[str] = []
    with other.socket(version, socket.SOCK_STREAM, there, 7000) as listener:
        listener.listen()

        def serve() -> None:
            accepted, peer = listener.accept()
            seen.append(peer[0])
            with accepted:
                accepted.settimeout(WAIT_S)
                accepted.sendall(_receive(accepted, len(data)))

        server = threading.Thread(target=serve)
        server.start()
        with one.socket(version, socket.SOCK_STREAM, here, 0) as client:
            client.connect((there, 7000))
            client.sendall(data)
            assert _receive(client, len(data)) == data
        server.join(WAIT_S)
    return seen[0]


def _receive(source: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length and (part := source.recv(1 << 16)):
        data += part
    return bytes(data)


def talk(one: HostOnSwitch, other: HostOnSwitch, here: str, there: str) -> None:
    """Ping, and exchange a mebibyte."""
    ping(one, there)
    exchange(one, other, here, there)


class Stream:
    """Numbered datagrams from a container to an address, one each `pause_s`, while the block runs.

    The address may be that of more than one container. After the block, `sent` is how many there were and
    `got` the numbers that arrived, for each receiver in the order in which they came.
    """

    def __init__(
        self,
        one: HostOnSwitch,
        receivers: Sequence[HostOnSwitch],
        here: str,
        there: str,
        *,
        pause_s: float = 0.001,
    ) -> None:
        self.sent = 0
        self.got: list[list[int]] = []
        self._there = there
        self._pause_s = pause_s
        version = ip_address(there).version
        self._stack = ExitStack()
        self._receivers = [
            self._stack.enter_context(host.socket(version, socket.SOCK_DGRAM, there, _STREAM_PORT))
            for host in receivers
        ]
        for receiver in self._receivers:
            make_room(receiver)
        self._sender = self._stack.enter_context(one.socket(version, socket.SOCK_DGRAM, here, 0))
        self._stop = threading.Event()
        self._sending = threading.Thread(target=self._send)

    def __enter__(self) -> "Stream":
        self._sending.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self._stop.set()
            self._sending.join()
            self.got = [_drain(receiver) for receiver in self._receivers]

    def _send(self) -> None:
        while not self._stop.is_set():
            # One that is refused counts as sent: it is lost.
            with suppress(OSError):
                self._sender.sendto(struct.pack("!L", self.sent), (self._there, _STREAM_PORT))
            self.sent += 1
            time.sleep(self._pause_s)

    @property
    def arrived(self) -> list[int]:
        """The numbers that arrived anywhere, sorted; one is in it as often as it came."""
        return sorted(number for numbers in self.got for number in numbers)

    @property
    def lost(self) -> list[int]:
        return sorted(set(range(self.sent)) - set(self.arrived))


def _drain(receiver: socket.socket) -> list[int]:
    receiver.settimeout(_SILENCE_S)
    found: list[int] = []
    try:
        while True:
            found.append(struct.unpack("!L", receiver.recv(4))[0])
    except TimeoutError:
        return found
