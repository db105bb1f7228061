"""What address management refuses. The first line of every message is Docker's own."""

from collections.abc import Sequence

from ...model.errors import Denied, InvalidRequest, Unavailable
from .types import Address

_SHOWN = 20


class AddressInUse(Denied):
    """An address that was asked for belongs to somebody, or to the subnet itself."""

    def __init__(self, address: Address, holder: str) -> None:
        super().__init__("Address already in use", remedy=f"{address} is {holder}; ask for another address")
        self.address = address
        self.holder = holder


class PoolFull(Unavailable):
    """Every address of the pool that may be given out is taken."""

    def __init__(self, version: int, label: str) -> None:
        super().__init__(
            f"no available IPv{version} addresses on this network's address pools: {label}",
            remedy="remove containers from the network, or make one with a larger subnet",
        )


class PoolsExhausted(InvalidRequest):
    """No subnet is left to choose. `reasons` says of each why not; the message gives the first ones."""

    def __init__(self, reasons: Sequence[str]) -> None:
        lines = [f"  {reason}" for reason in reasons[:_SHOWN]]
        if len(reasons) > _SHOWN:
            lines.append(f"  and {len(reasons) - _SHOWN} more")
        super().__init__(
            "\n".join(["all predefined address pools have been fully subnetted", *lines]),
            remedy="remove unused networks, name a free subnet, or add to default-address-pools",
        )
        self.reasons = tuple(reasons)


class PoolOverlap(Denied):
    """A subnet that was asked for shares addresses with another network's."""

    def __init__(self, subnet: str, other: str) -> None:
        super().__init__(
            "invalid pool request: Pool overlaps with other one on this address space",
            remedy=f"{subnet} overlaps {other}; name another subnet",
        )
