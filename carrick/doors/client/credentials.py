"""Credentials of registries, where Docker's tools keep them: `config.json` and credential helpers.

The file is Docker's (`~/.docker/config.json`, or in `$DOCKER_CONFIG`), so that a login with either
tool serves both. What is in it besides is left alone. Secrets go to helpers by standard input and to
the daemon in a header; never onto a command line.

Imported when a command needs it, not at the start: see `carrick.doors.client`.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

from carrick.model.errors import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HUB = "https://index.docker.io/v1/"
"""What Docker calls its own registry in that file."""
_TOKEN_USER = "<token>"
"""The name under which helpers keep an identity token (docker-credential-helpers)."""
_NOT_FOUND = "credentials not found in native keychain"


class Credentials:
    """A name with a password or an identity token, for one registry. Never printed."""

    __slots__ = ("identity_token", "password", "server", "username")

    def __init__(self, server: str, username: str = "", password: str = "", identity_token: str = "") -> None:
        self.server = server
        self.username = username
        self.password = password
        self.identity_token = identity_token

    def document(self) -> dict[str, str]:
        """Return what the daemon is sent (Docker's AuthConfig)."""
        found = {"username": self.username, "password": self.password, "serveraddress": self.server}
        if self.identity_token:
            found = {"identitytoken": self.identity_token, "serveraddress": self.server}
        return {key: value for key, value in found.items() if value}

    def header(self) -> str:
        """Return the value of X-Registry-Auth."""
        return base64.urlsafe_b64encode(json.dumps(self.document()).encode()).decode()


def server_key(host: str) -> str:
    """Return the name that a registry has in the file: its host, or a URL for Docker's own."""
    plain = host.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if plain in ("", "docker.io", "index.docker.io", "registry-1.docker.io") else plain


class CredentialFile:
    """The file, and the helpers that it names. `environ` says where it is."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        directory = environ.get("DOCKER_CONFIG") or ""
        home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 (a text)
        self.path = Path(directory) if directory else Path(home) / ".docker"
        self.path /= "config.json"
        self._environ = dict(environ)

    def _read(self) -> dict[str, Any]:
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Failed(f"{self.path}: {(error.strerror or str(error)).lower()}") from None
        if not text.strip():
            return {}
        try:
            found = json.loads(text)
        except ValueError as error:
            raise Failed(f"{self.path} is not JSON: {error}", remedy="mend it, or move it away") from None
        if not isinstance(found, dict):
            raise Failed(f"{self.path} holds no JSON object", remedy="mend it, or move it away")
        return found

    def _write(self, document: dict[str, Any]) -> None:
        """Replace the file at one stroke. A link to it from elsewhere stays one."""
        target = self.path.resolve()
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:
                json.dump(document, file, indent="\t")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except OSError as error:
            raise Failed(f"cannot save credentials: {target}: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)

    def helper(self, server: str) -> str:
        """Return the name of the helper that keeps a registry's credentials, or ""."""
        document = self._read()
        helpers = document.get("credHelpers")
        own = helpers.get(server) if isinstance(helpers, dict) else None
        return str(own or document.get("credsStore") or "")

    def load(self, server: str) -> Credentials | None:
        """Return a registry's credentials, if there are any."""
        if name := self.helper(server):
            text = self._ask(name, "get", server)
            if text is None:
                return None
            try:
                told = json.loads(text)
                username, secret = str(told["Username"]), str(told["Secret"])
            except (ValueError, KeyError, TypeError):
                raise Failed(f"docker-credential-{name} gave an answer that is none") from None
            if username == _TOKEN_USER:
                return Credentials(server, identity_token=secret)
            return Credentials(server, username, secret)
        auths = self._read().get("auths")
        for key, entry in auths.items() if isinstance(auths, dict) else ():
            if server_key(key) == server and isinstance(entry, dict):
                return _of_entry(server, entry)
        return None

    def store(self, credentials: Credentials) -> str:
        """Keep credentials. Returns the path of the file that has them unencrypted, or "" with a helper."""
        server = credentials.server
        if name := self.helper(server):
            is_token = bool(credentials.identity_token)
            document = {
                "ServerURL": server,
                "Username": _TOKEN_USER if is_token else credentials.username,
                "Secret": credentials.identity_token or credentials.password,
            }
            self._ask(name, "store", json.dumps(document))
            return ""
        document_all = self._read()
        auths = document_all.get("auths")
        auths = auths if isinstance(auths, dict) else {}
        secret = "" if credentials.identity_token else credentials.password
        pair = f"{credentials.username}:{secret}".encode()
        entry = {"auth": base64.b64encode(pair).decode()}
        if credentials.identity_token:
            entry["identitytoken"] = credentials.identity_token
        self._write(document_all | {"auths": auths | {server: entry}})
        return str(self.path)

    def erase(self, server: str) -> bool:
        """Forget a registry's credentials; False if there were none."""
        if name := self.helper(server):
            return self._ask(name, "erase", server) is not None
        document = self._read()
        auths = document.get("auths")
        if not isinstance(auths, dict):
            return False
        kept = {key: value for key, value in auths.items() if server_key(key) != server}
        if len(kept) == len(auths):
            return False
        self._write(document | {"auths": kept})
        return True

    def _ask(self, name: str, action: str, text: str) -> str | None:
        """Run a helper; None if it has no such credentials. Its words may be shown, its input never."""
        program = f"docker-credential-{name}"
        try:
            done = subprocess.run(
                [program, action], input=text, capture_output=True, text=True, check=False, env=self._environ
            )
        except OSError as error:
            raise Failed(
                f"error getting credentials - {program}: {(error.strerror or str(error)).lower()}",
                remedy=f"install {program}, or take it out of {self.path}",
            ) from None
        if done.returncode == 0:
            return done.stdout
        words = (done.stdout or done.stderr).strip()
        if words == _NOT_FOUND:
            return None
        raise Failed(f"error {action} credentials - {program}: {words or f'exit code {done.returncode}'}")


def _of_entry(server: str, entry: Mapping[str, Any]) -> Credentials | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if pair := entry.get("auth"):
        try:
            decoded = base64.b64decode(str(pair), validate=True).decode().rstrip("\0")
        except ValueError:
            raise Failed(
                f"the credentials of {server} in config.json cannot be read", remedy="log in again"
            ) from None
        username, _, password = decoded.partition(":")
    token = str(entry.get("identitytoken") or "")
    if not (username or token):
        return None
    return Credentials(server, username, "" if token else password, token)
