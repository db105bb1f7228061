"""`carrick flannel import|env|ls|release`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Arity, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import BOOL, STRING, Flag, Values
from carrick.doors.cli.listing import FORMAT, show_records
from carrick.doors.cli.records.lent import LentRecord
from carrick.doors.client.wire import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_LENT = "/carrick/v1/lent"
_LARGEST_FILE = 256 * 1024


def _read(app: App, path: str) -> str:
    if path == "-":
        return app.stdin.read(_LARGEST_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(_LARGEST_FILE)
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{path}: {getattr(error, 'strerror', None) or error}", 2) from None


def _absolute(path: str) -> str:
    """Return a path as the daemon understands it, which stands in another directory."""
    import os

    return os.path.abspath(path) if path else ""  # noqa: PTH100


def _import(app: App, values: Values, words: list[str]) -> None:
    if not values.text("network"):
        raise CliError("a name for the network is needed: --network", 2)
    body = {
        "Name": values.text("network"),
        "Config": _read(app, words[0]),
        "IPMasq": values.on("ip-masq"),
        "DryRun": values.on("dry-run"),
    }
    answer = app.client.post("/carrick/v1/networks/flannel", body)
    for note in answer.get("Notes") or ():
        app.warn(f"note: {note}")
    if values.on("dry-run"):
        app.print(_as_command(answer))
    else:
        app.print(str(answer["Id"]))


def _as_command(answer: Mapping[str, Any]) -> str:
    """Return the `carrick network create` that does the same."""
    import shlex

    subnets = list(answer.get("Subnets") or ())
    command = ["carrick", "network", "create", "-d", str(answer.get("Driver"))]
    if not any(":" not in subnet for subnet in subnets):
        command.append("--ipv4=false")
    if any(":" in subnet for subnet in subnets):
        command.append("--ipv6")
    for subnet in subnets:
        command += ["--subnet", subnet]
    for key, value in sorted((answer.get("Options") or {}).items()):
        command += ["-o", f"{key}={value}"]
    return shlex.join([*command, str(answer.get("Name"))])


def _env(app: App, values: Values, words: list[str]) -> None:
    layout = values.text("format")
    if layout not in ("docker", "env", "systemd"):
        raise CliError(f"--format {layout}: expected docker, env or systemd", 2)
    body = {"Bridge": values.text("bridge"), "File": _absolute(values.text("file"))}
    lent = app.client.post(f"{_LENT}/{quote(words[0])}", body)
    if lent.get("Problem"):
        app.warn(f"WARNING: {lent['Problem']}")
    if layout == "env":
        app.out.write(lent["Env"])
    elif layout == "systemd":
        app.out.write(lent["DockerEnv"])
    else:
        app.print(" ".join(lent["DockerOptions"]))


def _ls(app: App, values: Values, words: list[str]) -> None:
    show_records(
        app,
        LentRecord,
        [LentRecord(item) for item in app.client.get(_LENT)],
        values.text("format"),
        columns=("Network", "Bridge", "Subnet", "MTU", "File", "Problem"),
    )


def _release(app: App, values: Values, words: list[str]) -> None:
    app.client.delete(f"{_LENT}/{quote(words[0])}", {"force": values.on("force")})
    app.print(words[0])


IMPORT = Command(
    "import",
    _import,
    summary="Create a routed network from flannel's net-conf.json",
    usage="[OPTIONS] FILE|- --network NAME",
    arity=Arity(1, 1),
    flags=(
        Flag("dry-run", "Print the 'carrick network create' that does the same, and do nothing"),
        Flag("ip-masq", "Masquerade what leaves the network", kind=BOOL, default=True),
        Flag("network", "Name of the network", kind=STRING, short="n"),
    ),
    own=True,
    notes="What of the file is otherwise here, is said. Once for the cluster: every node sees the network.",
    examples=("carrick flannel import /etc/kube-flannel/net-conf.json --network apps",),
)
ENV = Command(
    "env",
    _env,
    summary="Give this host's part of a network to a bridge of another engine",
    usage="[OPTIONS] NETWORK",
    arity=Arity(1, 1, "network"),
    flags=(
        Flag("bridge", "The bridge that gets it (default 'docker0')", kind=STRING),
        Flag("file", "What to write (default '/run/flannel/subnet.env')", kind=STRING, complete="file"),
        Flag("format", "What to print: 'docker', 'env' or 'systemd'", kind=STRING, default="docker"),
    ),
    own=True,
    notes="The node claims a block and keeps it until 'carrick flannel release'. Carrick makes no bridge for"
    " it and gives no addresses of it; it leads the other nodes there. May be repeated.",
    examples=(
        "dockerd $(carrick flannel env apps)",
        "carrick flannel env apps --format systemd > /run/docker_opts.env",
    ),
)
LS = Command(
    "ls",
    _ls,
    summary="List what bridges of other engines on this host have",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(FORMAT,),
    own=True,
    examples=("carrick flannel ls",),
)
RELEASE = Command(
    "release",
    _release,
    summary="Give back this host's part of a network",
    usage="[OPTIONS] NETWORK",
    arity=Arity(1, 1, "network"),
    flags=(Flag("force", "Also while a bridge has addresses of it", short="f"),),
    own=True,
    examples=("carrick flannel release apps",),
)
