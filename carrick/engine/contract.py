"""What the engine offers to doors: one Protocol per kind of object. Doors decide nothing; these do.

A `reference` to a container or network is what the user typed: full id, exact name, or a prefix of an id, in
that order; an ambiguous prefix is InvalidRequest, a miss NotFound, in Docker's words.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..host.runtime.api import (
    Change,
    ConsoleSession,
    ConsoleSize,
    ContainerStats,
    ExecSession,
    ImageRemoval,
    LayerSize,
    LogEntry,
    LogQuery,
    PathStat,
    ProcessTable,
    ProgressCallback,
    RegistryAuth,
    Volume,
)
from ..model.containers import Image, ImageHistory, PortBinding
from ..model.networks import EndpointSettings
from ..model.steps import Plan
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
    ) -> Image: ...
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


class Volumes(Protocol):
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


class Engine(Protocol):
    """The five together; properties, so that an implementation may declare its own classes."""

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


# --- abilities that an engine may have besides ------------------------------------------------------


@runtime_checkable
class ChecksCredentials(Protocol):
    """Images that can log in to a registry (POST /auth)."""

    async def check_credentials(self, server: str, auth: RegistryAuth) -> str:
        """Return an identity token, or "". Denied if the registry refuses; `server` "" is the default one."""
        ...


@runtime_checkable
class MeasuresVolumes(Protocol):
    """Volumes that know their size (GET /system/df)."""

    async def size(self, name: str) -> int:
        """Return the bytes of a volume's files."""
        ...
