"""Read other people's rules: which of them would drop the traffic of our containers. Pure.

Input is nft's JSON of the whole ruleset; iptables-nft's rules are in it too (iptables-legacy's are not).
Judging every rule is not the aim: what stands in the way in practice is a base chain on the forward hook
whose policy is drop, made by Docker, ufw, firewalld or an administrator.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A foreign chain that drops what is forwarded by default. `owner` is a guess for people."""

    family: str
    table: str
    chain: str
    owner: str
    remedy: str


def find_obstacles(
    ruleset: Iterable[dict[str, Any]], own_table: str, bridges: Sequence[str]
) -> list[Obstacle]:
    """Return the forward chains that drop by default and do not let every one of `bridges` through."""
    chains: list[dict[str, Any]] = []
    rules: list[dict[str, Any]] = []
    for item in ruleset:
        if "chain" in item:
            chains.append(item["chain"])
        elif "rule" in item:
            rules.append(item["rule"])
    names = {chain["name"] for chain in chains}
    found = []
    for chain in chains:
        if chain.get("hook") != "forward" or chain["table"] == own_table or chain["family"] == "bridge":
            continue
        own_rules = [
            rule
            for rule in rules
            if (rule["family"], rule["table"], rule["chain"])
            == (chain["family"], chain["table"], chain["name"])
        ]
        drops = chain.get("policy") == "drop" or _ends_in_drop(own_rules)
        blocked = [bridge for bridge in bridges if not _lets_through(rules, chain, bridge)]
        if not drops or not blocked:
            continue
        owner = _guess_owner(chain, names)
        found.append(
            Obstacle(chain["family"], chain["table"], chain["name"], owner, _remedy(chain, names, blocked))
        )
    return found


def _ends_in_drop(rules: Sequence[dict[str, Any]]) -> bool:
    """Whether the last rule drops or rejects everything (firewalld ends its chain so)."""
    if not rules:
        return False
    expression = rules[-1].get("expr", [])
    return len(expression) == 1 and bool({"drop", "reject"} & expression[0].keys())


def _lets_through(rules: Sequence[dict[str, Any]], chain: dict[str, Any], bridge: str) -> bool:
    """Whether the table has a rule that accepts what comes from the bridge, and one for what goes to it."""
    seen = set()
    for rule in rules:
        if (rule["family"], rule["table"]) != (chain["family"], chain["table"]):
            continue
        expression = rule.get("expr", [])
        if not any("accept" in part for part in expression):
            continue
        for part in expression:
            match = part.get("match")
            if match and match.get("right") == bridge:
                seen.add(str(match.get("left", {}).get("meta", {}).get("key")))
    return {"iifname", "oifname"} <= seen


def _guess_owner(chain: dict[str, Any], names: set[str]) -> str:
    if chain["table"] == "firewalld":
        return "firewalld"
    if any(name.startswith("ufw") for name in names):
        return "ufw"
    if any(name.startswith("DOCKER") for name in names):
        return "Docker"
    return "another firewall"


def _remedy(chain: dict[str, Any], names: set[str], bridges: Sequence[str]) -> str:
    """Return the commands that let our bridges through, in the terms of whoever owns the chain."""
    owner = _guess_owner(chain, names)
    program = "ip6tables" if chain["family"] == "ip6" else "iptables"
    if owner == "firewalld":
        commands = ["firewall-cmd --zone=trusted --add-interface={bridge}"]
    elif owner == "ufw":
        commands = ["ufw route allow in on {bridge}", "ufw route allow out on {bridge}"]
    elif owner == "Docker" and "DOCKER-USER" in names:
        commands = [f"{program} -I DOCKER-USER {way} {{bridge}} -j ACCEPT" for way in ("-i", "-o")]
    elif chain["family"] in {"ip", "ip6"} and chain["name"] == "FORWARD":
        commands = [f"{program} -I FORWARD {way} {{bridge}} -j ACCEPT" for way in ("-i", "-o")]
    else:
        # nft's own language has sets: one rule each way, however many bridges.
        insert = f"nft insert rule {chain['family']} {chain['table']} {chain['name']}"
        together = bridges[0] if len(bridges) == 1 else f"'{{ {', '.join(bridges)} }}'"
        return f"{insert} iifname {together} accept && {insert} oifname {together} accept"
    return " && ".join(command.format(bridge=bridge) for bridge in bridges for command in commands)
