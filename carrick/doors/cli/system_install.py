"""`carrick system install`: put the daemons under systemd, and take them out again.

Writes three units: the daemon, and the two companions that must outlive it. They are tied so that starting
`carrickd` starts all and restarting it leaves the companions, and with them names and held ports, alone.

What is to be done is planned first, from what is there; the same plan is shown, agreed to and carried out.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .app import App, is_terminal
from .asking import confirm
from .errors import CliError

_UNITS = ("carrickd", "carrick-dns", "carrick-ports")


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are on this machine. `systemd` exists where systemd runs."""

    unit_directory: Path = Path("/etc/systemd/system")
    config_file: Path = Path("/etc/carrick/carrickd.toml")
    systemd: Path = Path("/run/systemd/system")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: what to call it before and after, and the doing."""

    intent: str
    result: str
    act: Callable[[], None]


_COMPANION = """\
[Unit]
Description=Carrick: {description}
After=network-pre.target

[Service]
ExecStart={program} --run-dir {run_dir} --state-dir {state_dir}
Restart=always
RestartSec=200ms
RuntimeDirectory=carrick
RuntimeDirectoryPreserve=yes
StateDirectory=carrick
LimitNOFILE=1048576
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
"""

_DAEMON = """\
[Unit]
Description=Carrick: container networking daemon
After=network-online.target carrick-dns.service carrick-ports.service
Wants=network-online.target carrick-dns.service carrick-ports.service

[Service]
Type=notify
ExecStart={program} --no-companions --run-dir {run_dir} --state-dir {state_dir}
Restart=always
RestartSec=500ms
RuntimeDirectory=carrick
RuntimeDirectoryPreserve=yes
StateDirectory=carrick
# Containers are conmon's: stopping or restarting the daemon leaves them alone.
KillMode=process
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
"""

_CONFIG = """\
# Carrick's daemon; every setting is in docs/reference/configuration.md.
# name = "carrick"
# default_bridge = "carrick0"
# group = "carrick"
# default_address_pools = [{ base = "10.64.0.0/12", size = 24 }]
# dns = ["192.0.2.53"]
"""


def _program(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise CliError(f"{name} is not installed beside {sys.executable}: run pip install . first", 1)
    return found


def install(app: App, *, dry_run: bool = False, yes: bool = False, places: Places | None = None) -> int:
    """`carrick system install`; with `dry_run` print the units and do nothing. Repeatable.

    Unless `yes`, asks first; where nobody can be asked, refuses.
    """
    places = places or Places()
    if dry_run:
        for name, text in render_units().items():
            app.print(f"# {places.unit_directory / name}\n{text}")
        return 0
    _need_root()
    if not yes and not is_terminal(app.stdin):
        raise CliError(
            "there is no terminal to ask on, and this changes the system:"
            " look at it with 'carrick system install --dry-run', then add --yes",
            2,
        )
    steps = plan_install(places)
    if not yes and steps:
        app.print("This will:\n" + "\n".join(f"  - {step.intent}" for step in steps))
        confirm(app, "Continue?")
    for step in steps:
        step.act()
        app.print(step.result)
    if not places.systemd.is_dir():
        app.print("systemd does not run here: start carrickd by hand, or reboot into systemd")
    return 0


def uninstall(app: App, *, dry_run: bool = False, places: Places | None = None) -> int:
    """`carrick system uninstall`."""
    places = places or Places()
    if dry_run:
        for name in render_units():
            app.print(f"would stop and remove {places.unit_directory / name}")
        return 0
    _need_root()
    for line in uninstall_units(places):
        app.print(line)
    return 0


def _need_root() -> None:
    if os.geteuid() != 0:
        raise CliError("the units are the system's: run this as root (sudo)", 6)


def render_units(run_dir: str = "/run/carrick", state_dir: str = "/var/lib/carrick") -> dict[str, str]:
    """Return the text of each unit by its file name."""
    places = {"run_dir": run_dir, "state_dir": state_dir}
    return {
        "carrick-dns.service": _COMPANION.format(
            description="names in containers", program=_program("carrick-dns"), **places
        ),
        "carrick-ports.service": _COMPANION.format(
            description="held and relayed ports", program=_program("carrick-ports"), **places
        ),
        "carrickd.service": _DAEMON.format(program=_program("carrickd"), **places),
    }


def plan_install(places: Places) -> list[Step]:
    """Return the steps: units that are missing or differ, the configuration if there is none, the start."""
    steps = []
    for name, text in render_units().items():
        path = places.unit_directory / name
        if not path.exists():
            steps.append(Step(f"write {path}", f"wrote {path}", partial(_write, path, text)))
        elif path.read_text() != text:
            steps.append(Step(f"replace {path}, which differs", f"wrote {path}", partial(_write, path, text)))
    if not places.config_file.exists():
        path = places.config_file
        steps.append(Step(f"write {path}, all comments", f"wrote {path}", partial(_write, path, _CONFIG)))
    if places.systemd.is_dir():
        names = "carrickd, carrick-dns and carrick-ports"
        steps.append(Step(f"enable and start {names}", f"enabled and started {names}", _start))
    return steps


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}", 1) from None


def _start() -> None:
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", *_UNITS)


def uninstall_units(places: Places) -> list[str]:
    """Stop and remove the units; state and configuration stay. Return what was done. Repeatable."""
    done = []
    paths = {name: places.unit_directory / f"{name}.service" for name in _UNITS}
    systemd = places.systemd.is_dir()
    for name, path in paths.items():
        if systemd and path.exists():
            _systemctl("disable", "--now", name)
    for path in paths.values():
        if path.exists():
            path.unlink()
            done.append(f"removed {path}")
    if done and systemd:
        _systemctl("daemon-reload")
    return [*done, "containers run on; /var/lib/carrick and /etc/carrick are kept"]


def _systemctl(*arguments: str) -> None:
    result = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise CliError(f"systemctl {' '.join(arguments)}: {result.stderr.strip()}", 1)
