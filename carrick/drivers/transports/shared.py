"""What several transports do alike: having no link, addresses of a link, the underlay between two nodes."""

from collections.abc import Iterable
from ipaddress import ip_interface

from ...domains.firewall import Across
from ...domains.overlay.mtu import overhead
from ...model.cluster import NodeRecord, Underlay
from ...model.errors import Unavailable
from ...model.networks import Network
from ...model.observed import LinkState, NamespaceState
from ...model.steps import AddAddress, RemoveAddress, Step
from ..contract import HostView

NOWHERE_METRIC = 1 << 30
"""That of the unreachable routes that are left when the real ones are not there: behind everybody's."""


class Linkless:
    """Of `Transport` what is the same where packets go as they are, by links that are none of ours."""

    name = ""
    needs: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    encrypted = False

    def overhead(self, version: int) -> int:
        return overhead(self.name, version)

    def links(self, network: Network) -> tuple[str, ...]:
        return ()

    def across(self, network: Network) -> Across:
        # By which links they go is the routes' business.
        return Across(plain=True)

    def check(self, network: Network, host: HostView) -> None:
        if host.cluster is not None:
            main_underlay(host.cluster.me)

    def plan_removal(self, network: Network, host: HostView) -> tuple[Step, ...]:
        return ()


def plan_addresses(
    link: LinkState | None, name: str, wanted: tuple[str, ...], network: Network
) -> tuple[list[Step], list[Step]]:
    """Return the steps that add, and those that remove, addresses of a network's subnets on a link."""
    present = link.addresses if link is not None else frozenset()
    add: list[Step] = [AddAddress(name, address) for address in wanted if address not in present]
    remove: list[Step] = [
        RemoveAddress(name, address)
        for address in sorted(present)
        if address not in wanted and is_within(address, network)
    ]
    return add, remove


def is_within(address: str, network: Network) -> bool:
    """Tell whether an address, with or without prefix length, is in a network's subnets."""
    interface = ip_interface(address)
    return any(pool.version == interface.version and interface.ip in pool.network for pool in network.pools)


def main_underlay(me: NodeRecord) -> Underlay:
    """Return the underlay that tunnels of this node begin at; its family is the tunnels'."""
    if not me.underlays:
        raise Unavailable(
            "this node has no underlay address, so nobody can send it anything",
            remedy="set one with: carrick node update --address",
        )
    return me.underlays[0]


def shared_segment(
    me: NodeRecord, peer: NodeRecord, versions: Iterable[int]
) -> tuple[Underlay, Underlay] | None:
    """Return the two ends where both nodes are on one link: their prefixes are the same."""
    for version in versions:
        for mine in me.underlays:
            for theirs in peer.underlays:
                if mine.version == theirs.version == version and mine.prefix == theirs.prefix:
                    return mine, theirs
    return None


def link_with(state: NamespaceState, address: str) -> str:
    """Return the link that has an address, "" if none has."""
    wanted = ip_interface(address).ip
    for link in state.links.values():
        if any(ip_interface(item).ip == wanted for item in link.addresses):
            return link.name
    return ""
