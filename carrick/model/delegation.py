"""Delegation: endpoints that somebody else makes for us, CNI plugins or a Docker network plugin.

What is asked is an `EndpointCall`, what came of it is `Made`. Both are kept from before the call until the
endpoint is removed again, so that whoever made it can be told to undo it, by a later daemon as well.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from .containers import PortBinding
from .ids import EndpointId, NetworkId, SandboxId
from .networks import Network

OWN_IPAM = frozenset({"", "default"})
"""The IPAM drivers that are Carrick itself."""


def is_remote_ipam(network: Network) -> bool:
    """Tell whether a network's addresses are a plugin's to give."""
    return network.ipam_driver not in OWN_IPAM


class DelegateKind(StrEnum):
    """Who makes endpoints."""

    CNI = "cni"
    PLUGIN = "plugin"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a container asks of its networks beyond the settings of one attachment."""

    container_name: str = ""
    ports: tuple[PortBinding, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointCall:
    """One endpoint as it is asked for.

    - `name`: the plugin's, or that of the CNI configuration.
    - `netns`: the path of the sandbox's namespace, `interface` the name to have in it ("": the plugin's
      prefix with `index`).
    - `ipv4`, `ipv6`: with prefix length as Carrick's pools gave them, or without as the user asked for them.
    - `configuration` (CNI): the configuration list, JSON; `path`: where its plugins are.
    """

    kind: DelegateKind
    name: str
    network_id: NetworkId
    network_name: str
    endpoint_id: EndpointId
    sandbox_id: SandboxId
    netns: str
    interface: str
    index: int = 0
    ipv4: str = ""
    ipv6: str = ""
    mac_address: str = ""
    aliases: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    wishes: Wishes = Wishes()
    configuration: str = ""
    path: tuple[str, ...] = ()
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class MadeRoute:
    """A route of the sandbox; without `via` it is on the link."""

    destination: str
    via: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a call; "" is what nobody said.

    `source` is a link of the host's namespace that is still to be moved into the sandbox; its name there is
    `interface`. `routes` are those still to be put. `result` is the answer as it came (CNI), for later calls.
    """

    interface: str = ""
    source: str = ""
    mac_address: str = ""
    ipv4: str = ""
    ipv6: str = ""
    gateway4: str = ""
    gateway6: str = ""
    dns: tuple[str, ...] = ()
    routes: tuple[MadeRoute, ...] = ()
    result: str = ""


@dataclass(frozen=True, slots=True)
class DelegatedEndpoint:
    """The record of an endpoint that somebody else makes: written before it is asked for."""

    call: EndpointCall
    made: Made | None = None

    @property
    def id(self) -> EndpointId:
        return self.call.endpoint_id


@dataclass(frozen=True, slots=True)
class RemotePool:
    """A pool that an IPAM plugin gave a network.

    `gateway` has the prefix length of the pool, or is "". `leased` are the addresses in it that are the
    network's own: the gateway's, unless it came with the pool, and the auxiliary ones.
    """

    pool_id: str
    pool: str
    gateway: str = ""
    sub_pool: str = ""
    leased: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        return 6 if ":" in self.pool else 4


@dataclass(frozen=True, slots=True)
class DelegatedNetwork:
    """The record of what plugins know of a network: its pools with `ipam`, or that there are none."""

    id: NetworkId
    name: str
    ipam: str = ""
    address_space: str = ""
    pools: tuple[RemotePool, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteLease:
    """An address that an IPAM plugin gave a sandbox on a network; `address` has a prefix length."""

    network_id: NetworkId
    sandbox_id: SandboxId
    ipam: str
    pool_id: str
    address: str

    @property
    def version(self) -> int:
        return 6 if ":" in self.address else 4

    @property
    def id(self) -> str:
        return f"{self.network_id}.{self.sandbox_id}.{self.version}"
