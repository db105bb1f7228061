"""What the engine is asked and what it answers: the values that doors translate to and from.

Requests are parsed by a door, once, into the dataclasses here; views are what doors render. Records are what
the store keeps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ..host.runtime.api import Component, LayerPlaces
from ..model.containers import (
    ContainerConfig,
    ContainerState,
    HostConfig,
    Image,
    MountPoint,
    PortBinding,
    Resources,
    RestartPolicy,
)
from ..model.guests import GuestSpec
from ..model.ids import ContainerId, ImageId, SandboxId
from ..model.networks import Endpoint, EndpointSettings, Network, PoolConfig, Sandbox

OURS = "carrick"
"""The name of this engine among those whose containers are on a network."""

Filters = Mapping[str, tuple[str, ...]]
"""Docker's list filters: name to values, in the order given."""


# --- records: what the store keeps ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container's wish to be on a network, named as the user named it."""

    network: str
    settings: EndpointSettings = field(default_factory=EndpointSettings)


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container as the store keeps it.

    `config` is the merged configuration (image's and own), `asked_image` the reference as given. `wanted` is
    whether it should run: restart policies look at it. `sandbox_id` is the container's own sandbox; with
    network mode `container:ID` it is the other's, and None with `host`.
    """

    id: ContainerId
    name: str
    created: datetime
    image_id: ImageId
    asked_image: str
    config: ContainerConfig
    host_config: HostConfig
    state: ContainerState = field(default_factory=ContainerState)
    sandbox_id: SandboxId | None = None
    attachments: tuple[Attachment, ...] = ()
    ports: tuple["PublishedPort", ...] = ()
    mounts: tuple[MountPoint, ...] = ()
    wanted: bool = False
    has_been_started: bool = False
    restart_count: int = 0

    @property
    def container_id(self) -> ContainerId:
        return self.id

    @property
    def engine(self) -> str:
        return OURS


@dataclass(frozen=True, slots=True)
class GuestRecord:
    """A guest as the store keeps it; its endpoint is in the sandbox of the same id.

    `has_default_route` and `ports` are what it was really given. `netns_id` is the kernel's number of its
    namespace, which no other one gets before the next boot; 0 while a staged guest is in none.
    """

    spec: GuestSpec
    created: datetime
    has_default_route: bool = False
    ports: tuple["PublishedPort", ...] = ()
    netns_id: int = 0

    @property
    def id(self) -> ContainerId:
        return self.spec.id

    @property
    def name(self) -> str:
        return self.spec.name or f"{self.spec.engine}-{self.spec.container_id[:12]}"

    @property
    def container_id(self) -> ContainerId:
        """Return the id that its engine gave the container."""
        return ContainerId(self.spec.container_id or self.id)

    @property
    def engine(self) -> str:
        return self.spec.engine

    @property
    def dns_names(self) -> tuple[str, ...]:
        """Return its names in Docker's order: name, aliases, short id, host name."""
        spec = self.spec
        names = (spec.name, *spec.settings.aliases, spec.container_id[:12], spec.hostname)
        return tuple(dict.fromkeys(filter(None, names)))


Occupant = ContainerRecord | GuestRecord
"""Whose network a sandbox is."""


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A container's port on the host, as it really is: `host_ip` is an address, never empty."""

    container_port: int
    protocol: str
    host_ip: str
    host_port: int


# --- requests ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreateContainer:
    """`config` is as asked, not merged with the image's. `name` "" means "choose one"."""

    config: ContainerConfig
    host_config: HostConfig
    attachments: tuple[Attachment, ...] = ()
    name: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Created:
    """The id of what was made, with warnings for the person who asked."""

    id: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateContainer:
    """New limits or restart policy; None leaves them alone."""

    resources: Resources | None = None
    restart_policy: RestartPolicy | None = None


class WaitCondition(StrEnum):
    NOT_RUNNING = "not-running"
    NEXT_EXIT = "next-exit"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class ExecConfig:
    """A process to run in a running container (Docker's ExecConfig)."""

    args: tuple[str, ...]
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = True
    attach_stderr: bool = True
    user: str = ""
    working_dir: str = ""
    env: tuple[str, ...] = ()
    privileged: bool = False
    detach_keys: str = ""


@dataclass(frozen=True, slots=True)
class CreateNetwork:
    """A network as asked for. None for a family leaves the default; `labels` and `options` as given."""

    name: str
    driver: str = "bridge"
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: str = ""
    scope: str = ""
    ipam_driver: str = "default"
    ipam_options: dict[str, str] = field(default_factory=dict)
    pools: tuple[PoolConfig, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


# --- views ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContainerView:
    """A container as doors show it.

    `sandbox` is the one it is in (its own, or the one of `container:ID`), None with `host`.
    `network_ids` maps the names in `record.attachments` to ids, for networks that exist. What follows
    is left out of lists: `files` are the host paths of hosts, resolv.conf and hostname, by those names;
    `log_path` is that of its log, `layers` where its root is put together.
    """

    record: ContainerRecord
    sandbox: Sandbox | None
    image: Image | None
    network_ids: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""
    exec_ids: tuple[str, ...] = ()
    layers: LayerPlaces | None = None

    @property
    def state(self) -> ContainerState:
        return self.record.state

    @property
    def ports(self) -> tuple[PublishedPort, ...]:
        return self.record.ports


@dataclass(frozen=True, slots=True)
class Attached:
    """An endpoint on a network as `network inspect` lists it; addresses with prefix length or "".

    `engine` is who runs the container.
    """

    container_id: str
    name: str
    endpoint_id: str
    mac_address: str
    ipv4: str
    ipv6: str
    engine: str = OURS


@dataclass(frozen=True, slots=True)
class GuestView:
    """A guest with its network and what it has there. `mtu` is that of its interface."""

    record: GuestRecord
    network: Network
    endpoint: Endpoint
    mtu: int = 0

    @property
    def spec(self) -> GuestSpec:
        return self.record.spec


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How full a pool is."""

    subnet: str
    in_use: int
    available: int


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network with what is on it."""

    network: Network
    endpoints: tuple[Attached, ...] = ()
    pools: tuple[PoolUse, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecView:
    """An exec as `inspect` shows it; `exit_code` is None until it ended, `pid` 0 before it runs."""

    id: str
    container_id: ContainerId
    config: ExecConfig
    is_running: bool = False
    exit_code: int | None = None
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, in Docker's words. `time_ns` is since the epoch."""

    type: str
    action: str
    actor_id: str
    attributes: Mapping[str, str]
    time_ns: int
    scope: str = "local"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `doctor` looked at. `level` is ok, warning or error; `fix` a command or ""."""

    level: str
    subject: str
    problem: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class SystemInfo:
    """What `info` shows beyond counts that doors take from lists."""

    id: str
    name: str
    root_dir: str
    kernel_version: str
    operating_system: str
    os_version: str
    architecture: str
    cpus: int
    memory: int
    cgroup_version: str
    cgroup_driver: str
    drivers: tuple[str, ...]
    started: datetime
    runtime: str
    storage_driver: str
    components: tuple[Component, ...] = ()
    warnings: tuple[str, ...] = ()


__all__ = [
    "OURS",
    "Attached",
    "Attachment",
    "ContainerRecord",
    "ContainerView",
    "CreateContainer",
    "CreateNetwork",
    "Created",
    "Event",
    "ExecConfig",
    "ExecView",
    "Filters",
    "Finding",
    "GuestRecord",
    "GuestView",
    "NetworkView",
    "Occupant",
    "PoolUse",
    "PortBinding",
    "PublishedPort",
    "SystemInfo",
    "UpdateContainer",
    "WaitCondition",
]
