"""The body of POST /networks/create, and what the command line itself refuses (reference, 1). Pure."""

from __future__ import annotations

from carrick.doors.cli.flags import Values
from carrick.doors.cli.specs.environment import to_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network
    from typing import Any


def _subnet(text: str) -> IPv4Network | IPv6Network:
    from ipaddress import ip_network

    try:
        if "/" not in text:
            raise ValueError
        return ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"invalid CIDR address: {text}") from None


def _holds(subnet: str, text: str) -> bool:
    """Say whether an address or range lies in `subnet`. Raises ValueError."""
    outer = _subnet(subnet)
    if "/" in text:
        inner = _subnet(text)
        return inner.version == outer.version and inner.network_address in outer
    from ipaddress import ip_address

    try:
        address = ip_address(text)
    except ValueError:
        return False
    return address.version == outer.version and address in outer


def _overlap(left: str, right: str) -> bool:
    one, other = _subnet(left), _subnet(right)
    return one.version == other.version and one.overlaps(other)


def ipam_config(
    subnets: Iterable[str],
    ranges: Iterable[str],
    gateways: Iterable[str],
    auxiliary: dict[str, str],
) -> list[dict[str, Any]]:
    """Return the pools, each range, gateway and auxiliary address with the subnet it lies in.

    Raises ValueError with Docker's words.
    """
    subnets, ranges, gateways = list(subnets), list(ranges), list(gateways)
    if len(subnets) < len(ranges) or len(subnets) < len(gateways):
        raise ValueError("every ip-range or gateway must have a corresponding subnet")
    pools: dict[str, dict[str, Any]] = {}
    for subnet in subnets:
        try:
            for other in pools:
                if _overlap(subnet, other):
                    raise LookupError
            _subnet(subnet)
        except LookupError:
            raise ValueError("multiple overlapping subnet configuration is not supported") from None
        except ValueError as error:
            raise ValueError(f"invalid subnet: {error}") from None
        pools[subnet] = {"Subnet": subnet}
    for text in ranges:
        pool = _pool_of(pools, text, "range")
        if (taken := pool.get("IPRange")) is not None:
            raise ValueError(
                f"cannot configure multiple ranges ({text}, {taken}) on the same subnet ({pool['Subnet']})"
            )
        pool["IPRange"] = text
    for text in gateways:
        pool = _pool_of(pools, text, "gateway")
        if (taken := pool.get("Gateway")) is not None:
            raise ValueError(
                f"cannot configure multiple gateways ({text}, {taken}) for the same subnet ({pool['Subnet']})"
            )
        pool["Gateway"] = text
    for name, text in auxiliary.items():
        pool = _pool_of(pools, text, "aux-address")
        pool.setdefault("AuxiliaryAddresses", {})[name] = text
    return list(pools.values())


def _pool_of(pools: dict[str, dict[str, Any]], text: str, what: str) -> dict[str, Any]:
    for subnet, pool in pools.items():
        if _holds(subnet, text):
            return pool
    raise ValueError(f"no matching subnet for {what} {text}")


def network_body(values: Values, name: str) -> dict[str, Any]:
    """Return the body to create a network from the flags. Raises ValueError."""
    ipam: dict[str, Any] = {
        "Driver": values.text("ipam-driver"),
        "Options": values.pairs("ipam-opt"),
        "Config": ipam_config(
            values.texts("subnet"),
            values.texts("ip-range"),
            values.texts("gateway"),
            values.pairs("aux-address"),
        ),
    }
    body: dict[str, Any] = {
        "Name": name,
        "Driver": values.text("driver"),
        "Options": values.pairs("opt"),
        "IPAM": ipam,
        "Internal": values.on("internal"),
        "Ingress": values.on("ingress"),
        "Attachable": values.on("attachable"),
        "Scope": values.text("scope"),
        "ConfigOnly": values.on("config-only"),
        "Labels": to_map(values.texts("label")),
    }
    if origin := values.text("config-from"):
        body["ConfigFrom"] = {"Network": origin}
    # Only what was said: which families a network has is the daemon's default otherwise.
    for flag, field in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if values.given(flag):
            body[field] = values.on(flag)
    return body
