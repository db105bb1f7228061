"""Which of other people's rules stand in the way of our containers, and the remedy in their terms."""

from typing import Any

from carrick.domains.firewall.foreign import find_obstacles


def chain(name: str, *, table: str = "filter", family: str = "ip", policy: str = "drop") -> dict[str, Any]:
    return {"chain": {"family": family, "table": table, "name": name, "hook": "forward", "policy": policy}}


def plain(name: str, *, table: str = "filter", family: str = "ip") -> dict[str, Any]:
    return {"chain": {"family": family, "table": table, "name": name}}


def rule(
    chain_name: str, *parts: dict[str, Any], table: str = "filter", family: str = "ip"
) -> dict[str, Any]:
    return {"rule": {"family": family, "table": table, "chain": chain_name, "expr": list(parts)}}


def match(key: str, name: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": name}}


ACCEPT: dict[str, Any] = {"accept": None}


def test_nothing_in_the_way() -> None:
    assert find_obstacles([], "carrick", ["br0"]) == []
    assert find_obstacles([chain("FORWARD", policy="accept")], "carrick", ["br0"]) == []
    own = chain("forward", table="carrick", family="inet")
    assert find_obstacles([own, chain("x", family="bridge")], "carrick", ["br0"]) == []
    assert find_obstacles([chain("FORWARD")], "carrick", []) == []


def test_dockers_forward_drop() -> None:
    ruleset = [chain("FORWARD"), plain("DOCKER-USER"), plain("DOCKER")]
    (found,) = find_obstacles(ruleset, "carrick", ["br0"])
    assert found.owner == "Docker"
    assert found.remedy == (
        "iptables -I DOCKER-USER -i br0 -j ACCEPT && iptables -I DOCKER-USER -o br0 -j ACCEPT"
    )


def test_the_remedy_works_once_it_is_applied() -> None:
    ruleset = [
        chain("FORWARD"),
        plain("DOCKER-USER"),
        rule("DOCKER-USER", match("iifname", "br0"), ACCEPT),
        rule("DOCKER-USER", match("oifname", "br0"), ACCEPT),
    ]
    assert find_obstacles(ruleset, "carrick", ["br0"]) == []
    assert len(find_obstacles(ruleset, "carrick", ["br0", "br1"])) == 1


def test_ufw_and_firewalld_and_others() -> None:
    (ufw,) = find_obstacles([chain("FORWARD"), plain("ufw-user-forward")], "carrick", ["br0"])
    assert (ufw.owner, ufw.remedy.split()[0]) == ("ufw", "ufw")
    firewalld = [
        chain("filter_FORWARD", table="firewalld", family="inet", policy="accept"),
        rule("filter_FORWARD", {"reject": None}, table="firewalld", family="inet"),
    ]
    (found,) = find_obstacles(firewalld, "carrick", ["br0"])
    assert (found.owner, "trusted" in found.remedy) == ("firewalld", True)
    (other,) = find_obstacles([chain("fwd", table="mine", family="inet")], "carrick", ["br0"])
    assert other.remedy.startswith("nft insert rule inet mine fwd iifname br0 accept")
    (six,) = find_obstacles([chain("FORWARD", family="ip6")], "carrick", ["br0"])
    assert six.remedy.startswith("ip6tables -I FORWARD -i br0 -j ACCEPT")
