"""Decide from signs of life which nodes are away, which have been away too long, and who acts on it. Pure.

A node's `alive` key hangs on a lease that the node keeps; so do the `lost-timers` of those that are missed.
All time is thus the store's: no clock of a node is asked (docs/adr/0008-clusters.md, "Being away").
"""

import enum
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...model.cluster import NodeId, NodeRecord, NodeState, Sign

_WATCHERS = 3


class LifeStatus(enum.StrEnum):
    """How a node stands with the cluster's store."""

    READY = "ready"
    UNREACHABLE = "unreachable"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Missing:
    """A node that shows no sign of life: of which epoch, and the revision of its record."""

    node: NodeId
    epoch: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to do about nodes that are away: `report` those newly missed, `evict` those given up."""

    report: tuple[Missing, ...] = ()
    evict: tuple[Missing, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.report or self.evict)


def status_of(record: NodeRecord, alive: Mapping[NodeId, Sign]) -> LifeStatus:
    """Return how a node stands. A sign of another epoch than its record's is no sign of life."""
    if record.state is NodeState.GONE:
        return LifeStatus.LEAVING
    sign = alive.get(record.id)
    return LifeStatus.READY if sign and sign.epoch == record.epoch else LifeStatus.UNREACHABLE


def plan_sweep(
    me: NodeId,
    nodes: Mapping[NodeId, NodeRecord],
    alive: Mapping[NodeId, Sign],
    lost: Mapping[NodeId, Sign],
    timers: Mapping[NodeId, Sign],
    *,
    help_out: bool = False,
    away: Iterable[NodeId] | None = None,
) -> Sweep:
    """Return what `me` is to do. With `help_out` also what others should have done by now.

    A node that is marked as gone is evicted whoever marked it: its sweeper may have died half-way. `away`
    are the nodes that may be away, where the caller knows; None where all are to be looked at.
    """
    looked_at = nodes.values() if away is None else [nodes[node] for node in away if node in nodes]
    missed = [item for item in looked_at if item.id != me and status_of(item, alive) is not LifeStatus.READY]
    report, evict = [], []
    for record in sorted(missed, key=lambda record: record.id):
        ready = (item.id for item in nodes.values() if status_of(item, alive) is LifeStatus.READY)
        if not help_out and not is_responsible(me, record.id, ready):
            continue
        missing = Missing(record.id, record.epoch)
        noted = lost.get(record.id)
        if record.state is NodeState.GONE:
            evict.append(missing)
        elif noted is None or noted.epoch != record.epoch:
            report.append(missing)
        elif record.id not in timers:
            evict.append(missing)
    return Sweep(tuple(report), tuple(evict))


def responsible(target: NodeId, ready: Iterable[NodeId], count: int = _WATCHERS) -> tuple[NodeId, ...]:
    """Return the few nodes that see to `target` first: rendezvous hashing, so that thousands do not."""

    others = (node for node in ready if node != target)
    return tuple(sorted(others, key=lambda node: _weight(target, node), reverse=True)[:count])


def is_responsible(me: NodeId, target: NodeId, ready: Iterable[NodeId], count: int = _WATCHERS) -> bool:
    """Tell whether `me`, being ready, is among those.

    It ends with the first few that go before `me`: where half of thousands are away, each of the others
    asks this for thousands.
    """
    mine, before, found = _weight(target, me), 0, False
    for node in ready:
        if node == me:
            found = node != target
        elif node != target and _weight(target, node) > mine:
            before += 1
            if before == count:
                return False
    return found


def _weight(target: NodeId, node: NodeId) -> bytes:
    return hashlib.blake2b(f"{target} {node}".encode(), digest_size=8).digest()
