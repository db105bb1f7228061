"""Speak libnetwork's remote network protocol with a plugin: its calls, in Docker's order and words."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from ...domains.sandboxes.interfaces import check_interface_name, parse_mac
from ...host.plugins import Plugins, Refused
from ...model.containers import PortBinding
from ...model.delegation import DelegatedNetwork, EndpointCall, Made, MadeRoute
from ...model.errors import Failed, InvalidRequest, NotFound, Unavailable, Unsupported
from ...model.ids import NetworkId
from ...model.networks import Network, PoolConfig

_log = logging.getLogger(__name__)
_PREFIX = "com.docker.network."
GENERIC = _PREFIX + "generic"
PORT_MAP = _PREFIX + "portmap"
EXPOSED_PORTS = _PREFIX + "endpoint.exposedports"
MAC_ADDRESS = _PREFIX + "endpoint.macaddress"
DNS_SERVERS = _PREFIX + "endpoint.dnsservers"
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}
_NEXT_HOP = 0
_DEFAULT_SPACE = "LocalDefault"

Known = Callable[[NetworkId], tuple[Network | None, DelegatedNetwork | None]]
"""Gives a network and what plugins know of it."""


class RemoteDelegate:
    """Implements `Delegate` for all plugins."""

    def __init__(self, plugins: Plugins, known: Known) -> None:
        self._plugins = plugins
        self._known = known

    async def create_network(self, network: Network) -> None:
        _, record = self._known(network.id)
        space = record.address_space if record and record.address_space else _DEFAULT_SPACE
        options: dict[str, Any] = {
            GENERIC: network.options,
            _PREFIX + "enable_ipv4": network.enable_ipv4,
            _PREFIX + "enable_ipv6": network.enable_ipv6,
        }
        if network.internal:
            options[_PREFIX + "internal"] = True
        await self._call(
            network.driver,
            "CreateNetwork",
            {
                "NetworkID": network.id,
                "Options": options,
                "IPv4Data": [_ipam_data(pool, space) for pool in network.pools if pool.version == 4],
                "IPv6Data": [_ipam_data(pool, space) for pool in network.pools if pool.version == 6],
            },
        )

    async def remove_network(self, network: Network) -> None:
        request = {"NetworkID": network.id}
        try:
            await self._call(network.driver, "DeleteNetwork", request)
        except Refused as error:
            # It will not, or it was restarted and knows of none: only then can it be told of it again.
            try:
                await self.create_network(network)
            except Refused:
                raise error from None
            await self._call(network.driver, "DeleteNetwork", request)

    async def add(self, call: EndpointCall) -> Made:
        try:
            given = await self._create_endpoint(call)
            join = await self._call(
                call.name, "Join", _ids(call) | {"SandboxKey": call.netns, "Options": _options(call)}
            )
            return _read_join(call, given, join)
        except Refused as error:
            name, network = call.wishes.container_name or call.sandbox_id[:12], call.network_name
            raise Failed(f"failed to create endpoint {name} on network {network}: {error.message}") from error
        except NotFound as error:
            # It was there when the network was created: it may come back, at boot after us.
            raise Unavailable(error.message, remedy=error.remedy) from error

    async def _create_endpoint(self, call: EndpointCall) -> Made:
        request = _ids(call) | {
            "Interface": {
                "Address": call.ipv4,
                "AddressIPv6": call.ipv6,
                "MacAddress": call.mac_address,
            },
            "Options": _options(call),
        }
        try:
            answer = await self._call(call.name, "CreateEndpoint", request)
        except Refused:
            # A plugin that was restarted may have forgotten its networks: it is told again, once.
            if not await self._tell_again(call.network_id):
                raise
            answer = await self._call(call.name, "CreateEndpoint", request)
        return _read_interface(call, answer.get("Interface") or {})

    async def _tell_again(self, identifier: NetworkId) -> bool:
        """Tell a plugin of a network again; return whether that was news to it."""
        network, _ = self._known(identifier)
        if network is None:
            return False
        try:
            await self.create_network(network)
        except Refused:
            return False
        return True

    async def publish(self, call: EndpointCall) -> None:
        with suppress(Unsupported):
            await self._call(
                call.name, "ProgramExternalConnectivity", _ids(call) | {"Options": _options(call)}
            )

    async def check(self, call: EndpointCall, made: Made) -> None:
        await self._call(call.name, "EndpointOperInfo", _ids(call))

    async def leave(self, call: EndpointCall, made: Made) -> None:
        for method in ("RevokeExternalConnectivity", "Leave"):
            try:
                await self._call(call.name, method, _ids(call), patience_s=0)
            except (Unsupported, NotFound):
                continue
            except Refused as error:
                _log.info("network %s: %s", call.network_name, error)

    async def remove(self, call: EndpointCall, made: Made | None) -> bool:
        try:
            # Whoever waits for the end of a container does not wait for a plugin to come back: this is
            # tried again behind it.
            await self._call(call.name, "DeleteEndpoint", _ids(call), patience_s=0)
        except (Refused, Unsupported) as error:
            # It was asked, and knows of none or will not: asking again would not change that.
            _log.warning("network %s: %s", call.network_name, error)
            return False
        except NotFound:
            _log.warning("plugin %s is gone, and whatever it had of network %s", call.name, call.network_name)
            return False
        return True

    async def _call(
        self, plugin: str, method: str, request: Mapping[str, Any], *, patience_s: float | None = None
    ) -> dict[str, Any]:
        return await self._plugins.call(plugin, f"NetworkDriver.{method}", request, patience_s=patience_s)


def _ids(call: EndpointCall) -> dict[str, Any]:
    return {"NetworkID": call.network_id, "EndpointID": call.endpoint_id}


def _options(call: EndpointCall) -> dict[str, Any]:
    """Return an endpoint's options: the user's, and what is known of its ports."""
    found: dict[str, Any] = dict(call.options)
    found[PORT_MAP] = [_port_map(item) for item in call.wishes.ports]
    exposed = {(item.container_port, item.protocol) for item in call.wishes.ports}
    for text in call.wishes.exposed_ports:
        number, _, protocol = text.partition("/")
        if number.isdigit():
            exposed.add((int(number), protocol or "tcp"))
    found[EXPOSED_PORTS] = [
        {"Proto": _PROTOCOLS.get(protocol, 0), "Port": port} for port, protocol in sorted(exposed)
    ]
    if call.mac_address:
        found[MAC_ADDRESS] = call.mac_address
    if call.wishes.dns:
        found[DNS_SERVERS] = list(call.wishes.dns)
    return found


def _port_map(item: PortBinding) -> dict[str, Any]:
    first, _, last = item.host_port.partition("-")
    low = int(first) if first.isdigit() else 0
    return {
        "Proto": _PROTOCOLS.get(item.protocol, 0),
        "IP": "",
        "Port": item.container_port,
        "HostIP": item.host_ip,
        "HostPort": low,
        "HostPortEnd": int(last) if last.isdigit() else low,
    }


def _ipam_data(pool: PoolConfig, space: str) -> dict[str, Any]:
    length = pool.network.prefixlen
    return {
        "AddressSpace": space,
        "Pool": pool.subnet,
        "Gateway": f"{pool.gateway}/{length}" if pool.gateway else "",
        "AuxAddresses": {name: f"{address}/{length}" for name, address in pool.aux_addresses.items()},
    }


def _read_interface(call: EndpointCall, found: Mapping[str, Any]) -> Made:
    """Return what a plugin chose where we left it to it; it may not choose anything else."""
    try:
        ipv4, ipv6 = _address(found.get("Address")), _address(found.get("AddressIPv6"))
        mac = parse_mac(str(found["MacAddress"])) if found.get("MacAddress") else ""
    except (ValueError, TypeError, InvalidRequest) as error:
        raise Refused(f"the plugin's answer cannot be read: {error}") from None
    if (ipv4 and call.ipv4) or (ipv6 and call.ipv6) or (mac and call.mac_address):
        raise Refused("driver modified interface address")
    return Made(mac_address=mac or call.mac_address, ipv4=ipv4 or call.ipv4, ipv6=ipv6 or call.ipv6)


def _address(value: Any) -> str:
    return str(ip_interface(str(value))) if value else ""


def _read_join(call: EndpointCall, given: Made, found: Mapping[str, Any]) -> Made:
    names = found.get("InterfaceName") or {}
    source, prefix = str(names.get("SrcName") or ""), str(names.get("DstPrefix") or "eth")
    try:
        routes = []
        for route in found.get("StaticRoutes") or ():
            destination = str(ip_network(str(route["Destination"]), strict=False))
            kind, via = route.get("RouteType", _NEXT_HOP), route.get("NextHop")
            routes.append(MadeRoute(destination, str(ip_address(via)) if kind == _NEXT_HOP and via else ""))
        gateways = [
            str(ip_address(found[key])) if found.get(key) else "" for key in ("Gateway", "GatewayIPv6")
        ]
        interface = check_interface_name(call.interface or f"{prefix}{call.index}") if source else ""
        if source:
            check_interface_name(source)
    except (ValueError, KeyError, TypeError, AttributeError, InvalidRequest) as error:
        raise Refused(f"the plugin's answer to Join cannot be read: {error}") from None
    return Made(
        interface=interface,
        source=source,
        mac_address=given.mac_address,
        ipv4=given.ipv4,
        ipv6=given.ipv6,
        gateway4=gateways[0],
        gateway6=gateways[1],
        routes=tuple(routes),
    )
