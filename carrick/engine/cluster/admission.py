"""Letting nodes in: tokens, who may use one, which names are free, and new certificates for members.

A token's use and the name that is taken with it are one transaction. The name stays reserved for a while, by
which time the node has put its own record; until then the same node may ask again with the same token, should
our answer have been lost, and that counts as once.
"""

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from ...host.pki import Authority, hash_secret, new_token
from ...host.pki.authority import NODE_LASTS
from ...host.store.contract import ABSENT, Change, DeletePrefix, LeaseId, OutcomeUnknown, StaleRevision
from ...host.store.typed import Collection
from ...model.cluster import NodeId, NodeState, TokenRecord
from ...model.errors import CarrickError, Conflict, Denied, InvalidRequest, NotFound, Unavailable
from ..clock import Clock
from .records import META, RESERVATIONS, ClusterRecords
from .values import Admission

_log = logging.getLogger(__name__)
_LONGEST_TTL_S = 365 * 86400.0
_MOST_USES = 100_000
_RESERVED_S = 30.0
_ATTEMPTS = 30
_NODE = re.compile(r"[a-z2-7]{26}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_LARGEST_REQUEST = 16 * 1024
_MOST_ADDRESSES = 16
_EVERYTHING = (
    *("addresses/", "alive/", "authorities/", "blocks/", "endpoints/", "joining/", "lost-timers/", "lost/"),
    *("meta/", "network-index", "network-names/", "networks/", "nodes/", "removed/", "tokens/", "vnis/"),
)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A name that a node is being admitted under, and the hash of the token that it used."""

    node: NodeId
    token: str


@dataclass(frozen=True, slots=True)
class AuthorityRecord:
    """That a node holds the authority's key; its own record says where it is."""

    since_ns: int


@dataclass(frozen=True, slots=True)
class Removal:
    """That somebody has taken a node out: what certificates it had are good for nothing."""

    since_ns: int


def check_node_name(name: str) -> str:
    """Return the name. Raises InvalidRequest."""
    if not _NAME.match(name):
        raise InvalidRequest(
            f"{name[:100]!r} cannot be a node's name: letters, digits, '.', '_' and '-', at most 63",
            remedy="choose another one with --name",
        )
    return name


def check_admission(request: Admission) -> None:
    """Raises InvalidRequest for what a joining node cannot be called; repeats nothing that is secret."""
    if not _NODE.match(request.node):
        raise InvalidRequest("the node's id is malformed")
    check_node_name(request.name)
    if len(request.certificate_request) > _LARGEST_REQUEST:
        raise InvalidRequest("the certificate request is too large")
    if len(request.addresses) > _MOST_ADDRESSES or any(len(item) > 64 for item in request.addresses):
        raise InvalidRequest("the node's addresses are malformed")


def reservations(records: ClusterRecords) -> Collection[Reservation]:
    return Collection(records.store, RESERVATIONS, Reservation)


def authorities(records: ClusterRecords) -> Collection[AuthorityRecord]:
    """Return which nodes hold the authority, by node id."""
    return Collection(records.store, "authorities/", AuthorityRecord)


def removals(records: ClusterRecords) -> Collection[Removal]:
    """Return which nodes were taken out (`node rm`), by node id, for as long as a certificate may last."""
    return Collection(records.store, "removed/", Removal)


async def note_removal(records: ClusterRecords, clock: Clock, node: NodeId) -> None:
    """Write that a node was taken out for good."""
    lease = await records.store.grant((NODE_LASTS + timedelta(days=2)).total_seconds())
    await removals(records).put(node, Removal(clock.now_ns()), expecting=None, lease=lease)


async def make_token(
    records: ClusterRecords, clock: Clock, ca_sha256: str, ttl_s: float, uses: int = 0
) -> str:
    """Return a new token's text; the store keeps the hash of its secret, as long as it is good."""
    if not 1 <= ttl_s <= _LONGEST_TTL_S:
        raise InvalidRequest(f"a token is good for 1 second to 365 days, not {ttl_s:g} seconds")
    if not 0 <= uses <= _MOST_USES:
        raise InvalidRequest(f"a token has 1 to {_MOST_USES} uses (0: any number), not {uses}")
    token = new_token(ca_sha256)
    now = clock.now_ns()
    record = TokenRecord(now, now + round(ttl_s * 1e9), uses)
    lease = await records.store.grant(ttl_s)
    # If this fails, the lease ends by itself, and the secret has been told to nobody.
    await records.tokens.put(hash_secret(token.secret), record, expecting=ABSENT, lease=lease)
    return token.render()


class Gatekeeper:
    """Uses tokens up and issues certificates, on a node that has the authority.

    A certificate says who a node is, and no address: by an address etcd is known, which a node must not be
    able to pass itself off as. `note` is told of every certificate before it is handed out.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        lasts: timedelta = NODE_LASTS,
        note: Callable[[NodeId, bytes], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._authority = authority
        self._lasts = lasts
        self._note = note
        self._sleep = sleep

    def issue(self, request_pem: bytes, node: NodeId) -> bytes:
        """Return a node's certificate: its id is a name in it, so that whoever connects can expect it."""
        certificate = self._authority.issue(request_pem, node, names=[node], lasts=self._lasts)
        if self._note is not None:
            self._note(node, certificate)
        return certificate

    def revocation_list(self, serials: Iterable[int]) -> bytes:
        return self._authority.revocation_list(serials)

    def issue_server(self, request_pem: bytes, name: str, addresses: Iterable[str]) -> bytes:
        """Return a certificate for a server that is known by its addresses, and is no node."""
        return self._authority.issue(request_pem, name, addresses=addresses, lasts=self._lasts)

    async def admit(self, records: ClusterRecords, request: Admission) -> bytes:
        """Return a certificate for a node that shows a token.

        Denied for a wrong, expired or used one, and no more is said of it; Conflict if the name is taken.
        """
        check_admission(request)
        token = hash_secret(request.secret)
        wanted = Reservation(request.node, token)
        reserved = reservations(records)
        for attempt in range(_ATTEMPTS):
            if attempt:
                await self._sleep(random.uniform(0.005, 0.05) * min(attempt, 10))
            reservation = await reserved.get(request.name)
            held = reservation is not None and reservation.value == wanted
            use = None if held else await self._use(records, token)
            await _check_free(records, request)
            if reservation is not None and not held:
                raise Conflict(
                    f"another node is joining as {request.name} at this moment",
                    remedy="choose another name with --name, or try again in half a minute",
                )
            certificate = self.issue(request.certificate_request.encode(), request.node)
            if use is None:
                return certificate
            change, revision = use
            lease = await records.store.grant(_RESERVED_S)
            try:
                await records.store.commit(
                    [*change, reserved.putting(request.name, wanted, lease)],
                    [
                        records.tokens.expecting(token, revision),
                        reserved.expecting(request.name, ABSENT),
                    ],
                )
            except (StaleRevision, NotFound, OutcomeUnknown):
                # Somebody else used it meanwhile, it ran out, or we cannot know: the reservation tells.
                await _revoke(records, lease, wanted, request.name)
                continue
            _log.info("node %s (%s) is admitted", request.name, request.node)
            return certificate
        raise Unavailable("too many nodes are joining with this token at once", remedy="try again")

    async def _use(self, records: ClusterRecords, token: str) -> tuple[list[Change], int]:
        """Return what uses a token once, and the revision that it is at. Denied if it is not good."""
        entry = await records.store.get(records.tokens.key(token))
        if entry is None:
            raise wrong_token()
        record = records.tokens.decode(entry)
        if record.uses_left == 0:
            return [], entry.revision
        if record.uses_left == 1:
            return [records.tokens.deleting(token)], entry.revision
        fewer = replace(record, uses_left=record.uses_left - 1)
        return [records.tokens.putting(token, fewer, entry.lease)], entry.revision

    def renew(self, node: NodeId, request_pem: str) -> bytes:
        """Return a new certificate for a member."""
        if len(request_pem) > _LARGEST_REQUEST:
            raise InvalidRequest("the certificate request is too large")
        return self.issue(request_pem.encode(), node)


async def check_token(records: ClusterRecords, request: Admission) -> None:
    """Raise Denied unless the token is good, or was used by this very request a moment ago."""
    token = hash_secret(request.secret)
    if await records.store.get(records.tokens.key(token)) is not None:
        return
    reservation = await reservations(records).get(request.name)
    if reservation is None or reservation.value != Reservation(request.node, token):
        raise wrong_token()


async def dissolve(records: ClusterRecords) -> bool:
    """Remove what the store holds of a cluster without nodes; tell whether it was so."""
    meta = await records.meta.get(META)
    for prefix in (records.nodes.prefix, reservations(records).prefix):
        if meta is None or (await records.store.list(prefix)).entries:
            return False
    changes: list[Change] = [DeletePrefix(prefix) for prefix in _EVERYTHING]
    await records.store.commit(changes, [records.meta.expecting(META, meta.revision)] if meta else [])
    return True


def wrong_token() -> Denied:
    return Denied("wrong or expired token", remedy="make one on a member with: carrick cluster token")


async def _check_free(records: ClusterRecords, request: Admission) -> None:
    listing = await records.nodes.list()
    for record in listing.values:
        if record.id == request.node:
            raise Conflict(f"there is a node {request.node} in the cluster already")
        if record.name == request.name and record.state is not NodeState.GONE:
            raise Conflict(
                f"there is a node named {request.name} in the cluster already",
                remedy="choose another name with --name; or, if that one is lost: "
                f"carrick node rm {request.name}",
            )


async def _revoke(records: ClusterRecords, lease: LeaseId, wanted: Reservation, name: str) -> None:
    """End a lease that nothing hangs on; if our reservation was made after all, it must stay."""
    try:
        found = await reservations(records).get(name)
        if found is None or found.value != wanted:
            await records.store.revoke(lease)
    except CarrickError:
        pass  # it ends by itself
