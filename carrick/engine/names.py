"""Names: keep `carrick-dns` told of networks, endpoints and sandboxes.

Changes are queued as they happen and sent as one message by `flush`, which returns when the resolver answers
by them: a container's command starts when its names are there. A resolver that is away is no reason to fail:
it gets everything (`snapshot`) when it is back.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from ..domains.dns.protocol import (
    Change,
    PutEndpoint,
    PutNetwork,
    PutSandbox,
    RemoveEndpoint,
    RemoveNetwork,
    RemoveSandbox,
    Snapshot,
)
from ..domains.dns.zone import EndpointRecord, LocalFirst, NetworkZone, SandboxView, parse_local_first
from ..model.cluster import RemoteEndpoint
from ..model.errors import CarrickError, InvalidRequest, Unavailable
from ..model.networks import Endpoint, Network

_log = logging.getLogger(__name__)


class Resolver(Protocol):
    """The connection to `carrick-dns`."""

    async def update(self, changes: Sequence[Change]) -> None:
        """Send changes; return when they are answered by. Unavailable if there is no connection."""
        ...


class NameService:
    def __init__(self, *, default_network_names: bool = True) -> None:
        self._default_network_names = default_network_names
        self._resolver: Resolver | None = None
        self._zones: dict[str, NetworkZone] = {}
        self._endpoints: dict[str, dict[str, EndpointRecord]] = {}
        self._sandboxes: dict[str, SandboxView] = {}
        self._pending: list[Change] = []

    def connect(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def snapshot(self, revision: int) -> Snapshot:
        """Return everything, for a resolver that has just come; what was queued is in it."""
        self._pending.clear()
        networks = tuple(
            replace(zone, endpoints=tuple(self._endpoints[key].values())) for key, zone in self._zones.items()
        )
        return Snapshot(revision, networks=networks, sandboxes=tuple(self._sandboxes.values()))

    async def flush(self) -> None:
        """Send what is queued and wait until it is answered by."""
        if not self._pending or self._resolver is None:
            return
        changes, self._pending = self._pending, []
        try:
            await self._resolver.update(changes)
        except Unavailable as error:
            _log.warning("names will be sent when carrick-dns is back: %s", error)
        except CarrickError:
            # An update is taken whole or not at all: one bad name must not cost the others theirs.
            for change in changes:
                try:
                    await self._resolver.update([change])
                except CarrickError as error:
                    _log.error("carrick-dns refused %r: %s", change, error)

    # Changes ---------------------------------------------------------------------------------

    def put_network(self, network: Network) -> None:
        if network.driver in {"host", "null"} or network.config_only:
            return
        # The reverse zone is ours alone only where the subnet is: a macvlan's is the LAN's.
        own = network.driver in {"bridge", "overlay", "routed"}
        subnets = tuple(pool.subnet for pool in network.pools) if own else ()
        zone = NetworkZone(network.id, network.name, subnets, local_first=_local_first(network))
        self._zones[network.id] = zone
        self._endpoints.setdefault(network.id, {})
        self._pending.append(PutNetwork(zone))

    def remove_network(self, network_id: str) -> None:
        if self._zones.pop(network_id, None) is not None:
            self._endpoints.pop(network_id, None)
            self._pending.append(RemoveNetwork(network_id))

    def put_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        if network.id not in self._zones:
            return
        if network.name == "bridge" and not self._default_network_names:
            return
        record = EndpointRecord(
            endpoint.id,
            endpoint.dns_names,
            tuple(filter(None, (endpoint.ipv4_address, endpoint.ipv6_address))),
        )
        self._endpoints[network.id][endpoint.id] = record
        self._pending.append(PutEndpoint(network.id, record))

    def put_remote(self, endpoint: RemoteEndpoint) -> None:
        """Queue an endpoint of another node, if its network stands here."""
        if endpoint.network_id in self._zones:
            record = EndpointRecord(endpoint.id, endpoint.names, endpoint.addresses, local=False)
            self._endpoints[endpoint.network_id][endpoint.id] = record
            self._pending.append(PutEndpoint(endpoint.network_id, record))

    def remove_endpoint(self, network_id: str, endpoint_id: str) -> None:
        if self._endpoints.get(network_id, {}).pop(endpoint_id, None) is not None:
            self._pending.append(RemoveEndpoint(network_id, endpoint_id))

    def put_sandbox(self, view: SandboxView) -> None:
        self._sandboxes[view.sandbox_id] = view
        self._pending.append(PutSandbox(view))

    def remove_sandbox(self, sandbox_id: str) -> None:
        if self._sandboxes.pop(sandbox_id, None) is not None:
            self._pending.append(RemoveSandbox(sandbox_id))


def _local_first(network: Network) -> LocalFirst:
    """Return a network's order; what a later version may know is no reason to have no names."""
    try:
        return parse_local_first(network.options)
    except InvalidRequest as error:
        _log.warning("network %s: %s", network.name, error.message)
        return LocalFirst.OFF
