"""`carrick system install`: put the daemons under systemd, and take them out again.

Writes three units: the daemon, and the two companions that must outlive it. They are tied so that starting
`carrickd` starts all and restarting it leaves the companions, and with them names and held ports, alone.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .app import App
from .errors import CliError

UNIT_DIRECTORY = Path("/etc/systemd/system")
CONFIG_FILE = Path("/etc/carrick/carrickd.toml")

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


def install(app: App, *, dry_run: bool = False) -> int:
    """`carrick system install`; with `dry_run` print the units and do nothing."""
    if dry_run:
        for name, text in render_units().items():
            print(f"# {UNIT_DIRECTORY / name}\n{text}")
        return 0
    _need_root()
    print("\n".join(install_units()))
    return 0


def uninstall(app: App, *, dry_run: bool = False) -> int:
    """`carrick system uninstall`."""
    if dry_run:
        print("\n".join(f"would stop and remove {UNIT_DIRECTORY / name}" for name in render_units()))
        return 0
    _need_root()
    print("\n".join(uninstall_units()))
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


def install_units(
    *,
    unit_directory: Path = UNIT_DIRECTORY,
    config_file: Path = CONFIG_FILE,
    run_dir: str = "/run/carrick",
    state_dir: str = "/var/lib/carrick",
    start: bool = True,
) -> list[str]:
    """Write the units and the configuration (kept if it exists), and start them; return what was done."""
    done = []
    unit_directory.mkdir(parents=True, exist_ok=True)
    for name, text in render_units(run_dir, state_dir).items():
        path = unit_directory / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            done.append(f"wrote {path}")
    if not config_file.exists():
        config_file.parent.mkdir(parents=True, exist_ok=True)
        config_file.write_text(_CONFIG)
        done.append(f"wrote {config_file}")
    if not Path("/run/systemd/system").is_dir():
        done.append("systemd does not run here: start carrickd by hand, or reboot into systemd")
        return done
    _systemctl("daemon-reload")
    if start:
        _systemctl("enable", "--now", "carrick-dns", "carrick-ports", "carrickd")
        done.append("enabled and started carrickd, carrick-dns and carrick-ports")
    return done


def uninstall_units(*, unit_directory: Path = UNIT_DIRECTORY) -> list[str]:
    """Stop and remove the units; state and configuration stay. Repeatable."""
    done = []
    names = ("carrickd", "carrick-dns", "carrick-ports")
    if Path("/run/systemd/system").is_dir():
        for name in names:
            if (unit_directory / f"{name}.service").exists():
                _systemctl("disable", "--now", name)
    for name in names:
        path = unit_directory / f"{name}.service"
        if path.exists():
            path.unlink()
            done.append(f"removed {path}")
    if done and Path("/run/systemd/system").is_dir():
        _systemctl("daemon-reload")
    done.append("containers run on; /var/lib/carrick and /etc/carrick are kept")
    return done


def _systemctl(*arguments: str) -> None:
    result = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise CliError(f"systemctl {' '.join(arguments)}: {result.stderr.strip()}", 1)
