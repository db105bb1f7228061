"""Guests: containers of other engines (Podman, containerd, Kubernetes, Docker) on networks of ours.

A guest is one attachment: one interface of a container that somebody else runs, in a namespace that somebody
else made. Who attached it knows it by `engine` and `key`; its record's id is made of the two, so that the
same attachment is the same guest whoever asks again.
"""

import hashlib
from dataclasses import dataclass, field

from .containers import PortBinding
from .ids import ContainerId
from .networks import EndpointSettings

CNI, KUBERNETES, PODMAN = "cni", "kubernetes", "podman"
"""The engines that come by CNI, as records name them."""


@dataclass(frozen=True, slots=True)
class GuestDns:
    """What a guest asked of name resolution beyond Carrick's own names.

    `servers` are asked from its namespace for all other names: each an address, `ADDRESS#PORT` or
    `ADDRESS#UDP/TCP`. None are the host's own.
    """

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Limits as CNI has them: bits per second, bits of burst; 0 is none. `ingress` is towards the guest."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """A guest as it is asked for.

    - `engine`: who runs it (`cni`, `podman`, `docker` …), `key`: what tells this attachment from the engine's
      others (`CONTAINERID/IFNAME`, an endpoint's id).
    - `network`: a network's id, name, or prefix of an id.
    - `netns`: the path of its namespace. "" with `staged`: the interface is left in the host's namespace
      under the name `interface`, without addresses, for the other engine to move and configure (libnetwork).
    - `default_route`: None is "if the namespace has none yet".
    - `routes`: further routes, each (destination, gateway or "" for the network's own).
    - `ranges`: where its addresses may be, each range by its first and its last address.
    - `lease`: whose lease of addresses to use (`Guests.lease`; the lease stays its owner's), "" to be given
      some of its own.
    - `addresses`: addresses with prefix length that somebody else gives (a delegated IPAM), in no pool of
      ours; `gateways` are theirs. Then none are chosen.
    - `unaddressed`: the interface comes up bare, and `Guests.address` completes it (DHCP needs a link first).
    - `hold_ports`: whether the ports are bound on the host as well, so that nobody else takes them; False
      where the engine binds them itself (Podman does).
    - `details`: what the door wants back with the guest; text, kept as it is.
    """

    engine: str
    key: str
    container_id: str
    network: str
    interface: str
    netns: str = ""
    staged: bool = False
    name: str = ""
    hostname: str = ""
    settings: EndpointSettings = field(default_factory=EndpointSettings)
    ports: tuple[PortBinding, ...] = ()
    dns: GuestDns = field(default_factory=GuestDns)
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    default_route: bool | None = None
    routes: tuple[tuple[str, str], ...] = ()
    mtu: int = 0
    ranges: tuple[tuple[str, str], ...] = ()
    lease: str = ""
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    unaddressed: bool = False
    hold_ports: bool = True
    details: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> ContainerId:
        return guest_id(self.engine, self.key)


def guest_id(engine: str, key: str) -> ContainerId:
    """Return the id of the guest that `engine` knows as `key`: 64 hex digits, like a container's."""
    return ContainerId(hashlib.sha256(f"{engine}\0{key}".encode()).hexdigest())
