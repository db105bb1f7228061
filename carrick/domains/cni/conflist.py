"""Parse CNI network configurations: a list of plugins (`.conflist`), or one plugin alone (`.conf`).

What the plugins themselves read is none of our business: it is kept as it is and handed on.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from ...model.errors import InvalidRequest

SUPPORTED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
_DEFAULT = "0.2.0"
"""What a configuration without a version is, as in libcni."""

_NAME = re.compile(r"[a-zA-Z0-9][\w.-]*", re.ASCII)
_TYPE = re.compile(r"[^/\s\x00]+")


@dataclass(frozen=True, slots=True)
class PluginConfiguration:
    """One plugin of a list: `type` names the program, `body` is all that it is told."""

    type: str
    capabilities: frozenset[str] = frozenset()
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConfigurationList:
    """A network as CNI has it. `version` is the one that its plugins are spoken to in."""

    name: str
    version: str
    plugins: tuple[PluginConfiguration, ...]
    disable_check: bool = False

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(plugin.type for plugin in self.plugins)

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that are needed: the plugins', and those of the IPAM plugins that they call."""
        found = list(self.types)
        for plugin in self.plugins:
            ipam = plugin.body.get("ipam")
            if isinstance(ipam, dict) and isinstance(ipam.get("type"), str) and ipam["type"]:
                found.append(ipam["type"])
        return tuple(dict.fromkeys(found))

    @property
    def capabilities(self) -> frozenset[str]:
        """What at least one of the plugins can do on request."""
        return frozenset().union(*(plugin.capabilities for plugin in self.plugins))


def parse_configuration(text: str, *, name: str = "") -> ConfigurationList:
    """Parse a configuration's JSON; `name` is for one that has none. InvalidRequest says what is wrong."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"the CNI configuration is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidRequest("the CNI configuration is not a JSON object")
    name = _text(found, "name") or name
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"the CNI configuration's name {name!r} must match [a-zA-Z0-9][a-zA-Z0-9_.-]*")
    is_list = "plugins" in found
    bodies = found["plugins"] if is_list else [found]
    if not isinstance(bodies, list) or not bodies:
        raise InvalidRequest(f"the CNI configuration {name} has no plugins")
    return ConfigurationList(
        name,
        _version(found, name),
        tuple(_plugin(body, name) for body in bodies),
        disable_check=_flag(found, "disableCheck"),
    )


def _version(found: dict[str, Any], name: str) -> str:
    """Return the newest version that both speak (`cniVersions`, 1.1), or the one that is stated."""
    listed = found.get("cniVersions") or []
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise InvalidRequest(f"cniVersions of the CNI configuration {name} is not a list of versions")
    stated = _text(found, "cniVersion")
    offered = [*listed, stated] if stated else listed or [_DEFAULT]
    known = [version for version in SUPPORTED if version in offered]
    if not known:
        raise InvalidRequest(
            f"the CNI configuration {name} is of version {', '.join(offered)}, which Carrick does not speak",
            remedy=f"use one of {', '.join(SUPPORTED)}",
        )
    return known[-1]


def _plugin(body: Any, name: str) -> PluginConfiguration:
    if not isinstance(body, dict):
        raise InvalidRequest(f"a plugin of the CNI configuration {name} is not a JSON object")
    kind = _text(body, "type")
    # It becomes the name of a program: nothing that leads elsewhere.
    if not kind or not _TYPE.fullmatch(kind) or kind in {".", ".."}:
        raise InvalidRequest(f"a plugin of the CNI configuration {name} has no usable type: {kind!r}")
    capabilities = body.get("capabilities") or {}
    if not isinstance(capabilities, dict):
        raise InvalidRequest(f"capabilities of plugin {kind} in {name} is not a JSON object")
    on = frozenset(key for key, value in capabilities.items() if value is True)
    return PluginConfiguration(kind, on, body)


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"{key} in the CNI configuration is not text: {value!r}")
    return value


def _flag(found: dict[str, Any], key: str) -> bool:
    """Read a switch; older configurations write it as text."""
    value = found.get(key, False)
    if isinstance(value, bool):
        return value
    if value in {"true", "false"}:
        return bool(value == "true")
    raise InvalidRequest(f"{key} in the CNI configuration is neither true nor false: {value!r}")
