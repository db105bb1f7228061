"""Containers as `inspect` and `ps` show them."""

from datetime import datetime
from ipaddress import ip_address

from ....engine.values import Attachment, ContainerView, ExecView, PublishedPort
from ....host.runtime.api import LayerSize
from ....model.containers import ContainerState, ContainerStatus, Health, HealthStatus, MountPoint, MountType
from ....model.ids import short
from ....model.networks import Endpoint
from ..routing import ApiVersion
from . import Json
from .host_config import render_config, render_host_config
from .networks import render_endpoint
from .times import human_duration, render_time, unix

_NO_LEGACY_NETWORK: ApiVersion = (1, 52)
_LEGACY_FIELDS = (
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "MacAddress",
)


def render_container(view: ContainerView, version: ApiVersion, size: LayerSize | None = None) -> Json:
    """Return what `inspect` shows."""
    record = view.record
    path, args = _command(view)
    document: Json = {
        "Id": record.id,
        "Created": render_time(record.created),
        "Path": path,
        "Args": list(args),
        "State": render_state(view.state),
        "Image": record.image_id,
        "ResolvConfPath": view.files.get("resolv.conf", ""),
        "HostnamePath": view.files.get("hostname", ""),
        "HostsPath": view.files.get("hosts", ""),
        "LogPath": view.log_path,
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(view.exec_ids) or None,
        "HostConfig": render_host_config(record.host_config),
        "GraphDriver": {"Data": {"ID": record.id}, "Name": "overlay2"},
    }
    if size is not None:
        document["SizeRw"] = size.writable
        document["SizeRootFs"] = size.root
    return document | {
        "Mounts": [render_mount_point(mount) for mount in record.mounts],
        "Config": render_config(record.config),
        "NetworkSettings": render_network_settings(view, version),
    }


def _command(view: ContainerView) -> tuple[str, tuple[str, ...]]:
    command = view.record.config.command
    return (command[0], command[1:]) if command else ("", ())


def render_state(state: ContainerState) -> Json:
    document: Json = {
        "Status": state.status.value,
        "Running": state.is_running,
        "Paused": state.status is ContainerStatus.PAUSED,
        "Restarting": state.status is ContainerStatus.RESTARTING,
        "OOMKilled": state.oom_killed,
        "Dead": state.status is ContainerStatus.DEAD,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": render_time(state.started_at),
        "FinishedAt": render_time(state.finished_at),
    }
    if state.health is not None and state.health.status is not HealthStatus.NONE:
        document["Health"] = _render_health(state.health)
    return document


def _render_health(health: Health) -> Json:
    return {
        "Status": health.status.value,
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": render_time(result.start),
                "End": render_time(result.end),
                "ExitCode": result.exit_code,
                "Output": result.output,
            }
            for result in health.log
        ],
    }


def render_mount_point(mount: MountPoint) -> Json:
    document: Json = {"Type": mount.type.value}
    if mount.name:
        document["Name"] = mount.name
    document["Source"] = mount.source
    document["Destination"] = mount.destination
    if mount.type is MountType.VOLUME:
        document["Driver"] = mount.driver or "local"
    return document | {"Mode": mount.mode, "RW": mount.read_write, "Propagation": mount.propagation}


def render_network_settings(view: ContainerView, version: ApiVersion) -> Json:
    """Return NetworkSettings; a container in another's namespace shows none of its own."""
    record = view.record
    shares = record.host_config.network_mode.startswith("container:")
    sandbox = None if shares else view.sandbox
    networks = _render_networks(view, version)
    is_up = sandbox is not None and sandbox.active
    document: Json = {}
    if version < _NO_LEGACY_NETWORK:
        document["Bridge"] = ""
    document |= {
        "SandboxID": sandbox.id if sandbox and is_up else "",
        "SandboxKey": sandbox.netns if sandbox and is_up else "",
        "Ports": {} if shares else _render_ports(view),
    }
    if version < _NO_LEGACY_NETWORK:
        document |= {
            "HairpinMode": False,
            "LinkLocalIPv6Address": "",
            "LinkLocalIPv6PrefixLen": 0,
            "SecondaryIPAddresses": None,
            "SecondaryIPv6Addresses": None,
        }
        bridge = networks.get("bridge", {})
        document |= {name: bridge.get(name, 0 if name.endswith("Len") else "") for name in _LEGACY_FIELDS}
    document["Networks"] = networks
    return document


def _render_networks(view: ContainerView, version: ApiVersion) -> dict[str, Json]:
    record = view.record
    if record.host_config.network_mode.startswith("container:"):
        return {}
    extra: tuple[str, ...] = (short(record.id),)
    if record.config.hostname and record.config.hostname not in extra:
        extra += (record.config.hostname,)
    networks = {}
    for attachment in record.attachments:
        network_id = view.network_ids.get(attachment.network, "")
        endpoint = _endpoint_of(view, attachment, network_id)
        name = endpoint.network_name if endpoint else attachment.network
        is_default = name == "bridge"  # the default network has no aliases
        running = endpoint if view.sandbox and view.sandbox.active else None
        networks[name] = render_endpoint(
            attachment, running, network_id, version, () if is_default else extra
        )
    return networks


def _endpoint_of(view: ContainerView, attachment: Attachment, network_id: str) -> Endpoint | None:
    if view.sandbox is None:
        return None
    for endpoint in view.sandbox.endpoints:
        if endpoint.network_id == network_id or endpoint.network_name == attachment.network:
            return endpoint
    return None


def _render_ports(view: ContainerView) -> Json:
    """Return published ports by container port; exposed ones that are not published are null."""
    if not view.state.is_running:
        return {}
    published: dict[str, list[Json]] = {}
    for port in view.ports:
        key = f"{port.container_port}/{port.protocol}"
        published.setdefault(key, []).append({"HostIp": port.host_ip, "HostPort": str(port.host_port)})
    keys = {*view.record.config.exposed_ports, *published}
    return {key: published.get(key) for key in sorted(keys, key=_port_order)}


def _port_order(key: str) -> tuple[int, str]:
    port, _, protocol = key.partition("/")
    return int(port), protocol


def render_container_entry(
    view: ContainerView, version: ApiVersion, now: datetime, size: LayerSize | None = None
) -> Json:
    """Return an entry of the list. `now` is what `Up 3 minutes` counts from."""
    record = view.record
    document: Json = {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": record.asked_image,
        "ImageID": record.image_id,
        "Command": _shown_command(view),
        "Created": unix(record.created),
        "Ports": render_entry_ports(view),
    }
    if size is not None:
        document["SizeRw"] = size.writable
        document["SizeRootFs"] = size.root
    host: Json = {"NetworkMode": record.host_config.network_mode}
    if record.host_config.annotations:
        host["Annotations"] = record.host_config.annotations
    return document | {
        "Labels": record.config.labels,
        "State": record.state.status.value,
        "Status": status_text(record.state, now),
        "HostConfig": host,
        "NetworkSettings": {"Networks": _render_networks(view, version)},
        "Mounts": [render_mount_point(mount) for mount in record.mounts],
    }


def _shown_command(view: ContainerView) -> str:
    path, args = _command(view)
    return " ".join((path, *(f"'{arg}'" if " " in arg else arg for arg in args)))


def render_entry_ports(view: ContainerView) -> list[Json]:
    """Return the ports of a running container, sorted as `ps` prints them."""
    if not view.state.is_running or view.record.host_config.network_mode.startswith("container:"):
        return []
    document: list[Json] = []
    published = {f"{port.container_port}/{port.protocol}" for port in view.ports}
    for key in view.record.config.exposed_ports:
        if key not in published:
            number, _, protocol = key.partition("/")
            document.append({"PrivatePort": int(number), "Type": protocol})
    document += (
        {
            "IP": port.host_ip,
            "PrivatePort": port.container_port,
            "PublicPort": port.host_port,
            "Type": port.protocol,
        }
        for port in sorted(view.ports, key=_published_order)
    )
    return document


def _published_order(port: PublishedPort) -> tuple[int, str, int, int, int]:
    address = ip_address(port.host_ip)
    return port.container_port, port.protocol, address.version, int(address), port.host_port


def status_text(state: ContainerState, now: datetime) -> str:
    """Return what `ps` prints under STATUS."""
    up = human_duration(_seconds_since(state.started_at, now))
    ended = human_duration(_seconds_since(state.finished_at, now))
    if state.status is ContainerStatus.PAUSED:
        return f"Up {up} (Paused)"
    if state.status is ContainerStatus.RESTARTING:
        return f"Restarting ({state.exit_code}) {ended} ago"
    if state.status is ContainerStatus.RUNNING:
        health = state.health.status if state.health else HealthStatus.NONE
        if health is HealthStatus.NONE:
            return f"Up {up}"
        shown = "health: starting" if health is HealthStatus.STARTING else health.value
        return f"Up {up} ({shown})"
    if state.status is ContainerStatus.REMOVING:
        return "Removal In Progress"
    if state.status is ContainerStatus.DEAD:
        return "Dead"
    if state.status is ContainerStatus.CREATED or (state.started_at is None and state.finished_at is None):
        return "Created"
    return f"Exited ({state.exit_code}) {ended} ago" if state.finished_at else ""


def _seconds_since(moment: datetime | None, now: datetime) -> float:
    return (now - moment).total_seconds() if moment else 0.0


def render_exec(view: ExecView) -> Json:
    """Return what GET /exec/{id}/json answers."""
    config = view.config
    return {
        "ID": view.id,
        "Running": view.is_running,
        "ExitCode": view.exit_code,
        "ProcessConfig": {
            "tty": config.tty,
            "entrypoint": config.args[0] if config.args else "",
            "arguments": list(config.args[1:]),
            "privileged": config.privileged,
        }
        | ({"user": config.user} if config.user else {}),
        "OpenStdin": config.attach_stdin,
        "OpenStderr": config.attach_stderr,
        "OpenStdout": config.attach_stdout,
        "CanRemove": view.exit_code is not None,
        "ContainerID": view.container_id,
        "DetachKeys": config.detach_keys,
        "Pid": view.pid,
    }
