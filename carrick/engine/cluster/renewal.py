"""Staying a member: certificates are renewed long before they end, by whoever has the cluster's authority."""

import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from ...host.etcd_server import LOOPBACK
from ...host.peers import NodeClient, Renewal, parse_host_port
from ...host.peers.certificates import check_issued, revoked_serials
from ...host.peers.wire import RENEW_PATH
from ...host.pki import Authority, Identity, fingerprint, make_request
from ...host.pki.authority import write_private
from ...model.cluster import ClusterSettings, NodeState
from ...model.errors import CarrickError, Denied, Unavailable
from ..clock import Clock
from .admission import AuthorityRecord, Gatekeeper, authorities, removals
from .homes import Home
from .records import META, ClusterRecords
from .values import Admitted

_log = logging.getLogger(__name__)
_CHECK_S = 3600.0
_ANNOUNCE_S = 60.0
"""How often who has the authority sees to it that all know: the store may have lost it."""
_RETRY_S = 300.0
_FIRST_CHECK_S = 30.0
_WARN_BEFORE = timedelta(days=14)
_GUARD_S = 5.0

Renewed = Callable[[Admitted], Awaitable[None]]


class Renewer:
    """Renews the certificates in a home; `lasts` is for how long, where the authority is here."""

    def __init__(self, home: Home, clock: Clock, lasts: timedelta) -> None:
        self._home = home
        self._clock = clock
        self._lasts = lasts
        self._gatekeeper: Gatekeeper | None = None

    def gate(self) -> Gatekeeper:
        """Return who lets nodes in here. Raises Failed if the authority cannot be read."""
        if self._gatekeeper is None:
            self._gatekeeper = gatekeeper_of(self._home, Authority.load(self._home.path), self._lasts)
        return self._gatekeeper

    def forget(self) -> None:
        """Let go of the authority's key."""
        self._gatekeeper = None

    async def keep(
        self, records: ClusterRecords, settings: ClusterSettings, renewed: Renewed | None = None
    ) -> None:
        """Renew our certificate whenever that is due, until cancelled; `renewed` is awaited each time."""
        pause = random.uniform(0, _FIRST_CHECK_S)
        while True:
            await self._clock.sleep(pause)
            pause = random.uniform(0.8, 1.0) * _CHECK_S
            try:
                await self.announce(records, settings)
                if self.is_due():
                    admitted = await self.renew_own(records, settings)
                    if renewed is not None:
                        await renewed(admitted)
            except (CarrickError, OSError) as error:
                pause = random.uniform(0.5, 1.0) * _RETRY_S
                self._complain(error)
            if self._home.has_authority:
                pause = min(pause, random.uniform(0.5, 1.0) * _ANNOUNCE_S)

    def is_due(self) -> bool:
        """Tell whether it is time for a new certificate."""
        return self._home.identity.is_due(self._now())

    async def renew_own(self, records: ClusterRecords, settings: ClusterSettings) -> Admitted:
        """Get this node a new certificate, and whatever else has changed about the way to the store."""
        request = make_request(self._home.path, settings.node)
        if self._home.has_authority:
            admitted = self._home.admitted(settings, self.gate().issue(request, settings.node))
            if settings.own_etcd:
                # etcd reads its certificate for each connection.
                certify_etcd(self._home, self.gate(), settings)
        else:
            admitted = await self.ask_authority(records, settings, RENEW_PATH, Renewal(request.decode()))
            if fingerprint(admitted.ca.encode()) != settings.ca_sha256:
                raise Denied("the certificate that was sent comes with another authority")
            check_issued(
                admitted.certificate.encode(), self._home.ca_pem(), settings.node, self._home.identity.key
            )
            self._home.take_admitted(admitted)
        self._home.identity.save(admitted.certificate.encode(), self._home.ca_pem())
        _log.info(
            "this node's certificate is renewed; it ends at %s", f"{self._home.identity.ends():%Y-%m-%d}"
        )
        return admitted

    async def announce(self, records: ClusterRecords, settings: ClusterSettings) -> None:
        """Say in the store that this node has the authority, if it has: its key may have been copied here."""
        if not self._home.has_authority:
            return
        meta = await records.meta.get(META)
        if meta is None or meta.value.id != settings.cluster:
            return  # what the store holds is not our cluster
        if await authorities(records).get(settings.node) is None:
            record = AuthorityRecord(self._clock.now_ns())
            await authorities(records).put(settings.node, record, expecting=None)

    async def ask_authority(
        self, records: ClusterRecords, settings: ClusterSettings, path: str, body: object
    ) -> Admitted:
        """Ask the nodes that have the authority, one after the other, until one can be reached."""
        holders = await authorities(records).list()
        problem = "the cluster has no record of who has it"
        async with NodeClient.of(self._home.identity) as client:
            for node in random.sample(list(holders.records), len(holders.records)):
                found = await records.nodes.get(node)
                if found is None or found.value.state is NodeState.GONE or not found.value.api:
                    continue
                server = parse_host_port(found.value.api, f"the node API of {found.value.name}")
                try:
                    return await client.call("POST", server, path, Admitted, body, node=node)
                except Unavailable as error:
                    problem = f"{found.value.name}: {error.message}"
        raise Unavailable(
            f"no node with the cluster's authority can be reached: {problem}",
            remedy="start the node that the cluster was founded on (or one that its ca.key was copied to)",
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)

    def _complain(self, error: Exception) -> None:
        """Say that a renewal has failed: loudly once the certificate is about to end."""
        try:
            ends = self._home.identity.ends()
        except OSError:
            _log.error("this node's certificate: %s", error)
            return
        level = logging.ERROR if ends - self._now() < _WARN_BEFORE else logging.INFO
        _log.log(level, "the certificate, which ends at %s, is not renewed: %s", f"{ends:%Y-%m-%d}", error)


def certify_etcd(home: Home, gate: Gatekeeper, settings: ClusterSettings) -> None:
    """Give our etcd a certificate: the only one of the cluster with addresses, and no node's."""
    server = home.etcd_server(settings)
    request = make_request(server.directory, "etcd")
    certificate = gate.issue_server(request, "etcd", dict.fromkeys((server.address, LOOPBACK)))
    Identity(server.directory).save(certificate, home.ca_pem())
    if not server.revoked.exists():
        write_private(server.revoked, gate.revocation_list(()))
    home.use_cluster_authority()


def gatekeeper_of(home: Home, authority: Authority, lasts: timedelta) -> Gatekeeper:
    """Return who lets nodes in with an authority, and keeps account of it in `home`."""
    return Gatekeeper(authority, lasts=lasts, note=home.note_issued)


async def guard_etcd(
    home: Home, gate: Callable[[], Gatekeeper], records: ClusterRecords, clock: Clock
) -> None:
    """Keep nodes that were taken out from our etcd, until cancelled.

    It looks at certificates when a connection begins, so those that are open are ended by ending etcd;
    whoever keeps it starts it again.
    """
    said = ""
    while True:
        try:
            if home.has_authority:
                await _update_revoked(home, gate(), records)
            said = ""
        except (CarrickError, OSError) as error:
            if str(error) != said:
                said = str(error)
                _log.warning("nodes that are taken out now are still let in by etcd: %s", error)
        await clock.sleep(_GUARD_S)


async def _update_revoked(home: Home, gate: Gatekeeper, records: ClusterRecords) -> None:
    kept = home.read()
    if kept is None:
        return
    server = home.etcd_server(kept.settings)
    removed = (await removals(records).list()).records
    wanted = {int(item.serial, 16) for item in home.issued() if item.node in removed}
    before = revoked_serials(server.revoked.read_bytes())
    if wanted != before:
        write_private(server.revoked, gate.revocation_list(wanted))
    if wanted - before:
        _log.info("etcd is ended and started again, as a node was taken out of the cluster")
        await server.stop()
