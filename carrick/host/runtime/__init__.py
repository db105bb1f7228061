"""The container runtime: runc under conmon, images by umoci, roots on overlayfs.

What it offers stands in `api`: the contracts `Runtime`, `ImageStore` and `VolumeStore`, their values
and errors. `LocalRuntime`, `LocalImageStore` and `LocalVolumeStore` are the real ones:

    images = LocalImageStore(state / "images")
    volumes = LocalVolumeStore(state / "volumes")
    runtime = LocalRuntime(
        Layout(state / "runtime", run / "runtime"), images.lower_dir, cgroup_parent="/carrick-NAME"
    )

The caller opens the image store and the runtime, and reads `runtime.exits()` in a task of its own.
This package decides nothing about networks or policies; the engine drives it. Everything lives
below the directories it is given, and nothing is global.
"""

from .api import (
    BlockCounter,
    CannotStart,
    Change,
    ChangeKind,
    ConsoleSession,
    ConsoleSize,
    ContainerRecord,
    ContainerStats,
    ExecRequest,
    ExecSession,
    ExitEvent,
    FileMount,
    Launched,
    LaunchRequest,
    LayerSize,
    LogEntry,
    LogQuery,
    NetworkCounters,
    Output,
    PathStat,
    ProcessStatus,
    ProcessTable,
    Runtime,
    Stream,
)
from .image_store import (
    CommitRequest,
    ImageRemoval,
    ImageStore,
    ImageUser,
    Progress,
    ProgressCallback,
    RegistryAuth,
)
from .images import LocalImageStore
from .layout import Layout
from .local import LocalRuntime, Programs
from .volume_store import Volume, VolumeStore
from .volumes import LocalVolumeStore

__all__ = [
    "BlockCounter",
    "CannotStart",
    "Change",
    "ChangeKind",
    "CommitRequest",
    "ConsoleSession",
    "ConsoleSize",
    "ContainerRecord",
    "ContainerStats",
    "ExecRequest",
    "ExecSession",
    "ExitEvent",
    "FileMount",
    "ImageRemoval",
    "ImageStore",
    "ImageUser",
    "LaunchRequest",
    "Launched",
    "LayerSize",
    "Layout",
    "LocalImageStore",
    "LocalRuntime",
    "LocalVolumeStore",
    "LogEntry",
    "LogQuery",
    "NetworkCounters",
    "Output",
    "PathStat",
    "ProcessStatus",
    "ProcessTable",
    "Programs",
    "Progress",
    "ProgressCallback",
    "RegistryAuth",
    "Runtime",
    "Stream",
    "Volume",
    "VolumeStore",
]
