"""What a search of a registry found, in `carrick search`."""

from __future__ import annotations

from carrick.doors.cli.records.text import ellipsis
from carrick.doors.cli.template.values import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar

_WIDTH = 45


class SearchRecord(Record):
    """One repository."""

    TYPE = "*formatter.searchContext"

    def __init__(self, data: Mapping[str, Any], *, truncate: bool) -> None:
        self.data = data
        self.truncate = truncate

    def _description(self) -> str:
        text = str(self.data.get("description") or "").replace("\n", " ").replace("\r", " ")
        return ellipsis(text, _WIDTH) if self.truncate else text

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "Name": lambda self: str(self.data.get("name") or ""),
        "Description": _description,
        "StarCount": lambda self: str(self.data.get("star_count") or 0),
        "IsOfficial": lambda self: "[OK]" if self.data.get("is_official") else "",
        "IsAutomated": lambda self: "[OK]" if self.data.get("is_automated") else "",
    }
    HEADERS: ClassVar[Mapping[str, str]] = {
        "StarCount": "STARS",
        "IsOfficial": "OFFICIAL",
        "IsAutomated": "AUTOMATED",
    }
