"""The raw Engine API: one client for Docker and for Carrick, so that neither has the better one.

A connection per request, as `curl --unix-socket` makes them; it also survives a killed daemon.
"""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from ..errors import BenchError
from ..materials import IMAGE
from .contract import COMMAND, ContainerSpec

_VERSION = "v1.41"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(str(self._path))


class EngineApi:
    """A door: the API at a Unix socket. JSON is `Any`, for this is the edge and its shape is the engine's."""

    name = "api"

    def __init__(self, socket_path: Path) -> None:
        self._socket = socket_path

    def call(self, method: str, path: str, body: object = None, *, timeout_s: float = 60) -> Any:
        """Make one request and return the decoded answer. Raises BenchError for a status of 400 and above."""
        connection = _UnixConnection(self._socket, timeout_s)
        content = None if body is None else json.dumps(body)
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, f"/{_VERSION}{path}", content, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise BenchError(
                f"{method} {path}: {response.status} {answer.decode(errors='replace')[:400].strip()}"
            )
        return json.loads(answer) if answer[:1] in (b"{", b"[") else None

    def floor(self) -> None:
        self.call("GET", "/_ping")

    def create_network(self, name: str, subnet: str = "") -> None:
        body: dict[str, object] = {"Name": name, "CheckDuplicate": True, "Driver": "bridge"}
        if subnet:
            body["IPAM"] = {"Config": [{"Subnet": subnet}]}
        self.call("POST", "/networks/create", body)

    def remove_network(self, name: str) -> None:
        self.call("DELETE", f"/networks/{quote(name)}")

    def connect(self, network: str, container: str) -> None:
        self.call("POST", f"/networks/{quote(network)}/connect", {"Container": container})

    def disconnect(self, network: str, container: str) -> None:
        self.call("POST", f"/networks/{quote(network)}/disconnect", {"Container": container})

    def run(self, spec: ContainerSpec) -> None:
        """Create and start: what `run -d` asks for."""
        self.call("POST", f"/containers/create?{urlencode({'name': spec.name})}", _create_body(spec))
        self.call("POST", f"/containers/{quote(spec.name)}/start")

    def remove(self, container: str) -> None:
        self.call("DELETE", f"/containers/{quote(container)}?force=1&v=1")

    def inspect(self, container: str) -> Any:
        return self.call("GET", f"/containers/{quote(container)}/json")

    def running(self, *, timeout_s: float = 60) -> int:
        """Return how many containers run, from the list that `ps` asks for."""
        listed = self.call("GET", "/containers/json", timeout_s=timeout_s)
        return sum(1 for item in listed if item["State"] == "running")


def _create_body(spec: ContainerSpec) -> dict[str, object]:
    host: dict[str, object] = {
        "PortBindings": {f"{port.container}/tcp": [{"HostPort": str(port.host)}] for port in spec.ports},
    }
    body: dict[str, object] = {
        "Image": IMAGE,
        "Cmd": list(COMMAND),
        "ExposedPorts": {f"{port.container}/tcp": {} for port in spec.ports},
        "HostConfig": host,
    }
    if spec.network:
        host["NetworkMode"] = spec.network
        body["NetworkingConfig"] = {"EndpointsConfig": {spec.network: {"Aliases": list(spec.aliases)}}}
    return body
