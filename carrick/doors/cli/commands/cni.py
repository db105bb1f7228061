"""`carrick cni install|uninstall|config`, by `carrick.doors.cli.cni_install`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import LIST, STRING, Flag, Values

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z"


def _configuration(values: Values) -> tuple[str, str]:
    """Return a configuration's name and text, as the flags say."""
    import re

    from carrick.doors.cli.cni_install import NAME, VERSION, render_configuration

    name = values.text("name") or values.text("network") or NAME
    if not re.match(_NAME, name):
        raise CliError(f"--name {name}: letters, digits and _ . - are allowed, first a letter or digit", 2)
    options = {}
    for text in values.texts("opt"):
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise CliError(f"--opt {text}: write KEY=VALUE", 2)
        options[key] = value
    return name, render_configuration(
        name,
        network=values.text("network"),
        driver=values.text("driver"),
        subnets=tuple(values.texts("subnet")),
        options=options,
        internal=values.on("internal"),
        version=values.text("cni-version") or VERSION,
    )


def _config(app: App, values: Values, words: list[str]) -> None:
    app.out.write(_configuration(values)[1])


def _install(app: App, values: Values, words: list[str]) -> None:
    from pathlib import Path

    from carrick.doors.cli import cni_install as installing

    language, interpreter = installing.find_interpreter(values.text("language"))
    socket = values.text("socket") or installing.socket_of(app.host)
    plugin = installing.render_plugin(language, interpreter, socket)
    name, configuration = _configuration(values)
    bin_dir = Path(values.text("bin-dir") or installing.BIN_DIR)
    conf_dir = Path(values.text("conf-dir") or installing.CONF_DIR)
    done = [installing.install_plugin(bin_dir, plugin)]
    if not values.on("no-config"):
        done.append(
            installing.install_configuration(
                conf_dir,
                f"{values.text('priority') or '10'}-{name}.conflist",
                configuration,
                force=values.on("force"),
            )
        )
    for line in filter(None, done):
        app.print(line)
    if not any(done):
        app.print("all is there already")


def _uninstall(app: App, values: Values, words: list[str]) -> None:
    from pathlib import Path

    from carrick.doors.cli import cni_install as installing

    done = installing.uninstall(
        Path(values.text("bin-dir") or installing.BIN_DIR),
        Path(values.text("conf-dir") or installing.CONF_DIR),
        values.text("name"),
    )
    for line in done or ["nothing to remove"]:
        app.print(line)


_CONFIGURATION_FLAGS = (
    Flag("name", "Name of the CNI network (default: that of --network, else 'carrick')", kind=STRING),
    Flag("network", "Carrick network to attach to (default: the CNI network's name)", kind=STRING),
    Flag("driver", "Create the network with this driver when the first container comes", kind=STRING),
    Flag("subnet", "Create the network with this subnet", kind=LIST),
    Flag("opt", "Create the network with this option (KEY=VALUE)", kind=LIST, short="o"),
    Flag("internal", "Create the network without a way out"),
    Flag("cni-version", "Version of the configuration (default: 1.0.0)", kind=STRING),
)
_PLACES = (
    Flag("bin-dir", "Directory of CNI plugins (default: /opt/cni/bin)", kind=STRING),
    Flag("conf-dir", "Directory of CNI configurations (default: /etc/cni/net.d)", kind=STRING),
)
CONFIG = Command(
    "config",
    _config,
    summary="Print a CNI configuration for a Carrick network",
    usage="[OPTIONS]",
    arity=NONE,
    flags=_CONFIGURATION_FLAGS,
    own=True,
    notes="Other plugins may stand before and after Carrick's in the list.",
    examples=(
        "carrick cni config --network shop",
        "carrick cni config --name pods --driver overlay --subnet 10.80.0.0/16",
    ),
)
INSTALL = Command(
    "install",
    _install,
    summary="Install the CNI plugin and a configuration",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        *_PLACES,
        *_CONFIGURATION_FLAGS,
        Flag("no-config", "Install the plugin alone"),
        Flag("priority", "First part of the configuration's file name: the lowest wins", kind=STRING),
        Flag("force", "Replace a configuration that is there"),
        Flag("socket", "The daemon's CNI socket (default: cni.sock beside the daemon's API)", kind=STRING),
        Flag(
            "language", "perl or python (default: perl where it is installed; it starts faster)", kind=STRING
        ),
    ),
    own=True,
    notes="It may be repeated: what is as it should be stays.",
    examples=(
        "carrick cni install --network shop",
        "carrick cni install --bin-dir /usr/lib/cni --name pods --subnet 10.80.0.0/16",
    ),
)
UNINSTALL = Command(
    "uninstall",
    _uninstall,
    summary="Remove the CNI plugin and the configurations that use it",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(*_PLACES, Flag("name", "Remove this CNI network's configuration alone", kind=STRING)),
    own=True,
    examples=("carrick cni uninstall",),
)
