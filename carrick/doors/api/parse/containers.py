"""Container create and exec: Config, HostConfig and NetworkingConfig to the engine's requests."""

import posixpath
import re
from dataclasses import dataclass, replace

from ....engine.values import Attachment, CreateContainer, ExecConfig
from ....host.runtime.api import ConsoleSize
from ....model.containers import ContainerConfig, Healthcheck, HostConfig, RestartPolicyName
from ....model.errors import InvalidRequest
from ....model.networks import EndpointSettings
from ..routing import ApiVersion
from .fields import Fields
from .host_config import parse_host_config, unhonoured
from .networks import parse_endpoint_settings, parse_mac
from .ports import parse_exposed_ports
from .units import seconds_of

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_MULTIPLE_ENDPOINTS: ApiVersion = (1, 44)
_PRIVATE_MODES = frozenset(("host", "none"))


@dataclass(frozen=True, slots=True)
class ParsedCreate:
    """A request for the engine, and warnings about what of it has no effect."""

    request: CreateContainer
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecStart:
    detach: bool
    tty: bool
    size: ConsoleSize | None


def parse_create(body: Fields, *, name: str, platform: str, version: ApiVersion) -> ParsedCreate:
    """Translate POST /containers/create: Config's fields stand beside HostConfig at the top."""
    if not any(body.names()):
        raise InvalidRequest("config cannot be empty in order to create a container")
    if name:
        check_name(name)
    config = parse_config(body)
    host_body = body.child("HostConfig")
    host_config = parse_host_config(host_body)
    networking = body.child("NetworkingConfig")
    for network, given in networking.map_of("EndpointsConfig", lambda _, value: value).items():
        if given is None and version < _MULTIPLE_ENDPOINTS:
            raise InvalidRequest(f"no EndpointSettings for {network}")
    endpoints = {
        key: parse_endpoint_settings(value) for key, value in networking.child_map("EndpointsConfig").items()
    }
    check_network_mode(config, host_config)
    attachments, warnings = plan_attachments(config, host_config, endpoints, version)
    if host_config.auto_remove and host_config.restart_policy.name is not RestartPolicyName.NO:
        raise InvalidRequest("can't create 'AutoRemove' container with restart policy")
    request = CreateContainer(config, host_config, attachments, name.removeprefix("/"), platform)
    return ParsedCreate(request, unhonoured(host_body) + warnings)


def check_name(name: str) -> None:
    """Raise InvalidRequest for what cannot be a container's name."""
    if not _NAME.fullmatch(name.removeprefix("/")):
        raise InvalidRequest(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")


def parse_config(body: Fields) -> ContainerConfig:
    """Translate a Config (also what `commit` and images hold)."""
    working_dir = body.text("WorkingDir")
    # As on paths of Go: `/srv/some/../where` is `/srv/where`.
    working_dir = posixpath.normpath(working_dir) if working_dir.startswith("/") else working_dir
    if working_dir and not working_dir.startswith("/"):
        raise InvalidRequest(
            f"the working directory '{working_dir}' is invalid, it needs to be an absolute path"
        )
    env = body.texts("Env")
    for entry in env:
        if not entry.partition("=")[0]:
            raise InvalidRequest(f"invalid environment variable: {entry}")
    problems: list[str] = []
    mac_address = parse_mac(body.text("MacAddress"), problems)
    if problems:
        raise InvalidRequest(problems[0])
    return ContainerConfig(
        image=body.text("Image"),
        cmd=body.command("Cmd"),
        entrypoint=body.command("Entrypoint"),
        env=env,
        working_dir=working_dir,
        user=body.text("User"),
        hostname=body.text("Hostname"),
        domainname=body.text("Domainname"),
        tty=body.flag("Tty"),
        open_stdin=body.flag("OpenStdin"),
        stdin_once=body.flag("StdinOnce"),
        attach_stdin=body.flag("AttachStdin"),
        attach_stdout=body.flag("AttachStdout"),
        attach_stderr=body.flag("AttachStderr"),
        labels=body.text_map("Labels"),
        exposed_ports=parse_exposed_ports(body.keys("ExposedPorts")),
        volumes=tuple(sorted(body.keys("Volumes"))),
        stop_signal=body.text("StopSignal"),
        stop_timeout_s=body.optional_integer("StopTimeout"),
        healthcheck=_parse_healthcheck(body.optional_child("Healthcheck")),
        network_disabled=body.flag("NetworkDisabled"),
        mac_address=mac_address,
        on_build=body.texts("OnBuild"),
        shell=body.texts("Shell"),
        given_empty=body.given_empty(("Entrypoint", "OnBuild")),
    )


def _parse_healthcheck(body: Fields | None) -> Healthcheck | None:
    if body is None:
        return None
    retries = body.integer("Retries")
    if retries < 0:
        raise InvalidRequest("Retries in Healthcheck cannot be negative")
    return Healthcheck(
        test=body.texts("Test"),
        interval_s=seconds_of(body.integer("Interval"), "Interval"),
        timeout_s=seconds_of(body.integer("Timeout"), "Timeout"),
        start_period_s=seconds_of(body.integer("StartPeriod"), "StartPeriod"),
        start_interval_s=seconds_of(body.integer("StartInterval"), "StartInterval"),
        retries=retries,
    )


def check_network_mode(config: ContainerConfig, host_config: HostConfig) -> None:
    """Raise InvalidRequest for options that a shared network namespace has no room for."""
    mode = host_config.network_mode
    is_container, is_host = mode.startswith("container:"), mode == "host"
    if mode in ("container", "container:"):
        raise InvalidRequest("invalid container format container:<name|id>")
    shared = is_container or is_host
    undefined = "This would result in undefined behavior"
    conflicts = (
        (is_container and config.hostname, "hostname and the network mode"),
        (host_config.uts_mode == "host" and config.hostname, "hostname and the UTS mode"),
        (is_host and host_config.links, f"host type networking can't be used with links. {undefined}"),
        (is_container and host_config.links, f"container type network can't be used with links. {undefined}"),
        (is_container and host_config.dns, "dns and the network mode"),
        (is_container and host_config.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (shared and config.mac_address, "mac-address and the network mode"),
        (
            is_container and (host_config.port_bindings or host_config.publish_all_ports),
            "port publishing and the container type network mode",
        ),
        (is_container and config.exposed_ports, "port exposing and the container type network mode"),
    )
    for conflicting, problem in conflicts:
        if conflicting:
            raise InvalidRequest(f"conflicting options: {problem}")


def plan_attachments(
    config: ContainerConfig,
    host_config: HostConfig,
    endpoints: dict[str, EndpointSettings],
    version: ApiVersion,
) -> tuple[tuple[Attachment, ...], tuple[str, ...]]:
    """Return the networks to be on, the network mode's first, and warnings.

    As in Docker: endpoints, where any are given, are all there is; without, there is the network
    of the mode. `default` among them means the default network.
    """
    mode = host_config.network_mode
    if "default" in endpoints:
        endpoints = {("bridge" if name == "default" else name): value for name, value in endpoints.items()}
    _check_endpoints(mode, endpoints, version)
    if mode.startswith("container:") or config.network_disabled:
        return (), ()
    endpoints = endpoints or {mode: EndpointSettings()}
    warnings: tuple[str, ...] = ()
    if config.mac_address:
        main = mode if mode in endpoints else next(iter(endpoints))
        own = endpoints[main].mac_address
        if own and own != config.mac_address:
            raise InvalidRequest(
                "the container-wide MAC address must match the endpoint-specific MAC address "
                "for the main network, or be left empty"
            )
        endpoints = endpoints | {main: replace(endpoints[main], mac_address=config.mac_address)}
        if version >= _MULTIPLE_ENDPOINTS:
            warnings = (
                "The container-wide MacAddress field is now deprecated. "
                "It should be specified in EndpointsConfig instead.",
            )
    ordered = sorted(endpoints, key=lambda name: name != mode)
    return tuple(Attachment(name, endpoints[name]) for name in ordered), warnings


def _check_endpoints(mode: str, endpoints: dict[str, EndpointSettings], version: ApiVersion) -> None:
    others = [name for name in endpoints if name != mode]
    if others and (mode == "host" or mode.startswith("container:")):
        raise InvalidRequest(
            "container sharing network namespace with another container or host "
            "cannot be connected to any other network"
        )
    if others and (mode == "none" or (len(endpoints) > 1 and _PRIVATE_MODES & endpoints.keys())):
        raise InvalidRequest(
            "container cannot be connected to multiple networks "
            "with one of the networks in private (none) mode"
        )
    if len(endpoints) > 1 and version < _MULTIPLE_ENDPOINTS:
        names = ", ".join(endpoints)
        raise InvalidRequest(f"Container cannot be created with multiple network endpoints: {names}")


def parse_exec(body: Fields) -> ExecConfig:
    """Translate POST /containers/{id}/exec."""
    args = body.texts("Cmd")
    if not args:
        raise InvalidRequest("No exec command specified")
    return ExecConfig(
        args=args,
        tty=body.flag("Tty"),
        attach_stdin=body.flag("AttachStdin"),
        attach_stdout=body.flag("AttachStdout"),
        attach_stderr=body.flag("AttachStderr"),
        user=body.text("User"),
        working_dir=body.text("WorkingDir"),
        env=body.texts("Env"),
        privileged=body.flag("Privileged"),
        detach_keys=body.text("DetachKeys"),
    )


def parse_exec_start(body: Fields) -> ExecStart:
    """Translate POST /exec/{id}/start; a console size without a terminal means nothing."""
    tty = body.flag("Tty")
    size = body.raw("ConsoleSize")
    console = None
    if tty and isinstance(size, list) and len(size) == 2 and all(type(item) is int for item in size):
        console = parse_console_size(*size)
    return ExecStart(body.flag("Detach"), tty, console)


def parse_console_size(rows: int, columns: int) -> ConsoleSize | None:
    """Return a terminal's size; None where a side is 0, which terminals without a size report."""
    if not (0 <= rows <= 65535 and 0 <= columns <= 65535):
        raise InvalidRequest(f"invalid terminal size {rows}x{columns}: both must be between 0 and 65535")
    return ConsoleSize(rows, columns) if rows and columns else None
