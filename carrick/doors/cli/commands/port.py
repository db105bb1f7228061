"""`carrick port`: a container's published ports, and changing them while it runs."""

from __future__ import annotations

from carrick.doors.cli import registry
from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command, Group
from carrick.doors.cli.commands.network_listing import natural_key
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import LIST, Flag, Values
from carrick.doors.cli.paths import container_path
from carrick.doors.cli.records.containers import host_port
from carrick.doors.cli.specs.ports import Bindings, parse_port_range, parse_publishes


def _list(app: App, values: Values, words: list[str]) -> None:
    details = app.client.get(f"{container_path(words[0])}/json")
    ports = (details.get("NetworkSettings") or {}).get("Ports") or {}
    if len(words) == 2:
        number, _, protocol = words[1].partition("/")
        try:
            parse_port_range(number)
        except ValueError as error:
            raise CliError(f"Error: invalid port ({number}): {error}") from None
        wanted = f"{number}/{protocol or 'tcp'}"
        bindings = ports.get(wanted)
        if not bindings:
            raise CliError(f"Error: No public port '{wanted}' published for {words[0]}")
        places = [host_port(binding.get("HostIp") or "", binding.get("HostPort")) for binding in bindings]
        for place in sorted(places, key=natural_key):
            app.print(place)
        return
    lines = [
        f"{port} -> {host_port(binding.get('HostIp') or '', binding.get('HostPort'))}"
        for port, bindings in ports.items()
        for binding in bindings or ()
    ]
    for line in sorted(lines, key=natural_key):
        app.print(line)


def _bindings(specs: tuple[str, ...]) -> Bindings:
    try:
        return parse_publishes(specs)
    except ValueError as error:
        raise CliError(str(error), 2) from None


def _change(app: App, container: str, action: str, bindings: Bindings) -> None:
    path = f"/carrick/v1{container_path(container)}/{action}"
    app.client.post(path, {"PortBindings": bindings})


def _add(app: App, values: Values, words: list[str]) -> None:
    specs = (*values.texts("publish"), *words[1:])
    if not specs:
        raise CliError("name the ports to publish: carrick port add CONTAINER -p 8080:80", 2)
    _change(app, words[0], "ports", _bindings(specs))
    app.print(words[0])


def _rm(app: App, values: Values, words: list[str]) -> None:
    _change(app, words[0], "ports/remove", _bindings((*values.texts("publish"), *words[1:])))
    app.print(words[0])


LIST_PORTS = Command(
    "port",
    _list,
    summary="List port mappings or a specific mapping for the container",
    usage="CONTAINER [PRIVATE_PORT[/PROTO]]",
    arity=Arity(1, 2, "container", ""),
    examples=(
        "carrick port web",
        "carrick port web 80/tcp",
        "carrick port add web -p 8081:80",
        "carrick port rm web 8081:80",
    ),
    notes=(
        "'carrick port add' publishes more ports of a running container, 'carrick port rm' takes"
        " them back. A container that is itself called 'add' or 'rm' is reached by its ID."
    ),
)
ADD = Command(
    "add",
    _add,
    summary="Publish ports of a running container",
    usage="CONTAINER -p SPEC [-p SPEC...]",
    arity=Arity(1, None, "container", ""),
    flags=(
        Flag(
            "publish",
            "Port to publish: [[HOST_IP:][HOST_PORT]:]CONTAINER_PORT[/PROTO]",
            kind=LIST,
            short="p",
        ),
    ),
    own=True,
    examples=("carrick port add web -p 8081:80 -p 127.0.0.1:5353:53/udp",),
)
RM = Command(
    "rm",
    _rm,
    summary="Take back published ports of a running container",
    usage="CONTAINER SPEC [SPEC...]",
    arity=Arity(1, None, "container", ""),
    flags=(Flag("publish", "Port to take back, as for add", kind=LIST, short="p", hidden=True),),
    own=True,
    examples=(
        "carrick port rm web 8081:80",
        "carrick port rm web 127.0.0.1:5353:53/udp",
        "carrick port rm web 80",
    ),
    notes=(
        "SPEC is as for 'add'. An empty host port ('80', '53/udp', '127.0.0.1::80') means all of them:"
        " every published port of that container port is taken back."
    ),
)
PORT = Group(
    "port",
    "List or change the published ports of a container",
    registry.PORT,
    default="commands.port:LIST_PORTS",
)
