"""Networks and volumes, as their list commands print them."""

from __future__ import annotations

from carrick.doors.cli.records.text import go_nano_time, joined, short_id
from carrick.doors.cli.template.values import Method, Record
from carrick.doors.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar


def _switch(value: Any) -> str:
    return "true" if value else "false"


class NetworkRecord(Record):
    """One entry of GET /networks."""

    TYPE = "*network.networkContext"

    def __init__(self, data: Mapping[str, Any], *, truncate: bool) -> None:
        self.data = data
        self.truncate = truncate

    def _id(self) -> str:
        identity = str(self.data.get("Id") or "")
        return short_id(identity) if self.truncate else identity

    def _label(self) -> Method:
        return Method("Label", lambda key: str((self.data.get("Labels") or {}).get(key, "")))

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "ID": _id,
        "Name": lambda self: str(self.data.get("Name") or ""),
        "Driver": lambda self: str(self.data.get("Driver") or ""),
        "Scope": lambda self: str(self.data.get("Scope") or ""),
        "IPv4": lambda self: _switch(self.data.get("EnableIPv4")),
        "IPv6": lambda self: _switch(self.data.get("EnableIPv6")),
        "Internal": lambda self: _switch(self.data.get("Internal")),
        "Labels": lambda self: joined(self.data.get("Labels")),
        "Label": _label,
        "CreatedAt": lambda self: go_nano_time(str(self.data.get("Created") or "")),
    }
    HEADERS: ClassVar[Mapping[str, str]] = {"ID": "NETWORK ID", "CreatedAt": "CREATED AT"}


class VolumeRecord(Record):
    """One entry of GET /volumes."""

    TYPE = "*formatter.volumeContext"

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def _label(self) -> Method:
        return Method("Label", lambda key: str((self.data.get("Labels") or {}).get(key, "")))

    def _usage(self, key: str) -> int | None:
        usage = self.data.get("UsageData")
        return None if not usage else int(usage.get(key, -1))

    def _links(self) -> str:
        links = self._usage("RefCount")
        return "N/A" if links is None else str(links)

    def _size(self) -> str:
        size = self._usage("Size")
        return "N/A" if size is None or size < 0 else human_size(size)

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "Driver": lambda self: str(self.data.get("Driver") or ""),
        "Name": lambda self: str(self.data.get("Name") or ""),
        "Scope": lambda self: str(self.data.get("Scope") or ""),
        "Mountpoint": lambda self: str(self.data.get("Mountpoint") or ""),
        "Labels": lambda self: joined(self.data.get("Labels")),
        "Label": _label,
        "Links": _links,
        "Size": _size,
        "Availability": lambda self: "N/A",
        "Group": lambda self: "N/A",
        "Status": lambda self: "N/A",
    }
    HEADERS: ClassVar[Mapping[str, str]] = {"Name": "VOLUME NAME"}
