"""Nodes and peers, as their list commands print them."""

from __future__ import annotations

from carrick.doors.cli.records.text import joined, short_id
from carrick.doors.cli.template.values import Method, Record
from carrick.doors.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar


class NodeRecord(Record):
    """One entry of GET /carrick/v1/nodes."""

    TYPE = "*node.nodeContext"

    def __init__(self, data: Mapping[str, Any], *, truncate: bool) -> None:
        self.data = data
        self.truncate = truncate

    def _id(self) -> str:
        identity = self._text("ID")
        return short_id(identity) if self.truncate else identity

    def _text(self, key: str) -> str:
        return str(self.data.get(key) or "")

    def _shown_id(self) -> str:
        # As in `docker node ls`: the star is the node that one is asking.
        return f"{self._id()} *" if self.data.get("Self") else self._id()

    def _label(self) -> Method:
        return Method("Label", lambda key: str((self.data.get("Labels") or {}).get(key, "")))

    def _addresses(self) -> str:
        return ",".join(str(item.get("Address") or "") for item in self.data.get("Underlays") or ())

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "ID": _id,
        "ShownID": _shown_id,
        "Self": lambda self: "true" if self.data.get("Self") else "false",
        "Name": lambda self: self._text("Name"),
        "Status": lambda self: self._text("Status"),
        "Availability": lambda self: self._text("State"),
        "Address": _addresses,
        "API": lambda self: self._text("API"),
        "Version": lambda self: self._text("Version"),
        "Blocks": lambda self: str(len(self.data.get("Blocks") or ())),
        "Endpoints": lambda self: str(self.data.get("Endpoints") or 0),
        "Labels": lambda self: joined(self.data.get("Labels")),
        "Label": _label,
    }
    HEADERS: ClassVar[Mapping[str, str]] = {"ShownID": "ID"}


class PeerRecord(Record):
    """One entry of GET /carrick/v1/peers."""

    TYPE = "*peer.peerContext"

    def __init__(self, data: Mapping[str, Any], *, truncate: bool) -> None:
        self.data = data
        self.truncate = truncate

    def _id(self) -> str:
        identity = self._text("ID")
        return short_id(identity) if self.truncate else identity

    def _text(self, key: str) -> str:
        return str(self.data.get(key) or "")

    def _rtt(self) -> str:
        rtt = self.data.get("RTT")
        return "-" if rtt is None else f"{float(rtt):.2f}ms"

    def _bytes(self, key: str) -> str:
        count = self.data.get(key, 0)
        return "n/a" if count is None else human_size(float(count), 3)

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "ID": _id,
        "Name": lambda self: self._text("Name"),
        "Address": lambda self: self._text("Address"),
        "Status": lambda self: self._text("Status"),
        "Transport": lambda self: self._text("Transport"),
        "Why": lambda self: self._text("Why"),
        "Encrypted": lambda self: "yes" if self.data.get("Encrypted") else "no",
        "MTU": lambda self: str(self.data.get("MTU") or "-"),
        "RTT": _rtt,
        "Sent": lambda self: self._bytes("BytesSent"),
        "Received": lambda self: self._bytes("BytesReceived"),
        "Problem": lambda self: self._text("Problem"),
    }
