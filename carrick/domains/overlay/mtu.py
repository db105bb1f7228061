"""Work out a network's MTU from the underlay's: what each transport puts around a packet.

vxlan: the inner Ethernet header (14), VXLAN (8), UDP (8) and IP (20 or 40): RFC 7348, section 5.
wireguard: the data message's header (16) and tag (16), UDP (8) and IP; its padding never exceeds the MTU.
direct: nothing. The underlay's address family decides, not the containers'.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ...model.errors import InvalidRequest

OVERHEAD: Mapping[str, Mapping[int, int]] = MappingProxyType(
    {
        "direct": MappingProxyType({4: 0, 6: 0}),
        # What hooks put around a packet, only those who wrote them know: they set the network's MTU.
        "extension": MappingProxyType({4: 0, 6: 0}),
        "vxlan": MappingProxyType({4: 50, 6: 70}),
        "wireguard": MappingProxyType({4: 60, 6: 80}),
    }
)
"""Bytes by transport and the underlay's IP version."""

LEAST = MappingProxyType({4: 68, 6: 1280})
"""RFC 791, RFC 8200 (section 5)."""


@dataclass(frozen=True, slots=True)
class PeerPath:
    """The way to one peer: over which transport, the underlay's IP version, and the MTU found there."""

    peer: str
    transport: str
    version: int
    underlay_mtu: int

    @property
    def mtu(self) -> int:
        return self.underlay_mtu - overhead(self.transport, self.version)


def overhead(transport: str, version: int) -> int:
    """Return a transport's bytes a packet; InvalidRequest names the known ones."""
    try:
        return OVERHEAD[transport][version]
    except KeyError:
        raise InvalidRequest(
            f"no transport {transport!r} over IPv{version}; there are {', '.join(sorted(OVERHEAD))}"
        ) from None


def network_mtu(paths: Iterable[PeerPath], otherwise: int, *, ipv6: bool = False) -> int:
    """Return the largest MTU that fits every path, `otherwise` if there is none (no peer yet).

    It is the least over the peers, so that it does not depend on their order. Raises InvalidRequest, naming
    the peer, if that is less than IP allows (with `ipv6`, containers have IPv6).
    """
    least = min(paths, key=lambda path: (path.mtu, path.peer), default=None)
    found = otherwise if least is None else least.mtu
    if found < LEAST[6 if ipv6 else 4]:
        where = f"the path to {least.peer} ({least.transport})" if least else "the underlay"
        version = 6 if ipv6 else 4
        raise InvalidRequest(
            f"{where} leaves an MTU of {found}, and IPv{version} needs {LEAST[version]}",
            remedy="raise the underlay's MTU" + (", or do without IPv6 in this network" if ipv6 else ""),
        )
    return found
