"""What is asked of the Docker Engine that uses the plugin: whose an endpoint is, and what happens.

Only ever outside of a plugin call: dockerd may hold the lock that its answer needs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from ...model.errors import NotFound, Unavailable

_TIMEOUT_S = 20.0
_MAX_LINE = 1024 * 1024
_EVENTS = {"type": ["network", "container"], "event": ["connect", "rename", "start"]}


@dataclass(frozen=True, slots=True)
class DockerContainer:
    """A container as one of its endpoints sees it; `netns` is the path of its namespace."""

    id: str
    name: str
    hostname: str = ""
    aliases: tuple[str, ...] = ()
    netns: str = ""


@dataclass(frozen=True, slots=True)
class DockerEvent:
    """A container joined a network (`connect`), or has another name (`rename`)."""

    action: str
    container_id: str
    name: str


class DockerApi:
    """Calls of a Docker Engine on a Unix socket. Unavailable when nobody answers there."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    async def find(self, network_id: str, endpoint_id: str) -> DockerContainer | None:
        """Return whose an endpoint is, None if Docker does not say (yet)."""
        async with self._session() as session:
            try:
                network = await _get(session, f"/networks/{quote(network_id, safe='')}")
                for container_id, item in (network.get("Containers") or {}).items():
                    if item.get("EndpointID") == endpoint_id:
                        found = await _get(session, f"/containers/{quote(container_id, safe='')}/json")
                        return _container(found, endpoint_id)
            except NotFound:
                return None
        return None

    async def events(self) -> AsyncIterator[DockerEvent | None]:
        """Yield what happens from now on, first of all None when Docker listens, until it closes."""
        query = quote(msgspec.json.encode(_EVENTS).decode())
        async with (
            self._session(total_s=None) as session,
            _open(session, f"/events?filters={query}") as response,
        ):
            yield None
            async for line in response.content:
                if line.strip():
                    yield _event(line)

    @asynccontextmanager
    async def _session(self, total_s: float | None = _TIMEOUT_S) -> AsyncIterator[aiohttp.ClientSession]:
        timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self.socket)), timeout=timeout, read_bufsize=_MAX_LINE
            ) as session:
                yield session
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"the Docker Engine at {self.socket} does not answer: {error}") from error


@asynccontextmanager
async def _open(session: aiohttp.ClientSession, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
    async with session.get(f"http://docker{path}") as response:
        if response.status == 404:
            raise NotFound(f"Docker has no {path}")
        response.raise_for_status()
        yield response


async def _get(session: aiohttp.ClientSession, path: str) -> dict[str, Any]:
    async with _open(session, path) as response:
        return msgspec.json.decode(await response.read(), type=dict[str, Any])


def _container(document: dict[str, Any], endpoint_id: str) -> DockerContainer:
    identifier, name = str(document.get("Id", "")), str(document.get("Name", "")).lstrip("/")
    settings: dict[str, Any] = document.get("NetworkSettings") or {}
    networks: dict[str, dict[str, Any]] = settings.get("Networks") or {}
    aliases: dict[str, None] = {}
    for item in networks.values():
        if item.get("EndpointID") == endpoint_id:
            aliases = dict.fromkeys(map(str, (*(item.get("Aliases") or ()), *(item.get("DNSNames") or ()))))
    return DockerContainer(
        identifier,
        name,
        str((document.get("Config") or {}).get("Hostname", "")),
        # Docker has the short id among them, which we add ourselves.
        tuple(item for item in aliases if item not in ("", name, identifier[:12])),
        str(settings.get("SandboxKey", "")),
    )


def _event(line: bytes) -> DockerEvent:
    document = msgspec.json.decode(line, type=dict[str, Any])
    actor = document.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    if document.get("Type") == "network":
        return DockerEvent(str(document.get("Action", "")), str(attributes.get("container", "")), "")
    return DockerEvent(
        str(document.get("Action", "")), str(actor.get("ID", "")), str(attributes.get("name", "")).lstrip("/")
    )
