"""What is remembered of a container beside its layer, for who cleans up after a process that was killed."""

from dataclasses import dataclass, field

import msgspec

from ...model.containers import LogConfig, MountPoint
from ...model.errors import NotFound
from ...model.ids import ContainerId, ImageId
from .api import LaunchRequest
from .layout import ContainerPaths

_NONE_DRIVER = LogConfig(max_size=16 << 20, max_files=2)
"""With the driver `none` nobody may read logs, but attached clients read the file: keep it small."""


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """What is remembered of a container beside its layer."""

    image_id: ImageId
    mounts: tuple[MountPoint, ...] = ()
    user: str = ""
    log_config: LogConfig = field(default_factory=LogConfig)
    cgroup_path: str = ""


def record_of(request: LaunchRequest, cgroup_parent: str) -> LaunchRecord:
    host = request.host_config
    return LaunchRecord(
        image_id=request.image_id,
        mounts=request.mounts,
        user=request.config.user,
        log_config=_NONE_DRIVER if host.log_config.driver == "none" else host.log_config,
        cgroup_path="/" + f"{host.cgroup_parent or cgroup_parent}/{request.container_id}".lstrip("/"),
    )


def write_record(paths: ContainerPaths, record: LaunchRecord) -> None:
    unfinished = paths.launch.with_suffix(".new")
    unfinished.write_bytes(msgspec.json.encode(record))
    unfinished.rename(paths.launch)


def read_record(paths: ContainerPaths, container_id: ContainerId) -> LaunchRecord:
    """Raises NotFound if there is none."""
    try:
        text = paths.launch.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"No such container: {container_id}") from None
    return msgspec.json.decode(text, type=LaunchRecord)
