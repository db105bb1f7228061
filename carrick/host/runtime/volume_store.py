"""What the volume store offers to the engine: `VolumeStore`, with its values.

The real one is `LocalVolumeStore`; `carrick.testing.fake_runtime` has a fake with the same behaviour.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ...model.ids import ContainerId


@dataclass(frozen=True, slots=True)
class Volume:
    """A named directory that outlives containers."""

    name: str
    mountpoint: Path
    created_at: datetime
    driver: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False


class VolumeStore(Protocol):
    """Volumes of the `local` driver."""

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume, or return the one that has this name; without a name, choose one."""
        ...

    async def get(self, name: str) -> Volume:
        """NotFound: `get NAME: no such volume`."""
        ...

    async def list(self) -> tuple[Volume, ...]:
        """Return all volumes, sorted by name."""
        ...

    async def remove(self, name: str, *, force: bool = False, users: Collection[ContainerId] = ()) -> None:
        """Delete a volume and its files. Conflict if a container uses it; `force` accepts absence."""
        ...

    async def size(self, name: str) -> int:
        """Return the bytes of its files."""
        ...

    async def copy_up(self, name: str, source_root: Path, path: str) -> None:
        """Fill an empty volume with what the image has at `path`, its owner and mode included."""
        ...

    async def activate(self, name: str) -> Path:
        """Return the directory to mount; mounts it first if the volume's options say so. Repeatable."""
        ...

    async def deactivate(self, name: str) -> None:
        """Unmount what `activate` has mounted. Repeatable."""
        ...
