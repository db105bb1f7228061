"""What a word could be: names of containers, images, networks and volumes, asked of the daemon.

Called while someone types: whatever goes wrong, there simply is nothing to suggest.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from carrick.doors.cli.app import App
from carrick.doors.client import Client
from carrick.model.errors import CarrickError

_SHELLS = ("bash", "zsh", "fish")


class Candidate(NamedTuple):
    """A word, or (with `type` file or dir) leave for the shell to complete a path."""

    value: str
    type: str = ""


def candidates(app: App, kind: str, incomplete: str) -> list[Candidate]:
    """Return what starts with `incomplete`. `kind` is container, image, network, volume, node, any …"""
    if kind in ("file", "dir"):
        return [Candidate(incomplete, kind)]
    if kind == "shell":
        return [Candidate(shell) for shell in _SHELLS if shell.startswith(incomplete)]
    if not kind:
        return []
    try:
        names = sorted({name for name in _names(app.client, kind) if name.startswith(incomplete)})
    except (CarrickError, OSError, KeyError, TypeError, AttributeError):
        return []
    return [Candidate(name) for name in names]


def _names(client: Client, kind: str) -> Iterator[str]:
    if kind in ("container", "any", "path"):
        for container in client.get("/containers/json", {"all": True}):
            for name in container["Names"]:
                plain = str(name).removeprefix("/")
                yield f"{plain}:" if kind == "path" else plain
    if kind in ("image", "any"):
        for image in client.get("/images/json"):
            yield from (str(name) for name in _tags(image) if "<none>" not in name)
    if kind in ("network", "any"):
        for network in client.get("/networks"):
            yield str(network["Name"])
    if kind in ("volume", "any"):
        for volume in client.get("/volumes").get("Volumes") or ():
            yield str(volume["Name"])
    if kind == "node":
        for node in client.get("/carrick/v1/nodes"):
            yield str(node["Name"])


def _tags(image: dict[str, Any]) -> list[str]:
    return list(image.get("RepoTags") or ())
