"""Containers: create, look at, change and remove them. Starting and ending is `lifecycle`'s."""

import platform
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache

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
    Runtime,
)
from ..host.runtime.files import clean_path, covering_mount
from ..host.runtime.image_store import ImageStore, Platform
from ..host.runtime.manifests import matches, parse_platform, platform_text
from ..host.runtime.seccomp import go_architecture
from ..host.runtime.volume_store import VolumeStore
from ..model.containers import ContainerStatus, HostConfig, Image, MountType, PortBinding, Resources
from ..model.errors import CarrickError, Conflict, Denied, InvalidRequest, NotFound, Unsupported
from ..model.ids import ContainerId, SandboxId, short
from ..model.networks import Network, Sandbox
from . import filters as filtering
from .checks import check_container, check_settings
from .clock import Clock, as_datetime, new_id
from .events import EventBus, emit_container
from .execs import ExecService
from .lifecycle import Lifecycle
from .limits import check_limits, check_resources
from .mounts import MountResolver, targets_without_copy
from .naming import check_name, choose_name
from .policies import parse_signal
from .ports import PortService
from .sandboxes import SandboxService
from .state import State, Write
from .surroundings import Surroundings
from .values import (
    Attachment,
    ContainerRecord,
    ContainerView,
    CreateContainer,
    Created,
    ExecConfig,
    ExecView,
    Filters,
    PublishedPort,
    UpdateContainer,
    WaitCondition,
)

_MODES_WITHOUT_NETWORK = ("host", "none")


class ContainerService:
    def __init__(
        self,
        *,
        state: State,
        runtime: Runtime,
        images: ImageStore,
        volumes: VolumeStore,
        lifecycle: Lifecycle,
        sandboxes: SandboxService,
        surroundings: Surroundings,
        ports: PortService,
        execs: ExecService,
        events: EventBus,
        clock: Clock,
    ) -> None:
        self._state = state
        self._runtime = runtime
        self._images = images
        self._volumes = volumes
        self._lifecycle = lifecycle
        self._sandboxes = sandboxes
        self._surroundings = surroundings
        self._ports = ports
        self._events = events
        self._clock = clock
        self._mounts = MountResolver(volumes, self._other, events)
        self._execs = execs
        self._coming: dict[str, ContainerId] = {}
        lifecycle.remove_when_ended = self._remove_ended

    # Creating --------------------------------------------------------------------------------

    async def create(self, request: CreateContainer) -> Created:
        name = check_name(request.name) if request.name else ""
        image = await self._images.get(request.config.image)
        _check_platform(image, request)
        config = request.config.with_image(image.config)
        if not config.command:
            raise InvalidRequest("no command specified")
        host = request.host_config
        check_container(config, host)
        check_limits(host)
        if config.stop_signal:
            parse_signal(config.stop_signal)
        for mode in (host.pid_mode, host.ipc_mode):
            if mode.startswith("container:"):
                self._other(mode.partition(":")[2])
        for link in host.links:
            target = link.partition(":")[0]
            try:
                self._state.find_container(target)
            except NotFound as error:
                raise InvalidRequest(f"could not get container for {target}: {error.message}") from error
        attachments, host = self._networking(request)
        for attachment in attachments:
            check_settings(attachment.settings)
        container_id = ContainerId(new_id())
        config = replace(config, hostname=config.hostname or _default_hostname(container_id, host))
        async with self._state.lock("container names"):
            name = name or choose_name(lambda text: self._holder_of(text) is not None, secrets.randbelow)
            if (holder := self._holder_of(name)) is not None:
                raise Conflict(
                    f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
                    "You have to remove (or rename) that container to be able to reuse that name."
                )
            self._coming[name] = container_id
        try:
            mounts = await self._mounts.resolve(config, host)
            # The record comes last: what a killed daemon leaves without one is nobody's, and is removed.
            await self._runtime.provision(container_id, image.id, mounts)
            uncopied = targets_without_copy(host)
            for point in mounts:
                if point.type is MountType.VOLUME and point.destination not in uncopied:
                    await self._volumes.copy_up(
                        point.name, await self._images.lower_dir(image.id), point.destination
                    )
            shares = host.network_mode.startswith("container:") or host.network_mode == "host"
            record = ContainerRecord(
                id=container_id,
                name=name,
                created=as_datetime(self._clock.now_ns()),
                image_id=image.id,
                asked_image=request.config.image,
                config=config,
                host_config=host,
                sandbox_id=None if shares else SandboxId(container_id),
                attachments=attachments,
                mounts=mounts,
            )
            write = Write(containers=[record])
            if record.sandbox_id is None:
                await self._state.save(write)
            else:
                netns = str(self._sandboxes.netns_path(record.sandbox_id))
                sandbox = Sandbox(record.sandbox_id, container_id, netns)
                write.sandboxes.append(sandbox)
                await self._sandboxes.reserve(record, sandbox, write)
        except BaseException:
            await self._runtime.remove(container_id)
            raise
        finally:
            del self._coming[name]
        emit_container(self._events, record, "create")
        return Created(container_id, self._warnings(record))

    def _other(self, reference: str) -> ContainerRecord:
        """Find a container that the request for a new one names.

        InvalidRequest if there is none, as in Docker: a client that gets NotFound here takes it for
        the image, and fetches it.
        """
        try:
            return self._state.find_container(reference)
        except NotFound as error:
            raise InvalidRequest(error.message) from error

    def _holder_of(self, name: str) -> ContainerId | None:
        """Return the container that has a name, or is being created with it."""
        named = self._state.container_named(name)
        return named.id if named is not None else self._coming.get(name)

    def _networking(self, request: CreateContainer) -> tuple[tuple[Attachment, ...], HostConfig]:
        """Return the attachments, and the host configuration with the network mode made definite."""
        host = request.host_config
        mode = host.network_mode or "default"
        if mode.startswith("container:"):
            target = self._other(mode.partition(":")[2])
            return (), replace(host, network_mode=f"container:{target.id}")
        if mode in _MODES_WITHOUT_NETWORK:
            return (), host
        if request.config.network_disabled:
            return (), replace(host, network_mode="none")
        attachments = request.attachments or (Attachment("bridge" if mode == "default" else mode),)
        return tuple(
            replace(item, network="bridge") if item.network == "default" else item for item in attachments
        ), host

    @staticmethod
    def _warnings(record: ContainerRecord) -> tuple[str, ...]:
        if record.host_config.network_mode == "host" and record.host_config.port_bindings:
            return ("Published ports are discarded when using host network mode",)
        return ()

    async def _forget(self, record: ContainerRecord) -> None:
        """Remove a container's records, with its addresses."""
        write = Write(gone_containers=[record.id])
        sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
        if sandbox is not None and sandbox.container_id == record.id:
            await self._sandboxes.forget(sandbox, write)
        else:
            await self._state.save(write)

    # Life (see lifecycle) --------------------------------------------------------------------

    async def start(self, reference: str) -> None:
        await self._lifecycle.start(reference)

    async def stop(self, reference: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        await self._lifecycle.stop(reference, timeout_s=timeout_s, signal=signal)

    async def restart(self, reference: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        await self._lifecycle.restart(reference, timeout_s=timeout_s, signal=signal)

    async def kill(self, reference: str, signal: str = "SIGKILL") -> None:
        await self._lifecycle.kill(reference, signal)

    async def pause(self, reference: str) -> None:
        await self._lifecycle.pause(reference)

    async def unpause(self, reference: str) -> None:
        await self._lifecycle.unpause(reference)

    async def wait(self, reference: str, condition: WaitCondition) -> Awaitable[int]:
        return self._lifecycle.wait(reference, condition)

    # Changing --------------------------------------------------------------------------------

    async def rename(self, reference: str, name: str) -> None:
        record = self._state.find_container(reference)
        if not name:
            raise InvalidRequest("Neither old nor new names may be empty")
        try:
            name = check_name(name)
        except InvalidRequest as error:
            text = error.message.replace(f"({name})", f"(/{name.removeprefix('/')})")
            raise InvalidRequest(f"Error when allocating new name: {text}") from error
        async with self._state.lock("container names"), self._state.lock(record.id):
            record = self._state.find_container(record.id)
            if name == record.name:
                raise InvalidRequest("Renaming a container with the same name as its current name")
            if (holder := self._holder_of(name)) is not None:
                raise Conflict(
                    f'Error when allocating new name: Conflict. The container name "/{name}" is already in '
                    f'use by container "{holder}". You have to remove (or rename) that container to be '
                    "able to reuse that name."
                )
            old = record.name
            record = replace(record, name=name)
            await self._state.save(Write(containers=[record]))
            await self._sandboxes.rename(record)
        emit_container(self._events, record, "rename", oldName=f"/{old}")

    async def update(self, reference: str, request: UpdateContainer) -> tuple[str, ...]:
        record = self._state.find_container(reference)
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            host = record.host_config
            if request.restart_policy is not None:
                if host.auto_remove and request.restart_policy.name != "no":
                    raise InvalidRequest("Restart policy cannot be updated because AutoRemove is enabled")
                host = replace(host, restart_policy=request.restart_policy)
            if request.resources is not None:
                check_resources(request.resources)
                _check_update(record.id, host.resources, request.resources)
                host = replace(host, resources=_merge(host.resources, request.resources))
                if record.state.is_running:
                    await self._runtime.update(record.id, request.resources)
            await self._state.save(Write(containers=[replace(record, host_config=host)]))
        emit_container(self._events, record, "update")
        return ()

    async def remove(
        self, reference: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        record = self._state.find_container(reference)
        if link:
            raise InvalidRequest(
                "removing a link alone is not supported; disconnect the container, or remove it"
            )
        if record.state.is_running or record.state.status is ContainerStatus.RESTARTING:
            if not force:
                hint = (
                    "unpause and then stop the container before removal or force remove"
                    if record.state.status is ContainerStatus.PAUSED
                    else "stop the container before removing or force remove"
                )
                raise Conflict(
                    f'cannot remove container "{record.name}": container is {record.state.status}: {hint}'
                )
            await self._lifecycle.end(record)
        await self._remove(record.id, volumes=volumes)

    async def _remove_ended(self, container_id: ContainerId) -> None:
        await self._remove(container_id, volumes=True)

    async def _remove(self, container_id: ContainerId, *, volumes: bool) -> None:
        async with self._state.lock(container_id):
            record = self._state.containers.get(container_id)
            if record is None:
                return
            if record.state.is_running:
                raise Conflict(f'cannot remove container "{record.name}": container is running')
            # Written first: a daemon killed in the middle goes on removing at its next start.
            state = replace(record.state, status=ContainerStatus.REMOVING)
            await self._state.save(Write(containers=[replace(record, state=state)]))
            await self._runtime.remove(container_id)
            self._surroundings.remove(record)
            await self._forget(record)
        if volumes:
            await self._remove_anonymous_volumes(record)
        self._execs.forget(container_id)
        emit_container(self._events, record, "destroy")
        self._lifecycle.removed(record)

    async def finish_removal(self, container_id: ContainerId) -> None:
        """Go on with a removal that a killed daemon began."""
        await self._remove(container_id, volumes=True)

    async def _remove_anonymous_volumes(self, record: ContainerRecord) -> None:
        for point in record.mounts:
            if point.type is not MountType.VOLUME:
                continue
            try:
                volume = await self._volumes.get(point.name)
                if volume.anonymous and not self.users_of_volume(point.name):
                    await self._volumes.remove(point.name)
            except NotFound:
                continue

    def users_of_volume(self, name: str) -> list[ContainerId]:
        return [
            item.id
            for item in self._state.containers.values()
            if any(point.name == name for point in item.mounts)
        ]

    async def prune(self, filters: Filters) -> tuple[tuple[str, ...], int]:
        filtering.check_names(filters, {"until", "label", "label!"})
        removed: list[str] = []
        reclaimed = 0
        now = self._clock.now_ns()
        for record in list(self._state.containers.values()):
            if record.state.is_running or record.state.status is ContainerStatus.RESTARTING:
                continue
            created_ns = int(record.created.timestamp() * 1e9)
            if not filtering.matches_labels(filters, record.config.labels):
                continue
            if not filtering.matches_until(filters, created_ns, now):
                continue
            try:
                reclaimed += (await self._runtime.size(record.id)).writable
                await self._remove(record.id, volumes=False)
            except CarrickError:
                continue
            removed.append(record.id)
        self._events.emit("container", "prune", "", {"reclaimed": str(reclaimed)})
        return tuple(removed), reclaimed

    # Ports -----------------------------------------------------------------------------------

    async def add_ports(self, reference: str, bindings: Sequence[PortBinding]) -> None:
        record = self._state.find_container(reference)
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            self._check_publishable(record)
            host = record.host_config
            fresh = [item for item in bindings if item not in host.port_bindings]
            after = replace(record, host_config=replace(host, port_bindings=(*host.port_bindings, *fresh)))
            sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
            if sandbox is None or not sandbox.active:
                await self._state.save(Write(containers=[after]))
                return
            ports = await self._ports.hold(record, sandbox, fresh)
            added = replace(after, ports=ports)
            after = replace(after, ports=record.ports + ports)
            await self._state.save(Write(containers=[after]))
            await self._ports.publish(self._ports.publishing(added, sandbox))
        emit_container(self._events, record, "update")

    async def remove_ports(self, reference: str, bindings: Sequence[PortBinding]) -> None:
        record = self._state.find_container(reference)
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            gone = [port for port in record.ports if any(_is_of(port, item) for item in bindings)]
            kept_bindings = tuple(
                item
                for item in record.host_config.port_bindings
                if not any(_same_binding(item, other) for other in bindings)
            )
            if not gone and kept_bindings == record.host_config.port_bindings:
                raise NotFound(f"container {record.name} does not publish that port")
            after = replace(
                record,
                host_config=replace(record.host_config, port_bindings=kept_bindings),
                ports=tuple(port for port in record.ports if port not in gone),
            )
            sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
            if sandbox is not None and sandbox.active:
                dropped = tuple(
                    item for item in record.host_config.port_bindings if item not in kept_bindings
                )
                parting = replace(
                    record,
                    ports=tuple(gone),
                    host_config=replace(record.host_config, port_bindings=dropped, publish_all_ports=False),
                )
                publishing = self._ports.publishing(parting, sandbox)
                await self._ports.unpublish(publishing)
                await self._ports.release(record, publishing.held)
            await self._state.save(Write(containers=[after]))
        emit_container(self._events, record, "update")

    @staticmethod
    def _check_publishable(record: ContainerRecord) -> None:
        mode = record.host_config.network_mode
        if mode in _MODES_WITHOUT_NETWORK or mode.startswith("container:"):
            raise InvalidRequest(
                f"container {record.name} has no network of its own to publish ports of "
                f"(network mode {mode.partition(':')[0]})"
            )

    # Reading ---------------------------------------------------------------------------------

    async def get(self, reference: str) -> ContainerView:
        record = self._state.find_container(reference)
        view = self._view(record, await self._image(record), self._state.network_or_none)
        own = view.sandbox.id if view.sandbox else SandboxId(record.id)
        directory = self._surroundings.directory(own)
        return replace(
            view,
            files={name: str(directory / name) for name in ("hosts", "resolv.conf", "hostname")},
            log_path=self._runtime.log_path(record.id),
            exec_ids=self._execs.of(record.id),
            layers=self._runtime.places(record.id, self._images.place(record.image_id)),
        )

    async def _image(self, record: ContainerRecord) -> Image | None:
        try:
            return await self._images.get(record.image_id)
        except NotFound:
            return None

    def _view(
        self, record: ContainerRecord, image: Image | None, find_network: Callable[[str], Network | None]
    ) -> ContainerView:
        """Return what a list shows of a container: there may be ten thousand in it."""
        sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
        ids = {}
        for item in record.attachments:
            if network := find_network(item.network):
                ids[item.network] = network.id
        mode = record.host_config.network_mode
        if mode in _MODES_WITHOUT_NETWORK and (network := find_network(mode)):
            ids[mode] = network.id
        return ContainerView(record, sandbox, image, network_ids=ids)

    async def list(
        self, *, all: bool = False, limit: int = 0, filters: Filters | None = None
    ) -> list[ContainerView]:
        wanted = filters or {}
        matcher = filtering.ContainerMatcher(wanted, self._state)
        show_all = all or limit > 0 or matcher.names_states
        found = [
            record
            for record in self._state.containers.values()
            if (show_all or record.state.is_running) and matcher.matches(record)
        ]
        found.sort(key=lambda record: record.created, reverse=True)
        images = {image.id: image for image in await self._images.list()}
        find_network = cache(self._state.network_or_none)
        return [
            self._view(item, images.get(item.image_id), find_network)
            for item in (found[:limit] if limit else found)
        ]

    async def size(self, reference: str) -> LayerSize:
        return await self._runtime.size(self._state.find_container(reference).id)

    async def top(self, reference: str, ps_args: str) -> ProcessTable:
        record = self._running(reference)
        table = await self._runtime.top(record.id, ps_args or "-ef")
        emit_container(self._events, record, "top")
        return table

    async def stats(self, reference: str) -> ContainerStats:
        record = self._state.find_container(reference)
        if not record.state.is_running:
            return ContainerStats(as_datetime(self._clock.now_ns()))
        return await self._runtime.stats(record.id)

    def logs(self, reference: str, query: LogQuery) -> AsyncIterator[LogEntry]:
        record = self._state.find_container(reference)
        if record.host_config.log_config.driver == "none":
            raise Unsupported("configured logging driver does not support reading")
        return self._runtime.logs(record.id, query)

    async def attach(self, reference: str, *, stdin: bool, logs: bool) -> ConsoleSession:
        record = self._state.find_container(reference)
        if record.state.status is ContainerStatus.PAUSED:
            raise Conflict(f"Container {record.name} is paused, unpause the container before attach.")
        session = await self._runtime.attach(record.id, stdin=stdin and record.config.open_stdin, logs=logs)
        emit_container(self._events, record, "attach")
        return session

    async def resize(self, reference: str, size: ConsoleSize) -> None:
        await self._runtime.resize(self._running(reference).id, size)

    async def changes(self, reference: str) -> tuple[Change, ...]:
        return await self._runtime.changes(self._state.find_container(reference).id)

    async def export(self, reference: str) -> AsyncIterator[bytes]:
        record = self._state.find_container(reference)
        emit_container(self._events, record, "export")
        return self._runtime.export(record.id)

    async def stat_path(self, reference: str, path: str) -> PathStat:
        record = self._state.find_container(reference)
        with _named_as_asked(record, reference):
            return await self._runtime.stat_path(record.id, path)

    async def get_archive(self, reference: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        record = self._state.find_container(reference)
        with _named_as_asked(record, reference):
            found = await self._runtime.get_archive(record.id, path)
        emit_container(self._events, record, "archive-path")
        return found

    async def put_archive(
        self,
        reference: str,
        path: str,
        archive: AsyncIterable[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uid_gid: bool = False,
    ) -> None:
        record = self._state.find_container(reference)
        if record.host_config.read_only and covering_mount(record.mounts, clean_path(path)[0]) is None:
            raise Denied("container rootfs is marked read-only")
        with _named_as_asked(record, reference):
            await self._runtime.put_archive(
                record.id,
                path,
                archive,
                no_overwrite_dir_non_dir=no_overwrite_dir_non_dir,
                copy_uid_gid=copy_uid_gid,
            )
        emit_container(self._events, record, "extract-to-dir")

    def _running(self, reference: str) -> ContainerRecord:
        record = self._state.find_container(reference)
        if not record.state.is_running:
            raise Conflict(f"container {record.id} is not running")
        return record

        # Execs -----------------------------------------------------------------------------------

    async def exec_create(self, reference: str, config: ExecConfig) -> str:
        return await self._execs.create(reference, config)

    async def exec_start(self, exec_id: str, *, size: ConsoleSize | None = None) -> ExecSession:
        return await self._execs.start(exec_id, size=size)

    async def exec_start_detached(self, exec_id: str) -> None:
        await self._execs.start_detached(exec_id)

    async def exec_resize(self, exec_id: str, size: ConsoleSize) -> None:
        await self._execs.resize(exec_id, size)

    async def exec_get(self, exec_id: str) -> ExecView:
        return self._execs.get(exec_id)


def _check_platform(image: Image, request: CreateContainer) -> None:
    """Raise NotFound, which clients answer by fetching it, if the image is for another platform."""
    if not request.platform:
        return
    wanted = parse_platform(request.platform, go_architecture(platform.machine()))
    if not matches(Platform(image.architecture, image.os, image.variant), wanted):
        raise NotFound(
            f"image with reference {request.config.image} was found but does not provide the specified "
            f"platform ({platform_text(wanted)})"
        )


@contextmanager
def _named_as_asked(record: ContainerRecord, reference: str) -> Iterator[None]:
    """Have errors about a path name the container as the request does."""
    try:
        yield
    except NotFound as error:
        raise NotFound(error.message.replace(record.id, reference), remedy=error.remedy) from error


def _default_hostname(container_id: ContainerId, host: HostConfig) -> str:
    """Return Docker's default: the short id, the host's name with the host's network, none if shared."""
    if host.network_mode.startswith("container:"):
        return ""
    return platform.node() if host.network_mode == "host" else short(container_id)


def _check_update(container_id: ContainerId, old: Resources, new: Resources) -> None:
    """Raise Conflict for limits that contradict those that a container has."""
    problem = ""
    if new.memory and not new.memory_swap and 0 < old.memory_swap < new.memory:
        problem = (
            "Memory limit should be smaller than already set memoryswap limit, "
            "update the memoryswap at the same time"
        )
    elif old.nano_cpus and new.cpu_quota:
        problem = "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
    elif old.nano_cpus and new.cpu_period:
        problem = "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set"
    elif new.nano_cpus and (old.cpu_quota or old.cpu_period):
        other = "CPU Quota" if old.cpu_quota else "CPU Period"
        problem = f"Conflicting options: Nano CPUs cannot be updated as {other} has already been set"
    if problem:
        raise Conflict(f"Cannot update container {container_id}: {problem}")


def _merge(old: Resources, new: Resources) -> Resources:
    """Return the limits with those replaced that `new` sets; 0, "" and None leave one as it is."""
    given = {item.name: value for item in fields(new) if (value := getattr(new, item.name))}
    return replace(old, **given)


def _is_of(port: PublishedPort, binding: PortBinding) -> bool:
    """Tell whether a published port is one that `binding` names; what it leaves open matches all."""
    return (
        (port.container_port, port.protocol) == (binding.container_port, binding.protocol)
        and (not binding.host_ip or binding.host_ip == port.host_ip)
        and (not binding.host_port or binding.host_port == str(port.host_port))
    )


def _same_binding(one: PortBinding, asked: PortBinding) -> bool:
    return (
        (one.container_port, one.protocol) == (asked.container_port, asked.protocol)
        and (not asked.host_ip or asked.host_ip == one.host_ip)
        and (not asked.host_port or one.host_port in {"", asked.host_port})
    )
