"""Who may need that packets between containers of one bridge pass the host's IP rules."""

from pathlib import Path
from typing import Any

import pytest

from carrick.domains.firewall.bridged import BRIDGE_SYSCTLS, find_need
from carrick.host.kernel.sysctl import find_sysctl


def rule(table: str, chain: str, family: str = "ip") -> dict[str, Any]:
    return {"rule": {"family": family, "table": table, "chain": chain, "expr": []}}


def test_nobody_on_a_host_that_has_our_tables_alone() -> None:
    ruleset = [
        {"metainfo": {}},
        {"table": {"family": "ip", "name": "filter"}},
        {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward"}},
        rule("carrick", "forward", "inet"),
        rule("carrick", "isolate", "bridge"),
        rule("other", "guard", "netdev"),
        rule("other", "guard", "bridge"),
        rule("other", "arp", "arp"),
    ]
    assert find_need(ruleset, "carrick") == ""


@pytest.mark.parametrize("family", ["ip", "ip6", "inet"])
def test_whoever_has_rules(family: str) -> None:
    need = find_need([rule("nat", "DOCKER", family), rule("nat", "DOCKER", family)], "carrick")
    assert need == f"there are rules of others in table {family} nat"


def test_many_tables_are_not_all_named() -> None:
    ruleset = [rule(f"t{number}", "c") for number in range(5)]
    assert find_need(ruleset, "carrick").endswith("table ip t0, ip t1, ip t2 …")


def test_rules_that_nftables_does_not_show() -> None:
    assert "filter of iptables-legacy" in find_need([], "carrick", legacy=["filter"])


def test_an_administrator_who_filters() -> None:
    assert "`admin`" in find_need([rule("carrick", "admin", "inet")], "carrick")
    assert find_need([], "carrick", written=["/etc/sysctl.conf"]) == "/etc/sysctl.conf asks for it"


def test_pods() -> None:
    assert "Kubernetes" in find_need([], "carrick", has_pods=True)


@pytest.mark.parametrize(
    "line",
    [
        "net.bridge.bridge-nf-call-iptables = 1",
        "-net.bridge.bridge-nf-call-iptables=1",
        "net/bridge/bridge-nf-call-ip6tables=1",
        "# first\n  net.bridge.bridge-nf-call-iptables\t= 1  \nother = 2",
    ],
)
def test_what_is_asked_for_at_boot(tmp_path: Path, line: str) -> None:
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    file = tmp_path / "etc/sysctl.d/k8s.conf"
    file.write_text(line + "\n")
    assert find_sysctl(BRIDGE_SYSCTLS, "1", tmp_path) == [str(file)]
    assert find_sysctl(BRIDGE_SYSCTLS, "0", tmp_path) == []


@pytest.mark.parametrize(
    "line",
    [
        "# net.bridge.bridge-nf-call-iptables = 1",
        "net.bridge.bridge-nf-call-iptables = 0",
        "net.bridge.bridge-nf-call-iptables = 10",
        "net.bridge.bridge-nf-call-arptables = 1",
        "netxbridge.bridge-nf-call-iptables = 1",
        "net.ipv4.ip_forward = 1",
    ],
)
def test_what_is_not(tmp_path: Path, line: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/sysctl.conf").write_bytes(line.encode() + b"\n\xff\n")
    assert find_sysctl(BRIDGE_SYSCTLS, "1", tmp_path) == []
