"""`carrick system install` and `uninstall`: the systemd units, by `carrick.doors.cli.system_install`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Command
from carrick.doors.cli.flags import Flag, Values


def _install(app: App, values: Values, words: list[str]) -> int:
    from carrick.doors.cli.system_install import install

    return install(app, dry_run=values.on("dry-run"), yes=values.on("yes"))


def _uninstall(app: App, values: Values, words: list[str]) -> int:
    from carrick.doors.cli.system_install import uninstall

    return uninstall(app, dry_run=values.on("dry-run"))


_DRY_RUN = Flag("dry-run", "Print what would be done, and do nothing")
INSTALL = Command(
    "install",
    _install,
    summary="Install and start the systemd units of Carrick's daemons",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        _DRY_RUN,
        Flag("yes", "Do not ask for confirmation; needed where there is no terminal", short="y"),
    ),
    own=True,
    notes="Says what it is going to do, and asks. It may be repeated: what is as it should be stays.",
    examples=("carrick system install", "carrick system install --yes"),
)
UNINSTALL = Command(
    "uninstall",
    _uninstall,
    summary="Stop and remove the systemd units of Carrick's daemons",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(_DRY_RUN,),
    own=True,
    examples=("carrick system uninstall",),
)
