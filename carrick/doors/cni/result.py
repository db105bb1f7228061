"""Results: read those of others, add ours, and write each version's shape. Pure.

Up to 0.4.0 each address says its family in `version`; what came with 1.1.0 is left out of older ones.
"""

from collections.abc import Sequence

import msgspec

from .errors import CniError, Code
from .versions import at_least
from .wire import Address, Dns, Interface, Result, Route


def parse_result(data: bytes, what: str) -> Result:
    """Return another plugin's result. CniError 6 naming `what`."""
    try:
        return msgspec.json.decode(data, type=Result)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CniError(Code.DECODING_FAILURE, f"cannot decode the result of {what}: {error}") from error


def merge(
    previous: Result | None,
    interfaces: Sequence[Interface],
    addresses: Sequence[Address],
    routes: Sequence[Route],
    dns: Dns,
) -> Result:
    """Return a result with ours after the previous plugins'; our addresses count our interfaces from 0."""
    before = previous or Result()
    had = list(before.interfaces or ())
    shifted = [
        item if item.interface is None else msgspec.structs.replace(item, interface=item.interface + len(had))
        for item in addresses
    ]
    return Result(
        interfaces=[*had, *interfaces],
        ips=[*(before.ips or ()), *shifted],
        routes=[*(before.routes or ()), *(item for item in routes if item not in (before.routes or ()))],
        dns=Dns(
            nameservers=_united(dns.nameservers, before.dns.nameservers),
            domain=before.dns.domain or dns.domain,
            search=_united(before.dns.search, dns.search),
            options=_united(before.dns.options, dns.options),
        ),
    )


def _united(first: Sequence[str], second: Sequence[str]) -> list[str]:
    return list(dict.fromkeys((*first, *second)))


def render_result(result: Result, version: str) -> bytes:
    """Write a result as `version` has it."""
    with_version, is_new = not at_least(version, "1.0.0"), at_least(version, "1.1.0")
    addresses = [
        msgspec.structs.replace(item, version="6" if ":" in item.address else "4" if with_version else "")
        if with_version
        else msgspec.structs.replace(item, version="")
        for item in result.ips or ()
    ]
    interfaces, routes = list(result.interfaces or ()), list(result.routes or ())
    if not is_new:
        interfaces = [Interface(name=item.name, mac=item.mac, sandbox=item.sandbox) for item in interfaces]
        routes = [Route(dst=item.dst, gw=item.gw) for item in routes]
    rendered = Result(
        cni_version=version, interfaces=interfaces, ips=addresses, routes=routes, dns=result.dns
    )
    return msgspec.json.encode(rendered)
