"""Check the subnets that a request names, in Docker's words, and bring them to canonical text. Pure.

Every fault of a request is reported at once, as Docker does it: one as it is, several as a list.
"""

import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from ...model.errors import InvalidRequest
from ...model.networks import PoolConfig
from .errors import PoolOverlap
from .types import Address, Prefix, overlaps

_CIDR = re.compile(r"(?P<address>[0-9A-Fa-f:.]+)/(?P<bits>0|[1-9][0-9]{0,2})\Z")
"""Stricter than `ipaddress`, which also takes netmasks, leading zeros and zones."""


def validate_pools(
    configs: Sequence[PoolConfig], *, enable_ipv4: bool = True, enable_ipv6: bool = False
) -> tuple[PoolConfig, ...]:
    """Return the configurations of the enabled families with canonical addresses.

    A subnet may be empty (choose any) or partial (`0.0.0.0/24`: choose a /24); then it stays so. Those
    of a family that is not enabled are left out without a word, as Docker does. Raises InvalidRequest,
    and PoolOverlap if two of them overlap.
    """
    faults: list[str] = []
    valid: list[PoolConfig] = []
    subnets: list[Prefix] = []
    for config in configs:
        if not config.subnet:
            faults.extend(_faults_without_subnet(config))
            valid.append(config)
            continue
        parsed = _parse_prefix(config.subnet)
        if parsed is None:
            faults.append(f"invalid subnet {config.subnet}: invalid CIDR block notation")
            continue
        if not (enable_ipv6 if parsed.version == 6 else enable_ipv4):
            continue
        found = _faults(config, parsed)
        faults.extend(found)
        if not found:
            valid.append(_canonical(config, parsed))
            subnets.append(parsed)
    if faults:
        text = faults[0] if len(faults) == 1 else "\n".join(f"* {fault}" for fault in faults)
        raise InvalidRequest(f"invalid network config:\n{text}")
    for index, subnet in enumerate(subnets):
        for other in subnets[:index]:
            if overlaps(subnet, other) and not _is_unspecified(subnet):
                raise PoolOverlap(str(subnet), f"{other}, which the same request names")
    return tuple(valid)


def is_partial(config: PoolConfig) -> bool:
    """Say whether the subnet is yet to be chosen: it is empty, or has a size alone (`0.0.0.0/24`)."""
    return not config.subnet or _is_unspecified(ip_network(config.subnet))


def partial_size(config: PoolConfig) -> int | None:
    """Return the prefix length that a partial subnet asks for; None for the pools' own."""
    return (ip_network(config.subnet).prefixlen or None) if config.subnet else None


def _is_unspecified(subnet: Prefix) -> bool:
    return subnet.network_address.is_unspecified


def _faults_without_subnet(config: PoolConfig) -> list[str]:
    faults = []
    if config.ip_range:
        faults.append(f"invalid ip-range {config.ip_range}: it has no corresponding subnet")
    if config.gateway:
        faults.append(f"invalid gateway {config.gateway}: it has no corresponding subnet")
    for name in config.aux_addresses:
        faults.append(f"invalid auxiliary address {name}: it has no corresponding subnet")
    return faults


def _faults(config: PoolConfig, subnet: Prefix) -> list[str]:
    faults = []
    if not _is_canonical(config.subnet, subnet):
        faults.append(f"invalid subnet {config.subnet}: it should be {subnet}")
    if config.ip_range:
        faults.extend(_faults_of_range(config.ip_range, config.subnet, subnet))
    if config.gateway and (fault := _fault_of_address(config.gateway, config.subnet, subnet)):
        faults.append(f"invalid gateway {config.gateway}: {fault}")
    for name, address in config.aux_addresses.items():
        if fault := _fault_of_address(address, config.subnet, subnet):
            faults.append(f"invalid auxiliary address {name}: {fault}")
    return faults


def _faults_of_range(text: str, parent: str, subnet: Prefix) -> list[str]:
    parsed = _parse_prefix(text)
    if parsed is None:
        return [f"invalid ip-range {text}: invalid CIDR block notation"]
    if parsed.version != subnet.version:
        return [f"invalid ip-range {text}: parent subnet is an IPv{subnet.version} block"]
    faults = []
    if parsed.prefixlen < subnet.prefixlen:
        faults.append(f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {parent}")
    if not _is_canonical(text, parsed):
        faults.append(f"invalid ip-range {text}: it should be {parsed}")
    if not overlaps(subnet, parsed):
        faults.append(f"invalid ip-range {text}: parent subnet {parent} doesn't contain ip-range")
    return faults


def _fault_of_address(text: str, parent: str, subnet: Prefix) -> str:
    address = _parse_address(text)
    if address is None:
        return "invalid address"
    if address.version != subnet.version:
        return f"parent subnet is an IPv{subnet.version} block"
    if address not in subnet:
        return f"parent subnet {parent} doesn't contain this address"
    return ""


def _canonical(config: PoolConfig, subnet: Prefix) -> PoolConfig:
    return PoolConfig(
        str(subnet),
        str(_parse_prefix(config.ip_range) or ""),
        str(_parse_address(config.gateway) or ""),
        {name: str(ip_address(text)) for name, text in config.aux_addresses.items()},
    )


def _is_canonical(text: str, prefix: Prefix) -> bool:
    """Say whether the text names the network's own address, in whatever spelling."""
    return ip_address(text.partition("/")[0]) == prefix.network_address


def _parse_prefix(text: str) -> Prefix | None:
    if not _CIDR.match(text):
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _parse_address(text: str) -> Address | None:
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None
