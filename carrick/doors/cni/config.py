"""Read a plugin's configuration from standard input: strictly, and for removals leniently. Pure."""

import re
from typing import Any

import msgspec

from .errors import CniError, Code
from .request import Command
from .versions import check_version
from .wire import CAPABILITIES, KNOWN_FIELDS, Ipam, NetConf, PortMapping, Range, Rates, RuntimeDns

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*", re.ASCII)
_REMOVING = frozenset({Command.DEL, Command.GC})
_ATTACHMENTS = frozenset({"cni.dev/valid-attachments", "cni.dev/attachments"})
_RUNTIME_NAMES = {
    name.lower(): name
    for kind in (PortMapping, Rates, Range, RuntimeDns)
    for name in kind.__struct_encode_fields__
}


def parse_config(data: bytes, command: Command) -> NetConf:
    """Return the configuration. CniError: 6 if it is no JSON object, 1 for a version that is not ours, 2 for
    a field or capability that is not, 7 for a value that is not what it should be.

    What is to be removed must be removable after its configuration was spoilt: for DEL and GC the name, the
    IPAM's type and the attachments have to be right, the rest is passed over.
    """
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CniError(Code.DECODING_FAILURE, f"cannot decode the network configuration: {error}") from error
    if not isinstance(document, dict):
        raise CniError(Code.DECODING_FAILURE, "the network configuration is not a JSON object")
    version = document.get("cniVersion", "")
    if not isinstance(version, str):
        raise CniError(Code.DECODING_FAILURE, "cniVersion is not a string")
    check_version(version, command)
    _check_name(document)
    if command is Command.GC and not _ATTACHMENTS & document.keys():
        # Without the list everything would look like garbage.
        raise CniError(
            Code.INVALID_CONFIG, "cni.dev/valid-attachments is missing", "GC needs to know what stays"
        )
    if command in _REMOVING:
        return _essentials(document)
    _check_fields(document)
    return _convert(document)


def version_of(data: bytes) -> str:
    """Return what a configuration says its version is, if it says so; "" if not. Never raises."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    version = document.get("cniVersion") if isinstance(document, dict) else None
    return version if isinstance(version, str) else ""


def _check_name(document: dict[str, Any]) -> None:
    name = document.get("name")
    if not name:
        raise CniError(Code.INVALID_CONFIG, "missing network name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CniError(
            Code.INVALID_CONFIG,
            "invalid characters found in network name",
            f"{str(name)[:80]!r}: letters, digits, _ . - are allowed, the first being a letter or digit",
        )


def _check_fields(document: dict[str, Any]) -> None:
    # Those with a prefix are other people's, as the specification has it (cni.dev/…).
    ours = {key for key in document if not re.search(r"[./]", key) and not key.startswith("_")}
    if unknown := sorted(ours - KNOWN_FIELDS):
        raise CniError(
            Code.UNSUPPORTED_FIELD,
            f"unsupported field in network configuration: {unknown[0][:80]}",
            f"known fields: {', '.join(sorted(key for key in KNOWN_FIELDS if '/' not in key))}",
        )
    given = document.get("runtimeConfig")
    if isinstance(given, dict) and (strange := sorted(given.keys() - CAPABILITIES)):
        raise CniError(
            Code.UNSUPPORTED_FIELD,
            f"unsupported capability: {strange[0][:80]}",
            f"supported: {', '.join(sorted(CAPABILITIES))}",
        )


def _as_specified(value: Any) -> Any:
    """Return what a runtime added with its fields' names as they should be.

    containerd writes `HostPort`: the reference plugins, being Go, read names in any case.
    """
    if isinstance(value, list):
        return [_as_specified(item) for item in value]
    if isinstance(value, dict):
        return {_RUNTIME_NAMES.get(key.lower(), key): _as_specified(item) for key, item in value.items()}
    return value


def _convert(document: dict[str, Any]) -> NetConf:
    if "runtimeConfig" in document:
        document = {**document, "runtimeConfig": _as_specified(document["runtimeConfig"])}
    try:
        return msgspec.convert(document, NetConf)
    except msgspec.ValidationError as error:
        raise CniError(Code.INVALID_CONFIG, f"invalid network configuration: {error}") from error


def _essentials(document: dict[str, Any]) -> NetConf:
    """Return what a removal needs."""
    try:
        return _convert(document)
    except CniError:
        wanted = ("cniVersion", "name", *_ATTACHMENTS)
        rest = {key: document[key] for key in wanted if key in document}
    ipam = document.get("ipam")
    kind = ipam.get("type") if isinstance(ipam, dict) else None
    found = _convert(rest)
    return msgspec.structs.replace(found, ipam=Ipam(type=kind)) if isinstance(kind, str) else found
