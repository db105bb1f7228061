"""Resolve a container's mounts: `-v`, `--mount`, `--tmpfs`, `--volumes-from` and the image's volumes.

The order of precedence is Docker's: an explicit mount wins over one of `--volumes-from`, and both over a
volume that the image declares.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ..host.runtime.volume_store import VolumeStore
from ..model.containers import ContainerConfig, HostConfig, Mount, MountPoint, MountType
from ..model.errors import InvalidRequest, NotFound
from .events import EventBus
from .state import State
from .values import ContainerRecord

_PROPAGATIONS = {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
_MODES = {"ro", "rw", "z", "Z", "nocopy", "delegated", "cached", "consistent", "volume-nocopy"}


@dataclass(frozen=True, slots=True)
class Bind:
    """A parsed `-v`: `source` is a path, or a volume's name, or "" for an anonymous volume."""

    source: str
    target: str
    mode: str = ""

    @property
    def is_path(self) -> bool:
        return self.source.startswith("/")

    @property
    def kind(self) -> str:
        return "bind" if self.is_path else "volume"

    @property
    def words(self) -> set[str]:
        return set(filter(None, self.mode.split(",")))


def parse_bind(text: str) -> Bind:
    """Parse `target`, `source:target` or `source:target:mode`; InvalidRequest in Docker's words."""
    parts = text.split(":")
    match parts:
        case [target]:
            bind = Bind("", target)
        case [source, target] if target:
            bind = Bind(source, target)
        case [source, target, mode]:
            bind = Bind(source, target, mode)
        case _:
            raise InvalidRequest(f"invalid volume specification: '{text}'")
    problem = f"invalid volume specification: '{text}': invalid mount config for type \"{bind.kind}\": "
    if not bind.target.startswith("/"):
        raise InvalidRequest(f"{problem}invalid mount path: '{bind.target}' mount path must be absolute")
    if PurePosixPath(bind.target) == PurePosixPath("/"):
        raise InvalidRequest(f"{problem}invalid specification: destination can't be '/'")
    if unknown := bind.words - _MODES - _PROPAGATIONS:
        raise InvalidRequest(f"invalid mode: {sorted(unknown)[0]}")
    return bind


def targets_without_copy(host: HostConfig) -> frozenset[str]:
    """Return where volumes are mounted that stay empty, whatever the image has there."""
    binds = (parse_bind(text) for text in host.binds)
    targets = [bind.target for bind in binds if bind.words & {"nocopy", "volume-nocopy"}]
    targets += [mount.target for mount in host.mounts if mount.no_copy]
    return frozenset(_clean(target) for target in targets)


class MountResolver:
    def __init__(
        self, volumes: VolumeStore, find_container: Callable[[str], ContainerRecord], events: EventBus
    ) -> None:
        self._volumes = volumes
        self._find_container = find_container
        self._events = events

    async def resolve(self, config: ContainerConfig, host: HostConfig) -> tuple[MountPoint, ...]:
        """Return the mounts by destination, making the volumes that are not there."""
        found: dict[str, MountPoint] = {}
        for reference in host.volumes_from:
            name, _, mode = reference.partition(":")
            for point in self._find_container(name).mounts:
                # As in Docker, without the mode that the other was given.
                inherited = replace(point, mode="")
                found[point.destination] = replace(inherited, read_write=False) if mode == "ro" else inherited
        binds = [parse_bind(text) for text in host.binds]
        # Before any volume is made, which a refusal would leave behind.
        _check_distinct(
            [bind.target for bind in binds] + [mount.target for mount in host.mounts] + list(host.tmpfs)
        )
        for bind in binds:
            found[_clean(bind.target)] = await self._bind(bind, host.volume_driver)
        for mount in host.mounts:
            found[_clean(mount.target)] = await self._mount(mount)
        for target, options in host.tmpfs.items():
            found[_clean(target)] = MountPoint(
                MountType.TMPFS, _clean(target), mode=options, read_write="ro" not in options.split(",")
            )
        for target in config.volumes:
            if _clean(target) not in found:
                found[_clean(target)] = await self._volume("", _clean(target), "", True, host.volume_driver)
        return tuple(found[target] for target in sorted(found))

    async def _bind(self, bind: Bind, driver: str) -> MountPoint:
        read_write = "ro" not in bind.words
        target = _clean(bind.target)
        if not bind.is_path:
            return await self._volume(bind.source, target, bind.mode or "z", read_write, driver)
        source = Path(bind.source)
        if not source.exists():
            # What `-v` has always done: a missing source becomes a directory.
            try:
                source.mkdir(parents=True)
            except OSError as error:
                raise InvalidRequest(
                    f"error while creating mount source path '{source}': {error.strerror}"
                ) from error
        propagation = next(iter(bind.words & _PROPAGATIONS), "rprivate")
        return MountPoint(
            MountType.BIND,
            target,
            str(source),
            mode=bind.mode,
            read_write=read_write,
            propagation=propagation,
        )

    async def _mount(self, mount: Mount) -> MountPoint:
        target = _clean(mount.target)
        if not mount.target.startswith("/"):
            raise InvalidRequest(
                f"invalid mount config for type \"{mount.type}\": invalid mount path: '{mount.target}' mount "
                "path must be absolute"
            )
        if mount.type is MountType.TMPFS:
            options = [mount.tmpfs_options] if mount.tmpfs_options else []
            options += [f"size={mount.tmpfs_size}"] if mount.tmpfs_size else []
            options += [f"mode={mount.tmpfs_mode:o}"] if mount.tmpfs_mode else []
            return MountPoint(MountType.TMPFS, target, mode=",".join(options), read_write=not mount.read_only)
        if mount.type is MountType.VOLUME:
            return await self._volume(
                mount.source,
                target,
                "z" if not mount.read_only else "ro",
                not mount.read_only,
                mount.driver,
                mount.driver_options,
                mount.labels,
            )
        if not Path(mount.source).exists():
            if not mount.create_source:
                raise InvalidRequest(
                    f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
                )
            Path(mount.source).mkdir(parents=True)
        return MountPoint(
            MountType.BIND,
            target,
            mount.source,
            read_write=not mount.read_only,
            propagation=mount.propagation or "rprivate",
            non_recursive=mount.non_recursive,
        )

    async def _volume(
        self,
        name: str,
        target: str,
        mode: str,
        read_write: bool,
        driver: str = "",
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> MountPoint:
        is_new = not name or not await self._has(name)
        volume = await self._volumes.create(
            name, driver=driver or "local", options=options or None, labels=labels or None
        )
        if is_new:
            self._events.emit("volume", "create", volume.name, {"driver": volume.driver})
        return MountPoint(
            MountType.VOLUME,
            target,
            str(volume.mountpoint),
            name=volume.name,
            driver=volume.driver,
            mode=mode,
            read_write=read_write,
        )

    async def _has(self, name: str) -> bool:
        try:
            await self._volumes.get(name)
        except NotFound:
            return False
        return True


class VolumeMounts:
    """Volumes whose options name a device or a file system: mounted while a container that uses them runs."""

    def __init__(self, volumes: VolumeStore, state: State, events: EventBus) -> None:
        self._volumes = volumes
        self._state = state
        self._events = events

    async def activate(self, record: ContainerRecord) -> None:
        """Mount the volumes of a container that is about to start. Repeatable."""
        for point in record.mounts:
            if point.type is not MountType.VOLUME:
                continue
            await self._volumes.activate(point.name)

    def tell_mounted(self, record: ContainerRecord) -> None:
        """Emit that a container which runs has its volumes."""
        for point in record.mounts:
            if point.type is not MountType.VOLUME:
                continue
            attributes = {
                "container": record.id,
                "destination": point.destination,
                "driver": point.driver,
                "propagation": point.propagation,
                "read/write": str(point.read_write).lower(),
            }
            self._events.emit("volume", "mount", point.name, attributes)

    def tell_released(self, record: ContainerRecord) -> None:
        """Emit that a container which ran has done with its volumes."""
        for point in record.mounts:
            if point.type is MountType.VOLUME:
                attributes = {"container": record.id, "driver": point.driver}
                self._events.emit("volume", "unmount", point.name, attributes)

    async def release(self, record: ContainerRecord) -> None:
        """Unmount those that no other running container uses. Repeatable."""
        names = {point.name for point in record.mounts if point.type is MountType.VOLUME}
        if not names:
            return
        for other in self._state.containers.values():
            if other.id != record.id and (other.state.is_running or other.wanted):
                names -= {point.name for point in other.mounts}
        for name in sorted(names):
            with suppress(NotFound):
                await self._volumes.deactivate(name)


def _check_distinct(targets: Iterable[str]) -> None:
    seen: set[str] = set()
    for target in targets:
        if _clean(target) in seen:
            raise InvalidRequest(f"Duplicate mount point: {target}")
        seen.add(_clean(target))


def _clean(target: str) -> str:
    return str(PurePosixPath(target))
