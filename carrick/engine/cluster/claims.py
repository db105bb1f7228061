"""The cluster's own record in its store: who founds one claims the prefix, and may have to take that back."""

from collections.abc import Collection as AnyOf

from ...host.store.contract import ABSENT, OutcomeUnknown, StaleRevision
from ...host.store.typed import Undecodable
from ...model.cluster import FORMAT, ClusterMeta, ClusterSettings
from ...model.errors import Conflict, Unavailable, Unsupported
from .admission import AuthorityRecord, authorities
from .records import META, ClusterRecords

_ATTEMPTS = 5


async def claim(
    records: ClusterRecords, settings: ClusterSettings, now_ns: int, left: AnyOf[str] = ()
) -> None:
    """Write that the cluster is there, and that its founder has the authority.

    `left` are clusters of attempts that failed: their record gives way. Conflict if another one is there.
    """
    meta = ClusterMeta(settings.cluster, settings.ca_sha256, now_ns)
    changes = [
        records.meta.putting(META, meta),
        authorities(records).putting(settings.node, AuthorityRecord(now_ns)),
    ]
    for _ in range(_ATTEMPTS):
        try:
            await records.store.commit(changes, [records.meta.expecting(META, ABSENT)])
        except (StaleRevision, OutcomeUnknown):
            found = await records.meta.get(META)
            if found is None:
                continue
            if found.value.id == meta.id:
                return
            check_format(found.value)
            if found.value.id in left:
                await records.meta.delete(META, expecting=found.revision)
                continue
            raise Conflict(
                f"the etcd at {', '.join(settings.endpoints)} holds a cluster already, {found.value.id}, "
                f"below {settings.prefix}",
                remedy="join that one (carrick join HOST --token …), or choose another --prefix",
            ) from None
        return
    raise Unavailable("the cluster's record could not be written", remedy="try again")


async def unclaim(records: ClusterRecords, settings: ClusterSettings) -> None:
    """Take the record back, if it is ours."""
    found = await records.meta.get(META)
    if found is not None and found.value.id == settings.cluster:
        await records.store.commit(
            [records.meta.deleting(META), authorities(records).deleting(settings.node)],
            [records.meta.expecting(META, found.revision)],
        )


async def check_same(records: ClusterRecords, settings: ClusterSettings) -> None:
    """Raise Unavailable unless the store holds the cluster of these settings."""
    try:
        found = await records.meta.get(META)
    except Undecodable as error:
        # Whose it is cannot be known: it is as if it did not answer.
        raise Unavailable(str(error), remedy=error.remedy) from error
    if found is not None and found.value.id == settings.cluster:
        try:
            check_format(found.value)
        except Unsupported as error:
            # What this version does not know it must not touch; what runs here goes on.
            raise Unavailable(str(error), remedy=error.remedy) from error
        return
    where = f"the etcd at {', '.join(settings.endpoints)}"
    if found is None:
        raise Unavailable(
            f"{where} has lost cluster {settings.cluster}: it holds none below {settings.prefix}",
            remedy="restore its data from a backup; what runs here goes on meanwhile. If there is none: "
            "carrick cluster recover, on one node",
        )
    raise Unavailable(
        f"{where} holds cluster {found.value.id}, and this node is in {settings.cluster}",
        remedy="give that cluster another etcd or prefix; what runs here goes on meanwhile",
    )


def check_format(meta: ClusterMeta) -> None:
    """Raise Unsupported for a cluster whose records this version does not know."""
    if meta.format > FORMAT:
        raise Unsupported(
            f"cluster {meta.id} has records of format {meta.format}, and this carrickd knows {FORMAT}",
            remedy="bring this host to the version of the others",
        )
