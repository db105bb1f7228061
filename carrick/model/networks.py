"""Networks, endpoints and sandboxes, in the container network model's words.

A network is what endpoints join; an endpoint is one attachment of a sandbox; a sandbox is a network
namespace with its names and files. These are the records the store keeps: frozen, and encodable.
"""

import enum
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from .ids import ContainerId, EndpointId, NetworkId, SandboxId

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


class Scope(enum.StrEnum):
    """How far a network reaches."""

    LOCAL = "local"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """One subnet of a network, as asked for or as chosen; addresses are canonical text."""

    subnet: str
    ip_range: str = ""
    gateway: str = ""
    aux_addresses: dict[str, str] = field(default_factory=dict)

    @property
    def network(self) -> IPNetwork:
        return IPv6Network(self.subnet) if ":" in self.subnet else IPv4Network(self.subnet)

    @property
    def version(self) -> int:
        return 6 if ":" in self.subnet else 4


@dataclass(frozen=True, slots=True)
class Network:
    """A network as the store keeps it. `created_ns` is nanoseconds since the epoch, UTC."""

    id: NetworkId
    name: str
    driver: str
    created_ns: int
    scope: Scope = Scope.LOCAL
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    ipam_driver: str = "default"
    ipam_options: dict[str, str] = field(default_factory=dict)
    pools: tuple[PoolConfig, ...] = ()
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: str = ""
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def pool(self, version: int) -> PoolConfig | None:
        """Return the first pool of IP `version` (4 or 6), if the network has one."""
        return next((pool for pool in self.pools if pool.version == version), None)


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """What a user asked of one attachment; empty strings mean "choose for me"."""

    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_addresses: tuple[str, ...] = ()
    mac_address: str = ""
    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    driver_opts: dict[str, str] = field(default_factory=dict)
    gw_priority: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One attachment of a sandbox to a network, with what it was given.

    `index` is the order of connection: it names the interface and breaks ties between gateways.
    `ipv4`/`ipv6` are addresses with the prefix length of their subnet, or empty.
    `dns` are name servers that whoever made the endpoint gave it.
    """

    id: EndpointId
    network_id: NetworkId
    network_name: str
    index: int
    settings: EndpointSettings = field(default_factory=EndpointSettings)
    interface: str = ""
    host_interface: str = ""
    mac_address: str = ""
    ipv4: str = ""
    ipv6: str = ""
    gateway4: str = ""
    gateway6: str = ""
    dns_names: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()

    @property
    def ipv4_address(self) -> str:
        return self.ipv4.partition("/")[0]

    @property
    def ipv6_address(self) -> str:
        return self.ipv6.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A network namespace and the endpoints in it.

    `netns` is the path that holds the namespace. `active` says that its endpoints should exist in
    the kernel now; a stopped container's sandbox keeps its endpoints, and their addresses, without.
    """

    id: SandboxId
    container_id: ContainerId
    netns: str
    active: bool = False
    endpoints: tuple[Endpoint, ...] = ()

    def endpoint(self, network_id: NetworkId) -> Endpoint | None:
        return next((item for item in self.endpoints if item.network_id == network_id), None)
