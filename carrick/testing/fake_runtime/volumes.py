"""`FakeVolumeStore`: volumes, without a directory."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path

from ...host.runtime.volume_store import Volume
from ...model.errors import Conflict, NotFound
from ...model.ids import ContainerId
from .clock import Clock, utc_now


class FakeVolumeStore:
    """Volumes without directories."""

    def __init__(self, root: Path = Path("/fake/volumes"), clock: Clock = utc_now) -> None:
        self.volumes: dict[str, Volume] = {}
        self._root = root
        self._clock = clock
        self._numbers = count(1)

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """Note a volume."""
        if driver != "local":
            raise NotFound(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
        anonymous = not name
        name = name or sha256(str(next(self._numbers)).encode()).hexdigest()
        volume = Volume(
            name,
            self._root / name / "_data",
            self._clock(),
            options=dict(options or {}),
            labels=dict(labels or {}),
        )
        return self.volumes.setdefault(name, replace(volume, anonymous=anonymous))

    async def get(self, name: str) -> Volume:
        """Look one up."""
        if name not in self.volumes:
            raise NotFound(f"get {name}: no such volume")
        return self.volumes[name]

    async def list(self) -> tuple[Volume, ...]:
        """Return all."""
        return tuple(self.volumes[name] for name in sorted(self.volumes))

    async def remove(self, name: str, *, force: bool = False, users: Collection[ContainerId] = ()) -> None:
        """Forget one."""
        if name not in self.volumes and force:
            return
        await self.get(name)
        if users:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(sorted(users))}]")
        del self.volumes[name]

    async def size(self, name: str) -> int:
        """Return 0."""
        await self.get(name)
        return 0

    async def copy_up(self, name: str, source_root: Path, path: str) -> None:
        """Do nothing."""
        await self.get(name)

    async def activate(self, name: str) -> Path:
        """Return its path."""
        return (await self.get(name)).mountpoint

    async def deactivate(self, name: str) -> None:
        """Do nothing."""
        await self.get(name)
