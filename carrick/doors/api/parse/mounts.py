"""HostConfig.Mounts: what `--mount` asks for, checked as Docker checks it before it looks at the host."""

import posixpath
from dataclasses import replace

from ....model.containers import Mount, MountType
from ....model.errors import InvalidRequest
from .fields import Fields
from .query import quoted

_PROPAGATIONS = frozenset(("", "private", "rprivate", "shared", "rshared", "slave", "rslave"))
_OPTIONS = {
    MountType.BIND: "BindOptions",
    MountType.VOLUME: "VolumeOptions",
    MountType.TMPFS: "TmpfsOptions",
}


def parse_mount(body: Fields) -> Mount:
    """Translate one mount. Raises InvalidRequest `invalid mount config for type "…": …`."""
    kind = body.text("Type")
    try:
        mount_type = MountType(kind)
    except ValueError as error:
        raise _invalid(kind, "mount type unknown" if kind else "mount type must be specified") from error
    target = body.text("Target")
    source = body.text("Source")
    if not target:
        raise _invalid(kind, "field Target must not be empty")
    if not target.startswith("/"):
        raise _invalid(kind, f"invalid mount path: '{target}' mount path must be absolute")
    if posixpath.normpath(target) in ("/", "//"):
        raise _invalid(kind, "invalid specification: destination can't be '/'")
    for other, options in _OPTIONS.items():
        if other is not mount_type and body.has(options):
            raise _invalid(kind, f"field {options} must not be specified")
    if mount_type is MountType.BIND:
        mount = _bind(body, kind, source, target)
    elif mount_type is MountType.VOLUME:
        mount = _volume(body, kind, source, target)
    else:
        mount = _tmpfs(body, kind, source, target)
    return replace(mount, consistency=body.text("Consistency"))


def _bind(body: Fields, kind: str, source: str, target: str) -> Mount:
    options = body.child("BindOptions")
    propagation = options.text("Propagation")
    if not source:
        raise _invalid(kind, "field Source must not be empty")
    if not source.startswith("/"):
        raise _invalid(kind, f"invalid mount path: '{source}' mount path must be absolute")
    if propagation not in _PROPAGATIONS:
        raise _invalid(kind, f"invalid propagation mode: {propagation}")
    return Mount(
        type=MountType.BIND,
        target=target,
        source=source,
        read_only=body.flag("ReadOnly"),
        propagation=propagation,
        non_recursive=options.flag("NonRecursive"),
        create_source=options.flag("CreateMountpoint"),
    )


def _volume(body: Fields, kind: str, source: str, target: str) -> Mount:
    options = body.child("VolumeOptions")
    subpath = options.text("Subpath")
    if subpath and not source:
        raise _invalid(kind, "must not set Subpath when using anonymous volumes")
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise _invalid(kind, "subpath must be a relative path within the volume")
    driver = options.child("DriverConfig")
    return Mount(
        type=MountType.VOLUME,
        target=target,
        source=source,
        read_only=body.flag("ReadOnly"),
        no_copy=options.flag("NoCopy"),
        subpath=subpath,
        driver=driver.text("Name"),
        driver_options=driver.text_map("Options"),
        labels=options.text_map("Labels"),
    )


def _tmpfs(body: Fields, kind: str, source: str, target: str) -> Mount:
    if source:
        raise _invalid(kind, "field Source must not be specified")
    options = body.child("TmpfsOptions")
    return Mount(
        type=MountType.TMPFS,
        target=target,
        read_only=body.flag("ReadOnly"),
        tmpfs_size=options.integer("SizeBytes"),
        tmpfs_mode=options.integer("Mode"),
    )


def _invalid(kind: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"invalid mount config for type {quoted(kind)}: {problem}")
