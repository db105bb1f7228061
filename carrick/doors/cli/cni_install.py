"""`carrick cni install`: put the CNI plugin where runtimes look for it, and take it out again.

The plugin is one small file: a program in Perl, or where there is no Perl in Python, with the daemon's
socket written into it. Perl starts in a fourth of the time, and Debian always has it (perl-base).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from carrick.doors.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PLUGIN = "carrick"
BIN_DIR, CONF_DIR = "/opt/cni/bin", "/etc/cni/net.d"
NAME = "carrick"
VERSION = "1.0.0"
"""Of configurations: the newest that Debian 12's Podman, containerd and reference plugins all know."""

CAPABILITIES = ("aliases", "bandwidth", "dns", "ipRanges", "ips", "mac", "portMappings")
_MARK = "Carrick's CNI plugin"
_DEFAULT_SOCKET = "/run/carrick/cni.sock"
_SOURCES = Path(__file__).parents[1] / "cni"
_LANGUAGES = {"perl": "executable.pl", "python": "executable.py"}


def socket_of(host: str) -> str:
    """Return the CNI socket of the daemon whose API is at `host`: both are in its run directory."""
    scheme, _, path = host.partition("://")
    if scheme == "unix" and path:
        return str(Path(path).with_name("cni.sock"))
    return _DEFAULT_SOCKET


def find_interpreter(language: str) -> tuple[str, str]:
    """Return the language and its interpreter; `language` "" takes the faster one that is there."""
    if language not in ("", *_LANGUAGES):
        raise CliError(f"--language {language}: choose perl or python", 2)
    if language != "python":
        if perl := shutil.which("perl", path="/usr/bin:/bin:/usr/local/bin"):
            return "perl", perl
        if language:
            raise CliError("there is no perl in /usr/bin: take --language python", 1)
    # The interpreter that is behind the virtual environment's: that may be replaced.
    return "python", os.path.realpath(sys.executable)


def render_plugin(language: str, interpreter: str, socket: str) -> str:
    """Return the plugin's text. A path that cannot stand in it is a CliError."""
    if not socket.startswith("/") or not socket.isprintable() or set(socket) & set("'\"\\"):
        raise CliError(f"--socket {socket!r}: it must be an absolute path without quotes", 2)
    if len(socket.encode()) > 107:
        raise CliError(f"--socket {socket}: a Unix socket's path has 107 bytes at most", 2)
    text = (_SOURCES / _LANGUAGES[language]).read_text()
    first, _, rest = text.partition("\n")
    options = first.partition(" ")[2]
    assert rest.count(_DEFAULT_SOCKET) == 1
    return f"#!{interpreter} {options}".rstrip() + "\n" + rest.replace(_DEFAULT_SOCKET, socket)


def render_configuration(
    name: str,
    *,
    network: str = "",
    driver: str = "",
    subnets: tuple[str, ...] = (),
    options: dict[str, str] | None = None,
    internal: bool = False,
    version: str = VERSION,
) -> str:
    """Return a list of plugins with ours alone. With a driver, subnets or options the network is created
    by the first container that comes."""
    plugin: dict[str, Any] = {"type": PLUGIN}
    if network and network != name:
        plugin["network"] = network
    if driver or subnets or options or internal:
        create: dict[str, Any] = {"driver": driver or "bridge"}
        if subnets:
            create["subnets"] = [{"subnet": item} for item in subnets]
        if internal:
            create["internal"] = True
        if options:
            create["options"] = options
        plugin["create"] = create
    plugin["capabilities"] = dict.fromkeys(CAPABILITIES, True)
    return json.dumps({"cniVersion": version, "name": name, "plugins": [plugin]}, indent=2) + "\n"


def install_plugin(directory: Path, text: str) -> str:
    """Write the plugin; return what was done, "" if it is there as it should be."""
    path = directory / PLUGIN
    return _write(path, text, 0o755, check=lambda old: _MARK in old)


def install_configuration(directory: Path, file_name: str, text: str, *, force: bool) -> str:
    """Write a configuration. One that is there and differs is somebody's, and stays unless `force`."""
    path = directory / file_name
    return _write(path, text, 0o644, check=lambda _: force)


def _write(path: Path, text: str, mode: int, *, check: Callable[[str], bool]) -> str:
    try:
        old = path.read_text(errors="replace")
    except FileNotFoundError:
        old = None
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}", 1) from None
    if old == text and path.stat().st_mode & 0o777 == mode:
        return ""
    if old is not None and old != text and not check(old):
        raise CliError(f"{path} is there already and differs: remove it, or add --force", 4)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Replaced in one step: a runtime may be about to run or read it.
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.write_text(text)
        new.chmod(mode)
        new.replace(path)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}", 1) from None
    return f"{'replaced' if old is not None else 'wrote'} {path}"


def uninstall(bin_dir: Path, conf_dir: Path, name: str) -> list[str]:
    """Remove the plugin, and the configurations that use it (with a name, that one alone and not the
    plugin). Return what was done. Repeatable."""
    done = []
    for path in sorted((*conf_dir.glob("*.conflist"), *conf_dir.glob("*.conf"))):
        found = _read_configuration(path)
        if PLUGIN in _types(found) and name in ("", found.get("name")):
            done.append(_remove(path))
    plugin = bin_dir / PLUGIN
    if not name and plugin.is_file() and _MARK in plugin.read_text(errors="replace"):
        done.append(_remove(plugin))
    return done


def _read_configuration(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _types(configuration: dict[str, Any]) -> list[Any]:
    plugins = configuration.get("plugins")
    listed = plugins if isinstance(plugins, list) else [configuration]
    return [item.get("type") for item in listed if isinstance(item, dict)]


def _remove(path: Path) -> str:
    try:
        path.unlink()
    except OSError as error:
        raise CliError(f"cannot remove {path}: {error.strerror}", 1) from None
    return f"removed {path}"
