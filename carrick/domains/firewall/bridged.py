"""Whether packets between two containers of one bridge should pass the host's IP rules as well. Pure.

Where br_netfilter is there, `net.bridge.bridge-nf-call-iptables` and its sister for IPv6 say so for every
bridge of a network namespace, and both begin as 1. That costs an overlay some tenth of its throughput and a
fifth of its new connections. Carrick's own rules don't need it. Those who do: kube-proxy, whose Services lead
back into the bridge that their clients are on; Docker, for networks with ICC off; and an administrator who
filters what containers of one network send each other.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

BRIDGE_SYSCTLS: Final = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
_IP_FAMILIES = frozenset({"ip", "ip6", "inet"})


def find_need(
    ruleset: Iterable[dict[str, Any]],
    own_table: str,
    *,
    legacy: Sequence[str] = (),
    written: Sequence[str] = (),
    has_pods: bool = False,
) -> str:
    """Return who may need that bridged packets pass IP rules, for people to read; "" if nobody does.

    `ruleset` is nft's JSON of all of it. `legacy` are tables of iptables-legacy, which are not in there.
    `written` are the files in which an administrator asks for it. `has_pods`: Kubernetes has pods here.
    """
    if written:
        return f"{written[0]} asks for it"
    if has_pods:
        return "Kubernetes has pods here"
    foreign: list[str] = []
    for item in ruleset:
        rule = item.get("rule")
        if rule is None or rule["family"] not in _IP_FAMILIES:
            continue
        if rule["table"] != own_table:
            foreign.append(f"{rule['family']} {rule['table']}")
        elif rule["chain"] == "admin":
            return f"the chain `admin` of table inet {own_table} has rules"
    tables = [*dict.fromkeys(foreign), *(f"{name} of iptables-legacy" for name in legacy)]
    if not tables:
        return ""
    shown = ", ".join(tables[:3]) + (" …" if len(tables) > 3 else "")
    return f"there are rules of others in table {shown}"
