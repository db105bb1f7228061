"""Choose the transport to a peer: the one that a network names, or plain routes on a shared segment."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ...domains.flannel.hooks import OPTIONS, hooks_of
from ...model.cluster import NodeRecord
from ...model.errors import InvalidRequest
from ...model.networks import Network
from .contract import Transport
from .direct import Direct
from .extension import Extension
from .vxlan import Vxlan
from .wireguard import Wireguard

BACKEND = "backend"
CROSS_SUBNET = "cross-subnet"
DEFAULT = "vxlan"

TRANSPORTS: Mapping[str, Transport] = MappingProxyType(
    {transport.name: transport for transport in (Vxlan(), Direct(), Wireguard(), Extension())}
)
"""By name. They have no state."""

_YES, _NO = {"true", "1", "yes"}, {"", "false", "0", "no"}


@dataclass(frozen=True, slots=True)
class Choice:
    """A network's options about transports, parsed."""

    backend: Transport
    cross_subnet: bool = False

    @property
    def transports(self) -> tuple[Transport, ...]:
        """All that may be used, in the order in which they are planned."""
        direct = TRANSPORTS["direct"]
        return (self.backend, direct) if self.cross_subnet and self.backend is not direct else (self.backend,)


def parse_choice(network: Network) -> Choice:
    """Parse a network's options; InvalidRequest names the option, its value, and what there is."""
    name = network.options.get(BACKEND) or DEFAULT
    if name not in TRANSPORTS:
        raise InvalidRequest(f"unknown backend {name}", remedy=f"use one of {', '.join(sorted(TRANSPORTS))}")
    text = network.options.get(CROSS_SUBNET, "").lower()
    if text not in _YES | _NO:
        raise InvalidRequest(f"{CROSS_SUBNET}: {text} is neither true nor false")
    backend = TRANSPORTS[name]
    if text in _YES and backend.encrypted:
        # It would send in the clear to the peers that are near.
        raise InvalidRequest(
            f"{CROSS_SUBNET} and backend={name} exclude each other: on a shared segment it would not encrypt",
            remedy=f"leave {CROSS_SUBNET} away",
        )
    if text in _YES and backend is TRANSPORTS["extension"]:
        raise InvalidRequest(
            f"{CROSS_SUBNET} and backend={name} exclude each other: the hooks lead to every node",
            remedy=f"leave {CROSS_SUBNET} away",
        )
    if backend is not TRANSPORTS["extension"] and hooks_of(network):
        raise InvalidRequest(
            f"network {network.name} has hooks, which run for backend=extension, and not for {name}",
            remedy=f"leave the options {', '.join(OPTIONS.values())} away, or use backend=extension",
        )
    return Choice(backend, text in _YES)


def choose(choice: Choice, me: NodeRecord, peer: NodeRecord, version: int) -> tuple[Transport, str]:
    """Return the transport for a peer's blocks of an IP version, and why it is that one."""
    direct = TRANSPORTS["direct"]
    if choice.backend is direct:
        return direct, "the network names it"
    if not choice.cross_subnet:
        named = "the network names it" if choice.backend.name != DEFAULT else "the default"
        return choice.backend, named
    refused = direct.refusal(me, peer, version)
    if refused:
        return choice.backend, f"cross-subnet: {refused}"
    return direct, "cross-subnet: on the same segment"
