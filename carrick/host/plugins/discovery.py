"""Where plugins are found: sockets in one kind of directory, files that name an address in another.

The places and their order are Docker's: `NAME.sock` or `NAME/NAME.sock` among the sockets; then `NAME.spec`
(an address) or `NAME.json` (`{"Name", "Addr", "TLSConfig"}`), each also in a directory `NAME`.
"""

import json
import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...model.errors import InvalidRequest, NotFound

_NAME = re.compile(r"[a-zA-Z0-9][\w.-]*(?:/[\w.-]+)?(?::[\w.-]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates for a plugin over TCP; "" is none. `insecure` takes any of the plugin's."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure: bool = False

    def context(self) -> ssl.SSLContext:
        """Raises OSError or ssl.SSLError for files that will not do."""
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file or None)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True)
class Address:
    """Where a plugin listens: a Unix socket, or `host` and `port`."""

    socket: str = ""
    host: str = ""
    port: int = 0
    tls: Tls | None = None

    def __str__(self) -> str:
        return f"unix://{self.socket}" if self.socket else f"tcp://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Places:
    """Directories, those of sockets and those of files that name an address, in the order to look.

    `own` is the socket at which this daemon is a plugin itself: it is none to itself.
    """

    sockets: tuple[Path, ...] = (Path("/run/docker/plugins"),)
    specs: tuple[Path, ...] = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
    own: Path | None = None

    def find(self, name: str) -> Address:
        """Return where a plugin listens. NotFound in Docker's words; InvalidRequest for a file that is wrong.

        The name is a user's word, and part of a path here: what could lead elsewhere is no plugin's name.
        """
        base = name.partition(":")[0]
        if _NAME.fullmatch(name) and ".." not in base:
            for directory in self.sockets:
                for path in (directory / f"{base}.sock", directory / base / f"{base}.sock"):
                    if path != self.own and _is_socket(path):
                        return Address(socket=str(path))
            for directory in self.specs:
                for stem in (directory / base, directory / base / base):
                    for kind, parse in ((".spec", _parse_spec), (".json", _parse_json)):
                        path = stem.with_name(stem.name + kind)
                        if path.is_file():
                            return parse(path)
        raise NotFound(
            f"could not find plugin {name} in v1 plugin registry: plugin not found",
            remedy=f"start it; its socket is looked for in {', '.join(map(str, self.sockets))}, "
            f"a file with its address in {', '.join(map(str, self.specs))}",
        )


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def _parse_spec(path: Path) -> Address:
    return _parse_address(_read(path).strip(), path, None)


def _parse_json(path: Path) -> Address:
    try:
        found: Any = json.loads(_read(path))
        options = found.get("TLSConfig") or {}
        tls = None
        if options:
            tls = Tls(
                str(options.get("CAFile") or ""),
                str(options.get("CertFile") or ""),
                str(options.get("KeyFile") or ""),
                bool(options.get("InsecureSkipVerify")),
            )
        return _parse_address(str(found.get("Addr") or ""), path, tls)
    except (ValueError, AttributeError) as error:
        raise InvalidRequest(f"the plugin file {path} is not as it should be: {error}") from None


def _parse_address(text: str, path: Path, tls: Tls | None) -> Address:
    parts = urlsplit(text)
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return Address(socket=parts.path)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme in {"tcp", "http", "https"} and parts.hostname:
        secure = tls or (Tls() if parts.scheme == "https" else None)
        return Address(host=parts.hostname, port=port or (443 if secure else 80), tls=secure)
    raise InvalidRequest(
        f"the plugin file {path} names no address: {text!r}", remedy="write unix:///PATH or tcp://HOST:PORT"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"the plugin file {path} cannot be read: {error}") from error
