"""What a container and an image are, as values: the parts of Docker's Config and HostConfig we honour.

Pure. The API parses its JSON into these, the store keeps them as JSON (msgspec encodes them as they
are), the engine decides with them, and `host/runtime` turns them into processes. Field names are
Docker's in snake case; a unit stands in the name where the type does not carry it. Moments are
aware UTC datetimes.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from .ids import ImageId


class MountType(StrEnum):
    """Where a mount's content comes from."""

    BIND = "bind"
    VOLUME = "volume"
    TMPFS = "tmpfs"


class RestartPolicyName(StrEnum):
    """When an ended container is started again."""

    NO = "no"
    ALWAYS = "always"
    UNLESS_STOPPED = "unless-stopped"
    ON_FAILURE = "on-failure"


class ContainerStatus(StrEnum):
    """Docker's words for where a container is in its life."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


class HealthStatus(StrEnum):
    """The verdict of a container's health check; NONE where it has no check."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """A health check. `test` is Docker's: (), ("NONE",), ("CMD", …) or ("CMD-SHELL", command).

    A duration or count of 0 means "inherit or default", as in Docker.
    """

    test: tuple[str, ...] = ()
    interval_s: float = 0
    timeout_s: float = 0
    start_period_s: float = 0
    start_interval_s: float = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about the containers made from it."""

    env: tuple[str, ...] = ()
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    user: str = ""
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    """`80/tcp`, sorted."""
    volumes: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()
    args_escaped: bool = False


@dataclass(frozen=True, slots=True)
class ImageHistory:
    """One step of an image's making. `size` is the bytes it added, 0 for an empty layer."""

    created: datetime | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """A stored image.

    `id` is `sha256:` and the digest of the configuration blob. `repo_tags` are familiar names
    (`busybox:latest`), `repo_digests` are `name@sha256:…` of the manifest. `size` is the bytes of
    the unpacked files. `layers` are diff ids, the lowest first.
    """

    id: ImageId
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    created: datetime | None = None
    size: int = 0
    architecture: str = ""
    variant: str = ""
    os: str = "linux"
    author: str = ""
    comment: str = ""
    layers: tuple[str, ...] = ()
    history: tuple[ImageHistory, ...] = ()
    config: ImageConfig = field(default_factory=ImageConfig)
    builder: str = ""
    """The version of the engine that made it, as far as it says so."""
    container: str = ""
    """The container that it was made of, if it says so, and what was that one's configuration."""
    container_config: ImageConfig | None = None
    parent: str = ""
    """The id of the image that it was made from, here; it may be gone meanwhile."""
    tagged_at: datetime | None = None
    """When somebody last gave it a name here."""


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """Docker's Config: what runs. `None` for cmd and entrypoint means "the image's"."""

    image: str = ""
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    hostname: str = ""
    domainname: str = ""
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    stop_timeout_s: int | None = None
    healthcheck: Healthcheck | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()
    given_empty: tuple[str, ...] = ()
    """Docker's names of lists and maps that were given empty: `inspect` shows them so, others as null."""

    def with_image(self, image: ImageConfig) -> "ContainerConfig":
        """Return this configuration with all that it leaves open taken from the image's.

        Docker's rules: the image's command goes with the image's entry point only, so an
        entry point of the container's own drops the image's command; `("",)` clears the image's
        entry point; environment, labels, ports and volumes are joined, the container's winning.
        """
        if not self.entrypoint:
            cmd = self.cmd or image.cmd
            entrypoint = image.entrypoint if self.entrypoint is None else None
        else:
            cmd = self.cmd
            entrypoint = None if self.entrypoint == ("",) else self.entrypoint
        own_names = {entry.partition("=")[0] for entry in self.env}
        inherited = tuple(e for e in image.env if e.partition("=")[0] not in own_names)
        return replace(
            self,
            cmd=cmd,
            entrypoint=entrypoint,
            env=inherited + self.env,
            working_dir=self.working_dir or image.working_dir,
            user=self.user or image.user,
            labels=image.labels | self.labels,
            exposed_ports=tuple(sorted({*image.exposed_ports, *self.exposed_ports})),
            volumes=tuple(sorted({*image.volumes, *self.volumes})),
            stop_signal=self.stop_signal or image.stop_signal,
            healthcheck=_merge_healthcheck(self.healthcheck, image.healthcheck),
            shell=self.shell or image.shell,
        )

    @property
    def command(self) -> tuple[str, ...]:
        """The entry point and its arguments; the first is what is executed."""
        return (self.entrypoint or ()) + (self.cmd or ())


def _merge_healthcheck(own: Healthcheck | None, inherited: Healthcheck | None) -> Healthcheck | None:
    if own is None or inherited is None:
        return own or inherited
    return Healthcheck(
        test=own.test or inherited.test,
        interval_s=own.interval_s or inherited.interval_s,
        timeout_s=own.timeout_s or inherited.timeout_s,
        start_period_s=own.start_period_s or inherited.start_period_s,
        start_interval_s=own.start_interval_s or inherited.start_interval_s,
        retries=own.retries or inherited.retries,
    )


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount as it was asked for (`--mount`; HostConfig.Mounts). Nothing is resolved yet."""

    type: MountType
    target: str
    source: str = ""
    """A host path, a volume's name, or empty for tmpfs and anonymous volumes."""
    read_only: bool = False
    propagation: str = ""
    non_recursive: bool = False
    create_source: bool = False
    """Make a missing source directory: what `-v` does and `--mount type=bind` does not."""
    no_copy: bool = False
    subpath: str = ""
    driver: str = ""
    driver_options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    consistency: str = ""
    """As given; it has no effect on Linux."""
    tmpfs_size: int = 0
    tmpfs_mode: int = 0
    tmpfs_options: str = ""
    """Raw options of `--tmpfs path:options`."""


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A resolved mount: what `inspect` lists under Mounts and the runtime carries out."""

    type: MountType
    destination: str
    source: str = ""
    """The host's path; empty for tmpfs."""
    name: str = ""
    """The volume's name; empty for the other types."""
    driver: str = ""
    mode: str = ""
    """The mode as given (`ro`, `z`, tmpfs options)."""
    read_write: bool = True
    propagation: str = ""
    non_recursive: bool = False


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A published port. `host_port` is "" (choose one), "8080" or "8000-8010" (choose in it)."""

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: str = ""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """`maximum_retries` counts for ON_FAILURE alone; 0 means without end."""

    name: RestartPolicyName = RestartPolicyName.NO
    maximum_retries: int = 0


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A resource limit by its short name (`nofile`); -1 is unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class DeviceMapping:
    """A host device in the container; `permissions` are some of `rwm`."""

    host_path: str
    container_path: str
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Where output is kept: driver `json-file` or `local` (a file of ours; they differ in when it is
    rotated), or `none`.

    `max_size` of 0 never rotates; `max_files` counts the current file too.
    """

    driver: str = "json-file"
    max_size: int = 0
    max_files: int = 1
    options: dict[str, str] = field(default_factory=dict)
    """The options as given, for `inspect`."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits. 0 or "" means none; `memory_swap` is memory plus swap, -1 unlimited swap."""

    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    memory_swappiness: int | None = None
    nano_cpus: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int | None = None
    blkio_weight: int = 0
    oom_kill_disable: bool = False


@dataclass(frozen=True, slots=True)
class HostConfig:
    """Docker's HostConfig: how it runs on this host."""

    binds: tuple[str, ...] = ()
    """As given: `source:target[:mode]`."""
    mounts: tuple[Mount, ...] = ()
    tmpfs: dict[str, str] = field(default_factory=dict)
    volumes_from: tuple[str, ...] = ()
    network_mode: str = "default"
    port_bindings: tuple[PortBinding, ...] = ()
    publish_all_ports: bool = False
    links: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)
    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)
    auto_remove: bool = False
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    read_only: bool = False
    init: bool = False
    resources: Resources = field(default_factory=Resources)
    ulimits: tuple[Ulimit, ...] = ()
    devices: tuple[DeviceMapping, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    pid_mode: str = ""
    ipc_mode: str = ""
    uts_mode: str = ""
    cgroupns_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    log_config: LogConfig = field(default_factory=LogConfig)
    oom_score_adj: int = 0
    cgroup_parent: str = ""
    masked_paths: tuple[str, ...] | None = None
    """None: Docker's defaults. Empty: none are masked."""
    readonly_paths: tuple[str, ...] | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    container_id_file: str = ""
    volume_driver: str = ""
    """The driver of volumes that `binds` and the image's volumes make."""
    isolation: str = ""
    """`default` or nothing, which is the same."""
    console_size: tuple[int, int] = (0, 0)
    """Rows, columns at the start."""
    given_empty: tuple[str, ...] = ()
    """As in ContainerConfig. `RestartPolicy` is among them if its name was left open."""


@dataclass(frozen=True, slots=True)
class HealthResult:
    """One run of a health check."""

    start: datetime
    end: datetime
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Health:
    """How a container's health check stands; `log` holds the last five runs."""

    status: HealthStatus = HealthStatus.NONE
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerState:
    """Where a container is in its life. `pid` is 0 while it does not run."""

    status: ContainerStatus = ContainerStatus.CREATED
    pid: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    health: Health | None = None

    @property
    def is_running(self) -> bool:
        """True while its process lives: running, paused, and restarting with a process."""
        return self.status in (ContainerStatus.RUNNING, ContainerStatus.PAUSED) or (
            self.status is ContainerStatus.RESTARTING and self.pid != 0
        )
