"""Paths of the API that hold a name someone typed."""

from __future__ import annotations

from carrick.doors.client.wire import quote


def container_path(name: str) -> str:
    """Return the path of a container, whatever the characters of its name."""
    return f"/containers/{quote(name)}"


def network_path(name: str) -> str:
    """Return the path of a network."""
    return f"/networks/{quote(name)}"


def volume_path(name: str) -> str:
    """Return the path of a volume."""
    return f"/volumes/{quote(name)}"


def image_path(name: str) -> str:
    """Return the path of an image; the slashes of its name stay, as in Docker's API."""
    return f"/images/{quote(name, '/:@')}"
