"""Hosts on a switch, each with a kernel of its own and a container, and a look at what crosses the switch.

What a host is told, and so what network there is, is the tests' own. Needs root; nothing here touches the
machine's own network.
"""

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from carrick.host.kernel import LinuxKernel
from carrick.host.kernel.netns import delete_netns, entered
from carrick.model.steps import CreateNetns
from carrick.testing.daemon import eventually
from carrick.testing.kernel_suite import World
from carrick.testing.namespaces import Namespace, Namespaces

T = TypeVar("T")
WAIT_S = 20.0
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def make_switch(spaces: Namespaces) -> Namespace:
    """Return a namespace that is a switch, `sw0`."""
    switch = spaces.new()
    switch.ip("link add sw0 type bridge mcast_snooping 0")
    switch.ip("link set sw0 up")
    return switch


class Within(Protocol):
    """Calls a function in a namespace."""

    def __call__(self, function: Callable[[], T], /) -> T: ...


def _shown(*command: str) -> Any:
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def until_forwarding(namespace: Namespace) -> None:
    """Wait until every port of the bridges forwards: the kernel notices a carrier in its own time."""

    def ports() -> Any:
        return _shown("bridge", "-j", "link")

    eventually(lambda: all(port["state"] == "forwarding" for port in namespace.call(ports)), 30)


def until_ready(within: Within, *links: str) -> None:
    """Wait until links send, and receive for their IPv6 addresses: the kernel sees to that likewise."""

    def is_ready() -> bool:
        taken = {route["dst"] for route in _shown("ip", "-j", "-6", "route", "show", "table", "local")}
        return all(
            link["operstate"] == "UP"
            and all(item["local"] in taken for item in link["addr_info"] if item["family"] == "inet6")
            for link in _shown("ip", "-j", "address")
            if link["ifname"] in links
        )

    eventually(lambda: within(is_ready), 30, f"{', '.join(links)} ready")


class HostOnSwitch:
    """A host: its port on the switch by number (its own end is `up0`), its kernel, and an empty container."""

    def __init__(self, spaces: Namespaces, switch: Namespace, number: int, directory: Path) -> None:
        self.number = number
        self.namespace = spaces.new()
        # Addresses are there at once: none is tried for being taken.
        self.namespace.sysctl("net.ipv6.conf.default.accept_dad", "0")
        spaces.wire(self.namespace, "up0", switch, f"port{number}")
        switch.ip(f"link set port{number} master sw0")
        inhabitant = spaces.inhabit(self.namespace)
        kernel = inhabitant.call(LinuxKernel)
        self.world = World(kernel, inhabitant.run, lambda name: str(directory / name))
        spaces.defer(self._close_kernel)
        self.container = str(directory / f"container{number}")
        spaces.defer(delete_netns, Path(self.container))
        self.world.apply(CreateNetns(self.container))

    def _close_kernel(self) -> None:
        """Close the one that it has by then."""
        self.world.kernel.close()  # type: ignore[attr-defined]

    def inside(self, function: Callable[[], T]) -> T:
        """Return what `function` returns in the container."""

        def visit() -> T:
            with entered(self.container):
                return function()

        return self.namespace.call(visit)

    def socket(self, version: int, kind: int, address: str, port: int) -> socket.socket:
        """Return a socket in the container, bound to the address and port."""

        def make() -> socket.socket:
            made = socket.socket(FAMILY[version], kind)
            made.settimeout(WAIT_S)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            made.bind((address, port))
            return made

        return self.inside(make)


def frame_socket(link: str) -> socket.socket:
    """Return a socket for whole frames on a link of the namespace it is called in, with room for many."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    make_room(made)
    made.bind((link, 0x0003))
    return made


def make_room(receiver: socket.socket) -> None:
    """Let a socket hold what comes before anybody reads it."""
    receiver.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE


class Capture:
    """Every frame that crosses a switch."""

    def __init__(self, switch: Namespace) -> None:
        # A bridge hands a frame to itself only if it is flooded: it is made to listen to all.
        switch.ip("link set sw0 promisc on")
        self._raw = switch.call(frame_socket, "sw0")
        self._raw.setblocking(False)

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def take(self) -> list[bytes]:
        """Return the frames since the last time."""
        found: list[bytes] = []
        while True:
            try:
                found.append(self._raw.recv(1 << 17))
            except BlockingIOError:
                return found
