"""Network create, connect and disconnect; endpoint settings, which containers have as well."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from ....engine.values import CreateNetwork
from ....model.errors import InvalidRequest
from ....model.networks import EndpointSettings, PoolConfig
from .fields import Fields

_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")


@dataclass(frozen=True, slots=True)
class Connect:
    """A container to attach to a network."""

    container: str
    settings: EndpointSettings


@dataclass(frozen=True, slots=True)
class Disconnect:
    container: str
    force: bool


def parse_create_network(body: Fields) -> CreateNetwork:
    """Translate POST /networks/create. Addresses stay text: the engine judges them in one go."""
    ipam = body.child("IPAM")
    return CreateNetwork(
        name=body.text("Name"),
        driver=body.text("Driver") or "bridge",
        enable_ipv4=body.optional_flag("EnableIPv4"),
        enable_ipv6=body.optional_flag("EnableIPv6"),
        internal=body.flag("Internal"),
        attachable=body.flag("Attachable"),
        ingress=body.flag("Ingress"),
        config_only=body.flag("ConfigOnly"),
        config_from=body.child("ConfigFrom").text("Network"),
        scope=body.text("Scope"),
        ipam_driver=ipam.text("Driver") or "default",
        ipam_options=ipam.text_map("Options"),
        pools=tuple(_parse_pool(pool) for pool in ipam.children("Config")),
        options=body.text_map("Options"),
        labels=body.text_map("Labels"),
    )


def _parse_pool(pool: Fields) -> PoolConfig:
    auxiliary = "AuxiliaryAddresses" if pool.has("AuxiliaryAddresses") else "AuxAddress"
    return PoolConfig(
        subnet=pool.text("Subnet"),
        ip_range=pool.text("IPRange"),
        gateway=pool.text("Gateway"),
        aux_addresses=pool.text_map(auxiliary),
    )


def parse_connect(body: Fields) -> Connect:
    return Connect(body.text("Container"), parse_endpoint_settings(body.child("EndpointConfig")))


def parse_disconnect(body: Fields) -> Disconnect:
    return Disconnect(body.text("Container"), body.flag("Force"))


def parse_endpoint_settings(body: Fields) -> EndpointSettings:
    """Translate an EndpointSettings. All that is wrong with its addresses comes in one error."""
    ipam = body.child("IPAMConfig")
    problems: list[str] = []
    settings = EndpointSettings(
        ipv4_address=_address(ipam.text("IPv4Address"), 4, problems),
        ipv6_address=_address(ipam.text("IPv6Address"), 6, problems),
        link_local_addresses=tuple(
            _address(text, 0, problems) for text in ipam.texts("LinkLocalIPs") if text
        ),
        mac_address=parse_mac(body.text("MacAddress"), problems),
        aliases=body.texts("Aliases"),
        links=body.texts("Links"),
        driver_opts=body.text_map("DriverOpts"),
        gw_priority=body.integer("GwPriority"),
    )
    if problems:
        raise InvalidRequest("invalid endpoint settings:\n" + "\n".join(problems))
    return settings


def _address(text: str, version: int, problems: list[str]) -> str:
    """Return an address in its canonical form; `version` 0 takes both."""
    if not text:
        return ""
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        address = IPv4Address(0)
    if address == IPv4Address(0) or (version and address.version != version):
        kind = f"IPv{version}" if version else "link-local IP"
        problems.append(f"invalid {kind} address: {text}")
        return ""
    return str(address)


def parse_mac(text: str, problems: list[str]) -> str:
    """Return a MAC in lower case with colons; "" stays."""
    if not text:
        return ""
    if not _MAC.fullmatch(text):
        problems.append(f"invalid MAC address: {text}")
        return ""
    return text.lower().replace("-", ":")
