"""`carrick lab`: several hosts on one machine, by `carrick.lab`, which each command imports when it runs.

The daemon has no part in this: nothing here speaks to it.
"""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Arity, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import BOOL, INT, LIST, STRING, Flag, Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carrick.lab.lab import Lab

_DEFAULT_NAME = "lab"
_RUN_BASE, _STATE_BASE = "/run/carrick-lab", "/var/lib/carrick-lab"
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127

_NAME = Flag("name", "Name of the lab (default: CARRICK_LAB, else 'lab')", kind=STRING)
_DIR = Flag("dir", f"The lab's directory (default: {_RUN_BASE}/NAME)", kind=STRING)
_WHICH = (_NAME, _DIR)


def _name(app: App, values: Values) -> str:
    return values.text("name") or app.environ.get("CARRICK_LAB", "") or _DEFAULT_NAME


def _lab(app: App, values: Values) -> Lab:
    """Return the lab that the flags name."""
    from pathlib import Path

    from carrick.lab.lab import Lab
    from carrick.lab.plan import check_name
    from carrick.lab.programs import check_root

    check_root()
    name = check_name(_name(app, values))
    return Lab(Path(values.text("dir") or f"{_RUN_BASE}/{name}").absolute())


def _say(app: App, text: str) -> None:
    app.print(text)
    app.out.flush()


# --- Up and down ------------------------------------------------------------------------------


def _up(app: App, values: Values, words: list[str]) -> None:
    from pathlib import Path

    from carrick.lab.cluster import join_cluster
    from carrick.lab.plan import LabSpec
    from carrick.model.errors import InvalidRequest

    lab, name = _lab(app, values), _name(app, values)
    etcd = values.text("etcd")
    if etcd not in ("none", "1", "3"):
        raise CliError(f"--etcd {etcd}: there can be none, 1 or 3", 2)
    configuration = ""
    if path := values.text("config"):
        try:
            configuration = Path(path).read_text()
        except OSError as error:
            raise InvalidRequest(f"configuration file {path}: {error.strerror}") from None
    spec = LabSpec(
        hosts=values.number("hosts"),
        segments=values.number("segments"),
        etcd=0 if etcd == "none" else int(etcd),
        underlay=values.text("underlay"),
        mtu=values.number("mtu"),
        configuration=configuration,
    )
    lab.up(
        spec,
        state_dir=Path(values.text("state-dir") or f"{_STATE_BASE}/{name}").absolute(),
        name=name,
        archives=[Path(path) for path in values.texts("image")],
        busybox=values.on("busybox"),
        say=lambda line: _say(app, line),
    )
    if spec.etcd and not values.on("no-cluster"):
        join_cluster(lab, say=lambda line: _say(app, line))
    which = "" if name == _DEFAULT_NAME else f" --name {name}"
    which += f" --dir {values.text('dir')}" if values.text("dir") else ""
    app.print(f"{name} is up. Now try: carrick lab exec{which} host1 -- carrick run --rm busybox hostname")


def _down(app: App, values: Values, words: list[str]) -> None:
    if not _lab(app, values).down():
        app.warn(f"There is no lab {_name(app, values)}.")


def _ls(app: App, values: Values, words: list[str]) -> None:
    from pathlib import Path

    from carrick.doors.cli.tables import table
    from carrick.lab.record import LabDirectory

    rows = [("LAB", "PHASE", "HOSTS", "SEGMENTS", "STATE DIRECTORY")]
    for path in sorted(Path(_RUN_BASE).glob("*")):
        if (record := LabDirectory(path).read()) is not None:
            spec = record.spec
            rows.append(
                (record.name, record.phase, str(spec.hosts), str(spec.segments), str(record.state_dir))
            )
    app.out.write(table(rows))


# --- On the hosts -----------------------------------------------------------------------------


def _exec(app: App, values: Values, words: list[str]) -> int:
    host, *command = words
    if command and command[0] == "--":
        command = command[1:]
    process = _lab(app, values).process(host)
    return _run_there(app, host, process.pid, command or ["/bin/bash"])


def _run_there(app: App, host: str, pid: int, command: list[str]) -> int:
    """Run a command on a host, with our streams, our terminal, and our directory where it is there too."""
    import signal
    import subprocess
    from pathlib import Path

    from carrick.lab.nodes import base_environment
    from carrick.lab.processes import enter

    app.out.flush()
    ours = {k: v for k, v in app.environ.items() if not k.startswith(("CARRICK_", "DOCKER_"))}
    there = base_environment()
    environment = {**there, **ours, "PATH": there["PATH"], "DOCKER_HOST": there["DOCKER_HOST"]}
    try:
        directory = str(Path.cwd())
    except OSError:
        directory = "/"
    enter(pid)
    # Ctrl-C and Ctrl-\ are for the command, which shares our terminal; handlers are not passed on to it.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda _number, _frame: None)
    try:
        child = subprocess.Popen(
            command,
            env=environment,
            cwd=directory if Path(directory).is_dir() else "/",
        )
    except FileNotFoundError:
        app.complain(f"carrick: {command[0]}: not found on {host}")
        return _NOT_FOUND
    except OSError as error:
        app.complain(f"carrick: {command[0]}: {error.strerror} on {host}")
        return _NOT_EXECUTABLE
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: child.send_signal(number))
    code = child.wait()
    return 128 - code if code < 0 else code


def _logs(app: App, values: Values, words: list[str]) -> int:
    import subprocess

    from carrick.lab.nodes import files_of

    lab = _lab(app, values)
    record = lab.record()
    log = files_of(record, lab.topology(record).member(words[0]).name).log
    count = values.text("tail")
    if count != "all" and not count.isdecimal():
        raise CliError(f"--tail {count}: give a number of lines, or all", 2)
    app.out.flush()
    follow = ["--follow=name", "--retry"] if values.on("follow") else []
    return subprocess.call(["tail", "-n", "+1" if count == "all" else count, *follow, str(log)])


def _stop(app: App, values: Values, words: list[str]) -> None:
    _lab(app, values).stop(*words, daemon_only=values.on("daemon"))
    _print_all(app, words)


def _kill(app: App, values: Values, words: list[str]) -> None:
    _lab(app, values).kill(*words, daemon_only=values.on("daemon"))
    _print_all(app, words)


def _start(app: App, values: Values, words: list[str]) -> None:
    _lab(app, values).start(*words)
    _print_all(app, words)


def _print_all(app: App, names: list[str]) -> None:
    for name in names:
        app.print(name)


def _status(app: App, values: Values, words: list[str]) -> None:
    from dataclasses import asdict

    from carrick.doors.cli.tables import table
    from carrick.doors.cli.template.values import to_json
    from carrick.lab.status import read_status, render_rows

    if values.text("format") not in ("", "json"):
        raise CliError("--format can only be 'json' here", 2)
    status = read_status(_lab(app, values).record())
    if values.text("format") == "json":
        app.print(to_json(asdict(status)))
        return
    app.out.write(table(render_rows(status.nodes)))
    if status.phase == "ended":
        app.warn(f"Lab {status.name} has ended. 'carrick lab up' begins anew.")
    elif status.loss != "0%":
        app.print(f"{status.loss} of the packets between them are lost")


# --- Faults -----------------------------------------------------------------------------------


def _cut(app: App, values: Values, words: list[str]) -> None:
    _lab(app, values).cut(*words, one_way=values.on("one-way"))


def _heal(app: App, values: Values, words: list[str]) -> None:
    _lab(app, values).heal(*words)


def _loss(app: App, values: Values, words: list[str]) -> None:
    _lab(app, values).loss(words[0])


def _rate(app: App, values: Values, words: list[str]) -> None:
    _lab(app, values).rate(words[0], words[1:])


# --- etcd -------------------------------------------------------------------------------------


def _etcd_names(lab: Lab, words: list[str]) -> list[str]:
    """Return the names given, or all of them."""
    from carrick.model.errors import InvalidRequest, NotFound

    names = [node.name for node in lab.topology(lab.record()).etcd]
    if not names:
        raise NotFound("this lab has no etcd", remedy="'carrick lab up --etcd 1' makes one.")
    if unknown := [word for word in words if word not in names]:
        raise InvalidRequest(f"{unknown[0]} is no etcd of this lab", remedy=f"There are {', '.join(names)}.")
    return words or names


def _etcd_stop(app: App, values: Values, words: list[str]) -> None:
    lab = _lab(app, values)
    names = _etcd_names(lab, words)
    lab.stop(*names, daemon_only=True)
    _print_all(app, names)


def _etcd_start(app: App, values: Values, words: list[str]) -> None:
    lab = _lab(app, values)
    names = _etcd_names(lab, words)
    lab.start(*names)
    _print_all(app, names)


def _etcd_compact(app: App, values: Values, words: list[str]) -> None:
    app.print(f"compacted: revisions before {_lab(app, values).compact_etcd()} are gone")


def _etcd_move_leader(app: App, values: Values, words: list[str]) -> None:
    old, new = _lab(app, values).move_etcd_leader()
    app.print(f"{old} has handed over to {new}")


# --- The commands -----------------------------------------------------------------------------

UP = Command(
    "up",
    _up,
    summary="Make hosts on this machine, with a network between them and a carrickd on each",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        *_WHICH,
        Flag("hosts", "Number of hosts", kind=INT, default=3),
        Flag("segments", "Number of subnets that they stand in, in turn", kind=INT, default=1),
        Flag("etcd", "Number of etcd beside them: none, 1 or 3", kind=STRING, default="1"),
        Flag("no-cluster", "Leave each host by itself: found no cluster on the etcd", kind=BOOL),
        Flag("underlay", "IPv4 subnet that the segments are cut from", kind=STRING, default="10.99.0.0/16"),
        Flag("mtu", "MTU of the network between the hosts", kind=INT, default=1500),
        Flag("image", "Archive of an image or of a root file system to load on each host", kind=LIST),
        Flag("busybox", "Give each host an image of this machine's busybox", kind=BOOL, default=True),
        Flag("config", "Settings for each host's carrickd.toml", kind=STRING),
        Flag(
            "state-dir",
            f"What the hosts keep; not on overlayfs (default: {_STATE_BASE}/NAME)",
            kind=STRING,
        ),
    ),
    own=True,
    notes="The hosts are named host1, host2 and so on, and know each other by these names."
    " No packet of theirs leaves the lab. What an interrupted 'up' has left, the next one clears away.",
    examples=("carrick lab up", "carrick lab up --hosts 4 --segments 2 --etcd 3 --name big"),
)
DOWN = Command(
    "down",
    _down,
    summary="End a lab and remove all of it",
    usage="[OPTIONS]",
    arity=NONE,
    flags=_WHICH,
    own=True,
    examples=("carrick lab down",),
)
LS = Command(
    "ls",
    _ls,
    summary="List the labs on this machine",
    usage="",
    arity=NONE,
    own=True,
    notes=f"Those whose directory is in {_RUN_BASE}.",
    examples=("carrick lab ls",),
)
EXEC = Command(
    "exec",
    _exec,
    summary="Run a command on a host of the lab, or a shell",
    usage="[OPTIONS] HOST [--] [COMMAND [ARG...]]",
    arity=Arity(1, None),
    flags=_WHICH,
    passthrough=True,
    own=True,
    notes="Ends with the command's exit code; 127 if there is no such command. 'router' and 'etcd' can be"
    " entered too.",
    examples=(
        "carrick lab exec host1 -- carrick run --rm busybox hostname",
        "carrick lab exec host2 -- docker ps",
        "carrick lab exec host1",
    ),
)
LOGS = Command(
    "logs",
    _logs,
    summary="Show what a host's carrickd, or etcd, has logged",
    usage="[OPTIONS] HOST",
    arity=Arity(1, 1),
    flags=(
        *_WHICH,
        Flag("follow", "Follow log output", short="f"),
        Flag("tail", "Number of lines to show from the end", kind=STRING, short="n", default="all"),
    ),
    own=True,
    examples=("carrick lab logs host1", "carrick lab logs -f --tail 20 host2"),
)
STATUS = Command(
    "status",
    _status,
    summary="Show the hosts of a lab, what runs on them, and what is broken",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(*_WHICH, Flag("format", "Format the output: 'json'", kind=STRING)),
    own=True,
    examples=("carrick lab status", "carrick lab status --format json"),
)
_DAEMON = Flag("daemon", "Only carrickd (or etcd); all else on the host goes on")
STOP = Command(
    "stop",
    _stop,
    summary="Switch hosts off in good order",
    usage="[OPTIONS] HOST [HOST...]",
    arity=Arity(1, None),
    flags=(*_WHICH, _DAEMON),
    own=True,
    notes="carrickd is told to end, then everything else is. What is on its disk stays.",
    examples=("carrick lab stop host2", "carrick lab stop --daemon host2"),
)
KILL = Command(
    "kill",
    _kill,
    summary="Cut the power of hosts",
    usage="[OPTIONS] HOST [HOST...]",
    arity=Arity(1, None),
    flags=(*_WHICH, _DAEMON),
    own=True,
    notes="Everything on them is killed at once, without a chance to tidy up. What is on their disks stays.",
    examples=("carrick lab kill host2", "carrick lab kill --daemon host2"),
)
START = Command(
    "start",
    _start,
    summary="Switch hosts on again, or start their carrickd",
    usage="[OPTIONS] HOST [HOST...]",
    arity=Arity(1, None),
    flags=_WHICH,
    own=True,
    examples=("carrick lab start host2",),
)
CUT = Command(
    "cut",
    _cut,
    summary="Let nothing through between two hosts, or between one and all others",
    usage="[OPTIONS] HOST [HOST]",
    arity=Arity(1, 2),
    flags=(*_WHICH, Flag("one-way", "Only what the first host sends is lost")),
    own=True,
    examples=("carrick lab cut host1 host2", "carrick lab cut host1 etcd", "carrick lab cut host3"),
)
HEAL = Command(
    "heal",
    _heal,
    summary="Take back cuts: those between two hosts, of one, or all",
    usage="[OPTIONS] [HOST [HOST]]",
    arity=Arity(0, 2),
    flags=_WHICH,
    own=True,
    examples=("carrick lab heal host1 host2", "carrick lab heal"),
)
LOSS = Command(
    "loss",
    _loss,
    summary="Lose a share of all packets between hosts",
    usage="[OPTIONS] SHARE",
    arity=Arity(1, 1),
    flags=_WHICH,
    own=True,
    notes="Packets are lost by chance, each for itself. A large one that offloading made counts as one.",
    examples=("carrick lab loss 3%", "carrick lab loss 0%"),
)
RATE = Command(
    "rate",
    _rate,
    summary="Hold what goes to hosts to a rate",
    usage="[OPTIONS] RATE [HOST...]",
    arity=Arity(1, None),
    flags=_WHICH,
    own=True,
    notes="Without a host, all of them. 'off' takes the limit away.",
    examples=("carrick lab rate 10mbit host2", "carrick lab rate off"),
)
ETCD_STOP = Command(
    "stop",
    _etcd_stop,
    summary="End etcd; its data stay",
    usage="[OPTIONS] [ETCD...]",
    arity=Arity(0, None),
    flags=_WHICH,
    own=True,
    examples=("carrick lab etcd stop", "carrick lab etcd stop etcd2"),
)
ETCD_START = Command(
    "start",
    _etcd_start,
    summary="Start etcd again",
    usage="[OPTIONS] [ETCD...]",
    arity=Arity(0, None),
    flags=_WHICH,
    own=True,
    examples=("carrick lab etcd start",),
)
ETCD_COMPACT = Command(
    "compact",
    _etcd_compact,
    summary="Let etcd forget all revisions but the last",
    usage="[OPTIONS]",
    arity=NONE,
    flags=_WHICH,
    own=True,
    examples=("carrick lab etcd compact",),
)
ETCD_MOVE_LEADER = Command(
    "move-leader",
    _etcd_move_leader,
    summary="Let another of three etcd lead",
    usage="[OPTIONS]",
    arity=NONE,
    flags=_WHICH,
    own=True,
    examples=("carrick lab etcd move-leader",),
)
