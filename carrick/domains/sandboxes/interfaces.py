"""Name the interfaces of a sandbox, choose their MAC addresses, and elect the default gateways.

Names follow the order of connection, so that a restart gives every network the interface it had; Docker's
follow the order of a hash map. Gateways follow Docker's documented order, with that order as tie-breaker
before the name.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...model.errors import InvalidRequest
from ...model.ids import EndpointId, NetworkId
from ...model.networks import Endpoint

IFNAME_OPTION = "com.docker.network.endpoint.ifname"
SYSCTLS_OPTION = "com.docker.network.endpoint.sysctls"
_IFNAMSIZ = 15
# Narrower than the kernel's rule: a name stands in nft's text, in sysctl keys and in files.
_INTERFACE = re.compile(r"[A-Za-z0-9_.+@-]+", re.ASCII)
_SYSCTL_WORD = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_MAC = re.compile(r"([0-9a-f]{2})([:-][0-9a-f]{2}){5}", re.ASCII | re.IGNORECASE)


def host_interface(endpoint: EndpointId) -> str:
    """Return the host's end of an endpoint's link: `ck` and 12 digits of its id."""
    return f"ck{endpoint[:12]}"


def next_index(endpoints: Iterable[Endpoint]) -> int:
    """Return the lowest interface number that no endpoint of the sandbox has."""
    taken = {endpoint.index for endpoint in endpoints}
    index = 0
    while index in taken:
        index += 1
    return index


def check_interface_name(name: str) -> str:
    """Return `name` if it will do as an interface's name; else raise InvalidRequest."""
    reserved = {".", "..", "lo", "all", "default"}
    if len(name) > _IFNAMSIZ or name in reserved or not _INTERFACE.fullmatch(name):
        raise InvalidRequest(
            f"invalid interface name {name!r}: it needs 1 to {_IFNAMSIZ} letters, digits or any of _.+@-, "
            "and must not be lo, all or default"
        )
    return name


def parse_mac(text: str) -> str:
    """Return a MAC address as the kernel writes it; InvalidRequest if no interface could have it."""
    if not _MAC.fullmatch(text):
        raise InvalidRequest(f"invalid MAC address: {text!r} (six pairs of hex digits are needed)")
    address = text.lower().replace("-", ":")
    if int(address[:2], 16) & 1 or address == "00:00:00:00:00:00":
        raise InvalidRequest(f"invalid MAC address: {text} is not the address of one interface")
    return address


def choose_mac(seed: str) -> str:
    """Return a locally administered unicast MAC address that depends on `seed` alone.

    Seeded with the endpoint's id, it is as good as random and stays over restarts, so that neighbours'
    caches stay right.
    """
    digest = hashlib.sha256(seed.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (digest[0] & 0xFC | 0x02, *digest[1:6]))


def parse_sysctls(value: str, interface: str) -> tuple[tuple[str, str], ...]:
    """Parse `net.ipv4.conf.IFNAME.x=1,net.ipv6...=0` for one interface.

    Only the interface's own sysctls may be set; in the returned keys a dot within its name is `/`.
    """
    pairs = []
    for item in filter(None, value.split(",")):
        key, separator, setting = item.partition("=")
        parts = key.strip().split(".")
        words_only = all(map(_SYSCTL_WORD.fullmatch, parts)) and setting.isprintable()
        if not words_only or len(parts) < 5 or parts[0] != "net" or parts[3] != "IFNAME" or not separator:
            raise InvalidRequest(
                f"invalid sysctl {item!r} in {SYSCTLS_OPTION}: expected net.FAMILY.KIND.IFNAME.NAME=VALUE"
            )
        parts[3] = interface.replace(".", "/")
        pairs.append((".".join(parts), setting.strip()))
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class Gateways:
    """The networks whose endpoints carry the default routes; None where there is no such route."""

    ipv4: NetworkId | None = None
    ipv6: NetworkId | None = None


def gateway_order(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Return the endpoints, the first choice for a default gateway first."""

    def rank(endpoint: Endpoint) -> tuple[int, int, int, str]:
        families = bool(endpoint.gateway4) + bool(endpoint.gateway6)
        return (-endpoint.settings.gw_priority, -families, endpoint.index, endpoint.network_name)

    return sorted(endpoints, key=rank)


def elect_gateways(endpoints: Sequence[Endpoint]) -> Gateways:
    """Choose the default gateway of each family; they may be on different networks."""
    order = gateway_order(endpoints)
    return Gateways(
        ipv4=next((item.network_id for item in order if item.gateway4), None),
        ipv6=next((item.network_id for item in order if item.gateway6), None),
    )
