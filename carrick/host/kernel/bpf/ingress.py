"""Programs at the tc ingress of links: filters of kind bpf, by rtnetlink (linux/{rtnetlink,pkt_cls}.h).

A filter, and not TCX: attaching to that, and taking down a link with it, holds the routing lock for a grace
period, ten milliseconds and more for each container. A filter stays as long as its link does, and so do its
program and maps.
"""

import ctypes
import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import htons
from threading import Thread

from ..netlink import (
    CREATE,
    EXCLUSIVE,
    Netlink,
    Refusal,
    nested,
    number,
    parse_attributes,
    string,
    text,
    u32,
)

_NEW_QDISC = 36
_NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 44, 45, 46
# Family, padding, link, handle, parent, info.
_HEADER = struct.Struct("=BxHiIII")
_CLSACT, _CLSACT_HANDLE, _INGRESS = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF2
_KIND, _OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11
_DIRECT_ACTION = 1
_HANDLE = 1
_ALL_PROTOCOLS = htons(0x0003)
PRIORITY = 0xCA00
"""After those of others, who write lower ones."""
_NOT_THERE = (errno.ENOENT, errno.EINVAL, errno.ENODEV, errno.EOPNOTSUPP)
_CLONE_NEWNET = 0x40000000
_LOOPBACK = 1


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of kind bpf, by the name that it was given, and its program's number in the kernel."""

    name: str
    program: int


class Ingress:
    """The ingress of links in the namespace of the thread that makes it; used by one thread at a time."""

    def __init__(self) -> None:
        self._netlink = Netlink()

    def close(self) -> None:
        self._netlink.close()

    def attach(self, index: int, program: int, name: str, priority: int = PRIORITY) -> None:
        """Put a program at a link, in place of the one with that priority. Raises OSError."""
        qdisc = _header(index, _CLSACT_HANDLE, _CLSACT) + text(_KIND, "clsact")
        options = nested(
            _OPTIONS, u32(_BPF_FD, program), text(_BPF_NAME, name), u32(_BPF_FLAGS, _DIRECT_ACTION)
        )
        place = _header(index, _HANDLE, _INGRESS, priority) + text(_KIND, "bpf")
        # Another's is as good, of the older kind `ingress` too.
        with _refusals(errno.EEXIST):
            self._netlink.request(_NEW_QDISC, CREATE | EXCLUSIVE, qdisc)
        with _refusals():
            self._netlink.request(_NEW_FILTER, CREATE, place + options)

    def detach(self, index: int) -> None:
        """Take our program off a link; none is as good. Raises OSError.

        The qdisc that programs are in stays, empty: as one goes or comes, the kernel stops the link's queues
        for a moment, and what is sent by it then is lost.
        """
        with _refusals(*_NOT_THERE):
            place = _header(index, _HANDLE, _INGRESS, PRIORITY) + text(_KIND, "bpf")
            self._netlink.request(_DELETE_FILTER, 0, place)

    def filters(self, index: int) -> list[Filter]:
        """Return the programs at a link; none of a link that is not there. Raises OSError."""
        found = []
        for body in self._dump(index, _INGRESS):
            attributes = parse_attributes(body, _HEADER.size)
            options = parse_attributes(attributes.get(_OPTIONS, b""))
            if string(attributes, _KIND) == "bpf" and _BPF_ID in options:
                found.append(Filter(string(options, _BPF_NAME), number(options, _BPF_ID)))
        return found

    def _dump(self, index: int, parent: int) -> list[bytes]:
        try:
            return self._netlink.dump(_GET_FILTER, _header(index, 0, parent))
        except Refusal as error:
            if error.code in _NOT_THERE:
                return []
            raise OSError(error.code, str(error)) from error


def _header(index: int, handle: int, parent: int, priority: int = 0) -> bytes:
    info = priority << 16 | _ALL_PROTOCOLS if priority else 0
    return _HEADER.pack(0, 0, index, handle, parent, info)


@contextmanager
def _refusals(*tolerated: int) -> Iterator[None]:
    """Raise OSError for what the kernel refuses in the body, but for some codes."""
    try:
        yield
    except Refusal as error:
        if error.code not in tolerated:
            raise OSError(error.code, str(error)) from error


def try_out(program: int) -> None:
    """Attach a program in a namespace made for that and gone with it. Raises OSError if it cannot be."""
    failure: list[OSError] = []
    libc = ctypes.CDLL(None, use_errno=True)

    def attach() -> None:
        try:
            if libc.unshare(_CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "making a network namespace")
            ingress = Ingress()
            try:
                ingress.attach(_LOOPBACK, program, "probe")
            finally:
                ingress.close()
        except OSError as error:
            failure.append(error)

    thread = Thread(target=attach, name="try-out")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
