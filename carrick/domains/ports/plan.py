"""Decide how a container's port bindings become ports of the host.

A binding without an address means every address of both families. The kernel translates within a family.
A client that comes by IPv6 to a container that has IPv4 alone is relayed in user space, and so is one that
connects to `::1`, which the kernel does not route off the loopback interface.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from ...model.containers import PortBinding
from ...model.errors import InvalidRequest

ANY4, ANY6 = "0.0.0.0", "::"
RELAYED = frozenset({"tcp", "udp"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where a container's ports are reached: its addresses, "" for a family that it lacks.

    `default_ip` is the host address for bindings that name none ("" or 0.0.0.0: every address).
    """

    ipv4: str = ""
    ipv6: str = ""
    default_ip: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One listening address of the host.

    `nat`: the kernel translates what comes there. `relay`: what still arrives is relayed. Those of one
    binding have one `group` and get one host port together. `first`..`last` is the range to choose it in,
    0..0 for any free one.
    """

    group: int
    protocol: str
    host_ip: str
    first: int
    last: int
    target_ip: str
    target_port: int
    nat: bool = True
    relay: bool = False


def parse_port_range(text: str) -> tuple[int, int]:
    """Parse a host port: "" (any: 0, 0), "8080" or "8000-8010"."""
    if not text or text == "0":
        return 0, 0
    first, dash, last = text.partition("-")
    # Five digits: int() takes other alphabets' and, of thousands, a while.
    if not all(
        part.isascii() and part.isdigit() and len(part) <= 5 for part in (first, last if dash else first)
    ):
        raise InvalidRequest(f"invalid port specification: {text!r}")
    low, high = int(first), int(last if dash else first)
    if not 0 < low <= high <= 65535:
        raise InvalidRequest(f"invalid port specification: {text!r}")
    return low, high


def plan_bindings(bindings: Sequence[PortBinding], target: Target) -> list[Wanted]:
    """Return the listening addresses for each binding, in order.

    Raises InvalidRequest if a binding names an address of a family that cannot reach the container.
    """
    wanted: list[Wanted] = []
    for group, binding in enumerate(bindings):
        first, last = parse_port_range(binding.host_port)
        for host_ip in _host_addresses(binding, target):
            target_ip, nat, relay = _way(binding, host_ip, target)
            wanted.append(
                Wanted(
                    group,
                    binding.protocol,
                    host_ip,
                    first,
                    last,
                    target_ip,
                    binding.container_port,
                    nat,
                    relay,
                )
            )
    return wanted


def _host_addresses(binding: PortBinding, target: Target) -> list[str]:
    host_ip = binding.host_ip or target.default_ip
    if host_ip:
        try:
            address = ip_address(host_ip)
        except ValueError:
            address = None
        # A zone (`%eth0`) is nothing that a packet carries.
        if address is None or "%" in host_ip:
            raise InvalidRequest(f"invalid IP address: {host_ip}")
        return [str(address)]
    found = [ANY4] if target.ipv4 else []
    if target.ipv6 or binding.protocol in RELAYED:
        found.append(ANY6)
    return found


def _way(binding: PortBinding, host_ip: str, target: Target) -> tuple[str, bool, bool]:
    """Return the target's address, whether the kernel translates, and whether there is a relay."""
    what = f"port {binding.container_port}/{binding.protocol} cannot be published on {host_ip}"
    address = ip_address(host_ip)
    if address.version == 4:
        if not target.ipv4:
            raise InvalidRequest(f"{what}: the container has no IPv4 address")
        return target.ipv4, True, False
    relayed = binding.protocol in RELAYED
    nat = bool(target.ipv6) and not address.is_loopback
    if not nat and not relayed:
        raise InvalidRequest(f"{what}: only tcp and udp are relayed from IPv6 to IPv4")
    relay = relayed and (not nat or address.is_unspecified)
    return target.ipv6 or target.ipv4, nat, relay


def overlaps(one: str, other: str) -> bool:
    """Tell whether two listening addresses would take the same packets."""
    first, second = ip_address(one), ip_address(other)
    if first.version != second.version:
        return False
    return first == second or first.is_unspecified or second.is_unspecified


def render_binding(host_ip: str, port: int) -> str:
    """Return `0.0.0.0:80` or `[::]:80`, as Docker writes an address with a port."""
    return f"[{host_ip}]:{port}" if ":" in host_ip else f"{host_ip}:{port}"
