"""Recovery: a cluster whose store has lost everything is written again from what one node knows.

Each node holds all nodes, networks and blocks, and the endpoints of networks that stand on it; that is put
where it was, the cluster's own record last: until that is there nobody looks, and nobody drops anything. Then
every node finds itself in the store, gives a sign of life, and writes what else is its own. Those that do
not are missed like any other. Tokens are gone, and who was removed (`node rm`) is not known any more.
"""

from collections.abc import Sequence

from ...drivers.overlay import VNI
from ...host.store.contract import ABSENT, Change, Put, StaleRevision
from ...model.cluster import ClusterMeta, ClusterSettings
from ...model.errors import Conflict
from .admission import AuthorityRecord, authorities
from .mirror import Mirror
from .records import META, ClusterRecords

_PER_TRANSACTION = 100


async def recover(
    records: ClusterRecords,
    mirror: Mirror,
    settings: ClusterSettings,
    now_ns: int,
    *,
    has_authority: bool,
) -> int:
    """Write what is known to a store that holds no cluster; return how many records that were.

    Conflict if it holds one: a store that has its data needs no recovery. Repeatable after a failure.
    """
    changes = plan_recovery(records, mirror)
    if has_authority:
        changes.append(authorities(records).putting(settings.node, AuthorityRecord(now_ns)))
    meta = ClusterMeta(settings.cluster, settings.ca_sha256, now_ns)
    free = [records.meta.expecting(META, ABSENT)]
    try:
        for start in range(0, len(changes), _PER_TRANSACTION):
            await records.store.commit(changes[start : start + _PER_TRANSACTION], free)
        await records.store.commit([records.meta.putting(META, meta)], free)
    except StaleRevision as error:
        raise Conflict(
            f"the store holds a cluster below {settings.prefix}: there is nothing to recover",
            remedy="see what it says: carrick cluster info",
        ) from error
    return len(changes) + 1


def plan_recovery(records: ClusterRecords, mirror: Mirror) -> list[Change]:
    """Return what the store held, as far as the mirror shows it."""
    changes: list[Change] = [
        records.nodes.putting(key, node) for key, node in sorted(mirror.nodes.live().items())
    ]
    last = ""
    for key, network in sorted(mirror.networks.live().items()):
        changes.append(records.networks.putting(key, network))
        changes.append(Put(f"network-names/{network.name}", network.id.encode()))
        if VNI in network.options:
            changes.append(Put(f"vnis/{network.options[VNI]}", network.id.encode()))
        last = network.id
    if last:
        changes.append(Put("network-index", last.encode()))
    changes += [records.blocks.putting(key, block) for key, block in sorted(mirror.blocks.live().items())]
    for table in mirror.endpoints.values():
        endpoints: Sequence[Change] = [records.endpoints.putting(item.key, item) for item in table.values()]
        changes += endpoints
    return changes
