"""What is broken on purpose between the hosts, as one nftables table and a few qdiscs in the router.

Every packet from one node to another crosses the router once: through a bridge, or from bridge to bridge.
On the way in it is marked with the port that it came by, on the way out that mark and the port decide. Going
by ports and not by addresses, a cut takes everything with it: ARP, IPv6, and what containers send under
addresses of their own.
"""

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from ..model.errors import InvalidRequest
from .plan import Topology
from .processes import Process, run_on
from .record import Faults

TABLE = "lab"
LOSS_BASE = 10_000
_RATE = re.compile(r"([1-9][0-9]{0,5})(kbit|mbit|gbit)")
_UNITS = {"kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}
# Less than the largest packet that offloading makes would let nothing through.
_LEAST_BURST = 128 * 1024


def parse_loss(text: str) -> int:
    """Return how many of 10 000 packets `3%` or `0.5%` are; `off` is none. Raises InvalidRequest."""
    try:
        share = Decimal(0) if text == "off" else Decimal(text.removesuffix("%"))
        loss = share * (LOSS_BASE // 100)
        if not 0 <= loss <= LOSS_BASE or loss != int(loss):
            raise InvalidOperation
    except InvalidOperation:
        raise InvalidRequest(
            f"{text!r} is no share of packets to lose",
            remedy="Give 0% to 100%, to two decimals: 3% or 0.25%.",
        ) from None
    return int(loss)


def render_loss(loss: int) -> str:
    """Return what `parse_loss` takes."""
    return f"{(Decimal(loss) / (LOSS_BASE // 100)).normalize():f}%"


def parse_rate(text: str) -> str:
    """Return a rate in tc's words, empty for `off`. Raises InvalidRequest."""
    if text == "off":
        return ""
    if not _RATE.fullmatch(text):
        raise InvalidRequest(f"{text!r} is no rate", remedy="Give one like 512kbit, 10mbit or 1gbit, or off.")
    return text


def pairs(topology: Topology, first: str, second: str, *, one_way: bool = False) -> set[tuple[str, str]]:
    """Return the ordered pairs that a cut is of; without `second`, of the first and everybody else.

    Raises NotFound or InvalidRequest.
    """
    ours = topology.member(first).name
    others = (
        [topology.member(second).name] if second else [n.name for n in topology.members if n.name != ours]
    )
    if ours in others:
        raise InvalidRequest(f"{ours} cannot be cut off from itself")
    found = {(ours, other) for other in others}
    return found if one_way else found | {(other, ours) for other in others}


def render_table(topology: Topology, faults: Faults) -> str:
    """Return the input of `nft -f` that puts the faults in force in one step, in place of those before."""
    marks = {node.name: node.mark for node in topology.members}
    sources = ", ".join(f'"{name}" : {mark}' for name, mark in marks.items())
    elements = ", ".join(f'{marks[source]} . "{target}"' for source, target in sorted(faults.cuts))
    lines = [
        f"table bridge {TABLE}",
        f"delete table bridge {TABLE}",
        f"table bridge {TABLE} {{",
        "  set cut {",
        "    type mark . ifname",
        *([f"    elements = {{ {elements} }}"] if elements else []),
        "  }",
        "  chain sources {",
        "    type filter hook prerouting priority -300",
        f"    meta mark set iifname map {{ {sources} }}",
        "  }",
        "  chain faults {",
        "    type filter hook postrouting priority 0",
        "    meta mark . oifname @cut drop",
    ]
    if faults.loss:
        # Not what the router itself sends: its answers to ARP are not between two hosts.
        lines.append(f"    meta mark != 0 numgen random mod {LOSS_BASE} < {faults.loss} drop")
    return "\n".join([*lines, "  }", "}", ""])


def rate_command(port: str, rate: str) -> list[str]:
    """Return the tc command for a port's rate; empty is as fast as it goes."""
    if not rate:
        return ["tc", "qdisc", "del", "dev", port, "root"]
    match = _RATE.fullmatch(rate)
    assert match is not None, rate
    # What comes in a tick of 4 ms has to fit.
    burst = max(_LEAST_BURST, int(match[1]) * _UNITS[match[2]] // 8 // 250)
    return [
        *("tc", "qdisc", "replace", "dev", port, "root", "tbf"),
        *("rate", rate, "burst", str(burst), "latency", "100ms"),
    ]


def apply_table(router: Process, topology: Topology, faults: Faults) -> None:
    """Put cuts and loss in force. Raises KernelRefused."""
    run_on(router.pid, ["nft", "-f", "-"], text=render_table(topology, faults))


def apply_rates(router: Process, rates: Iterable[tuple[str, str]]) -> None:
    """Set ports' rates: (name, rate). The ports are there. Raises KernelRefused."""
    for name, rate in rates:
        run_on(router.pid, rate_command(name, rate))
