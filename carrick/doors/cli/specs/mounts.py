"""`-v`, `--mount` and `--tmpfs`."""

from __future__ import annotations

from carrick.doors.cli.flags import Kind, split_csv
from carrick.doors.cli.units import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_TRUE = frozenset(("1", "t", "true", "yes", "y"))
_FALSE = frozenset(("0", "f", "false", "no", "n"))
_TARGETS = ("target", "dst", "destination")
_SOURCES = ("source", "src")


def split_volumes(
    specs: Iterable[str], absolute: Callable[[str], str]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the binds and the anonymous volumes of `-v`. Raises ValueError.

    `absolute` turns a path below the working directory into an absolute one.
    """
    binds: list[str] = []
    anonymous: dict[str, dict[str, Any]] = {}
    for spec in specs:
        parts = spec.split(":")
        if not spec:
            raise ValueError("invalid empty volume spec")
        if len(parts) > 3:
            raise ValueError(f"invalid spec: {spec}: too many colons")
        if not all(parts):
            raise ValueError(f"invalid spec: {spec}: empty section between colons")
        if len(parts) == 1:
            anonymous[spec] = {}
            continue
        if parts[0].startswith("."):
            parts[0] = absolute(parts[0])
        binds.append(":".join(parts))
    return binds, anonymous


def split_tmpfs(specs: Iterable[str]) -> dict[str, str]:
    """Return `--tmpfs` values as path → options."""
    return {path: options for path, _, options in (spec.partition(":") for spec in specs)}


def _switch(key: str, value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ValueError(f"invalid value for {key}: {value}")


def parse_mount(text: str) -> dict[str, Any]:
    """Return one `--mount` as the API's Mount. Raises ValueError."""
    mount: dict[str, Any] = {"Type": "volume"}
    extra: dict[str, dict[str, Any]] = {}

    def options(kind: str) -> dict[str, Any]:
        return extra.setdefault(kind, {})

    for field in split_csv(text):
        key, separator, value = field.partition("=")
        key = key.strip().lower()
        if not separator and key not in ("readonly", "ro", "volume-nocopy", "bind-nonrecursive"):
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if key == "type":
            mount["Type"] = value.lower()
        elif key in _SOURCES:
            mount["Source"] = value
        elif key in _TARGETS:
            mount["Target"] = value
        elif key in ("readonly", "ro"):
            mount["ReadOnly"] = _switch(key, value) if separator else True
        elif key == "consistency":
            mount["Consistency"] = value.lower()
        elif key == "bind-propagation":
            options("BindOptions")["Propagation"] = value.lower()
        elif key == "bind-nonrecursive":
            options("BindOptions")["NonRecursive"] = _switch(key, value) if separator else True
        elif key == "bind-recursive":
            _bind_recursive(value, options("BindOptions"))
        elif key == "volume-nocopy":
            options("VolumeOptions")["NoCopy"] = _switch(key, value) if separator else True
        elif key == "volume-subpath":
            options("VolumeOptions")["Subpath"] = value
        elif key == "volume-label":
            name, _, label = value.partition("=")
            options("VolumeOptions").setdefault("Labels", {})[name] = label
        elif key == "volume-driver":
            options("VolumeOptions").setdefault("DriverConfig", {})["Name"] = value
        elif key == "volume-opt":
            name, _, option = value.partition("=")
            driver = options("VolumeOptions").setdefault("DriverConfig", {})
            driver.setdefault("Options", {})[name] = option
        elif key == "image-subpath":
            options("ImageOptions")["Subpath"] = value
        elif key == "tmpfs-size":
            try:
                options("TmpfsOptions")["SizeBytes"] = parse_bytes(value)
            except ValueError:
                raise ValueError(f"invalid value for {key}: {value}") from None
        elif key == "tmpfs-mode":
            try:
                options("TmpfsOptions")["Mode"] = int(value, 8)
            except ValueError:
                raise ValueError(f"invalid value for {key}: {value}") from None
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    _check(mount, extra)
    return {**mount, **extra}


def _bind_recursive(value: str, options: dict[str, Any]) -> None:
    match value.lower():
        case "enabled":
            pass
        case "disabled":
            options["NonRecursive"] = True
        case "writable":
            options["ReadOnlyNonRecursive"] = True
        case "readonly":
            options["ReadOnlyForceRecursive"] = True
        case _:
            raise ValueError(
                f"invalid value for bind-recursive: {value}"
                ' (must be "enabled", "disabled", "writable", or "readonly")'
            )


def _check(mount: dict[str, Any], extra: dict[str, Any]) -> None:
    kind = mount["Type"]
    if not kind:
        raise ValueError("type is required")
    if not mount.get("Target"):
        raise ValueError("target is required")
    for option, owner in (
        ("BindOptions", "bind"),
        ("VolumeOptions", "volume"),
        ("TmpfsOptions", "tmpfs"),
        ("ImageOptions", "image"),
    ):
        if option in extra and kind != owner:
            raise ValueError(f"cannot mix '{owner}-*' options with mount type '{kind}'")


MOUNT = Kind("mount", parse_mount, many=True)
