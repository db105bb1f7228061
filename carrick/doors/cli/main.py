"""Entry point of `carrick`: build the tree, run one command, turn its end into an exit code."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

import click

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Group
from carrick.doors.cli.errors import CliError, Quit, UsageProblem, describe, exit_code
from carrick.doors.cli.registry import ROOT
from carrick.doors.client.errors import DaemonUnreachable
from carrick.model.errors import CarrickError

_INTERRUPTED = 130
_RUNNERS = frozenset(("carrick run", "carrick container run"))


def root_group() -> Group:
    """Return the tree of commands, with nothing imported yet."""
    return Group(
        "carrick",
        "Containers and the networks that join them",
        ROOT,
        params=[
            click.Option(
                ["--host", "-H"],
                default="",
                help="Daemon socket to connect to, as unix:///path (environment: CARRICK_HOST)",
            ),
            click.Option(["--debug", "-D"], is_flag=True, help="Show where an unexpected error happened"),
            click.Option(["--version", "-v"], is_flag=True, help="Print version information and quit"),
        ],
        callback=_apply_global_options,
    )


@click.pass_context
def _apply_global_options(ctx: click.Context, host: str, debug: bool, version: bool) -> None:
    app = ctx.find_object(App)
    assert app is not None
    app.debug = debug
    if host:
        app.host = host
    if version:
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
    root = root_group()
    try:
        with root.make_context("carrick", list(words), obj=app) as context:
            code = int(root.invoke(context) or 0)
        out.flush()
        return code
    except CarrickError as error:
        with suppress(BrokenPipeError):
            out.flush()
        return _report(app, error)
    except click.exceptions.UsageError as error:
        app.complain(_flag_problem(error))
        app.warn("\nRun 'carrick --help' for more information")
        return 125
    except KeyboardInterrupt:
        with suppress(BrokenPipeError):
            out.flush()
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


def _flag_problem(error: click.exceptions.UsageError) -> str:
    if isinstance(error, click.exceptions.NoSuchOption):
        name = error.option_name
        if name.startswith("--"):
            return f"unknown flag: {name}"
        return f"unknown shorthand flag: '{name.lstrip('-')[:1]}' in {name}"
    return error.format_message()


def _silence(out: TextIO) -> None:
    """Point `out` at /dev/null, so that the interpreter's last flush does not fail as well."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, out.fileno())
        os.close(null)


def _complete(instruction: str) -> int:
    """Answer the shell's completion script (click's protocol)."""
    from click.shell_completion import shell_complete

    app = App(stdin=sys.stdin, out=sys.stdout, err=sys.stderr, environ=os.environ)
    arguments: dict[str, Any] = {"obj": app}
    return shell_complete(root_group(), arguments, "carrick", "_CARRICK_COMPLETE", instruction)


def main() -> None:
    """Run `carrick` with this process's arguments and streams, and exit."""
    for stream in (sys.stdout, sys.stderr):
        # A name or a log line need not be valid UTF-8; printing it must not fail.
        with suppress(AttributeError):
            stream.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    if instruction := os.environ.get("_CARRICK_COMPLETE"):
        sys.exit(_complete(instruction))
    code = run(sys.argv[1:], stdin=sys.stdin, out=sys.stdout, err=sys.stderr, environ=os.environ)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
    sys.exit(code)
