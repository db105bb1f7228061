"""Probe the way to another node: how long a packet takes, and how large one may be. ICMP echo, raw sockets.

Packets carry the don't-fragment bit and ignore what the kernel believes of the path (`PMTUDISC_PROBE`), so
that a size that comes back is one that really got through. Needs root. One prober per daemon; replies are
told apart by a random identifier and a sequence number.
"""

import asyncio
import os
import secrets
import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address

_HEADERS = {4: 28, 6: 48}
_ECHO = {4: (8, 0), 6: (128, 129)}
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
_TRIES = 3
_SHORTEST_S = 0.1
_LEAST = {4: 576, 6: 1280}


@dataclass(frozen=True, slots=True)
class Path:
    """What was found: the round-trip time, and the largest IP packet that came back (0: none)."""

    rtt_ms: float
    mtu: int


class PathProber:
    """Asks `address`es. `open` makes the sockets of both families; `close` ends them."""

    def __init__(self) -> None:
        self._identifier = secrets.randbelow(0xFFFF) + 1
        self._sequence = 0
        self._sockets: dict[int, socket.socket] = {}
        self._waiting: dict[tuple[int, int], asyncio.Future[float]] = {}

    def open(self) -> None:
        """Raises OSError without the right to raw sockets."""
        loop = asyncio.get_running_loop()
        for version, family, protocol in (
            (4, socket.AF_INET, socket.IPPROTO_ICMP),
            (6, socket.AF_INET6, socket.IPPROTO_ICMPV6),
        ):
            sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
            if version == 4:
                sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE)
            self._sockets[version] = sock
            loop.add_reader(sock.fileno(), self._receive, version)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets.values():
            loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()
        for waiting in self._waiting.values():
            waiting.cancel()

    async def measure(self, address: str, mtu: int, *, timeout_s: float = 1.0) -> Path | None:
        """Return what the way to `address` is like, None if it does not answer; `mtu` is the hope."""
        rtt = await self._ask(address, 56, timeout_s)
        if rtt is None:
            return None
        version = ip_address(address).version
        timeout_s = min(timeout_s, max(_SHORTEST_S, 4 * rtt))
        if await self._fits(address, mtu, timeout_s):
            return Path(rtt * 1000, mtu)
        low, high = min(_LEAST[version], mtu), mtu
        if not await self._fits(address, low, timeout_s):
            return Path(rtt * 1000, 0)
        while high - low > 1:
            middle = (low + high) // 2
            if await self._fits(address, middle, timeout_s):
                low = middle
            else:
                high = middle
        return Path(rtt * 1000, low)

    async def _fits(self, address: str, mtu: int, timeout_s: float) -> bool:
        size = mtu - _HEADERS[ip_address(address).version]
        return await self._ask(address, size, timeout_s) is not None

    async def _ask(self, address: str, size: int, timeout_s: float) -> float | None:
        """Send echo requests with `size` bytes until one is answered; return the seconds it took."""
        loop = asyncio.get_running_loop()
        version = ip_address(address).version
        for _ in range(_TRIES):
            self._sequence = (self._sequence + 1) & 0xFFFF
            key = (version, self._sequence)
            waiting = self._waiting[key] = loop.create_future()
            sent = loop.time()
            try:
                self._sockets[version].sendto(self._packet(version, size), (address, 0))
                async with asyncio.timeout(timeout_s):
                    answered: float = await waiting
                    return answered - sent
            except TimeoutError:
                continue
            except OSError:
                return None  # too large for the link itself, or no route
            finally:
                self._waiting.pop(key, None)
        return None

    def _packet(self, version: int, size: int) -> bytes:
        kind = _ECHO[version][0]
        head = struct.pack("!BBHHH", kind, 0, 0, self._identifier, self._sequence)
        body = os.urandom(min(size, 16)).ljust(size, b"\0")
        # For ICMPv6 the kernel fills the checksum in (RFC 3542, section 3.1).
        checksum = _checksum(head + body) if version == 4 else 0
        return struct.pack("!BBHHH", kind, 0, checksum, self._identifier, self._sequence) + body

    def _receive(self, version: int) -> None:
        sock = self._sockets[version]
        loop = asyncio.get_running_loop()
        for _ in range(64):
            try:
                packet = sock.recv(2048)
            except BlockingIOError:
                return
            except OSError:
                return
            offset = (packet[0] & 15) * 4 if version == 4 and packet else 0
            if len(packet) < offset + 8:
                continue
            kind, _, _, identifier, sequence = struct.unpack_from("!BBHHH", packet, offset)
            waiting = self._waiting.get((version, sequence))
            is_ours = kind == _ECHO[version][1] and identifier == self._identifier
            if is_ours and waiting is not None and not waiting.done():
                waiting.set_result(loop.time())


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
