"""`carrick node ls|inspect|update|drain|activate|rotate-keys|rm`, `carrick peer ls`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Arity, Command
from carrick.doors.cli.errors import CliError, Quit, describe
from carrick.doors.cli.flags import LIST, STRING, Flag, Values
from carrick.doors.cli.listing import FORMAT, NO_TRUNC, show_records, show_value
from carrick.doors.cli.records.cluster import NodeRecord, PeerRecord
from carrick.doors.client.errors import DaemonUnreachable
from carrick.doors.client.wire import quote
from carrick.model.errors import CarrickError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NODES = "/carrick/v1/nodes"


def _node_path(name: str) -> str:
    return f"{_NODES}/{quote(name)}"


def _ls(app: App, values: Values, words: list[str]) -> None:
    nodes = app.client.get(_NODES)
    show_records(
        app,
        NodeRecord,
        [NodeRecord(node, truncate=not values.on("no-trunc")) for node in nodes],
        values.text("format"),
        columns=("ShownID", "Name", "Status", "Availability", "Address", "Blocks", "Endpoints", "Version"),
        quiet="ID" if values.on("quiet") else "",
    )


def _peers(app: App, values: Values, words: list[str]) -> None:
    peers = app.client.get("/carrick/v1/peers")
    show_records(
        app,
        PeerRecord,
        [PeerRecord(peer, truncate=not values.on("no-trunc")) for peer in peers],
        values.text("format"),
        columns=(
            *("Name", "Address", "Status", "Transport", "Encrypted", "MTU", "RTT", "Sent", "Received"),
            *("Why", "Problem"),
        ),
    )


def _each(app: App, names: list[str], act: Callable[[str], Any]) -> None:
    """Do something to each node; one that is refused does not keep the others from it."""
    code = 0
    for name in names:
        try:
            act(name)
        except DaemonUnreachable:
            raise
        except CarrickError as error:
            if len(names) == 1:
                raise
            app.complain(describe(error))
            code = 1
        else:
            app.print(name)
    if code:
        raise Quit(code)


def _inspect(app: App, values: Values, words: list[str]) -> None:
    import json

    found: list[Any] = []
    problems: list[str] = []
    for name in words:
        try:
            found.append(app.client.get(_node_path(name)))
        except DaemonUnreachable:
            raise
        except CarrickError as error:
            if len(words) == 1:
                raise
            problems.append(describe(error))
    if layout := values.text("format"):
        for item in found:
            show_value(app, item, layout)
    else:
        app.print(json.dumps(found, indent=4, ensure_ascii=False))
    if problems:
        raise CliError("\n".join(problems))


def _update(app: App, values: Values, words: list[str]) -> None:
    name = words[0]
    body: dict[str, Any] = {}
    if values.given("address"):
        body["Address"] = values.text("address")
    if values.given("label-add") or values.given("label-rm"):
        labels = dict(app.client.get(_node_path(name)).get("Labels") or {})
        for text in values.texts("label-add"):
            key, _, value = text.partition("=")
            if not key:
                raise CliError(f"--label-add {text}: write KEY=VALUE", 2)
            labels[key] = value
        for key in values.texts("label-rm"):
            if labels.pop(key, None) is None:
                raise CliError(f"--label-rm {key}: node {name} has no such label", 2)
        body["Labels"] = labels
    if not body:
        raise CliError("nothing to change: see 'carrick node update --help'", 2)
    app.client.post(_node_path(name), body)
    app.print(name)


def _drain(app: App, values: Values, words: list[str]) -> None:
    _each(app, words, lambda name: app.client.post(_node_path(name), {"Drain": True}))


def _activate(app: App, values: Values, words: list[str]) -> None:
    _each(app, words, lambda name: app.client.post(_node_path(name), {"Drain": False}))


def _rotate_keys(app: App, values: Values, words: list[str]) -> None:
    app.print(app.client.post("/carrick/v1/cluster/keys")["WireguardKey"])


def _rm(app: App, values: Values, words: list[str]) -> None:
    force = values.on("force")
    _each(app, words, lambda name: app.client.delete(_node_path(name), {"force": force}))


_QUIET = Flag("quiet", "Only display node IDs", short="q")
_SOME = Arity(1, None, "node")
LS = Command(
    "ls",
    _ls,
    summary="List the cluster's nodes",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(FORMAT, NO_TRUNC, _QUIET),
    own=True,
    notes="The star is the node that is asked. 'unreachable' means that it gives no sign of life to the"
    " cluster's store; its containers may be well.",
    examples=("carrick node ls", "carrick node ls --format '{{.Name}} {{.Status}}'"),
)
INSPECT = Command(
    "inspect",
    _inspect,
    summary="Show all about one or more nodes",
    usage="[OPTIONS] NODE [NODE...]",
    arity=_SOME,
    flags=(Flag("format", "Format the output: 'json', or a Go template", kind=STRING, short="f"),),
    own=True,
    examples=("carrick node inspect alpha", "carrick node inspect -f '{{.API}}' alpha"),
)
UPDATE = Command(
    "update",
    _update,
    summary="Change a node's labels, or this node's address",
    usage="[OPTIONS] NODE",
    arity=Arity(1, 1, "node"),
    flags=(
        Flag("address", "Underlay of this host, as for 'carrick join'", kind=STRING),
        Flag("label-add", "Add or change a label (KEY=VALUE)", kind=LIST),
        Flag("label-rm", "Remove a label", kind=LIST),
    ),
    own=True,
    examples=("carrick node update --label-add rack=7 alpha", "carrick node update --address eth1 alpha"),
)
DRAIN = Command(
    "drain",
    _drain,
    summary="Let nodes take no new blocks of addresses",
    usage="NODE [NODE...]",
    arity=_SOME,
    own=True,
    examples=("carrick node drain alpha",),
)
ACTIVATE = Command(
    "activate",
    _activate,
    summary="End the draining of nodes",
    usage="NODE [NODE...]",
    arity=_SOME,
    own=True,
    examples=("carrick node activate alpha",),
)
ROTATE_KEYS = Command(
    "rotate-keys",
    _rotate_keys,
    summary="Replace this node's WireGuard key, and print the public one",
    usage="",
    arity=NONE,
    own=True,
    notes="It is replaced by itself every 30 days (the daemon's 'key_lasts_days'). Traffic goes on. When this"
    " returns, the cluster has the new key. Each node replaces its own.",
    examples=("carrick node rotate-keys",),
)
RM = Command(
    "rm",
    _rm,
    summary="Take other nodes out of the cluster, at once",
    usage="[OPTIONS] NODE [NODE...]",
    arity=_SOME,
    flags=(Flag("force", "Also one that is alive", short="f"),),
    own=True,
    notes="For nodes that are lost for good: their addresses and names are free at once. One that is alive"
    " leaves by itself, with 'carrick leave' there.",
    examples=("carrick node rm alpha",),
)
PEER_LS = Command(
    "ls",
    _peers,
    summary="List the other nodes, and how packets get there",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(FORMAT, NO_TRUNC),
    own=True,
    examples=("carrick peer ls", "carrick peer ls --format '{{.Name}} {{.RTT}}'"),
)
