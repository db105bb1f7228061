"""The hosts of a lab as one cluster: its first host founds it on the lab's etcd, the others join.

By the API and its public words, as anybody would: nothing here is known to `carrickd`.
"""

from collections.abc import Callable

from ..model.errors import Failed
from . import daemons
from .lab import Lab
from .plan import Topology
from .record import Record

_PATH = "/carrick/v1/cluster"


def join_cluster(lab: Lab, *, gone_after_s: int = 0, say: Callable[[str], None] | None = None) -> str:
    """Make every host a node of one cluster; return the cluster's id. Repeatable.

    Whoever is in one already stays. `gone_after_s` is how long a node may be missed, 0 for the default.
    Raises Failed with what `carrickd` says.
    """
    record = lab.record()
    topology = lab.topology(record)
    members = {node.name: _cluster_of(record, node.name) for node in topology.hosts}
    founded = next((name for name, found in members.items() if found), "")
    if not founded:
        founded = topology.hosts[0].name
        body: dict[str, object] = {"Endpoints": list(topology.etcd_endpoints)}
        if gone_after_s:
            body["GoneAfter"] = gone_after_s
        members[founded] = _post(record, founded, _PATH, body)["ID"]
    _join_others(record, topology, founded, [name for name, found in members.items() if not found])
    if say is not None:
        width = max(len(node.name) for node in topology.nodes)
        say(f"{'nodes':{width}}  {', '.join(members)} are a cluster")
    return members[founded]


def _join_others(record: Record, topology: Topology, founder: str, names: list[str]) -> None:
    if not names:
        return
    token = _post(record, founder, f"{_PATH}/token", {})["Token"]
    address = str(topology.node(founder).ipv4.ip)
    for name in names:
        _post(record, name, f"{_PATH}/join", {"Host": address, "Token": token})


def _cluster_of(record: Record, name: str) -> str:
    """Return the id of the cluster that a host is in, "" if it is in none."""
    try:
        return str(daemons.call(record.processes[name], "GET", _PATH)["ID"])
    except Failed:
        return ""


def _post(record: Record, name: str, path: str, body: dict[str, object]) -> dict[str, str]:
    answer = daemons.post(record.processes[name], path, body)
    assert isinstance(answer, dict), f"{path}: {answer!r}"
    return answer
