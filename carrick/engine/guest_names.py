"""Names in namespaces that other engines made: one resolver for all the guests in each.

A container of another engine may have several interfaces, each a guest of its own; what its processes are
answered is one view of them all.
"""

from collections.abc import Sequence

from ..domains.dns.zone import SandboxView, UpstreamServer
from ..domains.guests import server_of
from ..domains.sandboxes.interfaces import elect_gateways, gateway_order
from ..model.guests import guest_id
from ..model.ids import SandboxId
from ..model.networks import Sandbox
from .names import NameService
from .state import State
from .values import GuestRecord


class GuestNames:
    def __init__(self, state: State, names: NameService) -> None:
        self._state = state
        self._names = names

    async def flush(self) -> None:
        await self._names.flush()

    def publish_all(self) -> None:
        """Queue the names of every guest, for a resolver that is told everything."""
        for record in self._state.guests.values():
            if (sandbox := self._state.sandboxes.get(SandboxId(record.id))) is not None:
                self.publish(sandbox)

    def publish(self, sandbox: Sandbox) -> None:
        """Queue a guest's names, and what its namespace is answered with it."""
        endpoint = sandbox.endpoints[0]
        self._names.put_endpoint(self._state.networks[endpoint.network_id], endpoint)
        if sandbox.netns:
            self._names.put_sandbox(self._view(sandbox.netns))

    def withdraw(self, sandbox: Sandbox) -> None:
        """Take a guest's names away, before its record goes."""
        endpoint = sandbox.endpoints[0]
        self._names.remove_endpoint(endpoint.network_id, endpoint.id)
        if not sandbox.netns:
            return
        if self._others_in(sandbox.netns, but=sandbox.id):
            self._names.put_sandbox(self._view(sandbox.netns, but=sandbox.id))
        else:
            self._names.remove_sandbox(_id(sandbox.netns))

    def _others_in(self, netns: str, but: str = "") -> Sequence[tuple[GuestRecord, Sandbox]]:
        """Return the guests in one namespace: each is one interface of the same container."""
        found = []
        for record in self._state.guests_in(netns):
            sandbox = self._state.sandboxes[SandboxId(record.id)]
            if sandbox.id != but:
                found.append((record, sandbox))
        return found

    def _view(self, netns: str, but: str = "") -> SandboxView:
        """Return what the processes in a namespace are answered: one resolver for all its interfaces."""
        guests = self._others_in(netns, but)
        endpoints = gateway_order([sandbox.endpoints[0] for _, sandbox in guests])
        servers = dict.fromkeys(item for record, _ in guests for item in record.spec.dns.servers)
        options = [item for record, _ in guests for item in record.spec.dns.options]
        return SandboxView(
            sandbox_id=_id(netns),
            netns_path=netns,
            networks=tuple(endpoint.network_id for endpoint in endpoints),
            servers=tuple(
                UpstreamServer(address, port=udp, tcp_port=tcp)
                for address, udp, tcp in map(server_of, servers)
            ),
            use_host_servers=not servers,
            ndots_set=any(item.startswith("ndots:") for item in options),
            external=any(elect_gateways([item]).ipv4 or elect_gateways([item]).ipv6 for item in endpoints),
        )


def _id(netns: str) -> str:
    return guest_id("netns", netns)
