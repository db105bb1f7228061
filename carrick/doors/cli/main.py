"""Entry point of `carrick`: run one command, turn its end into an exit code."""

from __future__ import annotations

import os
import sys

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Group
from carrick.doors.cli.errors import CliError, Quit, UsageProblem, describe, exit_code
from carrick.doors.cli.flags import STRING, Flag, Values
from carrick.doors.cli.registry import ROOT
from carrick.doors.client.errors import DaemonUnreachable
from carrick.model.errors import CarrickError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

_INTERRUPTED = 130
_RUNNERS = frozenset(("carrick run", "carrick container run"))


def root_group() -> Group:
    """Return the tree of commands, with nothing imported yet."""
    return Group(
        "carrick",
        "Containers and the networks that join them",
        ROOT,
        flags=(
            Flag(
                "host",
                "Daemon socket to connect to, as unix:///path (environment: CARRICK_HOST)",
                kind=STRING,
                short="H",
            ),
            Flag("debug", "Show where an unexpected error happened", short="D"),
            Flag("version", "Print version information and quit", short="v"),
        ),
        apply=_apply_global_flags,
    )


def _apply_global_flags(app: App, values: Values) -> None:
    app.debug = values.on("debug")
    if host := values.text("host"):
        app.host = host
    if values.on("version"):
        from carrick import __version__

        app.print(f"Carrick version {__version__}")
        raise Quit(0)


def run(
    words: Sequence[str],
    *,
    stdin: TextIO,
    out: TextIO,
    err: TextIO,
    environ: Mapping[str, str],
) -> int:
    """Run the command line `words` (without the program's name) and return the exit code."""
    app = App(stdin=stdin, out=out, err=err, environ=environ)
    try:
        code = root_group().execute(app, "carrick", words)
        out.flush()
        return code
    except CarrickError as error:
        _flush(out)
        return _report(app, error)
    except KeyboardInterrupt:
        _flush(out)
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does: nobody is left to tell.
        _silence(out)
        return 1
    except Exception as error:
        if app.debug:
            raise
        app.complain(
            f"carrick: unexpected {type(error).__name__}: {error}\n"
            "This is a bug of Carrick's, or the daemon is no Carrick daemon;"
            " 'carrick --debug ...' shows where it happened."
        )
        return 1
    finally:
        app.close()


def _report(app: App, error: CarrickError) -> int:
    """Print `error` as Docker would, and return the exit code."""
    path = app.command_path
    if isinstance(error, Quit):
        return error.code
    if isinstance(error, UsageProblem):
        text = f"carrick: {error.message}" if error.prefix else error.message
        app.complain(text)
        words = _usage_lines(app)
        app.warn("\n" + words)
        return error.code
    if isinstance(error, DaemonUnreachable):
        app.complain(_unreachable(error))
        return 125 if path in _RUNNERS else exit_code(error, own=app.own)
    if path in _RUNNERS and not isinstance(error, CliError):
        app.complain(f"carrick: {describe(error)}")
        app.warn(f"\nRun '{path} --help' for more information")
        return 125
    if text := describe(error):
        app.complain(text)
    return exit_code(error, own=app.own)


def _usage_lines(app: App) -> str:
    usage = f"{app.usage}\n\n" if app.usage else ""
    return f"{usage}Run '{app.command_path} --help' for more information"


def _unreachable(error: DaemonUnreachable) -> str:
    if error.denied:
        return (
            f"permission denied while trying to connect to the Carrick daemon at {error.address}."
            " Run the command as root, or join the group that owns the socket."
        )
    return (
        f"Cannot connect to the Carrick daemon at {error.address}. Is carrickd running?"
        " Start it with 'systemctl start carrickd', or run 'carrickd' as root."
        " If it listens elsewhere, name its socket with --host or CARRICK_HOST."
    )


def _flush(out: TextIO) -> None:
    try:
        out.flush()
    except BrokenPipeError:
        return  # the error that we are about to report matters more


def _silence(out: TextIO) -> None:
    """Point `out` at /dev/null, so that the interpreter's last flush does not fail as well."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, out.fileno())
        os.close(null)
    except (OSError, ValueError):
        return  # it is no file


def _complete(instruction: str) -> int:
    from carrick.doors.cli.click_tree import answer

    app = App(stdin=sys.stdin, out=sys.stdout, err=sys.stderr, environ=os.environ)
    return answer(root_group(), app, instruction)


def main() -> None:
    """Run `carrick` with this process's arguments and streams, and exit."""
    for stream in (sys.stdout, sys.stderr):
        # A name or a log line need not be valid UTF-8; printing it must not fail. (A stream that
        # is not a text file, or None because it was closed, is taken as it is.)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="surrogateescape")
    if instruction := os.environ.get("_CARRICK_COMPLETE"):
        sys.exit(_complete(instruction))
    code = run(sys.argv[1:], stdin=sys.stdin, out=sys.stdout, err=sys.stderr, environ=os.environ)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
    sys.exit(code)
