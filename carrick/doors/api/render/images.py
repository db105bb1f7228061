"""Images: list, inspect, history, removals; and the progress that pull and load stream."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path

from ....host.runtime.image_store import (
    ImageRemoval,
    Platform,
    Progress,
    PushResult,
    RemoteImage,
    SearchResult,
)
from ....model.containers import Image, ImageHistory
from ..errors import ErrorReply
from ..routing import ApiVersion
from . import Json
from .host_config import render_image_config
from .times import render_time, unix

_NO_PLACEHOLDER: ApiVersion = (1, 43)
_NO_VIRTUAL_SIZE: ApiVersion = (1, 44)


def render_image_entry(image: Image, version: ApiVersion, containers: int = -1) -> Json:
    """Return an entry of the list; `containers` -1 is Docker's "not counted"."""
    tags, digests = list(image.repo_tags), list(image.repo_digests)
    if version < _NO_PLACEHOLDER and not tags and not digests:
        tags, digests = ["<none>:<none>"], ["<none>@<none>"]
    document: Json = {
        "Containers": containers,
        "Created": unix(image.created),
        "Id": image.id,
        "Labels": image.config.labels or None,
        "ParentId": image.parent,
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": -1 if containers < 0 else 0,
        "Size": image.size,
    }
    if version < _NO_VIRTUAL_SIZE:
        document["VirtualSize"] = image.size
    return document


def render_image(image: Image, version: ApiVersion, place: Path) -> Json:
    """Return what `image inspect` shows; `place` is where its files are."""
    document: Json = {
        "Id": image.id,
        "RepoTags": list(image.repo_tags),
        "RepoDigests": list(image.repo_digests),
        "Parent": image.parent,
        "Comment": image.comment,
        "Created": render_time(image.created),
        # Docker dropped these two with 1.45. docker-compose 1 speaks the newest version all the same, and
        # recreates no container without them.
        "Container": image.container,
        "ContainerConfig": render_image_config(image.container_config or image.config),
        "DockerVersion": image.builder,
        "Author": image.author,
        "Config": render_image_config(image.config),
        "Architecture": image.architecture,
    }
    if image.variant:
        document["Variant"] = image.variant
    document |= {"Os": image.os, "Size": image.size}
    if version < _NO_VIRTUAL_SIZE:
        document["VirtualSize"] = image.size
    return document | {
        "GraphDriver": {"Data": {"UpperDir": str(place)}, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": list(image.layers)},
        "Metadata": {"LastTagTime": render_time(image.tagged_at)},
    }


def render_history(images: Sequence[Image], history: Iterable[ImageHistory]) -> list[Json]:
    """Return the steps, the newest first. `images` are the image and those it was made from, as far as
    they are here: each is one step; other steps have neither id nor names."""
    return [
        {
            "Comment": step.comment,
            "Created": unix(step.created),
            "CreatedBy": step.created_by,
            "Id": "<missing>" if image is None else image.id,
            "Size": step.size,
            "Tags": None if image is None else list(image.repo_tags) or None,
        }
        for image, step in zip(chain(images, repeat(None)), history, strict=False)
    ]


def render_removals(removals: Iterable[ImageRemoval]) -> list[Json]:
    return [
        {"Untagged": removal.untagged} if removal.untagged else {"Deleted": removal.deleted}
        for removal in removals
    ]


def render_progress(progress: Progress) -> Json:
    """Return a line of a pull's or load's stream."""
    if progress.stream:
        return {"stream": progress.stream}
    document: Json = {"status": progress.status}
    if progress.total or progress.current:
        detail = {"current": progress.current}
        if progress.total:
            detail["total"] = progress.total
        document["progressDetail"] = detail
        document["progress"] = progress_bar(progress.current, progress.total)
    elif progress.id and not progress.is_heading:
        document["progressDetail"] = {}
    if progress.id:
        document["id"] = progress.id
    return document


def render_pushed(result: PushResult) -> Json:
    """Return the line that ends a push for programs to read."""
    aux = {"Tag": result.tag, "Digest": result.digest, "Size": result.size}
    return {"progressDetail": {}, "aux": aux}


def render_remote(image: RemoteImage) -> Json:
    """Return what a registry has under a name."""
    return {
        "Descriptor": {"mediaType": image.media_type, "digest": image.digest, "size": image.size},
        "Platforms": [_render_platform(platform) for platform in image.platforms],
    }


def _render_platform(platform: Platform) -> Json:
    optional = {
        "os.version": platform.os_version,
        "os.features": list(platform.os_features),
        "variant": platform.variant,
    }
    return {
        "architecture": platform.architecture,
        "os": platform.os,
        **{key: value for key, value in optional.items() if value},
    }


def render_search_result(result: SearchResult) -> Json:
    return {
        "star_count": result.stars,
        "is_official": result.is_official,
        "name": result.name,
        "is_automated": result.is_automated,
        "description": result.description,
    }


def render_late_failure(reply: ErrorReply) -> Mapping[str, object]:
    """Return the line that ends a stream whose status was sent as 200 before the failure."""
    return {"errorDetail": {"message": reply.message}, "error": reply.message}


def progress_bar(current: int, total: int) -> str:
    """Return `[====>      ]  1.2MB/3.4MB`, for clients that print it as it is."""
    if total <= 0:
        return f"{_size(current):>8}"
    filled = min(50, current * 50 // total)
    bar = "=" * filled + ">" + " " * (50 - filled) if filled < 50 else "=" * 50 + ">"
    return f"[{bar}]  {_size(current):>8}/{_size(total)}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g}{unit}"
        count /= 1000
    return f"{count:.4g}TB"
