"""`carrick network ls`, `connect`, `disconnect`, `rm`."""

import re
from typing import Any

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Arity, Command
from carrick.doors.cli.errors import CliError, Quit, describe
from carrick.doors.cli.flags import FILTER, INT, LIST, STRING, STRINGS, Flag, Values
from carrick.doors.cli.listing import FORMAT, NO_TRUNC, show_records
from carrick.doors.cli.paths import network_path
from carrick.doors.cli.records.networks import NetworkRecord
from carrick.doors.cli.specs.environment import LINK
from carrick.doors.cli.specs.networks import parse_driver_option
from carrick.doors.client.errors import ApiNotFound, DaemonUnreachable
from carrick.model.errors import CarrickError


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a key under which `net10` comes after `net9`."""
    return [
        (0, int(part), "") if part.isascii() and part.isdigit() and len(part) < 1000 else (1, 0, part)
        for part in re.split(r"(\d+)", text, flags=re.ASCII)
        if part
    ]


def _ls(app: App, values: Values, words: list[str]) -> None:
    networks = app.client.get("/networks", {"filters": values.filters() or None})
    networks.sort(key=lambda network: natural_key(str(network.get("Name") or "")))
    truncate = not values.on("no-trunc")
    show_records(
        app,
        NetworkRecord,
        [NetworkRecord(network, truncate=truncate) for network in networks],
        values.text("format"),
        columns=("ID", "Name", "Driver", "Scope"),
        quiet="ID" if values.on("quiet") else "",
    )


def connect_body(values: Values, container: str) -> dict[str, Any]:
    """Return the body of POST /networks/{id}/connect. Raises ValueError."""
    endpoint: dict[str, Any] = {}
    ipam: dict[str, Any] = {}
    if address := values.text("ip"):
        ipam["IPv4Address"] = address
    if address := values.text("ip6"):
        ipam["IPv6Address"] = address
    if addresses := values.texts("link-local-ip"):
        ipam["LinkLocalIPs"] = list(addresses)
    if ipam:
        endpoint["IPAMConfig"] = ipam
    if links := values.texts("link"):
        endpoint["Links"] = list(links)
    if aliases := values.texts("alias"):
        endpoint["Aliases"] = list(aliases)
    if options := values.texts("driver-opt"):
        endpoint["DriverOpts"] = dict(parse_driver_option(option) for option in options)
    if values.given("gw-priority"):
        endpoint["GwPriority"] = values.number("gw-priority")
    return {"Container": container, "EndpointConfig": endpoint}


def _connect(app: App, values: Values, words: list[str]) -> None:
    network, container = words
    try:
        body = connect_body(values, container)
    except ValueError as error:
        raise CliError(str(error)) from None
    app.client.post(f"{network_path(network)}/connect", body)


def _disconnect(app: App, values: Values, words: list[str]) -> None:
    network, container = words
    body = {"Container": container, "Force": values.on("force")}
    app.client.post(f"{network_path(network)}/disconnect", body)


def _rm(app: App, values: Values, words: list[str]) -> None:
    failed = False
    for name in words:
        try:
            app.client.delete(network_path(name))
        except DaemonUnreachable:
            raise
        except CarrickError as error:
            if not (values.on("force") and isinstance(error, ApiNotFound)):
                app.complain(describe(error))
                failed = True
        else:
            app.print(name)
    if failed:
        app.warn("exit status 1")
        raise Quit(1)


LS = Command(
    "ls",
    _ls,
    summary="List networks",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag(
            "filter",
            "Filter by dangling, driver, id, label, name, scope or type (custom, builtin)",
            kind=FILTER,
            short="f",
        ),
        FORMAT,
        NO_TRUNC,
        Flag("quiet", "Only display network IDs", short="q"),
    ),
    examples=("carrick network ls", "carrick network ls --filter driver=bridge -q"),
)
CONNECT = Command(
    "connect",
    _connect,
    summary="Connect a container to a network",
    usage="[OPTIONS] NETWORK CONTAINER",
    arity=Arity(2, 2, "network", "container"),
    flags=(
        Flag("alias", "Add network-scoped alias for the container", kind=LIST),
        Flag("driver-opt", "Driver options for the endpoint", kind=STRINGS),
        Flag("gw-priority", "Highest gw-priority provides the default gateway", kind=INT),
        Flag("ip", "IPv4 address (e.g., 172.30.100.104)", kind=STRING),
        Flag("ip6", "IPv6 address (e.g., 2001:db8::33)", kind=STRING),
        Flag("link", "Add link to another container", kind=LINK, complete="container"),
        Flag("link-local-ip", "Add a link-local address for the container", kind=STRINGS),
    ),
    examples=(
        "carrick network connect back web",
        "carrick network connect --ip 10.9.0.7 --alias db back postgres",
    ),
)
DISCONNECT = Command(
    "disconnect",
    _disconnect,
    summary="Disconnect a container from a network",
    usage="[OPTIONS] NETWORK CONTAINER",
    arity=Arity(2, 2, "network", "container"),
    flags=(Flag("force", "Force the container to disconnect from a network", short="f"),),
    examples=("carrick network disconnect back web",),
)
RM = Command(
    "rm",
    _rm,
    summary="Remove one or more networks",
    usage="NETWORK [NETWORK...]",
    arity=Arity(1, None, "network"),
    flags=(Flag("force", "Do not error if the network does not exist", short="f"),),
    examples=("carrick network rm front back",),
)
