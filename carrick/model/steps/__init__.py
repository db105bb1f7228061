"""Steps: what is done. A plan consists of them; each is a value, and `kernel/` alone carries it out.

`namespaces` and `links` are about what there is, `wireguard` about whom its devices speak to, `rows` about
the tables by which packets find their way, `traffic` about what else decides how they go; `plan` is all of it
together. What there is to compare a plan with, the state that the kernel is seen to hold, is in `observed`.

`describe()` gives the command an administrator would type for the same effect, which is what
`--dry-run` prints. A `netns` of "" is the daemon's own namespace. Every step may be repeated:
creating what exists as asked, or deleting what is gone, is success.
"""

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
from .plan import Plan, Step
from .rows import (
    ANY_MAC,
    MAIN_TABLE,
    ROUTE_PROTOCOL,
    AddAddress,
    AddNeighbour,
    AddRoute,
    AddRule,
    RemoveAddress,
    RemoveFdb,
    RemoveNeighbour,
    RemoveRoute,
    RemoveRule,
    RouteKind,
    Rule,
    SetFdb,
)
from .traffic import AddShortcut, Announce, ForgetFlows, Nft, RemoveShortcut, SetRate, SetShortcut, SetSysctl
from .wireguard import CreateWireguard, SetWireguard, WireguardPeer

__all__ = [
    "ANY_MAC",
    "MAIN_TABLE",
    "ROUTE_PROTOCOL",
    "AddAddress",
    "AddNeighbour",
    "AddRoute",
    "AddRule",
    "AddShortcut",
    "Announce",
    "CreateBridge",
    "CreateDummy",
    "CreateNetns",
    "CreateSlave",
    "CreateVeth",
    "CreateVlan",
    "CreateVxlan",
    "CreateWireguard",
    "DeleteLink",
    "DeleteNetns",
    "ForgetFlows",
    "MoveLink",
    "Nft",
    "Plan",
    "RemoveAddress",
    "RemoveFdb",
    "RemoveNeighbour",
    "RemoveRoute",
    "RemoveRule",
    "RemoveShortcut",
    "RouteKind",
    "Rule",
    "SetFdb",
    "SetLink",
    "SetRate",
    "SetShortcut",
    "SetSysctl",
    "SetWireguard",
    "Step",
    "WireguardPeer",
]
