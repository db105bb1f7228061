"""Call Docker's plugins: HTTP POST with JSON, on a Unix socket or over TCP.

The rules are those of Docker's `pkg/plugins`: a plugin is activated once, each call has 30 seconds, and one
that cannot be reached is tried again after 1, 2, 4 … seconds while that is within the same time. A call that
was sent and not answered is not sent again: the plugin may have done it.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp

from ...model.errors import CarrickError, Failed, NotFound, Unavailable, Unsupported
from .contract import Refused
from .discovery import Address, Places

_TYPE = "application/vnd.docker.plugins.v1.2+json"
_TIMEOUT_S = 30.0
_FIRST_PAUSE_S = 1.0
_MOST_ANSWER = 8 << 20
_MISSING = 404


class HttpPlugins:
    """Implements `Plugins`. `timeout_s` is for one call, and for the attempts to reach a plugin."""

    def __init__(self, places: Places, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._places = places
        self._timeout_s = timeout_s
        self._sessions: dict[Address, aiohttp.ClientSession] = {}
        self._implements: dict[str, frozenset[str]] = {}
        self._known: dict[str, Address] = {}
        self._activating: dict[str, asyncio.Lock] = {}

    async def close(self) -> None:
        sessions = tuple(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    def knows(self, name: str) -> bool:
        try:
            self._places.find(name)
        except CarrickError:
            return False
        return True

    async def activate(self, name: str) -> frozenset[str]:
        async with self._activating.setdefault(name, asyncio.Lock()):
            if name not in self._implements:
                try:
                    found = await self.call(name, "Plugin.Activate", {})
                except Unsupported as error:
                    raise Refused(f'"{name}" is no plugin: it does not answer /Plugin.Activate') from error
                implements = found.get("Implements")
                if not isinstance(implements, list):
                    raise Refused(f'plugin "{name}" does not say what it implements')
                self._implements[name] = frozenset(map(str, implements))
            return self._implements[name]

    async def call(
        self, name: str, method: str, request: Mapping[str, Any], *, patience_s: float | None = None
    ) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        patience = self._timeout_s if patience_s is None else patience_s
        began, pause = loop.time(), _FIRST_PAUSE_S
        while True:
            address = self._find(name)
            try:
                return await self._post(name, address, method, request)
            except aiohttp.ClientSSLError as error:
                raise Unavailable(
                    f'plugin "{name}" cannot be reached at {address} ({method}): {error}',
                    remedy="look at TLSConfig in the plugin's file",
                ) from error
            except aiohttp.ClientConnectorError as error:
                if loop.time() - began + pause >= patience:
                    raise Unavailable(
                        f'plugin "{name}" cannot be reached at {address} ({method}): {error}',
                        remedy="start the plugin; it is tried again then",
                    ) from error
            await asyncio.sleep(pause)
            pause *= 2

    def _find(self, name: str) -> Address:
        """Find a plugin anew for each attempt: it may come back at another place, or be away for a moment."""
        try:
            address = self._known[name] = self._places.find(name)
        except NotFound:
            if name not in self._implements:
                raise
            address = self._known[name]
        return address

    async def _post(
        self, name: str, address: Address, method: str, request: Mapping[str, Any]
    ) -> dict[str, Any]:
        base = "http://plugin" if address.socket else _base_url(address)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session(name, address).post(f"{base}/{method}", data=json.dumps(request)) as response,
            ):
                body = await response.content.read(_MOST_ANSWER)
                status = response.status
        except TimeoutError:
            raise Unavailable(
                f'plugin "{name}" did not answer {method} within {self._timeout_s:g} s',
                remedy=f"look at the plugin's own log; it listens at {address}",
            ) from None
        except aiohttp.ClientConnectorError:
            raise
        except aiohttp.ClientError as error:
            raise Unavailable(
                f'plugin "{name}" broke off {method}: {error or type(error).__name__}'
            ) from error
        return read_answer(name, method, status, body)

    def _session(self, name: str, address: Address) -> aiohttp.ClientSession:
        """Return the session of an address. A connection for each call: a plugin may have been restarted."""
        session = self._sessions.get(address)
        if session is None:
            try:
                session = self._sessions[address] = aiohttp.ClientSession(
                    connector=_connector(address),
                    headers={"Content-Type": _TYPE, "Accept": _TYPE},
                    timeout=aiohttp.ClientTimeout(total=None),
                )
            except (OSError, ssl.SSLError) as error:
                raise Failed(f'the certificates for plugin "{name}" cannot be used: {error}') from error
        return session


def _base_url(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{'https' if address.tls else 'http'}://{host}:{address.port}"


def _connector(address: Address) -> aiohttp.BaseConnector:
    if address.socket:
        return aiohttp.UnixConnector(address.socket, force_close=True)
    return aiohttp.TCPConnector(ssl=address.tls.context() if address.tls else True, force_close=True)


def read_answer(name: str, method: str, status: int, body: bytes) -> dict[str, Any]:
    """Return what a plugin answered, or raise what it said instead."""
    found: Any = None
    try:
        found = json.loads(body) if body.strip() else {}
    except ValueError:
        found = None
    said = ""
    if isinstance(found, dict):
        # Network drivers write Err, IPAM drivers Error.
        said = str(found.get("Err") or found.get("Error") or "")
    if status == _MISSING:
        raise Unsupported(f'plugin "{name}" has no {method}')
    if status >= 400:
        text = said or body[:500].decode(errors="replace").strip() or f"status {status}"
        raise Refused(f"{method}: {text}")
    if said:
        raise Refused(f"remote: {said}")
    if not isinstance(found, dict):
        raise Refused(f'plugin "{name}" answered {method} with something else than a JSON object')
    return found
