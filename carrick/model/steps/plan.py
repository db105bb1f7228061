"""All steps as one type, and a plan made of them."""

from dataclasses import dataclass

from .links import (
    CreateBridge,
    CreateDummy,
    CreateSlave,
    CreateVeth,
    CreateVlan,
    CreateVxlan,
    DeleteLink,
    MoveLink,
    SetLink,
)
from .namespaces import CreateNetns, DeleteNetns
from .rows import (
    AddAddress,
    AddNeighbour,
    AddRoute,
    AddRule,
    RemoveAddress,
    RemoveFdb,
    RemoveNeighbour,
    RemoveRoute,
    RemoveRule,
    SetFdb,
)
from .traffic import AddShortcut, Announce, ForgetFlows, Nft, RemoveShortcut, SetRate, SetShortcut, SetSysctl
from .wireguard import CreateWireguard, SetWireguard

Step = (
    CreateNetns
    | DeleteNetns
    | CreateBridge
    | CreateVeth
    | CreateSlave
    | CreateVlan
    | CreateDummy
    | CreateVxlan
    | CreateWireguard
    | SetWireguard
    | SetLink
    | DeleteLink
    | MoveLink
    | AddAddress
    | RemoveAddress
    | AddRoute
    | RemoveRoute
    | AddRule
    | RemoveRule
    | SetFdb
    | RemoveFdb
    | AddNeighbour
    | RemoveNeighbour
    | SetShortcut
    | AddShortcut
    | RemoveShortcut
    | Announce
    | SetRate
    | SetSysctl
    | Nft
    | ForgetFlows
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order to take them, and remarks for whoever reads the plan."""

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: "Plan") -> "Plan":
        return Plan(self.steps + other.steps, self.notes + other.notes)

    def __bool__(self) -> bool:
        return bool(self.steps)
