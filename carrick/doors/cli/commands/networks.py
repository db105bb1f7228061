"""`carrick network connect`, `disconnect`, `rm`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.errors import CliError, Quit, describe
from carrick.doors.cli.flags import INT, LIST, STRING, STRINGS, Flag, Values
from carrick.doors.cli.paths import network_path
from carrick.doors.cli.specs.environment import LINK
from carrick.doors.cli.specs.networks import parse_driver_option
from carrick.doors.client.errors import ApiNotFound, DaemonUnreachable
from carrick.model.errors import CarrickError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
