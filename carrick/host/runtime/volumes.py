"""The `local` volume driver: named directories.

    NAME/volume.json    labels, options, creation time; written last, so a half-made volume is none
    NAME/_data/         the files, or the mount point if the options name a device

A volume is removed by renaming its directory away first.
"""

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ...model.errors import Conflict, Failed, InvalidRequest, NotFound
from ...model.ids import ContainerId
from . import syscalls
from .processes import run
from .rootfs import tree_size
from .volume_store import Volume

ANONYMOUS_LABEL = "com.docker.volume.anonymous"

# A name becomes a directory's, for a moment with a prefix: longer ones no file system takes.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,199}")
_DOOMED = ".removed-"
_OPTIONS = {"type", "o", "device", "size"}


@dataclass(frozen=True, slots=True)
class _Record:
    created_at: datetime
    labels: dict[str, str]
    options: dict[str, str]
    anonymous: bool = False


class LocalVolumeStore:
    """Volumes below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume, or return the one of this name."""
        if driver != "local":
            what = f"create {name}: " if name else ""
            raise NotFound(f'{what}error looking up volume plugin {driver}: plugin "{driver}" not found')
        anonymous = not name
        name = name or secrets.token_hex(32)
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f'create {name}: "{name}" includes invalid characters for a local volume name, '
                'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host '
                "directory, use absolute path"
            )
        given = dict(options or {})
        if unknown := sorted(set(given) - _OPTIONS):
            raise InvalidRequest(f'create {name}: invalid option: "{unknown[0]}"')
        if (present := self._read(name)) is not None:
            return present
        own_labels = dict(labels or {}) | ({ANONYMOUS_LABEL: ""} if anonymous else {})
        record = _Record(datetime.now(UTC), own_labels, given, anonymous)
        directory = self._root / name
        (directory / "_data").mkdir(parents=True, exist_ok=True)
        unfinished = directory / f"volume.{secrets.token_hex(4)}"
        unfinished.write_bytes(msgspec.json.encode(record))
        unfinished.rename(directory / "volume.json")
        return self._volume(name, record)

    async def get(self, name: str) -> Volume:
        """Look one up."""
        volume = self._read(name) if _NAME.fullmatch(name) else None
        if volume is None:
            raise NotFound(f"get {name}: no such volume")
        return volume

    async def list(self) -> tuple[Volume, ...]:
        """Return all."""
        if not self._root.is_dir():
            return ()
        names = sorted(entry.name for entry in self._root.iterdir() if _NAME.fullmatch(entry.name))
        return tuple(volume for name in names if (volume := self._read(name)) is not None)

    async def remove(self, name: str, *, force: bool = False, users: Collection[ContainerId] = ()) -> None:
        """Delete one."""
        if not _NAME.fullmatch(name) or not (self._root / name).is_dir():
            if force:
                return
            raise NotFound(f"get {name}: no such volume")
        if users:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(sorted(users))}]")
        # A mounted device's files are not ours to delete.
        syscalls.unmount(self._root / name / "_data")
        doomed = self._root / f"{_DOOMED}{secrets.token_hex(8)}"
        (self._root / name).rename(doomed)
        await asyncio.to_thread(self._sweep)

    def _sweep(self) -> None:
        for entry in self._root.glob(f"{_DOOMED}*"):
            shutil.rmtree(entry, ignore_errors=True)

    async def size(self, name: str) -> int:
        """Add its files up."""
        volume = await self.get(name)
        return await asyncio.to_thread(tree_size, volume.mountpoint)

    async def copy_up(self, name: str, source_root: Path, path: str) -> None:
        """Fill an empty volume."""
        volume = await self.get(name)
        if volume.options or any(volume.mountpoint.iterdir()):
            return
        root = os.open(source_root, os.O_PATH | os.O_DIRECTORY)
        try:
            source = syscalls.open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return
        finally:
            os.close(root)
        try:
            if os.listdir(source):  # noqa: PTH208 (a descriptor, no path)
                completed = await run(
                    [
                        "cp", "--archive", "--reflink=auto", "--no-target-directory",
                        f"/proc/self/fd/{source}/.", str(volume.mountpoint),
                    ],
                    pass_fds=[source],
                )  # fmt: skip
                if completed.returncode != 0:
                    raise Failed(f"cannot fill volume {name}: {completed.error_text}")
            status = os.fstat(source)
            os.chown(volume.mountpoint, status.st_uid, status.st_gid)
            volume.mountpoint.chmod(stat.S_IMODE(status.st_mode))
        finally:
            os.close(source)

    async def activate(self, name: str) -> Path:
        """Mount what the options name. Repeatable."""
        volume = await self.get(name)
        device = volume.options.get("device", "")
        kind = volume.options.get("type", "")
        if not device and not kind:
            return volume.mountpoint
        if self._is_mounted(volume):
            return volume.mountpoint
        argv = ["mount", "-t", kind or "none"]
        if options := volume.options.get("o", ""):
            argv += ["-o", options]
        completed = await run([*argv, "--", device or kind, str(volume.mountpoint)])
        if completed.returncode != 0:
            raise Failed(
                f"failed to mount local volume: mount {device}:{volume.mountpoint}: {completed.error_text}"
            )
        return volume.mountpoint

    async def deactivate(self, name: str) -> None:
        """Unmount what `activate` has mounted. Repeatable."""
        volume = await self.get(name)
        if (volume.options.get("device") or volume.options.get("type")) and self._is_mounted(volume):
            syscalls.unmount(volume.mountpoint)

    @staticmethod
    def _is_mounted(volume: Volume) -> bool:
        # Not by the device's number: a bind of a directory beside it has the same.
        place = str(volume.mountpoint.resolve()).encode().replace(b"\\", rb"\134").replace(b" ", rb"\040")
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
        return any(line.split(b" ", 5)[4] == place for line in lines)

    def _read(self, name: str) -> Volume | None:
        with contextlib.suppress(FileNotFoundError):
            text = (self._root / name / "volume.json").read_bytes()
            return self._volume(name, msgspec.json.decode(text, type=_Record))
        return None

    def _volume(self, name: str, record: _Record) -> Volume:
        return Volume(
            name=name,
            mountpoint=self._root / name / "_data",
            created_at=record.created_at,
            options=record.options,
            labels=record.labels,
            anonymous=record.anonymous,
        )
