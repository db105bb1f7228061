"""The sockets behind held ports, and what the kernel makes of them.

A reserved TCP port is bound, listened on for an instant, and taken out of listening again. Each step has its
reason (inet_csk_get_port in the kernel):

- SO_REUSEADDR while binding: else connections of an earlier server in TIME_WAIT would refuse it.
- `listen` looks again, now as a listener, and marks the port as not to be shared. A socket that were only
  bound with SO_REUSEADDR would let any other one with SO_REUSEADDR bind beside it.
- SO_REUSEADDR off: the socket now clashes with every overlapping one, whatever options that has.
- `shutdown` ends listening and keeps the port bound. A connection that reaches it, for want of the nft
  rules for a moment, is refused. Listening behind a filter that drops everything would let it hang.

UDP needs no such dance: without SO_REUSEADDR a socket clashes with all. What reaches it is dropped by a
filter, or its buffer would fill and stay full.
"""

import ctypes
import errno
import os
import socket

from ...model.errors import CarrickError, Denied, Failed, KernelRefused, Unavailable, Unsupported
from .contract import HeldPort

BACKLOG = 4096
"""The kernel cuts it to net.core.somaxconn, which is 4096 since Linux 5.4."""
KEEPALIVE_IDLE_S = 300
KEEPALIVE_EVERY_S = 30
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_IPV6_RECVPKTINFO = 49
_IP_PKTINFO = 8
_IPPROTO_SCTP = 132

_TYPES = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_SEQPACKET, _IPPROTO_SCTP),
}


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


class InUse(Exception):
    """EADDRINUSE: who has it is for the caller to find out."""


def family_of(address: str) -> socket.AddressFamily:
    """Return the family of an address that is one."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def socket_address(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return what `bind` and `connect` take. Raises OSError for a zone (`%eth0`) that is not there."""
    host, _, zone = address.partition("%")
    if not zone:
        return (host, port)
    return (host, port, 0, int(zone) if zone.isdigit() else socket.if_nametoindex(zone))


def has_sctp() -> bool:
    """Whether the kernel has SCTP. Asking may load its module."""
    try:
        socket.socket(socket.AF_INET, *_TYPES["sctp"]).close()
    except OSError:
        return False
    return True


def open_reserved(port: HeldPort) -> socket.socket:
    """Return a socket that has the port and takes nothing. Raises InUse and CarrickError."""
    kind, number = _TYPES[port.protocol]
    sock: socket.socket | None = None
    try:
        family = family_of(port.host_ip)
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, number)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port.protocol == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif port.protocol == "udp":
            _drop_all(sock)  # before the bind, so that no datagram comes in between
        sock.bind(socket_address(port.host_ip, port.host_port))
        if port.protocol == "tcp":
            sock.listen(1)
            unlisten(sock)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise _explained(error, port) from error
    return sock


def listen(sock: socket.socket, port: HeldPort) -> None:
    """Turn a reserved TCP socket into a listener. Raises InUse and CarrickError."""
    try:
        # What is accepted inherits all of these, which saves five calls for each connection.
        # SO_REUSEADDR: else its TIME_WAIT would refuse the port to the next one who binds it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
        sock.listen(BACKLOG)
    except OSError as error:
        raise _explained(error, port) from error


def unlisten(sock: socket.socket) -> None:
    """Turn a TCP listener into a reservation; connections that wait to be accepted are reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    sock.shutdown(socket.SHUT_RDWR)


def admit_datagrams(sock: socket.socket) -> None:
    """Let a reserved UDP socket receive, with the address each datagram was sent to."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def refuse_datagrams(sock: socket.socket) -> None:
    """Turn it into a reservation again. What waits in its buffer is dropped."""
    _drop_all(sock)
    try:
        while True:
            sock.recv(1)
    except OSError:
        pass


def _drop_all(sock: socket.socket) -> None:
    """Attach the filter `ret #0`: keep no byte of any packet."""
    instruction = _Instruction(0x06, 0, 0, 0)
    program = _Program(1, ctypes.pointer(instruction))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))


def _explained(error: OSError, port: HeldPort) -> Exception:
    reason = os.strerror(error.errno or 0).lower()
    text = f"failed to bind host port {port}: {reason}"
    match error.errno:
        case errno.EADDRINUSE:
            return InUse(text)
        case errno.EADDRNOTAVAIL | errno.ENODEV | errno.ENXIO:
            return Failed(text, remedy="publish on an address that this host has")
        case errno.EACCES | errno.EPERM:
            return Denied(text, remedy="run carrick-ports as root")
        case errno.EAFNOSUPPORT:
            return Unsupported(text, remedy="publish on an IPv4 address: this host has no IPv6")
        case errno.EMFILE | errno.ENFILE | errno.ENOBUFS | errno.ENOMEM:
            return out_of_descriptors(port, reason)
    return KernelRefused(text, errno=error.errno or 0, subject=str(port))


def out_of_descriptors(port: HeldPort, reason: str) -> CarrickError:
    """Return the error for a port that there is no descriptor for."""
    return Unavailable(
        f"failed to bind host port {port}: {reason}",
        remedy="publish fewer ports, or raise LimitNOFILE= of carrick-ports (each port takes a descriptor)",
    )
