"""Plan the calls of a CNI configuration: for each plugin its environment and its standard input.

The rules are the specification's, section 4 ("Execution of network configurations"), with libcni where that
leaves room: each plugin is told the network's name, the version, and those parts of `runtimeConfig` that
it has the capability for; `capabilities` is not passed on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ...model.delegation import EndpointCall
from ...model.errors import InvalidRequest
from .conflist import ConfigurationList, PluginConfiguration


class Command(StrEnum):
    """What a plugin is asked to do."""

    ADD = "ADD"
    CHECK = "CHECK"
    DEL = "DEL"
    VERSION = "VERSION"


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of one plugin."""

    type: str
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""


def runtime_config(call: EndpointCall) -> dict[str, Any]:
    """Return what is asked for at run time, by the capability that it takes (CONVENTIONS.md)."""
    wishes = call.wishes
    found: dict[str, Any] = {}
    if wishes.ports:
        found["portMappings"] = [
            {
                "hostPort": int(item.host_port),
                "containerPort": item.container_port,
                "protocol": item.protocol,
                "hostIP": item.host_ip,
            }
            for item in wishes.ports
        ]
    if addresses := [item for item in (call.ipv4, call.ipv6) if item]:
        found["ips"] = addresses
    if call.mac_address:
        found["mac"] = call.mac_address
    if call.aliases:
        found["aliases"] = list(call.aliases)
    if wishes.dns or wishes.dns_search or wishes.dns_options:
        found["dns"] = {
            "servers": list(wishes.dns),
            "searches": list(wishes.dns_search),
            "options": list(wishes.dns_options),
        }
    return found


OPTIONAL = frozenset({"aliases", "dns"})
"""What Carrick sees to itself where no plugin does."""

_FLAGS = {"portMappings": "-p", "ips": "--ip", "mac": "--mac-address"}


def check_wishes(configuration: ConfigurationList, call: EndpointCall) -> None:
    """Raise InvalidRequest for what no plugin of the configuration can do."""
    for item in call.wishes.ports:
        if not item.host_port.isdigit() or int(item.host_port) == 0:
            raise InvalidRequest(
                f"port {item.container_port}/{item.protocol} needs a host port on network "
                f"{call.network_name}: its CNI plugins do not choose one",
                remedy=f"publish it as -p PORT:{item.container_port}",
            )
    for capability in runtime_config(call):
        if capability not in configuration.capabilities | OPTIONAL:
            flag = _FLAGS[capability]
            raise InvalidRequest(
                f"network {call.network_name} cannot do {flag}: no plugin of the CNI configuration "
                f"{configuration.name} ({', '.join(configuration.types)}) has the capability {capability}",
                remedy=f'leave out {flag}, or add "capabilities": {{"{capability}": true}} to a plugin that '
                "can, and create the network again"
                + ("; or begin with another network" if capability == "portMappings" else ""),
            )


def plan_add(
    configuration: ConfigurationList, position: int, call: EndpointCall, previous: str
) -> Invocation:
    """Return the ADD of one plugin; `previous` is the result of the plugin before it, "" of none."""
    return _plan(configuration, configuration.plugins[position], Command.ADD, call, call.netns, previous)


def plan_check(configuration: ConfigurationList, call: EndpointCall, result: str) -> list[Invocation]:
    """Return the CHECKs of all plugins, which are told the final result."""
    return [
        _plan(configuration, plugin, Command.CHECK, call, call.netns, result)
        for plugin in configuration.plugins
    ]


def plan_remove(
    configuration: ConfigurationList, call: EndpointCall, netns: str, result: str
) -> list[Invocation]:
    """Return the DELs in reverse order. `netns` is "" if the namespace is gone, `result` if none is known."""
    # Before 0.4.0 a DEL is told no result.
    told = result if configuration.version not in {"0.1.0", "0.2.0", "0.3.0", "0.3.1"} else ""
    return [
        _plan(configuration, plugin, Command.DEL, call, netns, told)
        for plugin in reversed(configuration.plugins)
    ]


def _plan(
    configuration: ConfigurationList,
    plugin: PluginConfiguration,
    command: Command,
    call: EndpointCall,
    netns: str,
    previous: str,
) -> Invocation:
    body = {key: value for key, value in plugin.body.items() if key not in {"capabilities", "cniVersions"}}
    body |= {"name": configuration.name, "cniVersion": configuration.version}
    wanted = runtime_config(call)
    told = {key: value for key, value in wanted.items() if key in plugin.capabilities}
    if told:
        body["runtimeConfig"] = told
    if previous:
        body["prevResult"] = json.loads(previous)
    return Invocation(
        plugin.type,
        command,
        {
            "CNI_COMMAND": command.value,
            "CNI_CONTAINERID": call.sandbox_id,
            "CNI_NETNS": netns,
            "CNI_IFNAME": call.interface,
            # What nobody understands must not be an error: none of ours has to be understood.
            "CNI_ARGS": f"IgnoreUnknown=1;CARRICK_NETWORK={call.network_name}",
            "CNI_PATH": ":".join(call.path),
        },
        json.dumps(body).encode(),
    )
