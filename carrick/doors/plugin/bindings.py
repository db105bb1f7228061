"""Which Carrick network is which of Docker's, and which pools wait for one: kept as networks with labels.

Docker's protocol knows networks by Docker's id and pools by an id of ours, and asks for a pool before it
creates the network. All that must outlive both daemons, so it is in the engine's store, and people see it in
`carrick network ls`:

- A Docker network of its own: a Carrick network `docker-ID` with the label `carrick.docker.network`. It comes
  and goes with Docker's.
- A Docker network on a Carrick network that was named (`-o network=NAME`): a config-only network `docker-ID`,
  which has nothing in the kernel and says in `carrick.docker.target` where it leads. NAME stays when it goes.
- A pool between RequestPool and CreateNetwork: a config-only network `docker-pool-ID` that holds the subnet.
  A real network cannot be made there: dockerd would see its route, take the subnet for occupied and ask for
  another one, for ever. What no network came for is let go after a while.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...engine.contract import Networks
from ...engine.values import CreateNetwork
from ...model.errors import NotFound
from ...model.networks import Network, PoolConfig

NETWORK_LABEL = "carrick.docker.network"
TARGET_LABEL = "carrick.docker.target"
POOLS_LABEL = "carrick.docker.pools"
HELD_LABEL = "carrick.docker.pool"
ASKED_LABEL = "carrick.docker.pool.network"
HELD_FOR_S = 600


@dataclass(frozen=True, slots=True)
class Held:
    """A pool that waits for its network; `asked` is the network that was named for it."""

    id: str
    network_id: str
    pool: PoolConfig
    asked: str
    created_ns: int


@dataclass(frozen=True, slots=True)
class Binding:
    """A Docker network: what stands for it, the Carrick network it is on (None: gone), its pools' ids."""

    docker_id: str
    record: Network
    target: Network | None
    pools: tuple[str, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether the Carrick network is Docker's alone, and ends with it."""
        return not self.record.config_only


@dataclass(frozen=True, slots=True)
class Known:
    """Everything as it is at one moment."""

    networks: dict[str, Network] = field(default_factory=dict)
    bindings: dict[str, Binding] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)

    def named(self, name: str) -> Network | None:
        """Return the network with a name or full id that endpoints can be on."""
        found = self.networks.get(name)
        if found is None:
            found = next((item for item in self.networks.values() if item.name == name), None)
        return None if found is None or found.config_only else found

    def target(self, docker_id: str) -> Network:
        """Return the Carrick network of a Docker network, NotFound without one."""
        binding = self.bindings.get(docker_id)
        if binding is None:
            raise NotFound(
                f"network {docker_id} is not known to Carrick",
                remedy="docker network rm it and create it again",
            )
        if binding.target is None:
            raise NotFound(
                f"the Carrick network of Docker's network {docker_id} has been removed",
                remedy="docker network rm it and create it again",
            )
        return binding.target


class Bindings:
    """Reads and writes them; whoever changes anything holds the door's lock."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    async def read(self) -> Known:
        found = {view.network.id: view.network for view in await self._networks.list({})}
        known = Known(networks={str(key): value for key, value in found.items()})
        for network in found.values():
            labels = network.labels
            if HELD_LABEL in labels and network.pools:
                held = Held(
                    labels[HELD_LABEL],
                    network.id,
                    network.pools[0],
                    labels.get(ASKED_LABEL, ""),
                    network.created_ns,
                )
                known.held[held.id] = held
            elif docker_id := labels.get(NETWORK_LABEL):
                target = known.networks.get(labels[TARGET_LABEL]) if TARGET_LABEL in labels else network
                pools = tuple(filter(None, labels.get(POOLS_LABEL, "").split(",")))
                known.bindings[docker_id] = Binding(docker_id, network, target, pools)
        return known

    async def hold(self, pool: PoolConfig, asked: str) -> str:
        """Keep a pool until its network comes; return its id."""
        identifier = secrets.token_hex(8)
        await self._networks.create(
            CreateNetwork(
                f"docker-pool-{identifier}",
                config_only=True,
                enable_ipv6=pool.version == 6 or None,
                pools=(pool,),
                labels={HELD_LABEL: identifier, **({ASKED_LABEL: asked} if asked else {})},
            )
        )
        return identifier

    async def let_go(self, held: Iterable[Held]) -> None:
        """Give pools back that wait no longer."""
        for item in held:
            await self._remove(item.network_id)

    async def let_go_of_unused(self, known: Known, now_ns: int) -> None:
        """Give pools back whose network did not come."""
        await self.let_go(
            item for item in known.held.values() if now_ns - item.created_ns > HELD_FOR_S * 1_000_000_000
        )

    async def bind(self, docker_id: str, target: Network, pools: Iterable[str]) -> None:
        """Note that a Docker network is on a network that was named."""
        await self._networks.create(
            CreateNetwork(
                record_name(docker_id),
                config_only=True,
                labels={**labels_of(docker_id, pools), TARGET_LABEL: target.id},
            )
        )

    async def unbind(self, binding: Binding) -> None:
        await self._remove(binding.record.id)

    async def _remove(self, network_id: str) -> None:
        try:
            await self._networks.remove(network_id)
        except NotFound:
            return


def record_name(docker_id: str) -> str:
    """Return the name of what stands for a Docker network."""
    return f"docker-{''.join(char if char.isalnum() else '-' for char in docker_id[:12])}"


def labels_of(docker_id: str, pools: Iterable[str]) -> dict[str, str]:
    labels = {NETWORK_LABEL: docker_id}
    if joined := ",".join(pools):
        labels[POOLS_LABEL] = joined
    return labels
