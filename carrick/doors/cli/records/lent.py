"""What bridges of other engines have of networks, as `carrick flannel ls` prints it."""

from __future__ import annotations

from carrick.doors.cli.template.values import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar


class LentRecord(Record):
    """One entry of GET /carrick/v1/lent."""

    TYPE = "*flannel.lentContext"

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def _text(self, key: str) -> str:
        return str(self.data.get(key) or "")

    def _subnets(self) -> str:
        return ",".join(filter(None, (self._text("Subnet"), self._text("IPv6Subnet"))))

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "NetworkID": lambda self: self._text("NetworkID"),
        "Network": lambda self: self._text("Network"),
        "Bridge": lambda self: self._text("Bridge"),
        "File": lambda self: self._text("File"),
        "Subnet": _subnets,
        "MTU": lambda self: self._text("MTU"),
        "IPMasq": lambda self: "true" if self.data.get("IPMasq") else "false",
        "Options": lambda self: " ".join(self.data.get("DockerOptions") or ()),
        "Problem": lambda self: self._text("Problem"),
    }
    HEADERS: ClassVar[Mapping[str, str]] = {}
