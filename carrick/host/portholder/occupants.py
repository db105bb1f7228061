"""Who has a port: found in /proc, and only once somebody has been refused one.

A socket is in /proc/net/{tcp,udp}{,6} by address and inode, a process has the inode among its descriptors.
A TCP socket that is bound and does not listen is in neither file, so a port can be taken by nobody we see.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .contract import HeldPort

LISTEN = 0x0A
TIME_WAIT = 0x06
_ANY = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """A line of /proc/net/tcp and the like. `inode` is 0 for a socket that no process has."""

    address: str
    port: int
    state: int
    inode: int


def parse_sockets(text: str, port: int) -> list[BoundSocket]:
    """Return the sockets with that local port."""
    wanted = f":{port:04X}"
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split(maxsplit=10)
        if len(fields) > 9 and fields[1].endswith(wanted):
            address = _parse_address(fields[1].partition(":")[0])
            found.append(BoundSocket(address, port, int(fields[3], 16), int(fields[9])))
    return found


def choose_occupant(sockets: Iterable[BoundSocket], held: HeldPort) -> BoundSocket | None:
    """Return the one that stands in the way: rather a listener, rather of a process."""
    in_the_way = [sock for sock in sockets if _clashes(sock, held)]
    in_the_way.sort(key=lambda sock: (sock.state != LISTEN, sock.inode == 0))
    return in_the_way[0] if in_the_way else None


def find_holder(held: HeldPort, proc: Path = Path("/proc")) -> str:
    """Return text that says who has the port, or "" if that cannot be found out."""
    sockets: list[BoundSocket] = []
    for name in (held.protocol, f"{held.protocol}6"):
        try:
            sockets += parse_sockets((proc / "net" / name).read_text(), held.host_port)
        except OSError:
            continue
    occupant = choose_occupant(sockets, held)
    if occupant is None:
        return ""
    if occupant.state == TIME_WAIT and held.protocol == "tcp":
        return "a closed connection in TIME_WAIT, which the kernel forgets within a minute"
    if not occupant.inode:
        return "a connection that is being closed"
    return find_process(occupant.inode, proc) or "a process that cannot be seen from here"


def find_process(inode: int, proc: Path = Path("/proc")) -> str:
    """Return `name (pid N)` of a process that has the socket, or ""."""
    wanted = f"socket:[{inode}]"
    for directory in proc.glob("[0-9]*"):
        try:
            with os.scandir(directory / "fd") as entries:
                has_it = any(_reads(entry.path) == wanted for entry in entries)
            if has_it:
                return f"{(directory / 'comm').read_text().strip()} (pid {directory.name})"
        except OSError:
            continue  # it ended, or is not ours to look at
    return ""


def _reads(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 -- a Path for each descriptor of the host costs too much
    except OSError:
        return ""


def _clashes(sock: BoundSocket, held: HeldPort) -> bool:
    if held.protocol == "tcp" and sock.state not in (LISTEN, TIME_WAIT) and not sock.inode:
        return False
    if sock.address in ("::", held.host_ip):
        return True  # `::` may be bound for both families; it stands in the file as the one alone
    same_family = (":" in sock.address) == (":" in held.host_ip)
    return same_family and (sock.address in _ANY or held.host_ip in _ANY)


def _parse_address(digits: str) -> str:
    """Words of 32 bits in the order of this machine, as the kernel prints them."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = struct.pack(f"{'<' if sys.byteorder == 'little' else '>'}{len(words)}I", *words)
    text = socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)
    return text.removeprefix("::ffff:") if "." in text else text
