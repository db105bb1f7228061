"""Plan the neighbours of one link: at which MAC each address of other hosts' containers or VTEPs is.

With them ARP and neighbour discovery are answered here and never cross the underlay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from ...model.observed import Neighbour
from ...model.steps import AddNeighbour, RemoveNeighbour, Step

Neighbours = Mapping[str, Neighbour]
"""By address, as `Kernel.read_neighbours` returns them."""


@dataclass(frozen=True, slots=True)
class NeighbourPlan:
    """Changes in the order to make them: every `replace`, then every `remove`."""

    replace: tuple[tuple[str, Neighbour], ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.replace or self.remove)

    def steps(self, link: str) -> tuple[Step, ...]:
        return (
            *(AddNeighbour(link, address, at.mac, router=at.router) for address, at in self.replace),
            *(RemoveNeighbour(link, address) for address in self.remove),
        )


def plan_neighbours(desired: Neighbours, actual: Neighbours) -> NeighbourPlan:
    """Return the changes that turn `actual` into `desired`, sorted by address as text.

    An address that moved is one replace. That a neighbour is a router matters to IPv6 alone.
    """
    wanted, there = _normalised(desired), _normalised(actual)
    return NeighbourPlan(
        replace=tuple(row for row in sorted(wanted.items(), key=_address) if there.get(row[0]) != row[1]),
        remove=tuple(sorted(there.keys() - wanted.keys())),
    )


def _address(row: tuple[str, Neighbour]) -> str:
    return row[0]


def _normalised(neighbours: Neighbours) -> dict[str, Neighbour]:
    found = {}
    for text, neighbour in neighbours.items():
        address = ip_address(text)
        found[str(address)] = Neighbour(neighbour.mac.lower(), neighbour.router and address.version == 6)
    return found
