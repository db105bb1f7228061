"""Ports: `80`, `80/tcp`, `8000-8010/udp` as keys, and the bindings behind them."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from ....model.containers import PortBinding
from ....model.errors import InvalidRequest
from .fields import Fields, wrong_type
from .query import quoted

_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
PROTOCOLS = frozenset(("tcp", "udp", "sctp"))


def parse_port_range(text: str) -> range | None:
    """Return the ports of `80` or `80-90`; None if it is neither."""
    match = _PORTS.fullmatch(text)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    return range(first, last + 1) if first <= last <= 65535 else None


def parse_port_spec(spec: str) -> tuple[range, str]:
    """Return container ports and protocol of a key. Raises InvalidRequest as Docker does."""
    port, _, protocol = spec.partition("/")
    protocol = protocol.lower() or "tcp"
    ports = parse_port_range(port)
    if ports is None or ports.start == 0:
        raise InvalidRequest(f"invalid port specification: {quoted(port)}")
    if protocol not in PROTOCOLS:
        raise InvalidRequest(f"invalid port specification: {quoted(spec)}")
    return ports, protocol


def parse_exposed_ports(specs: Iterable[str]) -> tuple[str, ...]:
    """Return single ports, `80/tcp`, sorted as numbers."""
    found = {(port, protocol) for ports, protocol in map(parse_port_spec, specs) for port in ports}
    return tuple(f"{port}/{protocol}" for port, protocol in sorted(found))


def parse_port_bindings(fields: Fields, name: str = "PortBindings") -> tuple[PortBinding, ...]:
    """Return the bindings of `{"80/tcp": [{"HostIp", "HostPort"}]}` in their order.

    An empty or absent list is one binding with everything left open, as in Docker. A range of
    container ports takes a host range of the same length pairwise; one host port grows with it.
    """
    entries = fields.map_of(name, lambda key, value: (key, value))
    return tuple(binding for key, value in entries.values() for binding in _bindings(key, value, name))


def _bindings(key: str, value: Any, name: str) -> Iterable[PortBinding]:
    ports, protocol = parse_port_spec(key)
    if value is not None and not isinstance(value, list):
        raise wrong_type(value, f"{name}.{key}", "[]PortBinding")
    for item in value or [{}]:
        if item is not None and not isinstance(item, dict):
            raise wrong_type(item, f"{name}.{key}", "PortBinding")
        binding = Fields(item, "PortBinding")
        host_ip = _host_address(binding.text("HostIp"))
        host_port = binding.text("HostPort")
        host_ports = parse_port_range(host_port) if host_port else range(0)
        if host_ports is None:
            raise InvalidRequest(f"invalid port specification: {quoted(host_port)}")
        if len(ports) == 1:
            yield PortBinding(ports.start, protocol, host_ip, "" if host_port == "0" else host_port)
        elif not host_ports or host_port == "0":
            yield from (PortBinding(port, protocol, host_ip) for port in ports)
        elif len(host_ports) == len(ports):
            for port, chosen in zip(ports, host_ports, strict=True):
                yield PortBinding(port, protocol, host_ip, str(chosen))
        else:
            container_port = key.partition("/")[0]
            raise InvalidRequest(
                f"invalid ranges specified for container and host Ports: {container_port} and {host_port}"
            )


def _host_address(text: str) -> str:
    text = text.strip("[]") if text.startswith("[") else text
    if not text:
        return ""
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise InvalidRequest(f"invalid IP address: {text}") from error
