"""`host:port` of a node API, as people write it. Pure."""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address

from ...model.errors import InvalidRequest

DEFAULT_PORT = 2377
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class HostPort:
    """A name or an address, and a port. `host` is "" where all addresses are meant."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_host_port(text: str, what: str, *, port: int = DEFAULT_PORT, wildcard: bool = False) -> HostPort:
    """Parse `host`, `host:port`, `[v6]:port` or `v6`; with `wildcard` also `:port`, and nothing at all.

    Raises InvalidRequest; `what` is what the value is called.
    """
    text = text.strip()
    wrong = InvalidRequest(
        f"{what}: {text[:100]!r} is not of the form HOST[:PORT]",
        remedy="write 192.0.2.1:2377 or [2001:db8::1]:2377",
    )
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise wrong
        number = rest[1:]
    elif text.count(":") > 1:
        host, number, rest = text, "", ""
    else:
        host, rest, number = text.partition(":")
    if rest and not number:
        raise wrong
    if number:
        if not (number.isascii() and number.isdigit() and len(number) < 6 and 0 < int(number) < 65536):
            raise InvalidRequest(f"{what}: {number[:20]!r} is not a port", remedy="a port is 1 to 65535")
        port = int(number)
    if ":" in host:
        try:
            host = str(IPv6Address(host))
        except ValueError:
            raise wrong from None
    elif not (host == "" and wildcard) and not _NAME.match(host):
        raise wrong
    return HostPort(host, port)
