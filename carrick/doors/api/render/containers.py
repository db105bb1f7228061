"""Containers as `inspect` and `ps` show them."""

import posixpath
from base64 import b64encode
from datetime import datetime
from ipaddress import ip_address

from ....engine.values import Attachment, ContainerView, ExecView, PublishedPort
from ....host.runtime.api import LayerSize
from ....model.containers import ContainerState, ContainerStatus, Health, HealthStatus, MountPoint, MountType
from ....model.ids import short
from ....model.networks import Endpoint
from ..routing import ApiVersion
from ..streams import parse_detach_keys
from . import Json
from .host_config import render_config, render_host_config
from .networks import render_endpoint
from .times import human_duration, render_time, unix

_NO_LEGACY_NETWORK: ApiVersion = (1, 52)
_NO_PROGRAM = (126, 127)
_DRIVER_OPTS_IN_LIST: ApiVersion = (1, 48)
_PLAIN_MAC: ApiVersion = (1, 44)
_LINKLESS = ("host", "none")
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
    # Docker makes these files for the first start, also for one that fails.
    started = _was_tried(view)
    files = view.files if started else {}
    has_log = record.host_config.log_config.driver == "json-file"
    document: Json = {
        "Id": record.id,
        "Created": render_time(record.created),
        "Path": path,
        "Args": list(args),
        "State": render_state(view.state),
        "Image": record.image_id,
        "ResolvConfPath": files.get("resolv.conf", ""),
        "HostnamePath": files.get("hostname", ""),
        "HostsPath": files.get("hosts", ""),
        "LogPath": view.log_path if started and has_log else "",
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(view.exec_ids) or None,
        "HostConfig": render_host_config(record.host_config, version, record.name),
        "GraphDriver": {"Data": _render_layers(view), "Name": "overlay2"},
    }
    if size is not None:
        document["SizeRw"] = size.writable
        document["SizeRootFs"] = size.root
    return document | {
        "Mounts": render_mounts(view),
        "Config": render_config(record.config),
        "NetworkSettings": render_network_settings(view, version),
    }


def _render_layers(view: ContainerView) -> Json:
    if view.layers is None:
        return {"ID": view.record.id}
    return {
        "ID": view.record.id,
        "LowerDir": ":".join(map(str, view.layers.lower)),
        "MergedDir": str(view.layers.merged),
        "UpperDir": str(view.layers.upper),
        "WorkDir": str(view.layers.work),
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


def render_mounts(view: ContainerView) -> list[Json]:
    """Return the mounts but those of `--tmpfs`, which HostConfig shows."""
    host_config = view.record.host_config
    own = {posixpath.normpath(path) for path in host_config.tmpfs}
    return [render_mount_point(mount) for mount in view.record.mounts if mount.destination not in own]


def render_mount_point(mount: MountPoint) -> Json:
    document: Json = {"Type": mount.type.value}
    if mount.name:
        document["Name"] = mount.name
    document["Source"] = mount.source
    document["Destination"] = mount.destination
    if mount.type is MountType.VOLUME:
        document["Driver"] = mount.driver or "local"
    mode = "" if mount.type is MountType.TMPFS else mount.mode
    return document | {"Mode": mode, "RW": mount.read_write, "Propagation": mount.propagation}


def render_network_settings(view: ContainerView, version: ApiVersion) -> Json:
    """Return NetworkSettings; a container in another's namespace shows none of its own."""
    record = view.record
    shares = record.host_config.network_mode.startswith("container:")
    sandbox = None if shares else view.sandbox
    networks = _render_networks(view, version)
    is_up = sandbox is not None and sandbox.active
    was_up = _was_tried(view)
    document: Json = {}
    if version < _NO_LEGACY_NETWORK:
        document["Bridge"] = ""
    document |= {
        # What it was stays after the end, as in Docker.
        "SandboxID": sandbox.id if sandbox and (is_up or was_up) else "",
        "SandboxKey": sandbox.netns if sandbox and (is_up or was_up) else "",
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
    was_up = _was_tried(view)
    extra: tuple[str, ...] = (short(record.id),) if was_up else ()
    if was_up and record.config.hostname and record.config.hostname not in extra:
        extra += (record.config.hostname,)
    mode = record.host_config.network_mode
    networks = {}
    if mode in _LINKLESS and not record.attachments:
        # On these a container has no endpoint of ours, but it is on them.
        networks[mode] = _render_linkless(view, version)
    for attachment in record.attachments:
        network_id = view.network_ids.get(attachment.network, "")
        endpoint = _endpoint_of(view, attachment, network_id)
        name = endpoint.network_name if endpoint else attachment.network
        is_default = name == "bridge"  # the default network has no aliases
        running = endpoint if view.sandbox and view.sandbox.active else None
        networks[name] = render_endpoint(
            attachment,
            running,
            network_id if endpoint and was_up else "",
            version,
            () if is_default else extra,
        )
        if endpoint is None or not was_up:
            mac_address = attachment.settings.mac_address
            is_the_containers = version < _PLAIN_MAC and mac_address == record.config.mac_address
            networks[name]["MacAddress"] = "" if is_the_containers else mac_address
    return networks


def _was_tried(view: ContainerView) -> bool:
    """Say whether a container was started, or would have been, had there been such a program."""
    return view.record.state.started_at is not None or view.record.state.exit_code in _NO_PROGRAM


def _render_linkless(view: ContainerView, version: ApiVersion) -> Json:
    mode = view.record.host_config.network_mode
    document = render_endpoint(Attachment(mode), None, "", version)
    if view.record.state.started_at:
        document["NetworkID"] = view.network_ids.get(mode, "")
    if view.state.is_running:
        document["EndpointID"] = view.record.id[::-1]  # made up, as in the network's own list
    return document


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
        sizes = {"SizeRw": size.writable, "SizeRootFs": size.root}
        document |= {name: value for name, value in sizes.items() if value}
    host: Json = {"NetworkMode": record.host_config.network_mode}
    if record.host_config.annotations:
        host["Annotations"] = record.host_config.annotations
    return document | {
        "Labels": record.config.labels,
        "State": record.state.status.value,
        "Status": status_text(record.state, now),
        "HostConfig": host,
        "NetworkSettings": {"Networks": _render_entry_networks(view, version)},
        "Mounts": render_mounts(view),
    }


def _render_entry_networks(view: ContainerView, version: ApiVersion) -> dict[str, Json]:
    """Return the networks as the list shows them: addresses, but not what the names are."""
    networks = _render_networks(view, version)
    for document in networks.values():
        document |= {"Aliases": None, "Links": None}
        if version < _DRIVER_OPTS_IN_LIST:
            document["DriverOpts"] = None
    return networks


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
    up = ended = ""
    if state.is_running:
        up = human_duration(_seconds_since(state.started_at, now))
    if not state.is_running or state.status is ContainerStatus.RESTARTING:
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
        "CanRemove": False,
        "ContainerID": view.container_id,
        "DetachKeys": b64encode(parse_detach_keys(config.detach_keys)).decode() if config.detach_keys else "",
        "Pid": view.pid,
    }
