"""What holding published ports means, apart from the process that does it.

nftables translates published ports, so nothing here carries a packet if the kernel can. A held port is
*bound*, so that another program that wants it is told at once, and the other way round. Where `relay_to`
is set, connections and datagrams are taken and relayed there: the kernel cannot turn IPv6 into IPv4.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from ...model.errors import Conflict, InvalidRequest, Unsupported

Transport = Literal["tcp", "udp", "sctp"]
PortKey = tuple[str, str, int]
"""Protocol, address and port: what can be held once."""

_ANY = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class HeldPort:
    """A port of the host. `host_ip` is an address, `0.0.0.0` or `::` for any of its family.

    A relay connects to `relay_to` from the host's own network namespace, so the container sees an address
    of the host instead of the client's.
    """

    protocol: Transport
    host_ip: str
    host_port: int
    relay_to: tuple[str, int] | None = None

    @property
    def key(self) -> PortKey:
        return (self.protocol, self.host_ip, self.host_port)

    def __str__(self) -> str:
        host = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip
        return f"{host}:{self.host_port}/{self.protocol}"


class PortTaken(Conflict):
    """Somebody else has the port, or one that overlaps it (`0.0.0.0` overlaps `127.0.0.1`).

    `holder` is text for people, "" if nobody could be found. `owner` is set if the holder is an owner of
    ours, so that the caller can put the name of a container in the place of an id.
    """

    def __init__(self, held: HeldPort, holder: str = "", owner: str = "") -> None:
        self.held = held
        self.holder = holder
        self.owner = owner
        host = f"[{held.host_ip}]" if ":" in held.host_ip else held.host_ip
        if owner:
            what = f"Bind for {host}:{held.host_port} failed: port is already allocated"
        else:
            what = f"failed to bind host port {held}: address already in use"
        super().__init__(
            f"{what} (by {holder})" if holder else what,
            remedy="publish another host port, or stop what uses this one",
        )


class PortHolder(Protocol):
    """Holds ports for owners. An owner is any text; the daemon uses the id of an endpoint or container."""

    async def hold(self, owner: str, ports: Sequence[HeldPort]) -> None:
        """Add to what the owner holds: all of `ports`, or none of them.

        The same ones again are no change. Another `relay_to` for a port the owner already holds counts for
        new connections; those that exist go on.

        Raises PortTaken; InvalidRequest for what is no address or port; Failed for an address that this
        host does not have; Unsupported for a relay that cannot be; Denied; Unavailable if the process does
        not answer or has no descriptor left.
        """
        ...

    async def release(self, owner: str, ports: Sequence[HeldPort] | None = None) -> None:
        """Give up these (whatever their `relay_to`), or all that the owner holds.

        What is not held is passed over. Relayed connections end.
        """
        ...

    async def sync(self, everything: Mapping[str, Sequence[HeldPort]]) -> Mapping[str, str]:
        """Make what is held exactly this; return what could not be, as owner → text.

        A port that changes hands or stays is not let go in between. What could not be held is tried
        again from time to time until it is released.
        """
        ...

    async def close(self) -> None:
        """Let go of the connection, not of the ports."""
        ...


def overlaps(one: HeldPort, other: HeldPort) -> bool:
    """Whether the two cannot both be bound, by the kernel's rule for sockets of one family each."""
    return (
        one.protocol == other.protocol
        and one.host_port == other.host_port
        and (":" in one.host_ip) == (":" in other.host_ip)
        and (one.host_ip == other.host_ip or one.host_ip in _ANY or other.host_ip in _ANY)
    )


def checked(port: HeldPort) -> HeldPort:
    """Return it with its addresses in their canonical form. Raises InvalidRequest and Unsupported."""
    if port.protocol == "sctp" and port.relay_to is not None:
        raise Unsupported(
            f"host port {port} cannot be relayed: there is no relay for sctp",
            remedy="give the container an address of the same family as the host's",
        )
    relay_to = port.relay_to and (_address(port.relay_to[0], port), _port(port.relay_to[1], port))
    fresh = replace(port, host_ip=_address(port.host_ip, port), relay_to=relay_to)
    _port(port.host_port, port)
    return port if fresh == port else fresh


def _address(text: str, port: HeldPort) -> str:
    if text in _ANY:
        return text
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidRequest(f"host port {port}: {text!r} is not an IP address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise InvalidRequest(
            f"host port {port}: {text} is an IPv4 address in IPv6 form", remedy=f"use {address.ipv4_mapped}"
        )
    return str(address)


def _port(number: int, port: HeldPort) -> int:
    if not 1 <= number <= 65535:
        raise InvalidRequest(f"host port {port}: {number} is not a port (1-65535)")
    return number
