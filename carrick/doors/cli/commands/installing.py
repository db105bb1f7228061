"""`carrick system install` and `uninstall`: the systemd units, by `carrick.doors.cli.system_install`."""

from importlib import import_module

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import Flag, Values

_MODULE = "carrick.doors.cli.system_install"


def _call(app: App, values: Values, name: str) -> int:
    try:
        function = getattr(import_module(_MODULE), name)
    except ModuleNotFoundError as error:
        if error.name != _MODULE:
            raise
        raise CliError(f"this build of Carrick has no 'system {name}'", 7) from None
    return int(function(app, dry_run=values.on("dry-run")) or 0)


def _install(app: App, values: Values, words: list[str]) -> int:
    return _call(app, values, "install")


def _uninstall(app: App, values: Values, words: list[str]) -> int:
    return _call(app, values, "uninstall")


_DRY_RUN = Flag("dry-run", "Print what would be done, and do nothing")
INSTALL = Command(
    "install",
    _install,
    summary="Install and start the systemd units of Carrick's daemons",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(_DRY_RUN,),
    own=True,
    examples=("carrick system install",),
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
