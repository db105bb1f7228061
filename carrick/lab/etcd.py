"""etcd beside the hosts: started, ended, and made to do what clients have to survive.

Debian's `etcd`, over plain http: nobody else is on the underlay. It is spoken to in JSON, by its gateway.
"""

import base64
import http.client
import json
import signal
import time
from contextlib import suppress
from typing import Any

from ..model.errors import Failed, Unavailable
from . import services
from .nodes import NodeFiles, base_environment
from .plan import ETCD_CLIENT_PORT, ETCD_PEER_PORT, Node, Topology
from .processes import Process, in_network_of

_START_S = 60.0
_PROGRAM = "etcd"
_DATA = "/var/lib/etcd"


def command(node: Node, topology: Topology) -> list[str]:
    """Return etcd's command line."""
    client = f"http://{node.ipv4.ip}:{ETCD_CLIENT_PORT}"
    peer = f"http://{node.ipv4.ip}:{ETCD_PEER_PORT}"
    members = ",".join(f"{item.name}=http://{item.ipv4.ip}:{ETCD_PEER_PORT}" for item in topology.etcd)
    return [
        *(_PROGRAM, "--name", node.name, "--data-dir", _DATA),
        *("--listen-client-urls", f"{client},http://127.0.0.1:{ETCD_CLIENT_PORT}"),
        *("--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", members, "--initial-cluster-state", "new"),
    ]


def start(process: Process, node: Node, topology: Topology, files: NodeFiles) -> None:
    """Start etcd; return without waiting for it."""
    environment = {**base_environment(), "ETCD_LOGGER": "zap", "ETCD_LOG_LEVEL": "warn"}
    services.start(process, command(node, topology), files.log, environment)


def pid_of(process: Process) -> int:
    """Return etcd's pid as its node sees it; 0 if it does not run."""
    return services.find(process, _PROGRAM)


def end(process: Process, with_signal: signal.Signals) -> None:
    """End etcd and nothing else; return when it has. Raises Unavailable."""
    services.end(process, pid_of(process), with_signal, _PROGRAM)


def wait_ready(
    node: Node, process: Process, *, as_one_of_many: bool = False, timeout_s: float = _START_S
) -> None:
    """Return when etcd can be written to, or answers at all if it is one of too few. Raises Unavailable."""
    end = time.monotonic() + timeout_s
    is_ready = is_answering if as_one_of_many else is_healthy
    while not is_ready(process):
        if not process.is_alive() or not (services.is_starting(process) or pid_of(process)):
            raise Unavailable(f"{node.name} has ended", remedy=f"'carrick lab logs {node.name}' says why.")
        if time.monotonic() > end:
            raise Unavailable(
                f"{node.name} does not answer after {timeout_s:.0f} s",
                remedy=f"'carrick lab logs {node.name}' says why.",
            )
        time.sleep(0.02)


def is_answering(process: Process) -> bool:
    """Say whether etcd runs, be it able to serve or not."""
    with suppress(OSError, http.client.HTTPException, ValueError, Failed):
        return "health" in _ask(process, "GET", "/health", None)
    return False


def is_healthy(process: Process) -> bool:
    """Say whether etcd, and the cluster that it is of, can serve."""
    with suppress(OSError, http.client.HTTPException, ValueError, Failed):
        return _ask(process, "GET", "/health", None).get("health") == "true"
    return False


def is_leader(process: Process) -> bool:
    """Say whether etcd leads its cluster."""
    with suppress(OSError, http.client.HTTPException, ValueError, Failed):
        status = _ask(process, "POST", "/v3/maintenance/status", {})
        return bool(status["leader"] == status["header"]["member_id"])
    return False


def compact(process: Process) -> int:
    """Forget every revision but the last; return that. Raises Failed or Unavailable."""
    key = base64.b64encode(b"\0").decode()
    found = _call(process, "/v3/kv/range", {"key": key, "limit": "1", "keys_only": True})
    revision = int(found["header"]["revision"])
    _call(process, "/v3/kv/compaction", {"revision": str(revision), "physical": True})
    return revision


def move_leader(process: Process, own_name: str) -> str:
    """Let the leader, which `process` is, hand over to the next member; return that one's name."""
    answer = _call(process, "/v3/cluster/member/list", {})
    members: dict[str, str] = {item.get("name", ""): item["ID"] for item in answer["members"]}
    names = sorted(members)
    target = names[(names.index(own_name) + 1) % len(names)]
    _call(process, "/v3/maintenance/transfer-leadership", {"targetID": members[target]})
    return target


def _call(process: Process, path: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        return _ask(process, "POST", path, body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"etcd does not answer: {error}") from error


def _ask(process: Process, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """Call etcd from its own node. Raises OSError, HTTPException, ValueError; Failed if it refuses."""

    def ask() -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", ETCD_CLIENT_PORT, timeout=5)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise ValueError(f"{path}: {answer!r}")
        if response.status >= 400 and path != "/health":
            raise Failed(f"etcd refused {path}: {answer.get('error', answer)}")
        return answer

    return in_network_of(process.pid, ask)
