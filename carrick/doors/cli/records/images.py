"""Images and their layers, in `carrick images` and `carrick history`."""

from __future__ import annotations

from carrick.doors.cli.records.text import ago, ellipsis, short_id, since_epoch
from carrick.doors.cli.template.values import Record
from carrick.doors.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, ClassVar

_NONE = "<none>"
_CREATED_BY_WIDTH = 45


def _count(value: Any) -> str:
    return str(value) if isinstance(value, int) and value >= 0 else "N/A"


def _bytes(value: Any, digits: int = 4) -> str:
    return human_size(value, digits) if isinstance(value, int) and value >= 0 else "N/A"


class ImageRecord(Record):
    """One name of one image."""

    TYPE = "*formatter.imageContext"

    def __init__(
        self,
        data: Mapping[str, Any],
        repository: str,
        tag: str,
        digest: str,
        *,
        truncate: bool,
        now_s: float,
    ) -> None:
        self.data = data
        self.repository = repository
        self.tag = tag
        self.digest = digest
        self.truncate = truncate
        self.now_s = now_s

    def _id(self) -> str:
        identity = str(self.data.get("Id") or "")
        return short_id(identity) if self.truncate else identity

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "Repository": lambda self: self.repository,
        "Tag": lambda self: self.tag,
        "Digest": lambda self: self.digest,
        "ID": _id,
        "CreatedSince": lambda self: ago(self.data.get("Created") or 0, self.now_s),
        "CreatedAt": lambda self: since_epoch(self.data.get("Created") or 0),
        "Size": lambda self: human_size(self.data.get("Size") or 0, 3),
        "Containers": lambda self: _count(self.data.get("Containers")),
        "VirtualSize": lambda self: human_size(self.data.get("Size") or 0),
        "SharedSize": lambda self: _bytes(self.data.get("SharedSize")),
        "UniqueSize": lambda self: _unique_size(self.data),
    }
    HEADERS: ClassVar[Mapping[str, str]] = {
        "ID": "IMAGE ID",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "SharedSize": "SHARED SIZE",
        "UniqueSize": "UNIQUE SIZE",
        "VirtualSize": "VIRTUAL SIZE",
    }


def _unique_size(data: Mapping[str, Any]) -> str:
    size, shared = data.get("Size"), data.get("SharedSize")
    if isinstance(size, int) and isinstance(shared, int) and shared >= 0:
        return human_size(size - shared)
    return "N/A"


def image_records(
    images: Sequence[Mapping[str, Any]], *, digests: bool, truncate: bool, now_s: float
) -> Iterator[ImageRecord]:
    """Yield a record for each name of each image, in the daemon's order."""
    for image in images:
        tags = [name for name in image.get("RepoTags") or () if name != "<none>:<none>"]
        by_repository: dict[str, str] = {}
        for reference in image.get("RepoDigests") or ():
            repository, _, digest = str(reference).partition("@")
            if repository != _NONE:
                by_repository[repository] = digest
        rows: list[tuple[str, str, str]] = []
        for name in tags:
            repository, _, tag = str(name).rpartition(":")
            rows.append((repository, tag, by_repository.get(repository, _NONE)))
        if not rows:
            rows = [(repository, _NONE, digest) for repository, digest in by_repository.items()]
        for repository, tag, digest in rows or [(_NONE, _NONE, _NONE)]:
            yield ImageRecord(image, repository, tag, digest, truncate=truncate, now_s=now_s)
            if not digests and tag == _NONE:
                break


class LayerRecord(Record):
    """One step of an image's history."""

    TYPE = "*formatter.historyContext"

    def __init__(self, data: Mapping[str, Any], *, truncate: bool, human: bool, now_s: float) -> None:
        self.data = data
        self.truncate = truncate
        self.human = human
        self.now_s = now_s

    def _id(self) -> str:
        identity = str(self.data.get("Id") or "")
        return short_id(identity) if self.truncate else identity

    def _created_at(self) -> str:
        from datetime import UTC, datetime

        seconds = self.data.get("Created") or 0
        moment = datetime.fromtimestamp(seconds, UTC).astimezone()
        return moment.isoformat().replace("+00:00", "Z")

    def _created_since(self) -> str:
        if not self.human:
            return self._created_at()
        return ago(self.data.get("Created") or 0, self.now_s)

    def _created_by(self) -> str:
        text = str(self.data.get("CreatedBy") or "").replace("\t", " ")
        return ellipsis(text, _CREATED_BY_WIDTH) if self.truncate else text

    def _size(self) -> str:
        size = self.data.get("Size") or 0
        return human_size(size, 3) if self.human else str(size)

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "ID": _id,
        "CreatedSince": _created_since,
        "CreatedAt": _created_at,
        "CreatedBy": _created_by,
        "Size": _size,
        "Comment": lambda self: str(self.data.get("Comment") or ""),
    }
    HEADERS: ClassVar[Mapping[str, str]] = {
        "ID": "IMAGE",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "CreatedBy": "CREATED BY",
    }
