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

from collections.abc import Sequence

from ..wireguard import device_name
from .elements import render_hook, render_isolate, render_link, render_open, render_publish
from .network import TO_THIS_HOST, counting, render_add_network, stateless
from .wanted import Firewall

VXLAN_PORT = 4789
COUNTERS = ("arrived", "sent", "blocks_received", "blocks_sent")
"""Sets of counters: by the address of a tunnel's other end (what arrived: by link and address), and by block
where packets go plain. An IP version's digit follows the name."""
MAX_COUNTERS = 16384

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
    ("smuggled", f"{TO_THIS_HOST} drop"),
    # Tunnels of their own between containers of one network. Who forges its address may mean a host that
    # was let in before.
    ("smuggled", "ip saddr . iifname @own4 ip daddr . iifname @own4 return"),
    ("smuggled", "ip6 saddr . iifname @own6 ip6 daddr . iifname @own6 return"),
    ("smuggled", "drop"),
    # A host has addresses in its routed networks. No tunnel of ours ends there.
    ("unwrapped", f"{TO_THIS_HOST} drop"),
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
    named = [chain for item in firewall.networks for _, _, chain in counting(item)]
    named += [chain for item in firewall.networks for _, chain in stateless(item)]
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
        *render_hook(firewall.table),
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
