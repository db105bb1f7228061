"""From what the engine has to the answers of libnetwork's protocols."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from ...engine.values import GuestView, PublishedPort
from ...model.networks import Network
from ..api.errors import reply_to
from .parse import EXPOSED_PORTS, MAC_ADDRESS, PORT_MAP, PROTOCOL_NUMBERS, CreateEndpointCall

Document = Mapping[str, Any]
CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
INTERFACE_PREFIX_OPTION = "com.docker.network.container_iface_prefix"
ACTIVATION: Document = {"Implements": ["NetworkDriver", "IpamDriver"]}
NOTHING: Document = {}
_NEXT_HOP, _CONNECTED = 0, 1
_OPTIONAL = frozenset(
    {"/NetworkDriver.ProgramExternalConnectivity", "/NetworkDriver.RevokeExternalConnectivity"}
)


def render_capabilities(scope: str) -> Document:
    return {"Scope": scope, "ConnectivityScope": scope, "GwAllocChecker": True}


def render_endpoint(call: CreateEndpointCall, view: GuestView) -> Document:
    """Return what CreateEndpoint decided. Docker refuses an answer that changes what it has given."""
    endpoint = view.endpoint
    interface = {}
    if not call.address and endpoint.ipv4:
        interface["Address"] = endpoint.ipv4
    if not call.address6 and endpoint.ipv6:
        interface["AddressIPv6"] = endpoint.ipv6
    if not call.mac_address:
        interface["MacAddress"] = endpoint.mac_address
    return {"Interface": interface}


def render_join(view: GuestView) -> Document:
    """Return which interface to move, and the routes that it shall have there.

    Docker's own way out (docker_gwbridge) is never wanted: a network without a gateway is meant so.
    """
    endpoint = view.endpoint
    return {
        "InterfaceName": {
            "SrcName": view.spec.interface,
            "DstPrefix": view.network.options.get(INTERFACE_PREFIX_OPTION) or "eth",
        },
        "Gateway": endpoint.gateway4,
        "GatewayIPv6": endpoint.gateway6,
        "StaticRoutes": [
            *_routes(view.network, endpoint.ipv4, endpoint.gateway4),
            *_routes(view.network, endpoint.ipv6, endpoint.gateway6),
        ],
        "DisableGatewayService": True,
    }


def _routes(network: Network, address: str, gateway: str) -> list[Document]:
    """Return the routes besides the default: to a gateway off the subnet, and to the rest of the network.

    A routed network's containers are alone on their address or in their host's block: the rest is behind
    the gateway, whichever way the container's default route goes.
    """
    if not address or not gateway:
        return []
    own, hop = ip_interface(address).network, ip_address(gateway)
    routes: list[Document] = []
    # That 169.254.1.1 is on the link has to be said; of fe80::1 every interface knows it.
    if hop not in own and (hop.version == 4 or not hop.is_link_local):
        connected = f"{hop}/{hop.max_prefixlen}"
        routes.append({"Destination": connected, "RouteType": _CONNECTED, "NextHop": ""})
    pool = network.pool(own.version)
    if pool is not None and ip_network(pool.subnet) != own:
        routes.append({"Destination": pool.subnet, "RouteType": _NEXT_HOP, "NextHop": gateway})
    return routes


def render_details(view: GuestView) -> Document:
    """Return EndpointOperInfo's free-form answer, in the words of Docker's bridge driver."""
    return {
        "Value": {
            MAC_ADDRESS: view.endpoint.mac_address,
            PORT_MAP: [_port(port, view) for port in view.record.ports],
            EXPOSED_PORTS: [
                {"Proto": PROTOCOL_NUMBERS[port.protocol], "Port": port.container_port}
                for port in view.record.ports
            ],
            "carrick.network": view.network.name,
        }
    }


def _port(port: PublishedPort, view: GuestView) -> Document:
    return {
        "Proto": PROTOCOL_NUMBERS[port.protocol],
        "IP": view.endpoint.ipv4_address,
        "Port": port.container_port,
        "HostIP": port.host_ip,
        "HostPort": port.host_port,
        "HostPortEnd": port.host_port,
    }


def render_error(error: Exception, path: str) -> tuple[int, Document]:
    """Return an error's status and body.

    The network protocol's word is `Err`, IPAM's `Error`; Docker's plugin client looks for `Err` alone when
    the status is one of an error, so both are said. 404 on the optional calls would be taken for "there is
    no such method", and forgotten.
    """
    reply = reply_to(error)
    status = 409 if reply.status == 304 else reply.status
    if status == 404 and path in _OPTIONAL:
        status = 400
    message = f"{reply.message} ({reply.remedy})" if reply.remedy else reply.message
    body = {"Err": message}
    if path.startswith("/IpamDriver."):
        body["Error"] = message
    return status, body
