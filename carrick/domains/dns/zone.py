"""What the daemon tells `carrick-dns`: networks with their names, and each sandbox's view of them.

Values only, as they travel; addresses are text here and parsed once, where `table` takes them in.
Names are held per network and shared by every sandbox on it, so 500 names on a network with 100
containers are sent and stored once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ...model.errors import InvalidRequest

LOCAL_FIRST = "carrick.dns.local_first"
"""A network's option: see `LocalFirst`."""


class LocalFirst(StrEnum):
    """What becomes of a name's addresses elsewhere while it has some on this host.

    FIRST: they come after those. ONLY: they are left out.
    """

    OFF = "false"
    FIRST = "true"
    ONLY = "only"


def parse_local_first(options: Mapping[str, str]) -> LocalFirst:
    """Return what a network's options ask for; InvalidRequest names the value and those there are."""
    text = options.get(LOCAL_FIRST, "")
    try:
        return LocalFirst(text) if text else LocalFirst.OFF
    except ValueError:
        raise InvalidRequest(
            f"{LOCAL_FIRST}: {text!r} is none of {', '.join(LocalFirst)}",
            remedy="true: addresses on the asking host come first; only: no others, while there are any",
        ) from None


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """One endpoint's names and addresses on one network.

    `names` in Docker's order: container name, aliases, short id, hostname. The first is the name
    that a reverse lookup gives. Several endpoints may share a name: all their addresses answer.
    `local`: it is on this host.
    """

    endpoint_id: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    local: bool = True


@dataclass(frozen=True, slots=True)
class NetworkZone:
    """A network's names.

    `subnets` are those whose reverse zone is ours alone: an address in them that has no name is
    NXDOMAIN and never asked upstream. Leave it empty for a network that lies in somebody else's
    subnet (macvlan on the LAN), whose own DNS may know the address.
    """

    network_id: str
    name: str
    subnets: tuple[str, ...] = ()
    endpoints: tuple[EndpointRecord, ...] = ()
    local_first: LocalFirst = LocalFirst.OFF


@dataclass(frozen=True, slots=True)
class LinkAlias:
    """`--link target:alias`: a name that one sandbox alone sees.

    `target` is a name on a network of the sandbox, `addresses` fixed addresses; either will do.
    `network_id` narrows the link to one network (Docker keeps links per endpoint); empty is any.
    """

    alias: str
    target: str = ""
    addresses: tuple[str, ...] = ()
    network_id: str = ""


@dataclass(frozen=True, slots=True)
class HostRecord:
    """A fixed name of one sandbox: `--add-host`, `host.docker.internal`."""

    name: str
    addresses: tuple[str, ...]


DNS_PORT = 53


class ServerSide(StrEnum):
    """From which network namespace an upstream server is asked."""

    HOST = "host"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class UpstreamServer:
    """A server to forward to. `side` is HOST for the host's own, CONTAINER for `--dns`.

    `tcp_port` is where it listens for TCP, 0 for the same port.
    """

    address: str
    side: ServerSide = ServerSide.CONTAINER
    port: int = DNS_PORT
    tcp_port: int = 0


@dataclass(frozen=True, slots=True)
class SandboxView:
    """What one sandbox sees, and where it listens.

    - `networks`: ids in gateway order; the first with a hit answers.
    - `servers` are asked in order, then, with `use_host_servers`, those of the host's resolv.conf
      as it is at that moment; three at most altogether.
    - `ndots_set`: the user gave `ndots` himself, so a single-label name is left to his search list
      and not forwarded.
    - `external`: whether any of its networks leads out. Without one, host-side servers are skipped.
    """

    sandbox_id: str
    netns_path: str
    networks: tuple[str, ...] = ()
    links: tuple[LinkAlias, ...] = ()
    extra_hosts: tuple[HostRecord, ...] = ()
    servers: tuple[UpstreamServer, ...] = ()
    use_host_servers: bool = True
    ndots_set: bool = False
    external: bool = True
