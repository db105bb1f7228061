"""Guests, as `carrick guest ls` prints them."""

from __future__ import annotations

from carrick.doors.cli.records.text import ago, short_id
from carrick.doors.cli.template.values import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar


def _ports(ports: list[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{_host(str(port['IP']))}:{port['PublicPort']}->{port['PrivatePort']}/{port['Type']}"
        for port in ports
    )


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


class GuestRecord(Record):
    """One entry of GET /carrick/v1/guests."""

    TYPE = "*guest.guestContext"

    def __init__(self, data: Mapping[str, Any], now_s: float, *, truncate: bool) -> None:
        self.data = data
        self.now_s = now_s
        self.truncate = truncate

    def _text(self, key: str) -> str:
        return str(self.data.get(key) or "")

    def _id(self) -> str:
        identity = self._text("ContainerID")
        return short_id(identity) if self.truncate else identity

    def _addresses(self) -> str:
        return ", ".join(filter(None, (self._text("IPv4Address"), self._text("IPv6Address"))))

    def _running_for(self) -> str:
        from datetime import datetime

        return ago(datetime.fromisoformat(self._text("Created")[:19] + "+00:00").timestamp(), self.now_s)

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "ContainerID": _id,
        "Name": lambda self: self._text("Name"),
        "Engine": lambda self: self._text("Engine"),
        "Network": lambda self: self._text("Network"),
        "Interface": lambda self: self._text("Interface"),
        "Addresses": _addresses,
        "MacAddress": lambda self: self._text("MacAddress"),
        "Ports": lambda self: _ports(self.data.get("Ports") or []),
        "Netns": lambda self: self._text("Netns"),
        "RunningFor": _running_for,
    }
    HEADERS: ClassVar[Mapping[str, str]] = {
        "ContainerID": "CONTAINER ID",
        "MacAddress": "MAC ADDRESS",
        "RunningFor": "ATTACHED",
    }
