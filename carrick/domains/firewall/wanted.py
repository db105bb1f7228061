"""What the firewall has to know: of networks, published and open ports, and links between containers."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from ..wireguard import device_name

NAT, NAT_UNPROTECTED, ROUTED, ISOLATED = "nat", "nat-unprotected", "routed", "isolated"


@dataclass(frozen=True, slots=True)
class Across:
    """By which links packets between a network's hosts come and go, where they are routed.

    `links` are the network's own. `wireguard` is the node's WireGuard device. With `plain` they may take any
    link but our bridges, as they are: then a packet's addresses alone say that it is the network's. Without
    it, what would take another way than these is dropped, so that nothing leaves in the clear.

    `blocks` are the prefix lengths of the hosts' parts, one per subnet, where packets that go `plain` are to
    be counted: blocks alone tell hosts apart then.
    """

    links: tuple[str, ...] = ()
    wireguard: bool = False
    plain: bool = False
    blocks: tuple[int, ...] = ()

    @property
    def is_tunnel(self) -> bool:
        """Tell whether packets always go by the network's own links."""
        return bool(self.links) and not self.wireguard and not self.plain

    def names(self, table: str) -> tuple[str, ...]:
        return (*self.links, *((device_name(table),) if self.wireguard else ()))


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """What the firewall has to know of one bridge network.

    `key` names its chains (the short network id). `mode4`/`mode6` are the gateway modes. `snat4`/`snat6`
    are the source addresses to use instead of masquerading, or "". `across` is for a routed network that has
    parts of its subnets on other hosts. `vni` is that of its VXLAN (0: none); with `sealed` its packets come
    out of the node's WireGuard device, or are forged. `stateless`: what is sent within its IPv4 subnet is not
    tracked, where that is possible. `lent` are bridges of another engine that have parts of the subnets:
    what goes into those is that engine's to judge.
    """

    key: str
    bridge: str
    subnets: tuple[IPv4Network | IPv6Network, ...]
    internal: bool = False
    inter_container: bool = True
    masquerade: bool = True
    mode4: str = NAT
    mode6: str = NAT
    snat4: str = ""
    snat6: str = ""
    trusted_interfaces: tuple[str, ...] = ()
    across: Across | None = None
    vni: int = 0
    sealed: bool = False
    stateless: bool = False
    lent: tuple[str, ...] = ()

    def mode(self, version: int) -> str:
        return self.mode6 if version == 6 else self.mode4

    def masquerades(self, version: int) -> bool:
        """Tell whether what leaves the network gets an address of the host's."""
        if self.internal or self.mode(version) in {ROUTED, ISOLATED}:
            return False
        return bool(self.snat6 if version == 6 else self.snat4) or self.masquerade

    @property
    def is_stateless(self) -> bool:
        """Tell whether what is sent within its IPv4 subnet, but to this host's addresses, is not tracked.

        Nothing depends on the past there: all may talk to all, and what is published is translated, and
        answered, by addresses of hosts. Two things would: where containers leave the network with their own
        address they come to a published port of another host with it, and the answer looks as if it were
        within the subnet; and routers between hosts, where packets go plain, report errors that are let in
        because of what they are about.
        """
        if self.across is None or not self.across.is_tunnel or not self.stateless or self.lent:
            return False
        return self.inter_container and (self.internal or self.masquerades(4))


@dataclass(frozen=True, slots=True, order=True)
class Publication:
    """One entry of a publish map; `host_ip` "" is every address of the host, in the target's family."""

    protocol: str
    host_ip: str
    host_port: int
    target_ip: str
    target_port: int

    @property
    def version(self) -> int:
        return 6 if ":" in self.target_ip else 4


@dataclass(frozen=True, slots=True, order=True)
class OpenPort:
    """A container port reachable by routing, without NAT (gateway mode `routed`)."""

    protocol: str
    ip: str
    port: int


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """On a network with ICC off: `source` may reach `target` at this port."""

    source: str
    target: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class Firewall:
    """Everything that should be in the tables of one daemon.

    `isolated` are the host interfaces of endpoints on networks with ICC off. `clustered`: other hosts take
    what comes from this one for its own tunnels' packets.
    """

    table: str
    networks: tuple[NetworkRules, ...] = ()
    publications: tuple[Publication, ...] = ()
    open_ports: tuple[OpenPort, ...] = ()
    linked: tuple[Link, ...] = ()
    isolated: tuple[str, ...] = ()
    clustered: bool = False
