"""Render what one network adds to the tables: its chains, their rules, and what leads there."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from .wanted import NAT_UNPROTECTED, ROUTED, NetworkRules

# A router has the first address of each IPv6 subnet as well (RFC 4291, section 2.6.1).
TO_THIS_HOST = "fib daddr type { local, anycast }"


def chain_names(network: NetworkRules) -> tuple[str, str]:
    """Return the names of a network's chains: traffic into it, and out of it."""
    return f"into_{network.key}", f"outof_{network.key}"


def _lent_chain(network: NetworkRules) -> str:
    """Return the name of the chain for what goes into bridges of another engine."""
    return f"{chain_names(network)[0]}_lent"


def is_network_chain(name: str) -> bool:
    """Tell whether a chain of our table is one that `chain_names` gave."""
    return name.startswith(("into_", "outof_", "counted4_", "counted6_", "stateless4_"))


def counting(network: NetworkRules) -> list[tuple[IPv4Network | IPv6Network, int, str]]:
    """Return what is counted by blocks: subnets, their blocks' prefix length, and the chains that do it."""
    if network.across is None or not network.across.plain or not network.across.blocks:
        return []
    return [
        (subnet, length, f"counted{subnet.version}_{network.key}")
        for subnet, length in zip(network.subnets, network.across.blocks, strict=True)
    ]


def stateless(network: NetworkRules) -> list[tuple[IPv4Network | IPv6Network, str]]:
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
    for subnet, length, chain in counting(network):
        lines += [f"add chain {inet} {chain}", f"flush chain {inet} {chain}"]
        lines += [f"add rule {inet} {chain} {rule}" for rule in _rules_counting(network, subnet, length)]
    for subnet, chain in stateless(network):
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
    chains += [chain for _, _, chain in counting(network)]
    chains += [chain for _, chain in stateless(network)]
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
    return (f"ip saddr != {subnet} return", f"{TO_THIS_HOST} return", "notrack")


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
    for subnet, _, chain in counting(network):
        elements.append((f"counted{subnet.version}", f"{subnet} : jump {chain}"))
    for subnet, chain in stateless(network):
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
