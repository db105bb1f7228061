"""The network between the hosts: one bridge per segment in the router, one veth per node, routes between.

Nothing leads out of it: the router has no link but these. Offloads are as the kernel has them for veth.
"""

import socket
from collections.abc import Iterable
from pathlib import Path

from ..model.errors import KernelRefused
from .plan import Node, Segment, Topology
from .processes import Process, in_network_of, run_on

NODE_LINK = "eth0"
_FORWARDING = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")


def router_commands(segments: Iterable[Segment], mtu: int) -> list[str]:
    """Return the lines for `ip -batch` that make the router's bridges."""
    lines = ["link set lo up"]
    for segment in segments:
        link = segment.link
        lines += [
            f"link add {link} address {segment.mac} mtu {mtu} type bridge"
            # Nobody here asks for multicast groups; snooping would keep from hosts what they want.
            " forward_delay 0 stp_state 0 mcast_snooping 0",
            f"address add {segment.router4}/{segment.ipv4.prefixlen} dev {link}",
            f"address add {segment.router6}/{segment.ipv6.prefixlen} dev {link} nodad",
            f"link set {link} up",
        ]
    return lines


def port_commands(node: Node, pid: int, mtu: int) -> list[str]:
    """Return the lines that give a node its port on its segment. `pid` is of the node's first process."""
    assert node.segment is not None
    return [
        f"link add {node.name} mtu {mtu} type veth"
        f" peer name {NODE_LINK} address {node.mac} mtu {mtu} netns {pid}",
        f"link set {node.name} master {node.segment.link} up",
    ]


def node_commands(node: Node) -> list[str]:
    """Return the lines that a node's own links and routes need."""
    assert node.segment is not None
    return [
        "link set lo up",
        f"address add {node.ipv4} dev {NODE_LINK}",
        f"address add {node.ipv6} dev {NODE_LINK} nodad",
        f"link set {NODE_LINK} up",
        f"route add default via {node.segment.router4}",
        f"route add ::/0 via {node.segment.router6}",
    ]


def build_router(router: Process, topology: Topology, mtu: int) -> None:
    """Make the bridges and let the router forward. Raises KernelRefused."""
    _believe_addresses(router, "default")
    _batch(router, router_commands(topology.segments, mtu))

    def forward() -> None:
        for name in _FORWARDING:
            Path("/proc/sys/net", name).write_text("1")

    in_network_of(router.pid, forward)


def plug_in(router: Process, node: Node, process: Process, mtu: int) -> None:
    """Join a node to its segment. Raises KernelRefused."""
    pull_out(router, node)
    _batch(router, port_commands(node, process.pid, mtu))
    _believe_addresses(process, NODE_LINK)
    _batch(process, node_commands(node))


def _believe_addresses(process: Process, link: str) -> None:
    """Let link-local addresses be used at once: for a second or two they are tried first (RFC 4862, section
    5.4), and until then the router asks for no neighbour, so that a host's first packet is lost."""

    def write() -> None:
        Path("/proc/sys/net/ipv6/conf", link, "accept_dad").write_text("0")

    in_network_of(process.pid, write)


def pull_out(router: Process, node: Node) -> None:
    """Remove a node's port, if it is there.

    The kernel removes a dead node's links in its own time; whoever wants the name again can't wait for that.
    """
    if not has_port(router, node):
        return
    try:
        run_on(router.pid, ["ip", "link", "del", node.name])
    except KernelRefused:
        if has_port(router, node):
            raise


def has_port(router: Process, node: Node) -> bool:
    """Say whether the router has a port for the node."""
    return in_network_of(router.pid, lambda: _has_link(node.name))


def _has_link(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _batch(process: Process, lines: list[str]) -> None:
    run_on(process.pid, ["ip", "-batch", "-"], text="".join(f"{line}\n" for line in lines))
