"""What is counted by whom, how it is read back, and that no replacement of the tables loses it."""

from ipaddress import ip_network
from typing import Any

from carrick.domains.firewall import (
    Across,
    Firewall,
    NetworkRules,
    render_add_network,
    render_all,
    render_isolate,
    render_remove_network,
)
from carrick.domains.firewall.network import is_network_chain
from carrick.domains.firewall.table import COUNTERS
from carrick.domains.firewall.traffic import Counted, parse_counted

SUBNETS = (ip_network("10.1.0.0/16"), ip_network("fd01::/64"))
PLAIN = NetworkRules("aaaaaaaaaaaa", "br-a", SUBNETS, across=Across(plain=True, blocks=(26, 112)))
VXLAN = NetworkRules("bbbbbbbbbbbb", "br-b", SUBNETS[:1], vni=4097)


def test_plain_routes_are_counted_by_block_at_both_ends() -> None:
    lines = render_add_network("t", PLAIN)
    assert "add element inet t counted4 { 10.1.0.0/16 : jump counted4_aaaaaaaaaaaa }" in lines
    rules = [line.split("_aaaaaaaaaaaa ")[1] for line in lines if "add rule inet t counted" in line]
    assert rules == [
        'iifname "br-a" update @blocks_sent4 { ip daddr & 255.255.255.192 counter }',
        'iifname != "br-a" ip saddr 10.1.0.0/16 '
        "update @blocks_received4 { ip saddr & 255.255.255.192 counter }",
        'iifname "br-a" update @blocks_sent6 { ip6 daddr & ffff:ffff:ffff:ffff:ffff:ffff:ffff:0 counter }',
        'iifname != "br-a" ip6 saddr fd01::/64 '
        "update @blocks_received6 { ip6 saddr & ffff:ffff:ffff:ffff:ffff:ffff:ffff:0 counter }",
    ]
    assert "delete chain inet t counted4_aaaaaaaaaaaa" in render_remove_network("t", PLAIN)
    assert is_network_chain("counted4_aaaaaaaaaaaa")


def test_plain_routes_are_counted_only_where_asked() -> None:
    for across in (Across(plain=True), Across(links=("vx-1",), blocks=(26, 112))):
        network = NetworkRules("aaaaaaaaaaaa", "br-a", SUBNETS, across=across)
        assert not [line for line in render_add_network("t", network) if "counted" in line]


def test_an_interval_maps_chain_comes_before_the_map() -> None:
    lines = render_all(Firewall("t", (PLAIN,)))
    chain = lines.index("add chain inet t counted4_aaaaaaaaaaaa")
    assert chain < min(number for number, line in enumerate(lines) if line.startswith("add map"))


def test_tunnels_are_counted_by_vni_unless_wireguard_counts() -> None:
    lines = render_add_network("t", VXLAN)
    assert "add element inet t arriving_vni { 0x100100 : goto received }" in lines
    assert "add element inet t leaving_vni { 0x100100 : goto sent }" in lines
    sealed = render_add_network("t", NetworkRules("bbbbbbbbbbbb", "br-b", SUBNETS, vni=4097, sealed=True))
    assert "add element inet t arriving_vni { 0x100100 : goto sealed }" in sealed
    assert "add element inet t leaving_vni { 0x100100 : goto untracked }" in sealed


def test_counters_are_never_flushed() -> None:
    lines = render_all(Firewall("t", (PLAIN, VXLAN)))
    names = {f"{name}{version}" for name in COUNTERS for version in (4, 6)}
    assert names <= {line.split()[4] for line in lines if line.startswith("add set")}
    assert not names & {line.split()[4] for line in lines if line.startswith("flush set")}


def test_the_bridge_is_hooked_only_for_isolated_endpoints() -> None:
    def ends_with_hook(lines: tuple[str, ...]) -> bool:
        changes = [line for line in lines if " chain bridge t forward" in line]
        return bool(changes) and not changes[-1].startswith("delete")

    assert not ends_with_hook(render_all(Firewall("t", (VXLAN,))))
    assert ends_with_hook(render_all(Firewall("t", (VXLAN,), isolated=("ck1",))))
    assert "add rule bridge t forward iifname @isolated jump isolate" in render_isolate("t", ["ck1"])


def test_reading_back() -> None:
    def shown(name: str, **elements: int) -> dict[str, Any]:
        entries = [
            {"elem": {"val": key.replace("_", "."), "counter": {"packets": 1, "bytes": count}}}
            for key, count in elements.items()
        ]
        return {"set": {"name": name, "family": "inet", **({"elem": entries} if entries else {})}}

    def arrived(version: str, *elements: tuple[str, str, int]) -> dict[str, Any]:
        entries = [
            {"elem": {"val": {"concat": [link, key]}, "counter": {"packets": 1, "bytes": count}}}
            for link, key, count in elements
        ]
        return {"set": {"name": f"arrived{version}", "family": "inet", "elem": entries}}

    items: list[dict[str, Any]] = [
        {"metainfo": {}},
        {"chain": {"name": "sent4"}},
        {"set": {"name": "bridges", "elem": ["br-a"]}},
        arrived("4", ("eth0", "10.0.0.2", 60), ("eth1", "10.0.0.2", 10)),
        arrived("6", ("eth0", "fd00::2", 7)),
        shown("sent4"),
        shown("blocks_sent4", **{"10_1_0_64": 5}),
    ]
    assert parse_counted(items) == Counted(
        received={"10.0.0.2": 70, "fd00::2": 7}, blocks_sent={"10.1.0.64": 5}
    )
