"""Disk usage, in `carrick system df`."""

from __future__ import annotations

from carrick.doors.cli.template.values import Record
from carrick.doors.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, ClassVar


class UsageRow(Record):
    """One kind of object: how many, how many in use, how much, how much could go."""

    TYPE = "*formatter.diskUsageContext"

    def __init__(self, kind: str, total: int, active: int, size: int, reclaimable: int) -> None:
        self.kind = kind
        self.total = total
        self.active = active
        self.size = size
        self.reclaimable = reclaimable

    def _reclaimable(self) -> str:
        text = human_size(self.reclaimable)
        return f"{text} ({self.reclaimable * 100 // self.size}%)" if self.size > 0 else text

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "Type": lambda self: self.kind,
        "TotalCount": lambda self: str(self.total),
        "Active": lambda self: str(self.active),
        "Size": lambda self: human_size(self.size),
        "Reclaimable": _reclaimable,
    }
    HEADERS: ClassVar[Mapping[str, str]] = {"TotalCount": "TOTAL"}


_LIVE_STATES = frozenset(("running", "paused", "restarting"))


def usage_rows(answer: Mapping[str, Any]) -> list[UsageRow]:
    """Return the rows for an answer of GET /system/df."""
    images: Sequence[Mapping[str, Any]] = answer.get("Images") or []
    containers: Sequence[Mapping[str, Any]] = answer.get("Containers") or []
    volumes: Sequence[Mapping[str, Any]] = answer.get("Volumes") or []
    builds: Sequence[Mapping[str, Any]] = answer.get("BuildCache") or []
    layers = int(answer.get("LayersSize") or 0)
    used = sum(
        int(image.get("Size") or 0) - max(int(image.get("SharedSize") or 0), 0)
        for image in images
        if int(image.get("Containers") or 0) > 0
    )
    live = [entry for entry in containers if entry.get("State") in _LIVE_STATES]
    idle_size = sum(int(c.get("SizeRw") or 0) for c in containers if c not in live)
    sizes = [int((volume.get("UsageData") or {}).get("Size") or 0) for volume in volumes]
    links = [int((volume.get("UsageData") or {}).get("RefCount") or 0) for volume in volumes]
    return [
        UsageRow(
            "Images",
            len(images),
            sum(int(image.get("Containers") or 0) > 0 for image in images),
            layers,
            max(layers - used, 0),
        ),
        UsageRow(
            "Containers",
            len(containers),
            len(live),
            sum(int(entry.get("SizeRw") or 0) for entry in containers),
            idle_size,
        ),
        UsageRow(
            "Local Volumes",
            len(volumes),
            sum(count > 0 for count in links),
            sum(size for size in sizes if size > 0),
            sum(size for size, count in zip(sizes, links, strict=True) if size > 0 and count == 0),
        ),
        UsageRow(
            "Build Cache",
            len(builds),
            sum(bool(entry.get("InUse")) for entry in builds),
            sum(int(entry.get("Size") or 0) for entry in builds),
            sum(int(entry.get("Size") or 0) for entry in builds if not entry.get("InUse")),
        ),
    ]
