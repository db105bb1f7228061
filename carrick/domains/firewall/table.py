"""Render Carrick's nftables tables: per network two short chains, per endpoint only elements.

Two tables, `inet NAME` and `bridge NAME`, NAME being the daemon's. In the first:

  raw_prerouting   tunnels' packets go to `tunnelled`; what must never be routed: 127.0.0.0/8 arriving from
                   a container
  raw_output       packets of our own tunnels go to `sent` or `untracked` by their VNI
  tunnelled        the same on the way in, to `received` or `sealed`
  received, sent   not tracked, but counted by the other host's address
  sealed           dropped, unless they come out of the node's WireGuard device
  smuggled         a tunnel's packets from a container, which must not get into a network that it is not on,
                   here or (in a cluster) on another host: dropped, but within its own network
  unwrapped        the same from a container elsewhere, by a routed network: dropped if they are for the host
  nat_prerouting,
  nat_output       jump to `publish` for packets to an address of this host
  publish          one map lookup each for "this address and port" and "any address, this port"
  nat_postrouting  masquerade what leaves a container network for elsewhere
  forward          `admin` first (the administrator's: created empty, never flushed), then established
                   flows, then one verdict-map lookup by input and one by output interface
  across           what goes to an address of a network that reaches other hosts: by its own bridge alone
  counted4_ID …    of a network with plain routes to other hosts, where asked: counts by block, which alone
                   tells hosts apart

What is counted stays: `render_all` replaces everything but the chain `admin` and the counters.

A packet's cost does not grow with endpoints or networks: maps and sets are hashed, and adding an endpoint
adds elements. That a flow was published is read off conntrack (`ct status dnat`), so a published port
needs no filter rule of its own.

The `bridge` table holds what a network with ICC off needs, on the bridge itself, without br_netfilter. Its
base chain is there only while an endpoint is on such a network: even an empty one costs every bridged
packet. It knows ports, not bridges (`meta ibrname` is a module that not every kernel has). Where
br_netfilter is loaded, bridged packets pass the first table as well, and its rules say the same.

Pure: text in nft's language. `render_all` replaces everything of ours in one transaction (nftables applies
it at once, so no packet sees half of it); the others are the increments for one network or endpoint.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from ..wireguard import device_name

VXLAN_PORT = 4789
COUNTERS = ("arrived", "sent", "blocks_received", "blocks_sent")
"""Sets of counters: by the address of a tunnel's other end (what arrived: by link and address), and by block
where packets go plain. An IP version's digit follows the name."""
MAX_COUNTERS = 16384
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
    linked: tuple["Link", ...] = ()
    isolated: tuple[str, ...] = ()
    clustered: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """On a network with ICC off: `source` may reach `target` at this port."""

    source: str
    target: str
    protocol: str
    port: int


_MAPS = (
    ("map", "publish4", "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service", ""),
    ("map", "publish4_any", "inet_proto . inet_service : ipv4_addr . inet_service", ""),
    ("map", "publish6", "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service", ""),
    ("map", "publish6_any", "inet_proto . inet_service : ipv6_addr . inet_service", ""),
    ("map", "snat4", "ipv4_addr : ipv4_addr", "flags interval;"),
    ("map", "snat6", "ipv6_addr : ipv6_addr", "flags interval;"),
    ("set", "open4", "ipv4_addr . inet_proto . inet_service", ""),
    ("set", "open6", "ipv6_addr . inet_proto . inet_service", ""),
    ("set", "linked4", "ipv4_addr . ipv4_addr . inet_proto . inet_service", ""),
    ("set", "bridges", "ifname", ""),
    ("set", "own4", "ipv4_addr . ifname", "flags interval;"),
    ("set", "own6", "ipv6_addr . ifname", "flags interval;"),
    ("set", "masquerade4", "ipv4_addr", "flags interval;"),
    ("set", "masquerade6", "ipv6_addr", "flags interval;"),
    ("set", "cluster4", "ipv4_addr", "flags interval;"),
    ("set", "cluster6", "ipv6_addr", "flags interval;"),
    ("map", "counted4", "ipv4_addr : verdict", "flags interval;"),
    ("map", "counted6", "ipv6_addr : verdict", "flags interval;"),
    ("map", "stateless4", "ipv4_addr : verdict", "flags interval;"),
    ("map", "into", "ifname : verdict", ""),
    ("map", "outof", "ifname : verdict", ""),
)

_CHAINS = (
    ("raw_prerouting", "type filter hook prerouting priority raw; policy accept;"),
    ("raw_output", "type filter hook output priority raw; policy accept;"),
    ("nat_prerouting", "type nat hook prerouting priority dstnat; policy accept;"),
    ("nat_output", "type nat hook output priority -100; policy accept;"),
    ("nat_postrouting", "type nat hook postrouting priority srcnat; policy accept;"),
    ("forward", "type filter hook forward priority filter; policy accept;"),
    ("publish", ""),
    ("tunnelled", ""),
    ("received", ""),
    ("sent", ""),
    ("sealed", ""),
    ("smuggled", ""),
    ("unwrapped", ""),
    ("untracked", ""),
    ("across", ""),
)
_VNI_MAPS = ("arriving_vni", "leaving_vni")
# A VNI, in the VXLAN header behind the UDP header (RFC 7348, section 5), before a byte that is reserved. Maps
# are looked up by all four, which nftables compares as one number.
_VNI = "@th,96,32"
_VNI_MASKED = f"{_VNI} & 0xffffff00"
# A router has the first address of each IPv6 subnet as well (RFC 4291, section 2.6.1).
_TO_THIS_HOST = "fib daddr type { local, anycast }"

_RULES = (
    ("raw_prerouting", f"udp dport {VXLAN_PORT} jump tunnelled"),
    # route_localnet on our bridges (for ports published on 127.0.0.1) must not open the host's loopback
    # to containers.
    ("raw_prerouting", "ip daddr 127.0.0.0/8 iifname @bridges drop"),
    ("raw_prerouting", "ip daddr vmap @stateless4"),
    # The tunnel's own packets are none of the tracker's business: their contents are, where they come out.
    ("tunnelled", f"{_VNI_MASKED} vmap @arriving_vni"),
    ("raw_output", f"udp dport {VXLAN_PORT} {_VNI_MASKED} vmap @leaving_vni"),
    # Most packets end here: what is found was let in before, by the same link, and is counted by that.
    ("received", "iif . ip saddr @arrived4 notrack accept"),
    ("received", "iif . ip6 saddr @arrived6 notrack accept"),
    ("received", "iifname @bridges goto smuggled"),
    ("received", "ip saddr @cluster4 goto unwrapped"),
    ("received", "ip6 saddr @cluster6 goto unwrapped"),
    ("received", "notrack"),
    ("received", "update @arrived4 { iif . ip saddr counter }"),
    ("received", "update @arrived6 { iif . ip6 saddr counter }"),
    ("smuggled", f"{_TO_THIS_HOST} drop"),
    # Tunnels of their own between containers of one network. Who forges its address may mean a host that
    # was let in before.
    ("smuggled", "ip saddr . iifname @own4 ip daddr . iifname @own4 return"),
    ("smuggled", "ip6 saddr . iifname @own6 ip6 daddr . iifname @own6 return"),
    ("smuggled", "drop"),
    # A host has addresses in its routed networks. No tunnel of ours ends there.
    ("unwrapped", f"{_TO_THIS_HOST} drop"),
    ("sent", "ip daddr @sent4 notrack accept"),
    ("sent", "ip6 daddr @sent6 notrack accept"),
    ("sent", "notrack"),
    ("sent", "update @sent4 { ip daddr counter }"),
    ("sent", "update @sent6 { ip6 daddr counter }"),
    # What is sealed is counted by WireGuard.
    ("untracked", "notrack"),
    # A neighbour that sends to 127.0.0.1 must not reach what is published there for this host alone.
    ("nat_prerouting", "ip daddr 127.0.0.0/8 return"),
    ("nat_prerouting", "fib daddr type local jump publish"),
    ("nat_output", "fib daddr type local jump publish"),
    # What goes to ::1 cannot leave the loopback interface: it is relayed in user space.
    ("publish", "ip6 daddr ::1 return"),
    # The more specific first: a port published on one address wins over one published on all.
    ("publish", "dnat ip to ip daddr . meta l4proto . th dport map @publish4"),
    ("publish", "meta nfproto ipv4 dnat ip to meta l4proto . th dport map @publish4_any"),
    ("publish", "dnat ip6 to ip6 daddr . meta l4proto . th dport map @publish6"),
    ("publish", "meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @publish6_any"),
    # A published port reached from the same bridge, or from the host's loopback: the answer must come
    # back through the host, so the source becomes the host's.
    ("nat_postrouting", "oifname @bridges ip saddr 127.0.0.0/8 masquerade"),
    ("nat_postrouting", "ct status dnat ip saddr . oifname @own4 masquerade"),
    ("nat_postrouting", "ct status dnat ip6 saddr . oifname @own6 masquerade"),
    # Any other client of a published port keeps its address, containers of other networks included.
    ("nat_postrouting", "ct status dnat oifname @bridges accept"),
    # What stays on its own bridge is not leaving.
    ("nat_postrouting", "ip saddr . oifname @own4 accept"),
    ("nat_postrouting", "ip6 saddr . oifname @own6 accept"),
    # Nor is what goes to the part of a network that is on another host, or to a group (flannel's rules).
    ("nat_postrouting", "ip saddr @cluster4 ip daddr @cluster4 accept"),
    ("nat_postrouting", "ip6 saddr @cluster6 ip6 daddr @cluster6 accept"),
    ("nat_postrouting", "ip saddr @cluster4 ip daddr 224.0.0.0/4 accept"),
    ("nat_postrouting", "ip6 saddr @cluster6 ip6 daddr ff00::/8 accept"),
    # This host's own packets to a container elsewhere, whatever address they were sent from: the answer
    # has to come back the same way.
    (
        "nat_postrouting",
        "ip daddr @cluster4 ip saddr != @cluster4 oifname != @bridges masquerade fully-random",
    ),
    (
        "nat_postrouting",
        "ip6 daddr @cluster6 ip6 saddr != @cluster6 oifname != @bridges masquerade fully-random",
    ),
    ("nat_postrouting", "snat ip to ip saddr map @snat4"),
    ("nat_postrouting", "snat ip6 to ip6 saddr map @snat6"),
    # Many containers ask one resolver from one port: only a random one does not clash (k8s#56903).
    ("nat_postrouting", "ip saddr @cluster4 ip saddr @masquerade4 masquerade fully-random"),
    ("nat_postrouting", "ip6 saddr @cluster6 ip6 saddr @masquerade6 masquerade fully-random"),
    ("nat_postrouting", "ip saddr @masquerade4 masquerade"),
    ("nat_postrouting", "ip6 saddr @masquerade6 masquerade"),
    ("forward", "jump admin"),
    ("forward", "ip daddr vmap @counted4"),
    ("forward", "ip6 daddr vmap @counted6"),
    ("forward", "ct state established,related accept"),
    ("forward", "ip daddr @cluster4 jump across"),
    ("forward", "ip6 daddr @cluster6 jump across"),
    ("forward", "iifname vmap @outof"),
    ("forward", "oifname vmap @into"),
    # A published port of a container here may be reached from everywhere, and what goes into a bridge is
    # judged there. But to another host go only the network's own containers.
    ("across", "ct status dnat return"),
    ("across", "ip daddr . iifname @own4 return"),
    ("across", "ip6 daddr . iifname @own6 return"),
    ("across", "oifname @bridges return"),
    ("across", "drop"),
)


def render_all(firewall: Firewall, stale: Sequence[str] = ()) -> tuple[str, ...]:
    """Return one transaction that makes the tables exactly `firewall`, whatever they held.

    `stale` are chains of ours that exist and belong to no network (see `stale_chains`). The chain
    `admin` is created if it is missing and otherwise left alone.
    """
    inet = f"inet {firewall.table}"
    lines = [f"add table {inet}", f"add chain {inet} admin"]
    # nft sends an interval map's elements with the map: the chains that they name must come before.
    named = [chain for item in firewall.networks for _, _, chain in _counting(item)]
    named += [chain for item in firewall.networks for _, chain in _stateless(item)]
    lines += [f"add chain {inet} {chain}" for chain in named]
    for kind, name, typed, flags in _MAPS:
        lines.append(f"add {kind} {inet} {name} {{ type {typed}; {flags} }}")
    # What `type` cannot say: it is the part of a packet that it is compared with.
    lines += [f"add map {inet} {name} {{ typeof {_VNI} : verdict; }}" for name in _VNI_MAPS]
    # Packets fill these themselves. They are never flushed: who reads them expects sums that only grow.
    lines += [
        f"add set {inet} {name}{version} {{ type {'iface_index . ' if name == 'arrived' else ''}"
        f"ipv{version}_addr; size {MAX_COUNTERS}; flags dynamic; }}"
        for name in COUNTERS
        for version in (4, 6)
    ]
    for name, hook in _CHAINS:
        lines.append(f"add chain {inet} {name}" + (f" {{ {hook} }}" if hook else ""))
        lines.append(f"flush chain {inet} {name}")
    # Maps that point at chains are emptied before the chains they point at go.
    lines += [f"flush {kind} {inet} {name}" for kind, name, _, _ in _MAPS]
    lines += [f"flush map {inet} {name}" for name in _VNI_MAPS]
    for chain in stale:
        lines += [f"flush chain {inet} {chain}", f"delete chain {inet} {chain}"]
    lines += [f"add rule {inet} {chain} {rule}" for chain, rule in _RULES]
    if firewall.clustered:
        lines.append(f"add rule {inet} tunnelled iifname @bridges goto smuggled")
    lines.append(f'add rule {inet} sealed iifname != "{device_name(firewall.table)}" drop')
    lines += [
        f"add rule {inet} sealed {address} saddr @cluster{version} goto unwrapped"
        for version, address in ((4, "ip"), (6, "ip6"))
    ]
    lines.append(f"add rule {inet} sealed notrack")
    lines += _render_bridge_table(firewall)
    for network in firewall.networks:
        lines += render_add_network(firewall.table, network)
    lines += render_publish(firewall.table, firewall.publications)
    lines += render_open(firewall.table, firewall.open_ports)
    return tuple(lines)


def _render_bridge_table(firewall: Firewall) -> list[str]:
    table = f"bridge {firewall.table}"
    # Put first, so that there is one to delete; `render_isolate` puts it for good.
    unhooked = [
        *_render_hook(firewall.table),
        f"flush chain {table} forward",
        f"delete chain {table} forward",
    ]
    return [
        f"add table {table}",
        f"add set {table} isolated {{ type ifname; }}",
        f"add set {table} linked4 {{ type ipv4_addr . ipv4_addr . inet_proto . inet_service; }}",
        f"add chain {table} isolate",
        *([] if firewall.isolated else unhooked),
        f"flush chain {table} isolate",
        f"flush set {table} isolated",
        f"flush set {table} linked4",
        # ARP and neighbour discovery stay, so that linked containers find each other.
        f"add rule {table} isolate ether type arp accept",
        f"add rule {table} isolate icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept",
        f"add rule {table} isolate ip saddr . ip daddr . meta l4proto . th dport @linked4 accept",
        # No conntrack on the bridge: the answer is the same tuple, the other way round.
        f"add rule {table} isolate ip daddr . ip saddr . meta l4proto . th sport @linked4 accept",
        f"add rule {table} isolate drop",
        *render_link(firewall.table, firewall.linked),
        *render_isolate(firewall.table, firewall.isolated),
    ]


def _render_hook(table: str) -> list[str]:
    """Put the bridge table's base chain, or replace what is in it."""
    bridge = f"bridge {table}"
    return [
        f"add chain {bridge} forward {{ type filter hook forward priority filter; policy accept; }}",
        f"flush chain {bridge} forward",
        f"add rule {bridge} forward iifname @isolated jump isolate",
    ]


def chain_names(network: NetworkRules) -> tuple[str, str]:
    """Return the names of a network's chains: traffic into it, and out of it."""
    return f"into_{network.key}", f"outof_{network.key}"


def _lent_chain(network: NetworkRules) -> str:
    """Return the name of the chain for what goes into bridges of another engine."""
    return f"{chain_names(network)[0]}_lent"


def is_network_chain(name: str) -> bool:
    """Tell whether a chain of our table is one that `chain_names` gave."""
    return name.startswith(("into_", "outof_", "counted4_", "counted6_", "stateless4_"))


def _counting(network: NetworkRules) -> list[tuple[IPv4Network | IPv6Network, int, str]]:
    """Return what is counted by blocks: subnets, their blocks' prefix length, and the chains that do it."""
    if network.across is None or not network.across.plain or not network.across.blocks:
        return []
    return [
        (subnet, length, f"counted{subnet.version}_{network.key}")
        for subnet, length in zip(network.subnets, network.across.blocks, strict=True)
    ]


def _stateless(network: NetworkRules) -> list[tuple[IPv4Network | IPv6Network, str]]:
    """Return the subnets among whose addresses nothing is tracked, and the chains that see to it."""
    return [
        (subnet, f"stateless4_{network.key}")
        for subnet in network.subnets
        if network.is_stateless and subnet.version == 4
    ]


def render_add_network(table: str, network: NetworkRules) -> list[str]:
    """Return the commands that add one network; repeating them replaces its rules."""
    inet = f"inet {table}"
    into, outof = chain_names(network)
    lines = []
    for chain in (into, outof):
        lines += [f"add chain {inet} {chain}", f"flush chain {inet} {chain}"]
    lines += [f"add rule {inet} {into} {rule}" for rule in _rules_into(network, table)]
    lines += [f"add rule {inet} {outof} {rule}" for rule in _rules_out_of(network, table)]
    if network.lent:
        chain = _lent_chain(network)
        lines += [f"add chain {inet} {chain}", f"flush chain {inet} {chain}"]
        lines += [f"add rule {inet} {chain} {rule}" for rule in _rules_into_lent(network, table)]
    for subnet, length, chain in _counting(network):
        lines += [f"add chain {inet} {chain}", f"flush chain {inet} {chain}"]
        lines += [f"add rule {inet} {chain} {rule}" for rule in _rules_counting(network, subnet, length)]
    for subnet, chain in _stateless(network):
        lines += [f"add chain {inet} {chain}", f"flush chain {inet} {chain}"]
        lines += [f"add rule {inet} {chain} {rule}" for rule in _rules_stateless(subnet)]
    lines += [f"add element {inet} {name} {{ {element} }}" for name, element in _elements(network)]
    return lines


def render_remove_network(table: str, network: NetworkRules) -> list[str]:
    """Return the commands that remove what `render_add_network` added, or what is left of it."""
    inet = f"inet {table}"
    # All of it is put first: of a half-made network, or after a flush, the removal would else be refused.
    lines = render_add_network(table, network)
    for name, element in _elements(network):
        key = element.partition(" : ")[0]
        lines.append(f"delete element {inet} {name} {{ {key} }}")
    chains = list(chain_names(network))
    chains += [_lent_chain(network)] if network.lent else []
    chains += [chain for _, _, chain in _counting(network)]
    chains += [chain for _, chain in _stateless(network)]
    for chain in chains:
        lines += [f"flush chain {inet} {chain}", f"delete chain {inet} {chain}"]
    return lines


def _rules_into(network: NetworkRules, table: str) -> list[str]:
    bridge = f'"{network.bridge}"'
    from_elsewhere = _rules_from_elsewhere(network, table)
    if network.internal:
        return [*from_elsewhere, f"iifname != {bridge} drop", *_rules_among(network, bridge)]
    rules = ["ct status dnat accept", *_rules_among(network, bridge), *from_elsewhere]
    if network.trusted_interfaces:
        names = ", ".join(f'"{name}"' for name in network.trusted_interfaces)
        rules.append(f"iifname {{ {names} }} accept")
    for version, family, icmp in ((4, "ipv4", "icmp"), (6, "ipv6", "ipv6-icmp")):
        mode = network.mode(version)
        if mode == NAT_UNPROTECTED:
            rules.append(f"meta nfproto {family} accept")
        elif mode == ROUTED:
            address = "ip" if version == 4 else "ip6"
            rules.append(f"meta nfproto {family} meta l4proto {icmp} accept")
            rules.append(f"{address} daddr . meta l4proto . th dport @open{version} accept")
    # Not published, not ours to let in: other networks and direct routing from outside end here.
    rules.append("drop")
    return rules


def _rules_into_lent(network: NetworkRules, table: str) -> list[str]:
    """Drop what only says that it is the network's: all else is for the other engine's rules to judge."""
    if network.across is None or network.across.plain:
        return []
    ways = _names((network.bridge, *network.across.names(table), *network.lent))
    return [f"{_family(subnet)} saddr {subnet} iifname != {ways} drop" for subnet in network.subnets]


def _rules_counting(network: NetworkRules, subnet: IPv4Network | IPv6Network, length: int) -> tuple[str, str]:
    """Count what our containers send by the target's block, and what they are sent by the source's."""
    # A comparison with one name costs less than a set.
    ours = _names((network.bridge, *network.lent)) if network.lent else f'"{network.bridge}"'
    family, version, mask = _family(subnet), subnet.version, type(subnet)((0, length)).netmask
    return (
        f"iifname {ours} update @blocks_sent{version} {{ {family} daddr & {mask} counter }}",
        # Not the outside's: whoever uses a published port would get an element.
        f"iifname != {ours} {family} saddr {subnet} "
        f"update @blocks_received{version} {{ {family} saddr & {mask} counter }}",
    )


def _rules_stateless(subnet: IPv4Network | IPv6Network) -> tuple[str, ...]:
    """What comes to this host's own address there may be the answer to what was translated."""
    return (f"ip saddr != {subnet} return", f"{_TO_THIS_HOST} return", "notrack")


def _rules_among(network: NetworkRules, bridge: str) -> list[str]:
    """Back into the same bridge: routed packets and, where br_netfilter is loaded, bridged ones as well."""
    if network.inter_container:
        return [f"iifname {bridge} accept"]
    linked = "ip saddr . ip daddr . meta l4proto . th dport @linked4"
    return [f"iifname {bridge} {linked} accept", f"iifname {bridge} drop"]


def _rules_from_elsewhere(network: NetworkRules, table: str) -> list[str]:
    """What the network's containers on other hosts send, by the ways that lead there."""
    if network.across is None:
        return []
    names = (*network.across.names(table), *network.lent)
    links = [f"iifname {_names(names)}"] if names else []
    if network.across.plain:
        links = ["iifname != @bridges", *([f"iifname {_names(network.lent)}"] if network.lent else [])]
    return [f"{link} {_family(subnet)} saddr {subnet} accept" for link in links for subnet in network.subnets]


def _rules_out_of(network: NetworkRules, table: str) -> list[str]:
    rules: list[str] = []
    if network.across is not None:
        ways = _names((network.bridge, *network.across.names(table), *network.lent))
        for subnet in network.subnets:
            if not network.across.plain:
                rules.append(f"{_family(subnet)} daddr {subnet} oifname != {ways} drop")
            if network.internal:
                rules.append(f"{_family(subnet)} daddr {subnet} return")
    # Internal first of all: a published port elsewhere must not be a way out.
    return [*rules, f'oifname != "{network.bridge}" drop'] if network.internal else rules


def _family(subnet: IPv4Network | IPv6Network) -> str:
    return "ip6" if subnet.version == 6 else "ip"


def _names(interfaces: Iterable[str]) -> str:
    joined = ", ".join(f'"{name}"' for name in interfaces)
    return f"{{ {joined} }}"


def _elements(network: NetworkRules) -> list[tuple[str, str]]:
    bridge = f'"{network.bridge}"'
    into, outof = chain_names(network)
    elements = [
        ("bridges", bridge),
        ("into", f"{bridge} : jump {into}"),
        ("outof", f"{bridge} : jump {outof}"),
    ]
    for name in network.lent:
        elements += [("bridges", f'"{name}"'), ("outof", f'"{name}" : jump {outof}')]
        elements.append(("into", f'"{name}" : jump {_lent_chain(network)}'))
        elements += [(f"own{subnet.version}", f'{subnet} . "{name}"') for subnet in network.subnets]
    if network.vni:
        into_host, outof_host = ("sealed", "untracked") if network.sealed else ("received", "sent")
        key = f"{network.vni << 8:#x}"
        elements.append(("arriving_vni", f"{key} : goto {into_host}"))
        elements.append(("leaving_vni", f"{key} : goto {outof_host}"))
    for subnet, _, chain in _counting(network):
        elements.append((f"counted{subnet.version}", f"{subnet} : jump {chain}"))
    for subnet, chain in _stateless(network):
        elements.append(("stateless4", f"{subnet} : goto {chain}"))
    for subnet in network.subnets:
        version = subnet.version
        elements.append((f"own{version}", f"{subnet} . {bridge}"))
        if network.across is not None:
            elements.append((f"cluster{version}", str(subnet)))
        if network.masquerades(version):
            source = network.snat6 if version == 6 else network.snat4
            name, value = (f"snat{version}", f" : {source}") if source else (f"masquerade{version}", "")
            elements.append((name, f"{subnet}{value}"))
    return elements


def _publication_element(item: Publication) -> tuple[str, str, str]:
    """Return the map, the key and the value of one publication."""
    key = f"{item.protocol} . {item.host_port}"
    name = f"publish{item.version}"
    if item.host_ip:
        key = f"{item.host_ip} . {key}"
    else:
        name += "_any"
    return name, key, f"{item.target_ip} . {item.target_port}"


def _grouped(table: str, verb: str, elements: Iterable[tuple[str, str]]) -> list[str]:
    """One command per map, however many elements: nft parses long lists far faster than long files."""
    groups: dict[str, list[str]] = {}
    for name, element in elements:
        groups.setdefault(name, []).append(element)
    return [f"{verb} element {table} {name} {{ {', '.join(items)} }}" for name, items in groups.items()]


def _removed(table: str, added: Sequence[tuple[str, str]], keys: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Remove elements, those that are gone already included: each is added first, in the same transaction.

    A map's key that has another value by now is refused, which is right: it is not ours any more.
    """
    return _grouped(table, "add", added) + _grouped(table, "delete", keys or added)


def render_publish(table: str, publications: Iterable[Publication]) -> list[str]:
    parts = [_publication_element(item) for item in publications]
    return _grouped(f"inet {table}", "add", [(name, f"{key} : {value}") for name, key, value in parts])


def render_unpublish(table: str, publications: Iterable[Publication]) -> list[str]:
    parts = [_publication_element(item) for item in publications]
    added = [(name, f"{key} : {value}") for name, key, value in parts]
    return _removed(f"inet {table}", added, [(name, key) for name, key, _ in parts])


def _open_elements(ports: Iterable[OpenPort]) -> list[tuple[str, str]]:
    return [
        ("open6" if ":" in item.ip else "open4", f"{item.ip} . {item.protocol} . {item.port}")
        for item in ports
    ]


def render_open(table: str, ports: Iterable[OpenPort]) -> list[str]:
    return _grouped(f"inet {table}", "add", _open_elements(ports))


def render_close(table: str, ports: Iterable[OpenPort]) -> list[str]:
    return _removed(f"inet {table}", _open_elements(ports))


def render_isolate(table: str, interfaces: Iterable[str]) -> list[str]:
    """Isolate endpoints; the base chain comes with the first of them."""
    elements = _grouped(f"bridge {table}", "add", [("isolated", f'"{name}"') for name in interfaces])
    return [*_render_hook(table), *elements] if elements else []


def render_release(table: str, interfaces: Iterable[str]) -> list[str]:
    """Let endpoints go; the base chain goes when all is replaced next."""
    return _removed(f"bridge {table}", [("isolated", f'"{name}"') for name in interfaces])


def _link_elements(links: Iterable[Link]) -> list[tuple[str, str]]:
    return [("linked4", f"{item.source} . {item.target} . {item.protocol} . {item.port}") for item in links]


def render_link(table: str, links: Iterable[Link]) -> list[str]:
    elements = _link_elements(links)
    return [line for family in ("bridge", "inet") for line in _grouped(f"{family} {table}", "add", elements)]


def render_unlink(table: str, links: Iterable[Link]) -> list[str]:
    elements = _link_elements(links)
    return [line for family in ("bridge", "inet") for line in _removed(f"{family} {table}", elements)]
