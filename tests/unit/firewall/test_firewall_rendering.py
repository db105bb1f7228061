"""What the firewall's text is: golden files of whole rulesets, and the increments' shape.

`UPDATE_GOLDEN=1 pytest …` writes the files anew; read the difference before it is committed.
"""

import os
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from carrick.domains.firewall import (
    Across,
    Firewall,
    Link,
    NetworkRules,
    OpenPort,
    Publication,
    render_add_network,
    render_all,
    render_close,
    render_isolate,
    render_link,
    render_open,
    render_publish,
    render_release,
    render_remove_network,
    render_unlink,
    render_unpublish,
)
from carrick.domains.firewall.network import chain_names, is_network_chain

GOLDEN = Path(__file__).parent / "golden"
LAN = NetworkRules("aaaaaaaaaaaa", "br-lan", (ip_network("10.1.0.0/24"),))
DUAL = NetworkRules(
    "bbbbbbbbbbbb", "br-dual", (ip_network("10.2.0.0/24"), ip_network("fd02::/64")), snat4="192.0.2.7"
)
WEB = Publication("tcp", "", 8080, "10.1.0.2", 80)
ROUTED = NetworkRules(
    "bbbbbbbbbbbb",
    "br-far",
    (ip_network("10.8.0.0/16"), ip_network("fd08::/64")),
    across=Across(("vx-far",)),
    vni=4098,
    stateless=True,
)

FIREWALLS = {
    "empty": Firewall("carrick"),
    "clustered": Firewall(
        "carrick",
        (NetworkRules("aaaaaaaaaaaa", "br-lan", (ip_network("10.1.0.0/24"),), vni=4097),),
        clustered=True,
    ),
    "routed_stateless": Firewall("carrick", (ROUTED,), clustered=True),
    "one_network": Firewall("carrick", (LAN,), (WEB,)),
    "dual_stack": Firewall(
        "carrick",
        (LAN, DUAL),
        (
            WEB,
            Publication("udp", "192.0.2.1", 53, "10.2.0.2", 5353),
            Publication("tcp", "", 8080, "fd02::2", 80),
            Publication("sctp", "2001:db8::1", 99, "fd02::2", 99),
        ),
    ),
    "icc_off": Firewall(
        "carrick",
        (NetworkRules("cccccccccccc", "br-icc", (ip_network("10.3.0.0/24"),), inter_container=False),),
        linked=(Link("10.3.0.2", "10.3.0.3", "tcp", 5432),),
        isolated=("ck000000000001", "ck000000000002"),
    ),
    "internal": Firewall(
        "other", (NetworkRules("dddddddddddd", "br-int", (ip_network("10.4.0.0/24"),), internal=True),)
    ),
    "modes": Firewall(
        "carrick",
        (
            NetworkRules(
                "eeeeeeeeeeee",
                "br-mode",
                (ip_network("10.5.0.0/24"), ip_network("fd05::/64")),
                mode4="nat-unprotected",
                mode6="routed",
                trusted_interfaces=("eth1", "wg0"),
            ),
            NetworkRules("ffffffffffff", "br-bare", (ip_network("10.6.0.0/24"),), masquerade=False),
        ),
        open_ports=(OpenPort("tcp", "fd05::2", 443), OpenPort("tcp", "10.5.0.2", 443)),
    ),
}


@pytest.mark.parametrize("name", sorted(FIREWALLS))
def test_the_whole_ruleset(name: str) -> None:
    path = GOLDEN / f"{name}.nft"
    text = "\n".join(render_all(FIREWALLS[name])) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize(
    ("changes", "stateless"),
    [
        ({}, True),
        ({"internal": True, "masquerade": False}, True),
        ({"masquerade": False, "snat4": "192.0.2.9"}, True),
        ({"mode6": "routed"}, True),
        ({"mode4": "nat-unprotected"}, True),
        ({"mode4": "isolated"}, False),
        ({"mode4": "routed"}, False),
        ({"masquerade": False}, False),
        ({"stateless": False}, False),
        ({"inter_container": False}, False),
        ({"lent": ("docker0",)}, False),
        ({"across": None}, False),
        ({"across": Across(("vx-far",), plain=True)}, False),
        ({"across": Across(("vx-far",), wireguard=True)}, False),
        ({"across": Across()}, False),
    ],
)
def test_where_nothing_is_tracked(changes: dict[str, Any], stateless: bool) -> None:
    rules = replace(ROUTED, **changes)
    assert rules.is_stateless is stateless
    added, removed = render_add_network("t", rules), render_remove_network("t", rules)
    chain = "stateless4_bbbbbbbbbbbb"
    assert any(chain in line for line in added) is stateless
    assert (f"delete chain inet t {chain}" in removed) is stateless
    assert is_network_chain(chain)


@pytest.mark.parametrize("name", sorted(FIREWALLS))
def test_rendering_is_pure_and_line_by_line(name: str) -> None:
    lines = render_all(FIREWALLS[name])
    assert lines == render_all(FIREWALLS[name])
    assert all(line.isprintable() and line.split()[0] in {"add", "flush", "delete"} for line in lines)


@pytest.mark.parametrize("name", sorted(FIREWALLS))
def test_the_administrators_chain_is_created_and_never_flushed(name: str) -> None:
    firewall = FIREWALLS[name]
    lines = render_all(firewall, ["into_999999999999"])
    assert f"add chain inet {firewall.table} admin" in lines
    assert not [line for line in lines if " admin" in line and line.split()[0] in {"flush", "delete"}]
    # It comes before anything else that judges a forwarded packet.
    forward = [line for line in lines if line.startswith(f"add rule inet {firewall.table} forward ")]
    assert forward[0].endswith("jump admin")


def test_only_tables_of_ours_are_named() -> None:
    for firewall in FIREWALLS.values():
        for line in render_all(firewall):
            words = line.split()
            assert words[2] in {"inet", "bridge"}
            assert words[3] == firewall.table


def test_stale_chains_go_after_the_maps_that_point_at_them() -> None:
    lines = render_all(Firewall("t"), ["into_aaaaaaaaaaaa"])
    assert lines.index("flush map inet t into") < lines.index("delete chain inet t into_aaaaaaaaaaaa")
    assert lines.index("flush chain inet t into_aaaaaaaaaaaa") < lines.index(
        "delete chain inet t into_aaaaaaaaaaaa"
    )


def test_chains_are_known_by_their_names() -> None:
    assert chain_names(LAN) == ("into_aaaaaaaaaaaa", "outof_aaaaaaaaaaaa")
    assert all(is_network_chain(name) for name in chain_names(LAN))
    assert not any(map(is_network_chain, ("admin", "forward", "publish", "nat_output")))


def test_a_network_is_part_of_the_whole() -> None:
    whole = render_all(Firewall("carrick", (LAN, DUAL)))
    assert set(render_add_network("carrick", DUAL)) <= set(whole)


def test_removal_takes_out_all_that_was_put() -> None:
    added, removed = render_add_network("t", DUAL), render_remove_network("t", DUAL)
    assert removed[: len(added)] == added
    sets = {line.split()[4] for line in added if line.startswith("add element")}
    assert {line.split()[4] for line in removed if line.startswith("delete element")} == sets
    assert {line for line in removed if line.startswith("delete chain")} == {
        "delete chain inet t into_bbbbbbbbbbbb",
        "delete chain inet t outof_bbbbbbbbbbbb",
    }


def test_elements_of_one_map_are_one_command() -> None:
    many = [Publication("tcp", "", port, "10.1.0.2", 80) for port in range(1, 1001)]
    assert len(render_publish("t", many)) == 1
    assert len(render_unpublish("t", many)) == 2


def test_nothing_is_no_command() -> None:
    for render in (render_publish, render_unpublish, render_open, render_close, render_link, render_unlink):
        assert render("t", []) == []
    assert render_isolate("t", []) == render_release("t", []) == []


def test_publications() -> None:
    assert render_publish("t", [WEB, Publication("udp", "192.0.2.1", 53, "10.1.0.2", 53)]) == [
        "add element inet t publish4_any { tcp . 8080 : 10.1.0.2 . 80 }",
        "add element inet t publish4 { 192.0.2.1 . udp . 53 : 10.1.0.2 . 53 }",
    ]
    # By its value too: a key that is another container's by now is not taken from it.
    assert render_unpublish("t", [WEB]) == [
        "add element inet t publish4_any { tcp . 8080 : 10.1.0.2 . 80 }",
        "delete element inet t publish4_any { tcp . 8080 }",
    ]
