"""What the engine offers to doors: one Protocol per kind of object. Doors decide nothing; these do.

A `reference` to a container or network is what the user typed: full id, exact name, or a prefix of an id, in
that order; an ambiguous prefix is InvalidRequest, a miss NotFound, in Docker's words.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from ..host.runtime.api import (
    Change,
    ConsoleSession,
    ConsoleSize,
    ContainerStats,
    ExecSession,
    LayerSize,
    LogEntry,
    LogQuery,
    PathStat,
    ProcessTable,
)
from ..host.runtime.image_store import (
    ImageRemoval,
    ProgressCallback,
    PushResult,
    RegistryAuth,
    RemoteImage,
    SearchResult,
)
from ..host.runtime.volume_store import Volume
from ..model.cluster import NodeId
from ..model.containers import Image, ImageHistory, PortBinding
from ..model.errors import CarrickError
from ..model.guests import GuestDns, GuestSpec
from ..model.ids import ContainerId
from ..model.networks import EndpointSettings, Network, PoolConfig
from ..model.steps import Plan
from .cluster.lending import LendBlock, LentView
from .cluster.values import (
    Admission,
    Admitted,
    ClusterView,
    InitCluster,
    JoinCluster,
    NodeView,
    PeerView,
    UpdateNode,
)
from .values import (
    ContainerView,
    CreateContainer,
    Created,
    CreateNetwork,
    Event,
    ExecConfig,
    ExecView,
    Filters,
    Finding,
    GuestView,
    NetworkView,
    SystemInfo,
    UpdateContainer,
    WaitCondition,
)


class Containers(Protocol):
    """The life of containers. Changes to one container are serialised."""

    async def create(self, request: CreateContainer) -> Created: ...
    async def start(self, reference: str) -> None:
        """NotModified if it runs."""
        ...

    async def stop(self, reference: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        """NotModified if it does not run. `timeout_s` None: the container's own, else 10; -1: for ever."""
        ...

    async def restart(self, reference: str, *, timeout_s: float | None = None, signal: str = "") -> None: ...
    async def kill(self, reference: str, signal: str = "SIGKILL") -> None: ...
    async def pause(self, reference: str) -> None: ...
    async def unpause(self, reference: str) -> None: ...
    async def rename(self, reference: str, name: str) -> None: ...
    async def update(self, reference: str, request: UpdateContainer) -> tuple[str, ...]:
        """Return warnings."""
        ...

    async def remove(
        self, reference: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None: ...
    async def prune(self, filters: Filters) -> tuple[tuple[str, ...], int]:
        """Remove stopped containers; return their ids and the bytes gained."""
        ...

    async def wait(self, reference: str, condition: WaitCondition) -> Awaitable[int]:
        """Return, once the container is known to exist, what to await for its exit code.

        Two steps, so that the API can send headers in between.
        """
        ...

    async def get(self, reference: str) -> ContainerView: ...
    async def list(self, *, all: bool = False, limit: int = 0, filters: Filters = ...) -> list[ContainerView]:
        """Return containers, the newest first; filters by Docker's rules (InvalidRequest if unknown)."""
        ...

    async def size(self, reference: str) -> LayerSize: ...
    async def top(self, reference: str, ps_args: str) -> ProcessTable: ...
    async def stats(self, reference: str) -> ContainerStats:
        """Sample once. A container that does not run gives zeros."""
        ...

    def logs(self, reference: str, query: LogQuery) -> AsyncIterator[LogEntry]: ...
    async def attach(self, reference: str, *, stdin: bool, logs: bool) -> ConsoleSession: ...
    async def resize(self, reference: str, size: ConsoleSize) -> None: ...
    async def changes(self, reference: str) -> tuple[Change, ...]: ...
    async def export(self, reference: str) -> AsyncIterator[bytes]: ...
    async def stat_path(self, reference: str, path: str) -> PathStat: ...
    async def get_archive(self, reference: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]: ...
    async def put_archive(
        self,
        reference: str,
        path: str,
        archive: AsyncIterable[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uid_gid: bool = False,
    ) -> None: ...
    async def add_ports(self, reference: str, bindings: Sequence[PortBinding]) -> None:
        """Publish further ports of a container, running or not."""
        ...

    async def remove_ports(self, reference: str, bindings: Sequence[PortBinding]) -> None: ...

    async def exec_create(self, reference: str, config: ExecConfig) -> str: ...
    async def exec_start(self, exec_id: str, *, size: ConsoleSize | None = None) -> ExecSession: ...
    async def exec_start_detached(self, exec_id: str) -> None: ...
    async def exec_resize(self, exec_id: str, size: ConsoleSize) -> None: ...
    async def exec_get(self, exec_id: str) -> ExecView: ...


class Networks(Protocol):
    async def create(self, request: CreateNetwork) -> Created: ...
    async def plan(self, request: CreateNetwork) -> Plan:
        """Return what `create` would do, with notes on what was avoided and why. Changes nothing."""
        ...

    async def choose(self, request: CreateNetwork, avoid: Sequence[str] = ()) -> tuple[PoolConfig, ...]:
        """Return the pools that `create` would give a network, none of `avoid` among them. Makes nothing."""
        ...

    def find(self, reference: str) -> Network:
        """Return a network without what is on it, which `get` has to gather."""
        ...

    async def get(self, reference: str) -> NetworkView: ...
    async def list(self, filters: Filters) -> list[NetworkView]: ...
    async def remove(self, reference: str) -> None: ...
    async def prune(self, filters: Filters) -> tuple[str, ...]:
        """Remove custom networks without endpoints; return their names."""
        ...

    async def connect(self, reference: str, container: str, settings: EndpointSettings) -> None: ...
    async def disconnect(self, reference: str, container: str, *, force: bool = False) -> None: ...


class Images(Protocol):
    async def pull(
        self,
        reference: str,
        progress: ProgressCallback,
        *,
        platform: str = "",
        auth: RegistryAuth | None = None,
        all_tags: bool = False,
    ) -> Image:
        """Fetch an image; with `all_tags` all of the repository `reference`. Returns the last."""
        ...

    async def push(
        self,
        reference: str,
        progress: ProgressCallback,
        *,
        auth: RegistryAuth | None = None,
        all_tags: bool = False,
    ) -> tuple[PushResult, ...]:
        """Send an image to its registry; with `all_tags` all of the repository `reference`."""
        ...

    async def remote(self, reference: str, auth: RegistryAuth | None = None) -> RemoteImage:
        """Look at an image in its registry."""
        ...

    async def search(
        self,
        term: str,
        *,
        limit: int = 25,
        filters: Filters = ...,
        auth: RegistryAuth | None = None,
    ) -> tuple[SearchResult, ...]: ...
    async def check_credentials(self, server: str, auth: RegistryAuth) -> str:
        """Return an identity token, or "". Denied if the registry refuses; `server` "" is the default one."""
        ...

    async def import_url(
        self,
        url: str,
        reference: str,
        changes: tuple[str, ...],
        message: str,
        progress: ProgressCallback,
    ) -> str: ...
    async def load(
        self, archive: AsyncIterable[bytes] | Path, progress: ProgressCallback
    ) -> tuple[str, ...]: ...
    async def import_tar(
        self, archive: AsyncIterable[bytes], reference: str, changes: tuple[str, ...], message: str
    ) -> str: ...
    def save(self, references: tuple[str, ...]) -> AsyncIterator[bytes]: ...
    async def tag(self, reference: str, target: str) -> None: ...
    async def list(self, *, all: bool = False, filters: Filters = ...) -> list[Image]: ...
    async def get(self, reference: str) -> Image: ...
    async def history(self, reference: str) -> tuple[ImageHistory, ...]: ...
    async def remove(self, reference: str, *, force: bool = False) -> tuple[ImageRemoval, ...]: ...
    async def prune(self, filters: Filters) -> tuple[tuple[ImageRemoval, ...], int]: ...
    async def commit(
        self,
        container: str,
        reference: str,
        *,
        author: str,
        comment: str,
        changes: tuple[str, ...],
        pause: bool,
    ) -> str: ...
    async def place(self, reference: str) -> Path:
        """Return the directory of an image's unpacked files."""
        ...

    async def bytes_on_disk(self) -> int:
        """Return what all images take, packed and unpacked."""
        ...


class Volumes(Protocol):
    async def size(self, name: str) -> int:
        """Return the bytes of a volume's files."""
        ...

    async def create(
        self, name: str, *, driver: str, options: dict[str, str], labels: dict[str, str]
    ) -> Volume: ...
    async def get(self, name: str) -> Volume: ...
    async def list(self, filters: Filters) -> list[Volume]: ...
    async def remove(self, name: str, *, force: bool = False) -> None: ...
    async def prune(self, filters: Filters) -> tuple[tuple[str, ...], int]: ...


class System(Protocol):
    async def info(self) -> SystemInfo: ...
    async def doctor(self) -> list[Finding]: ...
    async def fix(self) -> list[Finding]:
        """Apply the remedies that are ours to apply; return what is found afterwards."""
        ...

    def events(
        self, *, since_ns: int | None = None, until_ns: int | None = None, filters: Filters = ...
    ) -> AsyncIterator[Event]:
        """Yield past events from `since_ns` on, then those to come, until `until_ns`."""
        ...


class Cluster(Protocol):
    """Being one of several hosts. Without a cluster everything but `init`, `join` and `get` raises NotFound.

    A `reference` to a node is its id, its name, or a prefix of its id.
    """

    async def init(self, request: InitCluster) -> ClusterView: ...
    async def join(self, request: JoinCluster) -> ClusterView: ...
    async def leave(self, *, force: bool = False) -> None:
        """Take this node out. Conflict while its containers are on global networks, unless `force`."""
        ...

    async def get(self) -> ClusterView: ...
    async def token(self, ttl_s: float, uses: int = 0) -> str:
        """Make a join token that is good for so long, and (if not 0) for so many nodes."""
        ...

    async def admit(self, request: Admission) -> Admitted:
        """Let a node in that shows a token. Denied for a wrong, expired or used one."""
        ...

    async def renew(self, node: NodeId, certificate_request: str) -> Admitted:
        """Give a member a new certificate; `node` is who the connection's certificate says it is."""
        ...

    async def nodes(self) -> list[NodeView]: ...
    async def node(self, reference: str) -> NodeView: ...
    async def update_node(self, reference: str, request: UpdateNode) -> None: ...
    async def remove_node(self, reference: str, *, force: bool = False) -> None:
        """Take another node out at once. Conflict if it is ready, unless `force`."""
        ...

    async def peers(self) -> list[PeerView]: ...
    def unreadable(self) -> Sequence[CarrickError]:
        """Return what is wrong with each record of the store that cannot be read, and its remedy."""
        ...

    async def recover(self) -> int:
        """Write the cluster again to a store that has lost it; return how many records that were.

        Conflict if the store holds a cluster.
        """
        ...

    async def rotate_key(self) -> str:
        """Put a new WireGuard key in the place of this node's, and return the public one.

        Unsupported where there is none.
        """
        ...


class LendingDoor(Protocol):
    """Blocks of routed networks that bridges of other engines on this node have."""

    async def lend(self, reference: str, request: LendBlock) -> LentView:
        """Lend this node's part of a network, and keep it; may be repeated."""
        ...

    async def get(self, reference: str) -> LentView:
        """Raises NotFound for a network of which nothing is lent here."""
        ...

    async def views(self) -> list[LentView]: ...

    async def release(self, reference: str, *, force: bool = False) -> None:
        """Give a network's block back. Conflict while a link has addresses of it, unless `force`."""
        ...


class Guests(Protocol):
    """Interfaces of containers that other engines run."""

    async def add(self, spec: GuestSpec) -> GuestView:
        """Attach a guest: address, interface, routes, ports, names, all of it or nothing.

        Conflict if it is there already, or if its namespace has an interface of that name; NotFound without
        the network or the namespace; Failed with Docker's words for a port that is taken; Unavailable when
        the same may succeed later.
        """
        ...

    async def remove(self, guest: ContainerId) -> bool:
        """Take a guest away, whatever is left of it, its namespace too being gone perhaps.

        Returns whether there was one: no such guest is no error.
        """
        ...

    async def check(self, guest: ContainerId) -> tuple[str, ...]:
        """Return what is not in the kernel as it should be, for people. NotFound without the guest."""
        ...

    async def get(self, guest: ContainerId) -> GuestView:
        """Return a guest; NotFound without it."""
        ...

    async def list(self, engine: str = "") -> tuple[GuestView, ...]: ...

    async def address(
        self, guest: ContainerId, addresses: tuple[str, ...], gateways: tuple[str, ...] = ()
    ) -> GuestView:
        """Give an `unaddressed` guest what its own IPAM has given it; with routes, ports and names then."""
        ...

    async def publish(self, guest: ContainerId, ports: tuple[PortBinding, ...]) -> GuestView:
        """Publish these ports of a guest, and those alone; none gives back all."""
        ...

    async def settle(
        self,
        guest: ContainerId,
        *,
        netns: str | None = None,
        name: str | None = None,
        hostname: str | None = None,
        aliases: tuple[str, ...] | None = None,
        dns: GuestDns | None = None,
        container_id: str | None = None,
    ) -> GuestView:
        """Take in what became known after `add`: the namespace of a staged guest (names are answered in it
        from then on; "" when it left it), its container's names and id, its servers."""
        ...

    async def gc(self, keep: Callable[[GuestView], bool] | None = None) -> tuple[GuestView, ...]:
        """Remove guests whose namespace is gone, and those that `keep` is false for; return them."""
        ...

    async def lease(self, network: str, owner: str, address: str = "") -> str:
        """Give an owner that is not attached yet an address with prefix length; the one it has, if any.

        `address` "fd00::5" or "10.0.0.5" asks for that one; "6" for any of IPv6, "" for any of IPv4.
        """
        ...

    async def end_lease(self, network: str, owner: str) -> None:
        """Give an owner's addresses back; none is no error."""
        ...


class Engine(Protocol):
    """The seven together; properties, so that an implementation may declare its own classes."""

    @property
    def containers(self) -> Containers: ...

    @property
    def networks(self) -> Networks: ...

    @property
    def images(self) -> Images: ...

    @property
    def volumes(self) -> Volumes: ...

    @property
    def system(self) -> System: ...

    @property
    def cluster(self) -> Cluster: ...

    @property
    def guests(self) -> Guests: ...

    @property
    def lending(self) -> LendingDoor: ...
