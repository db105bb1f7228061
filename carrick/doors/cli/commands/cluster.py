"""`carrick cluster init|info|token|recover`, `carrick join`, `carrick leave`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Arity, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import DURATION, INT, STRING, STRINGS, Flag, Values
from carrick.doors.cli.listing import show_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_PATH = "/carrick/v1/cluster"
_SECOND_NS = 1_000_000_000
_LONGEST_TOKEN = 4096

_ADDRESS = Flag(
    "address",
    "This host's underlay: an address, interface, prefix, or 'reach:ADDRESS' (default: the default route's)",
    kind=STRING,
)
_LISTEN = Flag("listen", "Where the node API listens: [HOST]:PORT (default ':2377')", kind=STRING)
_NAME = Flag("name", "Name of this node (default: the host's name)", kind=STRING)
_FORMAT = Flag("format", "Format the output: 'json', or a Go template", kind=STRING, short="f")


def _seconds(values: Values, name: str) -> int:
    """Return a duration in whole seconds, rounded up."""
    return -(-values.number(name) // _SECOND_NS)


def _given(**fields: object) -> dict[str, object]:
    return {key: value for key, value in fields.items() if value}


def _absolute(path: str) -> str:
    """Return a path as the daemon understands it, which stands in another directory."""
    import os

    return os.path.abspath(path) if path else ""  # noqa: PTH100


def _warn_all(app: App, cluster: Mapping[str, Any]) -> None:
    for text in cluster.get("Warnings") or ():
        app.warn(f"WARNING: {text}")


def _init(app: App, values: Values, words: list[str]) -> None:
    body = _given(
        Name=values.text("name"),
        Endpoints=list(values.texts("etcd")),
        Prefix=values.text("prefix"),
        EtcdCACert=_absolute(values.text("etcd-cacert")),
        EtcdCert=_absolute(values.text("etcd-cert")),
        EtcdKey=_absolute(values.text("etcd-key")),
        EtcdUser=values.text("etcd-user"),
        EtcdPasswordFile=_absolute(values.text("etcd-password-file")),
        Address=values.text("address"),
        Listen=values.text("listen"),
        GoneAfter=_seconds(values, "gone-after"),
    )
    cluster = app.client.post(_PATH, body)
    _warn_all(app, cluster)
    app.print(f"Cluster {cluster['ID']} is founded, and this host is its node {cluster['Name']}.")
    app.print("Another host joins with:  carrick join THIS-HOST --token TOKEN")
    app.print("A token is made with:     carrick cluster token")


def cluster_lines(cluster: Mapping[str, Any]) -> list[str]:
    """Return the text of `carrick cluster info`."""
    etcd = ", ".join(cluster.get("Endpoints") or ())
    rows = [
        ("Cluster", cluster.get("ID")),
        ("Node", f"{cluster.get('Name')} ({cluster.get('NodeID')})"),
        ("Nodes", cluster.get("Nodes")),
        ("etcd", f"{etcd} (on this host, by Carrick)" if cluster.get("OwnEtcd") else etcd),
        ("Store", cluster.get("Problem") or "answers"),
        ("Authority", "on this host" if cluster.get("HasAuthority") else "on another host"),
        ("Certificate", f"good until {cluster.get('CertificateEnds')}"),
    ]
    return [f"{title + ':':<13}{value}" for title, value in rows]


def _info(app: App, values: Values, words: list[str]) -> None:
    cluster = app.client.get(_PATH)
    if layout := values.text("format"):
        show_value(app, cluster, layout)
        return
    for line in cluster_lines(cluster):
        app.print(line)
    _warn_all(app, cluster)


def _token(app: App, values: Values, words: list[str]) -> None:
    body = {"TTL": _seconds(values, "ttl"), "Uses": values.number("uses")}
    app.print(app.client.post(f"{_PATH}/token", body)["Token"])


def _recover(app: App, values: Values, words: list[str]) -> None:
    count = app.client.post(f"{_PATH}/recover")["Records"]
    app.print(f"The cluster is in its store again: {count} records are written.")
    app.print("The other nodes find themselves in it by themselves:  carrick node ls")
    app.print("Join tokens are gone; new ones are made with:         carrick cluster token")


def _read_token(app: App, values: Values) -> str:
    """Return the token, which may stand in a file, or come on standard input."""
    if values.given("token") and values.given("token-file"):
        raise CliError("--token and --token-file cannot be used together", 2)
    path = values.text("token-file")
    text = values.text("token")
    if path == "-":
        text = app.stdin.read(_LONGEST_TOKEN)
    elif path:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(_LONGEST_TOKEN)
        except OSError as error:
            raise CliError(f"--token-file {path}: {error.strerror}", 2) from None
    if not text.strip():
        raise CliError(
            "a token is needed: --token or --token-file. 'carrick cluster token' on a member makes one", 2
        )
    return text.strip()


def _join(app: App, values: Values, words: list[str]) -> None:
    body = _given(
        Host=words[0],
        Token=_read_token(app, values),
        Name=values.text("name"),
        Address=values.text("address"),
        Listen=values.text("listen"),
    )
    cluster = app.client.post(f"{_PATH}/join", body)
    _warn_all(app, cluster)
    app.print(f"This host is node {cluster['Name']} of cluster {cluster['ID']}.")


def _leave(app: App, values: Values, words: list[str]) -> None:
    app.client.delete(_PATH, {"force": values.on("force")})
    app.print("This host has left the cluster.")


INIT = Command(
    "init",
    _init,
    summary="Found a cluster on this host",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        _ADDRESS,
        Flag("etcd", "An etcd that is there: https://HOST:2379 (default: one is started here)", kind=STRINGS),
        Flag("etcd-cacert", "File with the authority of that etcd", kind=STRING, complete="file"),
        Flag("etcd-cert", "File with a certificate that it lets in", kind=STRING, complete="file"),
        Flag("etcd-key", "File with that certificate's key", kind=STRING, complete="file"),
        Flag("etcd-password-file", "File with the user's password", kind=STRING, complete="file"),
        Flag("etcd-user", "User of that etcd", kind=STRING),
        Flag("gone-after", "How long a lost node keeps its addresses (default 10m)", kind=DURATION),
        _LISTEN,
        _NAME,
        Flag("prefix", "Where in etcd the cluster's keys begin (default 'carrick/')", kind=STRING),
    ),
    own=True,
    notes="Networks and containers of this host stay as they are. The authority that lets nodes in is kept"
    " on this host. The files are read by carrickd, and copied.",
    examples=(
        "carrick cluster init",
        "carrick cluster init --address eth1 --name alpha",
        "carrick cluster init --etcd https://192.0.2.10:2379 --etcd-cacert ca.pem --etcd-cert me.pem"
        " --etcd-key me.key",
    ),
)
INFO = Command(
    "info",
    _info,
    summary="Show the cluster that this host is in",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(_FORMAT,),
    own=True,
    examples=("carrick cluster info", "carrick cluster info --format '{{.ID}}'"),
)
TOKEN = Command(
    "token",
    _token,
    summary="Make a token for other hosts to join with",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag("ttl", "How long it is good", kind=DURATION, default=3600 * _SECOND_NS),
        Flag("uses", "How many hosts may join with it; 0 is any number", kind=INT),
    ),
    own=True,
    notes="Whoever has the token can join: give it to nobody else. It is shown this once.",
    examples=("carrick cluster token", "carrick cluster token --ttl 10m --uses 1"),
)
RECOVER = Command(
    "recover",
    _recover,
    summary="Write the cluster again to an etcd that has lost it",
    usage="",
    arity=NONE,
    own=True,
    notes="When etcd's data are gone and there is no backup: from what this host knows, into an empty etcd at"
    " the old address. It is refused while etcd holds a cluster. What runs goes on meanwhile. Join tokens are"
    " gone, and who was removed with 'carrick node rm' is not known any more.",
    examples=("carrick cluster recover",),
)
JOIN = Command(
    "join",
    _join,
    summary="Join the cluster that another host is in",
    usage="[OPTIONS] HOST[:PORT]",
    arity=Arity(1, 1),
    flags=(
        _ADDRESS,
        _LISTEN,
        _NAME,
        Flag("token", "The token; others on this machine may see it here", kind=STRING),
        Flag("token-file", "File with the token; '-' is standard input", kind=STRING, complete="file"),
    ),
    own=True,
    notes="The token holds the hash of the cluster's authority: its secret is not sent to anybody else."
    " Networks and containers of this host stay as they are.",
    examples=(
        "carrick join 192.0.2.10 --token-file token.txt",
        "ssh alpha carrick cluster token --uses 1 | carrick join alpha --token-file -",
    ),
)
LEAVE = Command(
    "leave",
    _leave,
    summary="Leave the cluster",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(Flag("force", "Also if the cluster cannot be told, or others need this host", short="f"),),
    own=True,
    examples=("carrick leave", "carrick leave --force"),
)
