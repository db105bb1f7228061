"""Networks, and the endpoint settings that containers show."""

from ....engine.values import OURS, Attached, Attachment, NetworkView
from ....model.networks import Endpoint, Network, PoolConfig
from ..routing import ApiVersion
from . import Json
from .times import render_time_ns

_DNS_NAMES: ApiVersion = (1, 44)
_PLAIN_ALIASES: ApiVersion = (1, 45)
_DUAL_STACK_SWITCHES: ApiVersion = (1, 48)


def render_network(view: NetworkView, version: ApiVersion, *, verbose: bool = False) -> Json:
    """Return what `network inspect` shows. `verbose` adds how full the pools are."""
    document = render_network_entry(view, version)
    # Who runs a container is worth a word only where several engines do.
    is_shared = any(item.engine != OURS for item in view.endpoints)
    document["Containers"] = dict(_render_attached(item, is_shared) for item in view.endpoints)
    if verbose:
        document["Status"] = {
            "IPAM": {
                "Subnets": {
                    pool.subnet: {"IPsInUse": pool.in_use, "DynamicIPsAvailable": pool.available}
                    for pool in view.pools
                }
            }
        }
    return document


def render_network_entry(view: NetworkView, version: ApiVersion) -> Json:
    """Return an entry of the list; its containers are left out, as in Docker."""
    network = view.network
    document: Json = {
        "Name": network.name,
        "Id": network.id,
        "Created": render_time_ns(network.created_ns),
        "Scope": network.scope.value,
        "Driver": network.driver,
    }
    if version >= _DUAL_STACK_SWITCHES:
        document["EnableIPv4"] = network.enable_ipv4
    return document | {
        "EnableIPv6": network.enable_ipv6,
        "IPAM": _render_ipam(network),
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": network.ingress,
        "ConfigFrom": {"Network": network.config_from},
        "ConfigOnly": network.config_only,
        "Containers": {},
        "Options": network.options,
        "Labels": network.labels,
    }


def _render_ipam(network: Network) -> Json:
    return {
        "Driver": network.ipam_driver,
        "Options": network.ipam_options or None,
        "Config": [_render_pool(pool) for pool in network.pools],
    }


def _render_pool(pool: PoolConfig) -> Json:
    document: Json = {"Subnet": pool.subnet}
    if pool.ip_range:
        document["IPRange"] = pool.ip_range
    if pool.gateway:
        document["Gateway"] = pool.gateway
    if pool.aux_addresses:
        document["AuxiliaryAddresses"] = pool.aux_addresses
    return document


def _render_attached(item: Attached, is_shared: bool) -> tuple[str, Json]:
    return item.container_id or f"ep-{item.endpoint_id}", {
        "Name": item.name,
        "EndpointID": item.endpoint_id,
        "MacAddress": item.mac_address,
        "IPv4Address": item.ipv4,
        "IPv6Address": item.ipv6,
        **({"Engine": item.engine} if is_shared else {}),
    }


def render_endpoint(
    attachment: Attachment,
    endpoint: Endpoint | None,
    network_id: str,
    version: ApiVersion,
    extra_aliases: tuple[str, ...] = (),
) -> Json:
    """Return an EndpointSettings: what was asked for, and what `endpoint`, if it is up, was given.

    `extra_aliases` are the names that clients before API 1.45 look for among the aliases.
    """
    settings = attachment.settings
    aliases = settings.aliases
    if version < _PLAIN_ALIASES:
        aliases += tuple(name for name in extra_aliases if name not in aliases)
    document: Json = {
        "IPAMConfig": _render_ipam_config(attachment),
        "Links": list(settings.links) or None,
        "Aliases": list(aliases) or None,
        "MacAddress": endpoint.mac_address if endpoint else settings.mac_address,
        "DriverOpts": settings.driver_opts or None,
    }
    if version >= _DUAL_STACK_SWITCHES:
        document["GwPriority"] = settings.gw_priority
    document |= {
        "NetworkID": network_id,
        "EndpointID": endpoint.id if endpoint else "",
        "Gateway": endpoint.gateway4 if endpoint else "",
        "IPAddress": endpoint.ipv4_address if endpoint else "",
        "IPPrefixLen": _prefix_length(endpoint.ipv4) if endpoint else 0,
        "IPv6Gateway": endpoint.gateway6 if endpoint else "",
        "GlobalIPv6Address": endpoint.ipv6_address if endpoint else "",
        "GlobalIPv6PrefixLen": _prefix_length(endpoint.ipv6) if endpoint else 0,
    }
    if version >= _DNS_NAMES:
        document["DNSNames"] = list(endpoint.dns_names) if endpoint and endpoint.dns_names else None
    return document


def _render_ipam_config(attachment: Attachment) -> Json | None:
    settings = attachment.settings
    document: Json = {}
    if settings.ipv4_address:
        document["IPv4Address"] = settings.ipv4_address
    if settings.ipv6_address:
        document["IPv6Address"] = settings.ipv6_address
    if settings.link_local_addresses:
        document["LinkLocalIPs"] = list(settings.link_local_addresses)
    return document or None


def _prefix_length(interface: str) -> int:
    length = interface.partition("/")[2]
    return int(length) if length else 0
