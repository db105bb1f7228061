"""`-p`, `--expose` and the arguments of `carrick port`.

The forms: `[[hostIP:][hostPort[-end]]:]containerPort[-end][/protocol]`, an IPv6 address with or
without brackets, and the long form `published=…,target=…,protocol=…` (reference, section 2).
"""

from __future__ import annotations

from carrick.doors.cli.flags import split_csv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Bindings = dict[str, list[dict[str, str]]]
"""`{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`"""

_PROTOCOLS = ("tcp", "udp", "sctp")
_LONG_KEYS = frozenset(("published", "target", "protocol", "mode", "host_ip", "name", "app_protocol"))


def parse_port_range(text: str) -> tuple[int, int]:
    """Return first and last port of `80` or `80-90`. Raises ValueError."""
    if not text:
        raise ValueError("empty string specified for ports")
    first_text, dash, last_text = text.partition("-")
    first = _port(first_text)
    last = _port(last_text) if dash else first
    if last < first:
        raise ValueError(f"invalid range specified for port: {text}")
    return first, last


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if len(text) > 20 or int(text) > 65535:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def _split_protocol(text: str) -> tuple[str, str]:
    port, _, protocol = text.partition("/")
    return port, protocol or "tcp"


def parse_publish(spec: str) -> Bindings:
    """Return the bindings of one `-p`. Raises ValueError."""
    host_ip, host, container_text = _split(_from_long_form(spec) if "=" in spec else spec)
    container, protocol = _split_protocol(container_text)
    host_ip = _address(host_ip)
    if not container:
        raise ValueError(f"no port specified: {spec}<empty>")
    try:
        first, last = parse_port_range(container)
    except ValueError:
        raise ValueError(f"invalid containerPort: {container}") from None
    first_host = last_host = 0
    if host:
        try:
            first_host, last_host = parse_port_range(host)
        except ValueError:
            raise ValueError(f"invalid hostPort: {host}") from None
        if last - first != last_host - first_host and first != last:
            raise ValueError(f"invalid ranges specified for container and host Ports: {container} and {host}")
    if protocol.lower() not in _PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    bindings: Bindings = {}
    for offset in range(last - first + 1):
        host_port = str(first_host + offset) if host else ""
        if first == last and first_host != last_host:
            host_port = f"{first_host}-{last_host}"  # the daemon picks a free one
        key = f"{first + offset}/{protocol.lower()}"
        bindings[key] = [{"HostIp": host_ip, "HostPort": host_port}]
    return bindings


def _split(spec: str) -> tuple[str, str, str]:
    parts = spec.rsplit(":", 2)
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    return "", parts[0] if len(parts) == 2 else "", parts[-1]


def _address(text: str) -> str:
    if not text:
        return ""
    if text.startswith("["):
        if not text.endswith("]"):
            raise ValueError(f"invalid IP address {text}: missing ']' in address")
        text = text[1:-1]
    from ipaddress import ip_address

    try:
        ip_address(text)
    except ValueError:
        raise ValueError(f"invalid IP address: {text}") from None
    return text


def _from_long_form(spec: str) -> str:
    fields = {"protocol": "tcp", "published": "", "target": "", "host_ip": ""}
    for part in split_csv(spec):
        key, separator, value = part.partition("=")
        if not separator:
            raise ValueError(f"invalid publish opts format (should be name=value but got '{part}')")
        key = key.strip().lower()
        if key not in _LONG_KEYS:
            raise ValueError(f"invalid publish option '{key}' in '{part}'")
        fields[key] = value
    host_ip = f"{fields['host_ip']}:" if fields["host_ip"] else ""
    if not fields["target"]:
        raise ValueError(f"no port specified: {spec}: target is missing")
    return f"{host_ip}{fields['published']}:{fields['target']}/{fields['protocol']}"


def parse_publishes(specs: Iterable[str]) -> Bindings:
    """Return the bindings of several `-p`, in order; a port may be bound more than once."""
    merged: Bindings = {}
    for spec in specs:
        for port, bindings in parse_publish(spec).items():
            merged.setdefault(port, []).extend(bindings)
    return merged


def parse_expose(specs: Iterable[str]) -> list[str]:
    """Return `--expose` values as single ports with protocols. Raises ValueError."""
    ports: list[str] = []
    for spec in specs:
        if ":" in spec:
            raise ValueError(f"invalid port format for --expose: {spec}")
        text, protocol = _split_protocol(spec)
        try:
            first, last = parse_port_range(text)
        except ValueError as error:
            raise ValueError(f"invalid range format for --expose: {spec}, error: {error}") from None
        if protocol.lower() not in _PROTOCOLS:
            raise ValueError(f"invalid proto: {protocol}")
        ports.extend(f"{port}/{protocol.lower()}" for port in range(first, last + 1))
    return ports
