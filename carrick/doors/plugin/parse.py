"""From the bodies of libnetwork's calls to values (moby: the packages `api` of its remote drivers).

Field names match in any case and unknown ones are ignored, as with Go's decoder on the other side. What
Docker's protocol calls options are objects whose keys are labels (`com.docker.network.…`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from ...model.containers import PortBinding
from ...model.errors import InvalidRequest
from ..api.parse.fields import Fields

GENERIC = "com.docker.network.generic"
INTERNAL = "com.docker.network.internal"
ENABLE_IPV4 = "com.docker.network.enable_ipv4"
ENABLE_IPV6 = "com.docker.network.enable_ipv6"
PORT_MAP = "com.docker.network.portmap"
EXPOSED_PORTS = "com.docker.network.endpoint.exposedports"
MAC_ADDRESS = "com.docker.network.endpoint.macaddress"
GATEWAY = "com.docker.network.gateway"
ADDRESS_TYPE = "RequestAddressType"
DRIVER_OPTION, NETWORK_OPTION = "driver", "network"
_NO_POOLS = frozenset({"0.0.0.0/0", "::/0"})
"""What Docker's `null` IPAM gives for a pool: there is none."""

_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
PROTOCOL_NUMBERS = {name: number for number, name in _PROTOCOLS.items()}
_MOST_ID = 256


@dataclass(frozen=True, slots=True)
class GivenPool:
    """A pool as CreateNetwork has it: canonical texts; `gateway` without prefix length, "" for none."""

    subnet: str
    gateway: str = ""
    aux_addresses: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """`-o` and flags of `docker network create`: `driver` and `network` are ours, `rest` the network's."""

    driver: str = ""
    network: str = ""
    rest: dict[str, str] = field(default_factory=dict)
    internal: bool = False
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None


@dataclass(frozen=True, slots=True)
class NetworkCall:
    """CreateNetwork and AllocateNetwork."""

    network_id: str
    options: NetworkOptions = field(default_factory=NetworkOptions)
    pools: tuple[GivenPool, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointCall:
    """What names an endpoint: most calls have no more."""

    network_id: str
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class CreateEndpointCall(EndpointCall):
    """Addresses with prefix length and MAC address, as far as Docker has decided on them."""

    address: str = ""
    address6: str = ""
    mac_address: str = ""


@dataclass(frozen=True, slots=True)
class JoinCall(EndpointCall):
    """`sandbox_key` is the path of the container's network namespace."""

    sandbox_key: str = ""


@dataclass(frozen=True, slots=True)
class ConnectivityCall(EndpointCall):
    """ProgramExternalConnectivity: the ports to publish."""

    ports: tuple[PortBinding, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolCall:
    """RequestPool. `network` is the Carrick network that `--ipam-opt network=NAME` names."""

    address_space: str
    subnet: str = ""
    ip_range: str = ""
    network: str = ""
    version: int = 4


@dataclass(frozen=True, slots=True)
class AddressCall:
    """RequestAddress and ReleaseAddress."""

    pool_id: str
    address: str = ""
    is_gateway: bool = False


# --- the network driver's calls ---------------------------------------------------------------------


def parse_network(body: Fields) -> NetworkCall:
    """Parse CreateNetwork or AllocateNetwork, whose options are flat."""
    pools = (*body.children("IPv4Data"), *body.children("IPv6Data"))
    given = tuple(pool for pool in map(_parse_pool, pools) if pool is not None)
    return NetworkCall(identifier(body, "NetworkID"), _parse_options(body.child("Options")), given)


def parse_network_id(body: Fields) -> str:
    return identifier(body, "NetworkID")


def parse_options_alone(body: Fields) -> NetworkOptions:
    """Parse GwAllocCheck."""
    return _parse_options(body.child("Options"))


def parse_endpoint(body: Fields) -> EndpointCall:
    return EndpointCall(identifier(body, "NetworkID"), identifier(body, "EndpointID"))


def parse_create_endpoint(body: Fields) -> CreateEndpointCall:
    interface = body.child("Interface")
    options = body.child("Options")
    mac = interface.text("MacAddress")
    if not mac and isinstance(options.raw(MAC_ADDRESS), str):
        mac = _parse_mac_option(options.text(MAC_ADDRESS))
    return CreateEndpointCall(
        identifier(body, "NetworkID"),
        identifier(body, "EndpointID"),
        _checked(interface, "Address", lambda text: str(ip_interface(text))),
        _checked(interface, "AddressIPv6", lambda text: str(ip_interface(text))),
        mac,
    )


def parse_join(body: Fields) -> JoinCall:
    key = body.text("SandboxKey")
    if not key.startswith("/"):
        raise InvalidRequest(f"SandboxKey must be the path of a network namespace, not {key!r}")
    return JoinCall(identifier(body, "NetworkID"), identifier(body, "EndpointID"), key)


def parse_connectivity(body: Fields) -> ConnectivityCall:
    ports = body.child("Options").children(PORT_MAP)
    return ConnectivityCall(
        identifier(body, "NetworkID"), identifier(body, "EndpointID"), tuple(map(_parse_port, ports))
    )


def parse_discovery(body: Fields) -> None:
    """Check DiscoverNew and DiscoverDelete, of which nothing is needed: Carrick knows its nodes."""
    body.integer("DiscoveryType")


# --- the IPAM driver's ------------------------------------------------------------------------------


def parse_pool_request(body: Fields) -> PoolCall:
    options = body.text_map("Options")
    if unknown := sorted(options.keys() - {NETWORK_OPTION}):
        raise InvalidRequest(
            f"unknown IPAM option {unknown[0]}",
            remedy=f"Carrick's IPAM has one: --ipam-opt {NETWORK_OPTION}=NAME",
        )
    subnet, ip_range = body.text("Pool"), body.text("SubPool")
    if ip_range and not subnet:
        raise InvalidRequest(f"the range {ip_range} needs a subnet", remedy="give --subnet as well")
    version = 6 if body.flag("V6") else 4
    for name in ("Pool", "SubPool"):
        if (text := _checked(body, name, lambda text: str(ip_network(text, strict=False)))) and (
            (6 if ":" in text else 4) != version
        ):
            raise InvalidRequest(f"{name} {text} is not of IPv{version}")
    return PoolCall(
        body.text("AddressSpace"),
        _checked(body, "Pool", lambda text: str(ip_network(text, strict=False))),
        _checked(body, "SubPool", lambda text: str(ip_network(text, strict=False))),
        options.get(NETWORK_OPTION, ""),
        version,
    )


def parse_pool_id(body: Fields) -> str:
    return identifier(body, "PoolID")


def parse_address(body: Fields) -> AddressCall:
    return AddressCall(
        identifier(body, "PoolID"),
        _checked(body, "Address", lambda text: str(ip_address(text))),
        body.text_map("Options").get(ADDRESS_TYPE) == GATEWAY,
    )


# --- parts ------------------------------------------------------------------------------------------


def identifier(body: Fields, name: str) -> str:
    """Return an id, which must be there and fit to be written down."""
    value = body.text(name)
    if not value:
        raise InvalidRequest(f"{name} is missing")
    if len(value) > _MOST_ID or not value.isprintable() or "," in value:
        raise InvalidRequest(f"{name} {value[:32]!r}… is not an id")
    return value


def _checked(body: Fields, name: str, convert: Callable[[str], str]) -> str:
    """Return a field in canonical form, "" if it is not there."""
    value = body.text(name)
    if not value:
        return ""
    try:
        return convert(value)
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}") from None


def _parse_pool(body: Fields) -> GivenPool | None:
    subnet = _checked(body, "Pool", lambda text: str(ip_network(text, strict=False)))
    if not subnet or subnet in _NO_POOLS:
        return None
    aux = body.text_map("AuxAddresses")
    return GivenPool(
        subnet,
        _checked(body, "Gateway", lambda text: str(ip_interface(text).ip)),
        {name: _checked(Fields(dict(aux)), name, lambda text: str(ip_interface(text).ip)) for name in aux},
    )


def _parse_options(body: Fields) -> NetworkOptions:
    generic = _texts(body.raw(GENERIC), GENERIC)
    if not body.has(GENERIC):
        # AllocateNetwork has them side by side with the labels.
        flat = {
            name: body.raw(name) for name in body.names() if name not in (INTERNAL, ENABLE_IPV4, ENABLE_IPV6)
        }
        generic = _texts(flat, "Options")
    rest = {key: value for key, value in generic.items() if key not in (DRIVER_OPTION, NETWORK_OPTION)}
    return NetworkOptions(
        generic.get(DRIVER_OPTION, ""),
        generic.get(NETWORK_OPTION, ""),
        rest,
        internal=_flag(body, INTERNAL) or False,
        enable_ipv4=_flag(body, ENABLE_IPV4),
        enable_ipv6=_flag(body, ENABLE_IPV6),
    )


def _texts(value: Any, where: str) -> dict[str, str]:
    """Return an object of texts; numbers and booleans, which a client may send, as Go writes them."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where} must be an object")
    found = {}
    for key, item in value.items():
        if item is None or isinstance(item, dict | list):
            if item:
                raise InvalidRequest(f"option {key} must be a text")
            continue
        found[key] = str(item).lower() if isinstance(item, bool) else str(item)
    return found


def _flag(body: Fields, name: str) -> bool | None:
    """Return a flag, which is a boolean or (in AllocateNetwork) a text."""
    value = body.raw(name)
    if value is None or isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise InvalidRequest(f"{name} must be true or false")


def _parse_port(body: Fields) -> PortBinding:
    number = body.integer("Proto")
    if number not in _PROTOCOLS:
        raise InvalidRequest(f"a port of protocol number {number} cannot be published")
    port, first, last = (_port(body, name) for name in ("Port", "HostPort", "HostPortEnd"))
    if not port:
        raise InvalidRequest("a port to publish is missing its Port")
    if last and last < first:
        raise InvalidRequest(f"invalid host ports {first}-{last}")
    host_port = "" if not first else str(first) if last in (0, first) else f"{first}-{last}"
    host_ip = _checked(body, "HostIP", lambda text: str(ip_address(text)))
    return PortBinding(port, _PROTOCOLS[number], host_ip, host_port)


def _port(body: Fields, name: str) -> int:
    value = body.integer(name)
    if not 0 <= value <= 65535:
        raise InvalidRequest(f"{name} {value} is not a port")
    return value


def _parse_mac_option(text: str) -> str:
    """Return the label's MAC address: Go writes a net.HardwareAddr as base64."""
    import base64
    import binascii

    if ":" in text or not text:
        return text
    try:
        return ":".join(f"{byte:02x}" for byte in base64.b64decode(text, validate=True))
    except binascii.Error:
        raise InvalidRequest(f"{MAC_ADDRESS}: {text[:32]!r} is not a MAC address") from None
