"""Becoming and staying a member: founding a cluster, joining one, certificates, and an etcd of our own.

All that makes a node a member is in one directory (`homes.py`), put together beside its place and renamed at
the end. What is killed before that is undone by `recover`; what is killed after it was done, and it says so.
Who may join is `admission.py`'s. The records of nodes, and leaving, are not decided here.
"""

import asyncio
import base64
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from ...host.peers import HostPort, NodeClient, fetch_authority, parse_host_port
from ...host.peers.certificates import check_issued
from ...host.peers.client import joining_context
from ...host.peers.wire import JOIN_PATH
from ...host.pki import Authority, Identity, JoinToken, fingerprint, make_request
from ...host.pki.authority import NODE_LASTS
from ...host.store.contract import Store
from ...host.store.etcd import open_etcd
from ...host.store.etcd_config import DEFAULT_PORT as ETCD_PORT
from ...host.store.etcd_config import Endpoint, parse_endpoint
from ...model.cluster import ClusterSettings, NodeId, Underlay
from ...model.errors import CarrickError, Conflict, Denied, Failed, InvalidRequest, Unavailable, Unsupported
from ..clock import Clock
from .admission import (
    authorities,
    check_admission,
    check_node_name,
    check_token,
    dissolve,
    make_token,
    note_removal,
    removals,
)
from .claims import check_format, claim, unclaim
from .homes import Home, Kept
from .records import META, ClusterRecords
from .renewal import Renewed, Renewer, certify_etcd, gatekeeper_of, guard_etcd
from .values import Admission, Admitted, InitCluster, JoinCluster

_log = logging.getLogger(__name__)
_RECOVERY_TIMEOUT_S = 15.0

Opener = Callable[[ClusterSettings], Store]


def new_node_id() -> NodeId:
    return NodeId(base64.b32encode(secrets.token_bytes(17)).decode().lower()[:26])


class Joining:
    """This node's way into a cluster, and what it needs to stay in. One per daemon.

    `directory` is where its files are. `open_store` takes the place of etcd in tests.
    """

    def __init__(
        self,
        *,
        directory: Path,
        clock: Clock,
        version: str,
        open_store: Opener | None = None,
        certificate_lasts: timedelta = NODE_LASTS,
    ) -> None:
        self._home = Home(directory)
        self._new = Home(directory.with_name(f"{directory.name}.new"))
        self._clock = clock
        self._version = version
        self._open_store = open_store
        self._lasts = certificate_lasts
        self._busy = asyncio.Lock()
        self._last_id: NodeId | None = None
        self._left: set[str] = set()
        self._renewer = Renewer(self._home, clock, certificate_lasts)

    # What is there -------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Return the files of the node's certificate."""
        return self._home.identity

    @property
    def has_authority(self) -> bool:
        """Tell whether this node can admit and renew."""
        return self._home.has_authority

    def certificate_ends_ns(self) -> int:
        return round(self.identity.ends().timestamp() * 1e9)

    def ca_pem(self) -> bytes:
        return self._home.ca_pem()

    def listen(self, settings: ClusterSettings) -> HostPort:
        """Return where the node API listens; an empty host means all addresses."""
        kept = self._home.read()
        return HostPort(kept.listen if kept else "", settings.api_port)

    def open_store(self, settings: ClusterSettings) -> Store:
        """Return the cluster's store; it connects when it is first used."""
        return self._open(settings, self._home)

    def _open(self, settings: ClusterSettings, home: Home) -> Store:
        if self._open_store is not None:
            return self._open_store(settings)
        return open_etcd(home.etcd_config(settings))

    # Into a cluster ------------------------------------------------------------------------------

    async def recover(self, settings: ClusterSettings | None) -> ClusterSettings | None:
        """At the daemon's start: undo what a kill has left half done, and tell of what it left done.

        `settings` are those that the node's own store has. Returns those that hold, None for no membership:
        the directory says whether there is one, whatever the store could or could not note any more.
        """
        async with self._busy:
            await self._undo()
            self._home.sweep()
            if not self._home.exists:
                if settings is not None:
                    _log.warning(
                        "this node was leaving cluster %s: it is not in it any more", settings.cluster
                    )
                return None
            try:
                kept = self._home.read()
            except Failed as error:
                if settings is None:
                    raise
                _log.warning("%s", error)
                return settings
            if kept is not None and settings is not None:
                one, other = kept.settings, settings
                return settings if (one.cluster, one.node) == (other.cluster, other.node) else one
            return kept.settings if kept is not None else settings

    async def found(self, request: InitCluster, node_name: str, underlay: Underlay) -> ClusterSettings:
        """Found a cluster: its authority, this node's identity, its store, and the record that it is there.

        Nothing is left after an error. Conflict if this node is in a cluster, or the store holds one at that
        prefix; Unavailable or Denied for an etcd that does not answer or does not let us in.
        """
        listen = parse_host_port(request.listen, "--listen", wildcard=True)
        check_node_name(node_name)
        if not request.gone_after_s > 0:
            raise InvalidRequest(f"a node is gone after more than 0 seconds, not {request.gone_after_s:g}")
        async with self._busy:
            self._refuse_if_member()
            await self._undo(again=False)
            own = not request.endpoints
            endpoints = tuple(str(parse_endpoint(text)) for text in request.endpoints)
            settings = ClusterSettings(
                cluster=new_node_id(),
                node=new_node_id(),
                name=node_name,
                endpoints=endpoints or (str(Endpoint(underlay.address, ETCD_PORT, tls=True)),),
                prefix=request.prefix,
                address=request.address,
                api_port=listen.port,
                own_etcd=own,
                gone_after_s=request.gone_after_s,
            )
            try:
                return await self._found(request, settings, listen.host)
            except BaseException:
                await self._undo()
                raise

    async def _found(self, request: InitCluster, settings: ClusterSettings, listen: str) -> ClusterSettings:
        home = self._new
        home.make()
        authority = Authority.create(settings.cluster)
        settings = replace(settings, ca_sha256=authority.sha256)
        authority.save(home.path)
        # From here on an attempt that was killed can be told from somebody else's cluster.
        home.write(Kept(settings, listen, tuple(self._left)))
        gate = gatekeeper_of(home, authority, self._lasts)
        home.identity.save(gate.issue(make_request(home.path, settings.node), settings.node), home.ca_pem())
        if settings.own_etcd:
            certify_etcd(home, gate, settings)
            await home.etcd_server(settings).start()
        else:
            home.take_etcd_files(request)
            _warn(settings)
        async with self._open(settings, home) as store:
            records = ClusterRecords(store)
            # Whether it answers, and lets us in, before there is anything to take back.
            await records.meta.get(META)
            home.note_claim()
            await claim(records, settings, self._clock.now_ns(), self._left)
        home.become(self._home).note_claimed()
        _log.info("cluster %s is founded, its store is %s", settings.cluster, ", ".join(settings.endpoints))
        return settings

    async def join(self, request: JoinCluster, node_name: str, underlay: Underlay) -> ClusterSettings:
        """Join the cluster that a host is in. Nothing is left after an error.

        The secret is sent only to a node whose authority the token names. Denied for a wrong token or another
        authority, Conflict for a name that is taken, Unavailable for a host or a store that does not answer.
        """
        token = JoinToken.parse(request.token)
        server = parse_host_port(request.host, "the host to join")
        listen = parse_host_port(request.listen, "--listen", wildcard=True)
        check_node_name(node_name)
        async with self._busy:
            self._refuse_if_member()
            await self._undo(again=False)
            # The same id in the next attempt: should an answer be lost, that counts as the same use.
            self._last_id = self._last_id or new_node_id()
            try:
                settings = await self._join(server, token, node_name, underlay, listen, request.address)
            except BaseException:
                await self._undo()
                raise
            self._last_id = None
            return settings

    async def _join(
        self,
        server: HostPort,
        token: JoinToken,
        name: str,
        underlay: Underlay,
        listen: HostPort,
        address: str,
    ) -> ClusterSettings:
        home, node = self._new, self._last_id
        assert node is not None
        ca = await fetch_authority(server, token.ca_sha256)
        home.make()
        admission = Admission(
            secret=token.secret,
            node=node,
            name=name,
            addresses=(underlay.address,),
            certificate_request=make_request(home.path, node).decode(),
            version=self._version,
        )
        async with NodeClient(joining_context(ca)) as client:
            admitted = await client.call("POST", server, JOIN_PATH, Admitted, admission)
        if fingerprint(admitted.ca.encode()) != token.ca_sha256:
            raise Denied(f"{server} sends another authority than the token's")
        check_issued(admitted.certificate.encode(), ca, node, home.identity.key)
        home.identity.save(admitted.certificate.encode(), ca)
        home.take_admitted(admitted)
        settings = ClusterSettings(
            cluster=admitted.cluster,
            node=node,
            name=name,
            endpoints=admitted.endpoints,
            prefix=admitted.prefix,
            address=address,
            api_port=listen.port,
            ca_sha256=token.ca_sha256,
            gone_after_s=admitted.gone_after_s,
        )
        _warn(settings)
        await self._check_store(settings, home)
        home.write(Kept(settings, listen.host))
        home.become(self._home)
        _log.info("this node is %s (%s) in cluster %s", name, node, settings.cluster)
        return settings

    async def _check_store(self, settings: ClusterSettings, home: Home) -> None:
        """Refuse a cluster whose store cannot be used from here, or which is not what it should be."""
        async with self._open(settings, home) as store:
            try:
                found = await ClusterRecords(store).meta.get(META)
            except Unavailable as error:
                raise Unavailable(
                    f"this node was let in, but the cluster's store is away: {error.message}",
                    remedy="every node speaks to etcd itself: see that "
                    f"{', '.join(settings.endpoints)} can be reached from this host",
                ) from error
        if found is None or found.value.id != settings.cluster:
            raise Conflict(
                f"the etcd at {', '.join(settings.endpoints)} does not hold cluster {settings.cluster} "
                f"below {settings.prefix}",
                remedy="the endpoints given at `cluster init` must mean the same etcd on every host",
            )
        check_format(found.value)

    # For others ----------------------------------------------------------------------------------

    async def token(self, records: ClusterRecords, ttl_s: float, uses: int = 0) -> str:
        """Return a new join token, good for so long, and (if not 0) for so many nodes."""
        return await make_token(records, self._clock, fingerprint(self.ca_pem()), ttl_s, uses)

    async def admit(self, records: ClusterRecords, settings: ClusterSettings, request: Admission) -> Admitted:
        """Let a node in that shows a token; on a node without the authority, by way of one that has it."""
        if not self.has_authority:
            check_admission(request)
            # Whoever knows no token is not to make us knock at others.
            await check_token(records, request)
            return await self._renewer.ask_authority(records, settings, JOIN_PATH, request)
        certificate = await self._renewer.gate().admit(records, request)
        return self._home.admitted(settings, certificate)

    async def renew(self, settings: ClusterSettings, node: NodeId, certificate_request: str) -> Admitted:
        """Give a member a new certificate; `node` is who the connection's certificate says it is.

        That it still is a member is for the caller to know.
        """
        if not self.has_authority:
            raise Unsupported("this node does not have the cluster's authority", remedy="ask a node that has")
        return self._home.admitted(settings, self._renewer.gate().renew(node, certificate_request))

    # Staying -------------------------------------------------------------------------------------

    async def start(self, settings: ClusterSettings) -> None:
        """Start what a member runs: an etcd of its own, if it has one. Returns when that serves."""
        if settings.own_etcd:
            await self._home.etcd_server(settings).start()

    async def run(
        self, records: ClusterRecords, settings: ClusterSettings, renewed: Renewed | None = None
    ) -> None:
        """Keep the certificate renewed and our etcd running, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renewer.keep(records, settings, renewed), name="certificate")
            if settings.own_etcd:
                group.create_task(self._home.etcd_server(settings).keep(), name="etcd")
                guard = guard_etcd(self._home, self._renewer.gate, records, self._clock)
                group.create_task(guard, name="etcd's door")

    async def keep_renewed(
        self, records: ClusterRecords, settings: ClusterSettings, renewed: Renewed | None = None
    ) -> None:
        """Renew our certificate whenever that is due, until cancelled; `renewed` is awaited each time."""
        await self._renewer.keep(records, settings, renewed)

    async def renew_own(self, records: ClusterRecords, settings: ClusterSettings) -> Admitted:
        """Get this node a new certificate, and whatever else has changed about the way to the store."""
        return await self._renewer.renew_own(records, settings)

    async def remove(self, records: ClusterRecords, node: NodeId) -> None:
        """Note that another node was taken out: its certificates are good for nothing from soon on.

        Where the cluster's etcd is our own it is let in there no more, its open connections included.
        """
        await note_removal(records, self._clock, node)

    async def is_removed(self, records: ClusterRecords, node: NodeId) -> bool:
        """Tell whether somebody has taken a node out: it may not come back but with a token, as another."""
        return await removals(records).get(node) is not None

    # Out of it -----------------------------------------------------------------------------------

    async def withdraw(self, records: ClusterRecords, settings: ClusterSettings) -> None:
        """Take back what `announce` said; before this node leaves, while the store can be written."""
        await authorities(records).delete(settings.node, expecting=None)

    async def dissolve(self, records: ClusterRecords) -> bool:
        """Remove what the store holds of the cluster, if no node is left in it; tell whether that was so.

        For the last one, once its own record is gone: a given etcd can then hold another cluster there.
        """
        return await dissolve(records)

    async def forget(self) -> None:
        """Remove every file of the membership, the authority among them, and end an etcd of our own.

        Its data go with it: it is for the caller to know that nobody else uses it. May be repeated.
        """
        async with self._busy:
            await self._home.stop_etcd()
            self._renewer.forget()
            self._home.remove()

    # ---------------------------------------------------------------------------------------------

    def _refuse_if_member(self) -> None:
        if not self._home.exists:
            return
        kept = self._home.read()
        which = f"cluster {kept.settings.cluster} as {kept.settings.name}" if kept else "a cluster"
        raise Conflict(f"this node is in {which} already", remedy="leave it first: carrick leave")

    async def _undo(self, *, again: bool = True) -> None:
        """Take back an attempt that did not come to its end: our etcd, our record in a given one, our files.

        Where the given etcd does not answer, the files stay to try `again` later; without, they go, and only
        the cluster's id is remembered, which the next attempt may put its own in place of.
        """
        try:
            kept = self._new.read()
        except Failed as error:
            _log.warning("%s", error)
            kept = None
        if kept is not None:
            self._left.update(kept.left)
            try:
                await self._new.stop_etcd()
                if self._new.is_claiming and not kept.settings.own_etcd:
                    async with asyncio.timeout(_RECOVERY_TIMEOUT_S):
                        async with self._open(kept.settings, self._new) as store:
                            await unclaim(ClusterRecords(store), kept.settings)
            except (CarrickError, TimeoutError) as error:
                _log.warning("an unfinished `cluster init` cannot be taken back now: %s", error)
                self._left.add(kept.settings.cluster)
                if again:
                    return
        self._new.remove()


def is_unprotected(endpoints: Iterable[str]) -> bool:
    """Tell whether the store is reached without TLS: whoever is on the way can read and change it."""
    return any(text.startswith("http://") for text in endpoints)


def _warn(settings: ClusterSettings) -> None:
    if is_unprotected(settings.endpoints):
        _log.warning(
            "etcd is reached without TLS (%s): whoever can reach it rules the cluster",
            ", ".join(settings.endpoints),
        )
