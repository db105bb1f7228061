"""`carrick version`, `info`, `system df`."""

from __future__ import annotations

import os
import sys
import time

from carrick import __version__
from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import STRING, Flag, Values
from carrick.doors.cli.listing import FORMAT, show_records, show_value
from carrick.doors.cli.records.disk import UsageRow, usage_rows
from carrick.doors.cli.units import binary_size
from carrick.model.errors import CarrickError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

API_VERSION = "1.48"
_FORMAT = Flag("format", "Format the output: 'json', or a Go template", kind=STRING, short="f")


def _client_version() -> dict[str, Any]:
    system = os.uname()
    return {
        "Version": __version__,
        "ApiVersion": API_VERSION,
        "DefaultAPIVersion": API_VERSION,
        "PythonVersion": sys.version.partition(" ")[0],
        "Os": system.sysname.lower(),
        "Arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(system.machine, system.machine),
    }


def version_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return the text of `carrick version`."""
    client, server = answer["Client"], answer.get("Server")
    lines = [
        "Client:",
        f" Version:           {client['Version']}",
        f" API version:       {client['ApiVersion']}",
        f" Python version:    {client['PythonVersion']}",
        f" OS/Arch:           {client['Os']}/{client['Arch']}",
    ]
    if server is None:
        return lines
    name = (server.get("Platform") or {}).get("Name")
    lines += ["", f"Server: {name}" if name else "Server:"]
    for component in server.get("Components") or ():
        details = component.get("Details") or {}
        lines += [f" {component.get('Name')}:", f"  Version:          {component.get('Version')}"]
        if component.get("Name") == "Engine":
            lines.append(
                f"  API version:      {server.get('ApiVersion')}"
                f" (minimum version {server.get('MinAPIVersion')})"
            )
            lines.append(f"  OS/Arch:          {server.get('Os')}/{server.get('Arch')}")
        if commit := details.get("GitCommit"):
            lines.append(f"  GitCommit:        {commit}")
    return lines


def _version(app: App, values: Values, words: list[str]) -> None:
    answer: dict[str, Any] = {"Client": _client_version(), "Server": None}
    problem: CarrickError | None = None
    try:
        answer["Server"] = app.client.get("/version")
    except CarrickError as error:
        problem = error  # what the client is can be said all the same
    if layout := values.text("format"):
        show_value(app, answer, layout)
    else:
        for line in version_lines(answer):
            app.print(line)
    if problem is not None:
        raise problem


# Of GET /info, in this order: label, field. What the daemon leaves out is left out.
_INFO = (
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
)
_INFO_AFTER = (
    ("Default Runtime", "DefaultRuntime"),
    ("Init Binary", "InitBinary"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
)


def info_lines(info: Mapping[str, Any]) -> list[str]:
    """Return the text of `carrick info`, the server's part."""
    lines = []

    def take(fields: tuple[tuple[str, str], ...]) -> None:
        for label, field in fields:
            value = info.get(field)
            if value is None or value == "":
                continue
            if field == "MemTotal":
                value = binary_size(value)
            lines.append(f" {label}: {value}")
            if field == "Driver":
                lines.extend(f"  {key}: {text}" for key, text in info.get("DriverStatus") or ())

    take(_INFO)
    if plugins := info.get("Plugins"):
        lines.append(" Plugins:")
        for kind in ("Volume", "Network", "Log"):
            if names := plugins.get(kind):
                lines.append(f"  {kind}: {' '.join(names)}")
    if runtimes := info.get("Runtimes"):
        lines.append(f" Runtimes: {' '.join(sorted(runtimes))}")
    if options := info.get("SecurityOptions"):
        lines.append(" Security Options:")
        for option in options:
            name, _, rest = str(option).partition(",")
            lines.append(f"  {name.removeprefix('name=')}")
            lines.extend(f"   {part.replace('=', ': ')}" for part in rest.split(",") if part)
    take(_INFO_AFTER)
    if root := info.get("DockerRootDir"):
        lines.append(f" Root Dir: {root}")
    if "Debug" in info:
        lines.append(f" Debug Mode: {'true' if info['Debug'] else 'false'}")
    if labels := info.get("Labels"):
        lines.append(" Labels:")
        lines.extend(f"  {label}" for label in labels)
    if pools := info.get("DefaultAddressPools"):
        lines.append(" Default Address Pools:")
        lines.extend(f"   Base: {pool.get('Base')}, Size: {pool.get('Size')}" for pool in pools)
    return lines


def _info(app: App, values: Values, words: list[str]) -> None:
    info = app.client.get("/info")
    if layout := values.text("format"):
        show_value(app, {**info, "ClientInfo": _client_version()}, layout)
        return
    app.print(f"Client:\n Version: {__version__}\n\nServer:")
    for line in info_lines(info):
        app.print(line)
    for warning in info.get("Warnings") or ():
        app.warn(str(warning))


def _df(app: App, values: Values, words: list[str]) -> None:
    answer = app.client.get("/system/df") or {}
    layout = values.text("format")
    if not values.on("verbose"):
        columns = ("Type", "TotalCount", "Active", "Size", "Reclaimable")
        show_records(app, UsageRow, usage_rows(answer), layout, columns=columns)
        return
    if layout == "json":
        show_value(app, answer, layout)
        return
    if layout:
        raise CliError("the verbose form has no template: use --format json, or no --verbose")
    _df_verbose(app, answer)


def _df_verbose(app: App, answer: Mapping[str, Any]) -> None:
    from carrick.doors.cli.records.containers import ContainerRecord
    from carrick.doors.cli.records.images import ImageRecord, image_records
    from carrick.doors.cli.records.networks import VolumeRecord

    now = time.time()
    images = answer.get("Images") or []
    app.print("Images space usage:\n")
    columns: tuple[str, ...] = ("Repository", "Tag", "ID", "CreatedSince", "Size")
    columns += ("SharedSize", "UniqueSize", "Containers")
    records = image_records(images, digests=False, truncate=True, now_s=now)
    show_records(app, ImageRecord, records, "", columns=columns)
    app.print("\nContainers space usage:\n")
    containers = [
        ContainerRecord({**entry, "SizeRootFs": 0}, truncate=True, now_s=now)
        for entry in answer.get("Containers") or ()
    ]
    columns = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
    show_records(app, ContainerRecord, containers, "", columns=columns)
    app.print("\nLocal Volumes space usage:\n")
    volumes = [VolumeRecord(volume) for volume in answer.get("Volumes") or ()]
    show_records(app, VolumeRecord, volumes, "", columns=("Name", "Links", "Size"))


VERSION = Command(
    "version",
    _version,
    summary="Show the Carrick version information",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(_FORMAT,),
    examples=("carrick version", "carrick version --format '{{.Server.Version}}'"),
)
INFO = Command(
    "info",
    _info,
    summary="Display system-wide information",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(_FORMAT,),
    examples=("carrick info", "carrick info --format '{{.NCPU}}'"),
)
DF = Command(
    "df",
    _df,
    summary="Show disk usage",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(FORMAT, Flag("verbose", "Show detailed information on space usage", short="v")),
    examples=("carrick system df", "carrick system df -v"),
)
