"""What a lab is like now: read from the record, the processes, the daemons."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from . import daemons, etcd
from .faults import render_loss
from .plan import Kind, Node, plan_lab
from .processes import Process
from .record import Record


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A host or an etcd. `state` is `running` or `off`; `service` is `ready`, `starting` or `stopped`.

    `pid` is of its first process, on the machine; `service_pid` of carrickd or etcd, on the node: 0 for none.
    `containers`: those that run, and all; None where nobody could be asked. From `cut_from` it gets nothing.
    """

    name: str
    kind: Kind
    segment: int
    ipv4: str
    ipv6: str
    state: str
    pid: int
    service: str
    service_pid: int
    is_leader: bool
    containers: tuple[int, int] | None
    cut_from: tuple[str, ...]
    rate: str


@dataclass(frozen=True, slots=True)
class LabStatus:
    """A lab. `loss` is a share, as `3%`. `router_pid` is of the first process of all."""

    name: str
    phase: str
    segments: int
    mtu: int
    loss: str
    router_pid: int
    state_dir: str
    etcd_endpoints: tuple[str, ...]
    nodes: tuple[NodeStatus, ...]


def read_status(record: Record) -> LabStatus:
    """Ask everyone, at the same time."""
    topology = plan_lab(record.spec)
    with ThreadPoolExecutor(8, thread_name_prefix="lab") as pool:
        nodes = list(pool.map(lambda node: _read_node(record, node, len(topology.etcd)), topology.members))
    router = _alive(record, topology.router)
    return LabStatus(
        name=record.name,
        phase=record.phase if router else "ended",
        segments=len(topology.segments),
        mtu=record.spec.mtu,
        loss=render_loss(record.faults.loss),
        router_pid=router.pid if router else 0,
        state_dir=str(record.state_dir),
        etcd_endpoints=topology.etcd_endpoints,
        nodes=tuple(nodes),
    )


def _alive(record: Record, node: Node) -> Process | None:
    process = record.processes.get(node.name)
    return process if process is not None and process.is_alive() else None


def _read_node(record: Record, node: Node, etcds: int) -> NodeStatus:
    process = _alive(record, node)
    assert node.segment is not None
    service, service_pid, counted, is_leader = "stopped", 0, None, False
    if process is not None:
        if node.kind is Kind.ETCD:
            service_pid, is_ready = etcd.pid_of(process), etcd.is_healthy(process)
            is_leader = etcds > 1 and is_ready and etcd.is_leader(process)
        else:
            service_pid, is_ready = daemons.daemon_pid(process), daemons.is_ready(process)
            counted = daemons.containers(process) if is_ready else None
        service = "ready" if is_ready else "starting" if service_pid else "stopped"
    return NodeStatus(
        name=node.name,
        kind=node.kind,
        segment=node.segment.number,
        ipv4=str(node.ipv4.ip),
        ipv6=str(node.ipv6.ip),
        state="running" if process else "off",
        pid=process.pid if process else 0,
        service=service,
        service_pid=service_pid,
        is_leader=is_leader,
        containers=counted,
        cut_from=tuple(sorted(source for source, target in record.faults.cuts if target == node.name)),
        rate=record.faults.rates.get(node.name, ""),
    )


def render_rows(nodes: Sequence[NodeStatus]) -> list[tuple[str, ...]]:
    """Return the rows of a table, its header first."""
    rows: list[tuple[str, ...]] = [
        ("HOST", "SEGMENT", "ADDRESS", "STATE", "SERVICE", "CONTAINERS", "CUT FROM", "RATE")
    ]
    for node in nodes:
        name = "etcd" if node.kind is Kind.ETCD else "carrickd"
        service = f"{name} {node.service}" + (", leads" if node.is_leader else "")
        counted = f"{node.containers[0]}/{node.containers[1]}" if node.containers else "-"
        cut = ", ".join(node.cut_from) or "-"
        rows.append(
            (
                *(node.name, str(node.segment), node.ipv4, node.state),
                *(service if node.pid else "-", counted, cut, node.rate or "-"),
            )
        )
    return rows
