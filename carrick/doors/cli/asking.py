"""Questions to whoever sits at the terminal."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.errors import CliError


def confirm(app: App, question: str) -> None:
    """Ask for a yes on standard input. Raises CliError for anything else."""
    app.out.write(f"{question} [y/N] ")
    app.out.flush()
    answer = app.stdin.readline()
    if not answer.endswith("\n"):
        app.print("")
    if answer.strip().lower() not in ("y", "yes"):
        raise CliError("")
