"""Versions of the specification, and what came with which."""

from .errors import CniError, Code

CURRENT = "1.1.0"
SUPPORTED = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", CURRENT)
_IMPLIED = "0.1.0"
"""What a configuration without `cniVersion` is in."""

_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}


def check_version(version: str, command: str) -> str:
    """Return the version that a configuration is in. CniError 1 if it is none of ours, or is older than
    the command."""
    version = version or _IMPLIED
    if version not in SUPPORTED:
        supported = " ".join(f'"{item}"' for item in SUPPORTED)
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            "incompatible CNI versions",
            f'config is "{version}", plugin supports [{supported}]',
        )
    if not at_least(version, _SINCE.get(command, SUPPORTED[0])):
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f"config version does not allow {command}",
            f'config is "{version}", {command} came with {_SINCE[command]}',
        )
    return version


def at_least(version: str, other: str) -> bool:
    """Tell whether a supported version is `other` or newer."""
    return SUPPORTED.index(version) >= SUPPORTED.index(other)
