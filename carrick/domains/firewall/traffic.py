"""Read the counters of `table` back: bytes by the other host's address, and by block where packets go plain.

Pure: items of nft's JSON in, sums out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .table import COUNTERS


@dataclass(frozen=True, slots=True)
class Counted:
    """Bytes by address: of tunnels' other ends, and (`blocks_…`) of blocks, by their network address.

    Those of `shortcuts` went by a tunnel past the firewall: by its device, and by the other end.
    """

    received: Mapping[str, int] = field(default_factory=dict)
    sent: Mapping[str, int] = field(default_factory=dict)
    blocks_received: Mapping[str, int] = field(default_factory=dict)
    blocks_sent: Mapping[str, int] = field(default_factory=dict)
    shortcuts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def parse_counted(items: Iterable[Mapping[str, Any]]) -> Counted:
    """Parse a table as `nft -j list table` shows it; other sets are passed over."""
    found: dict[str, dict[str, int]] = {name: {} for name in COUNTERS}
    for item in items:
        shown = item.get("set", {})
        sums = found.get(str(shown.get("name", ""))[:-1])
        if sums is None:
            continue
        for entry in shown.get("elem", ()):
            element = entry.get("elem") if isinstance(entry, dict) else None
            if element and "counter" in element:
                address = _address(element["val"])
                sums[address] = sums.get(address, 0) + int(element["counter"]["bytes"])
    arrived, sent, blocks_received, blocks_sent = found.values()
    return Counted(arrived, sent, blocks_received, blocks_sent)


def _address(value: Any) -> str:
    """Return the address of an element's key; a link may come before it."""
    return str(value["concat"][-1] if isinstance(value, dict) else value)
