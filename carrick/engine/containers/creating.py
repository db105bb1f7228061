"""Create a container: check what is asked for, make its files, and write its records."""

import platform
from dataclasses import replace

from ...host.runtime.api import Runtime
from ...host.runtime.image_store import ImageStore, Platform
from ...host.runtime.manifests import matches, parse_platform, platform_text
from ...host.runtime.seccomp import go_architecture
from ...host.runtime.volume_store import VolumeStore
from ...model.containers import ContainerConfig, HostConfig, Image, MountPoint, MountType
from ...model.errors import InvalidRequest, NotFound
from ...model.ids import ContainerId, SandboxId, short
from ...model.networks import Sandbox
from ..checks import check_container, check_settings
from ..clock import Clock, as_datetime, new_id
from ..events import EventBus, emit_container
from ..limits import check_limits
from ..mounts import MountResolver, targets_without_copy
from ..naming import check_name
from ..policies import parse_signal
from ..sandboxes import SandboxService
from ..state import State, Write
from ..values import Attachment, ContainerRecord, CreateContainer, Created
from .modes import MODES_WITHOUT_NETWORK
from .names import ContainerNames


class Creator:
    def __init__(
        self,
        *,
        state: State,
        runtime: Runtime,
        images: ImageStore,
        volumes: VolumeStore,
        sandboxes: SandboxService,
        names: ContainerNames,
        events: EventBus,
        clock: Clock,
    ) -> None:
        self._state = state
        self._runtime = runtime
        self._images = images
        self._volumes = volumes
        self._sandboxes = sandboxes
        self._names = names
        self._events = events
        self._clock = clock
        self._mounts = MountResolver(volumes, self._other, events)

    async def create(self, request: CreateContainer) -> Created:
        """Create a container; of one that fails only its volumes are left."""
        asked_name = check_name(request.name) if request.name else ""
        image = await self._images.get(request.config.image)
        _check_platform(image, request)
        config = request.config.with_image(image.config)
        self._check(config, request.host_config)
        attachments, host = self._networking(request)
        for attachment in attachments:
            check_settings(attachment.settings)
        container_id = ContainerId(new_id())
        config = replace(config, hostname=config.hostname or _default_hostname(container_id, host))
        async with self._names.claim(asked_name, container_id) as name:
            try:
                # The record comes last: what a killed daemon leaves without one is nobody's, and is removed.
                mounts = await self._provision(container_id, image, config, host)
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
                await self._save(record)
            except BaseException:
                await self._runtime.remove(container_id)
                raise
        emit_container(self._events, record, "create")
        return Created(container_id, _warnings(record))

    def _check(self, config: ContainerConfig, host: HostConfig) -> None:
        if not config.command:
            raise InvalidRequest("no command specified")
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

    def _other(self, reference: str) -> ContainerRecord:
        """Find a container that the request for a new one names.

        InvalidRequest if there is none, as in Docker: a client that gets NotFound here takes it for
        the image, and fetches it.
        """
        try:
            return self._state.find_container(reference)
        except NotFound as error:
            raise InvalidRequest(error.message) from error

    def _networking(self, request: CreateContainer) -> tuple[tuple[Attachment, ...], HostConfig]:
        """Return the attachments, and the host configuration with the network mode made definite."""
        host = request.host_config
        mode = host.network_mode or "default"
        if mode.startswith("container:"):
            target = self._other(mode.partition(":")[2])
            return (), replace(host, network_mode=f"container:{target.id}")
        if mode in MODES_WITHOUT_NETWORK:
            return (), host
        if request.config.network_disabled:
            return (), replace(host, network_mode="none")
        attachments = request.attachments or (Attachment("bridge" if mode == "default" else mode),)
        return tuple(
            replace(item, network="bridge") if item.network == "default" else item for item in attachments
        ), host

    async def _provision(
        self, container_id: ContainerId, image: Image, config: ContainerConfig, host: HostConfig
    ) -> tuple[MountPoint, ...]:
        """Make a container's files, and its volumes with what the image has for them; return its mounts."""
        mounts = await self._mounts.resolve(config, host)
        await self._runtime.provision(container_id, image.id, mounts)
        uncopied = targets_without_copy(host)
        for point in mounts:
            if point.type is MountType.VOLUME and point.destination not in uncopied:
                lower = await self._images.lower_dir(image.id)
                await self._volumes.copy_up(point.name, lower, point.destination)
        return mounts

    async def _save(self, record: ContainerRecord) -> None:
        """Write a new container's records, with its sandbox and addresses if it has one of its own."""
        write = Write(containers=[record])
        if record.sandbox_id is None:
            await self._state.save(write)
            return
        netns = str(self._sandboxes.netns_path(record.sandbox_id))
        sandbox = Sandbox(record.sandbox_id, record.id, netns)
        write.sandboxes.append(sandbox)
        await self._sandboxes.reserve(record, sandbox, write)


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


def _default_hostname(container_id: ContainerId, host: HostConfig) -> str:
    """Return Docker's default: the short id, the host's name with the host's network, none if shared."""
    if host.network_mode.startswith("container:"):
        return ""
    return platform.node() if host.network_mode == "host" else short(container_id)


def _warnings(record: ContainerRecord) -> tuple[str, ...]:
    if record.host_config.network_mode == "host" and record.host_config.port_bindings:
        return ("Published ports are discarded when using host network mode",)
    return ()
