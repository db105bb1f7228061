"""Rows of the tables by which packets find their way: addresses, routes, rules, FDB, neighbours."""

from dataclasses import dataclass
from typing import Literal

from .namespaces import inside

ROUTE_PROTOCOL = 202
"""The protocol number (rtm_protocol) on every route, rule and neighbour of ours: nobody else's is touched."""

MAIN_TABLE = 254
ANY_MAC = "00:00:00:00:00:00"
"""The FDB row for frames whose destination has no row: broadcast, multicast, unknown unicast."""

RouteKind = Literal["unicast", "blackhole", "unreachable"]


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Give `link` an address with prefix length, without duplicate address detection."""

    link: str
    address: str
    netns: str = ""

    def describe(self) -> str:
        return f"{inside(self.netns)}ip address add {self.address} dev {self.link} nodad"


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    link: str
    address: str
    netns: str = ""

    def describe(self) -> str:
        return f"{inside(self.netns)}ip address delete {self.address} dev {self.link}"


@dataclass(frozen=True, slots=True)
class AddRoute:
    """A route; `destination` "default" means everything of the gateway's family.

    It takes the place of the route that has the same destination, table and metric. Without `via` the
    route is on the link (a device-scoped default, as ipvlan l3 has). `via` may be of the other family.
    With `onlink` the gateway is taken to be on the link though no address there says so. `source` is the
    address that this host's own packets get. A blackhole or unreachable route has neither link nor `via`.
    """

    destination: str
    link: str
    via: str = ""
    netns: str = ""
    version: int = 4
    metric: int = 0
    onlink: bool = False
    source: str = ""
    table: int = MAIN_TABLE
    kind: RouteKind = "unicast"

    def describe(self) -> str:
        kind = "" if self.kind == "unicast" else f"{self.kind} "
        family = "-6 " if self.version == 6 else ""
        words = [f"{inside(self.netns)}ip {family}route replace {kind}{self.destination}"]
        if self.via:
            words.append(
                f"via inet6 {self.via}" if self.version == 4 and ":" in self.via else f"via {self.via}"
            )
        words += [f"dev {self.link}"] if self.link else []
        words += ["onlink"] if self.onlink else []
        words += [f"src {self.source}"] if self.source else []
        words += [f"metric {self.metric}"] if self.metric else []
        words += [f"table {self.table}"] if self.table != MAIN_TABLE else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Remove the first route to `destination` that matches; a `link` of "" and a `metric` of 0 match any.

    With `own` only a route of ours is removed.
    """

    destination: str
    netns: str = ""
    version: int = 4
    link: str = ""
    metric: int = 0
    table: int = MAIN_TABLE
    own: bool = False

    def describe(self) -> str:
        family = "-6 " if self.version == 6 else ""
        words = [f"{inside(self.netns)}ip {family}route delete {self.destination}"]
        words += [f"dev {self.link}"] if self.link else []
        words += [f"metric {self.metric}"] if self.metric else []
        words += [f"table {self.table}"] if self.table != MAIN_TABLE else []
        words += [f"proto {ROUTE_PROTOCOL}"] if self.own else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Rule:
    """A routing rule: packets that match are looked up in `table`, unless a lower `priority` decided.

    `source` and `destination` are prefixes, "" any; `fwmark` 0 any, else compared under `fwmask`
    (0: all bits). With `invert` it is for the packets that do *not* match.
    """

    priority: int
    table: int
    version: int = 4
    source: str = ""
    destination: str = ""
    fwmark: int = 0
    fwmask: int = 0
    iif: str = ""
    invert: bool = False

    def words(self) -> str:
        words = [f"priority {self.priority}"]
        words += ["not"] if self.invert else []
        words.append(f"from {self.source or 'all'}")
        words += [f"to {self.destination}"] if self.destination else []
        if self.fwmark:
            words.append(f"fwmark {self.fwmark:#x}" + (f"/{self.fwmask:#x}" if self.fwmask else ""))
        words += [f"iif {self.iif}"] if self.iif else []
        return " ".join([*words, f"table {self.table}"])


@dataclass(frozen=True, slots=True)
class AddRule:
    rule: Rule
    netns: str = ""

    def describe(self) -> str:
        return f"{inside(self.netns)}ip -{self.rule.version} rule add {self.rule.words()}"


@dataclass(frozen=True, slots=True)
class RemoveRule:
    """Remove a rule of ours; one that differs in anything stays."""

    rule: Rule
    netns: str = ""

    def describe(self) -> str:
        return f"{inside(self.netns)}ip -{self.rule.version} rule delete {self.rule.words()}"


@dataclass(frozen=True, slots=True)
class SetFdb:
    """Frames to `mac` leave VXLAN device `link` for the VTEP at `destination`; they never age.

    A MAC has one destination: another one takes its place in one step. `ANY_MAC` has several, and gets one
    more: such a frame is sent to each (head-end replication). With `bridge` the device's bridge is told as
    well that `mac` is behind this port, so that it neither floods for it nor has to learn it.
    """

    link: str
    mac: str
    destination: str
    netns: str = ""
    bridge: bool = False

    def describe(self) -> str:
        verb = "append" if self.mac == ANY_MAC else "replace"
        where = " self master static" if self.bridge else " self permanent"
        prefix = f"{inside(self.netns)}bridge fdb {verb} {self.mac} dev {self.link}"
        return f"{prefix} dst {self.destination}{where}"


@dataclass(frozen=True, slots=True)
class RemoveFdb:
    """Remove a row; without `destination` whatever it is. `bridge` as at `SetFdb`."""

    link: str
    mac: str
    destination: str = ""
    netns: str = ""
    bridge: bool = False

    def describe(self) -> str:
        where = f" dst {self.destination}" if self.destination else ""
        prefix = f"{inside(self.netns)}bridge fdb delete {self.mac} dev {self.link}"
        return f"{prefix}{where} self" + (" master" if self.bridge else "")


@dataclass(frozen=True, slots=True)
class AddNeighbour:
    """`address`, of either family, is at `mac` on `link`: permanent, or else until it is not confirmed.

    All of a link's neighbours go when it goes down, and when its MAC changes (a bridge's does with its
    ports, unless it was given one). `router`: the neighbour is a router, as it advertises itself (IPv6).
    """

    link: str
    address: str
    mac: str
    permanent: bool = True
    router: bool = False
    netns: str = ""

    def describe(self) -> str:
        state = "permanent" if self.permanent else "reachable"
        router = " router" if self.router else ""
        prefix = f"{inside(self.netns)}ip neighbour replace {self.address} dev {self.link}"
        return f"{prefix} lladdr {self.mac} nud {state}{router}"


@dataclass(frozen=True, slots=True)
class RemoveNeighbour:
    link: str
    address: str
    netns: str = ""

    def describe(self) -> str:
        return f"{inside(self.netns)}ip neighbour delete {self.address} dev {self.link}"
