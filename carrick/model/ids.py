"""Identifiers. All are strings of 64 lower-case hex digits, shown to people as their first 12."""

from typing import NewType

NetworkId = NewType("NetworkId", str)
EndpointId = NewType("EndpointId", str)
SandboxId = NewType("SandboxId", str)
ContainerId = NewType("ContainerId", str)
ImageId = NewType("ImageId", str)
"""An image's id: `sha256:` and the hex digest of its configuration blob."""

SHORT = 12


def short(identifier: str) -> str:
    """Return the 12 digits that people see, without a digest's algorithm."""
    return identifier.removeprefix("sha256:")[:SHORT]
