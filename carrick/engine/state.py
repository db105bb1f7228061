"""The engine's records: the store's collections, with all of them in memory to read from.

The store is the truth and is written first; the dictionaries are a cache that `load` rebuilds. Reading is
therefore never awaited, and what is read together is of one moment.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..domains.ipam import Lease, LeaseChange, PoolState
from ..host.store.contract import Change, DeletePrefix, Store
from ..host.store.typed import Collection, Undecodable
from ..model.errors import InvalidRequest, NotFound
from ..model.ids import ContainerId, NetworkId, SandboxId
from ..model.networks import Network, Sandbox
from .values import ContainerRecord, GuestRecord, Occupant


@dataclass(slots=True)
class Write:
    """Records to write in one transaction: each puts or, with `gone`, deletes."""

    networks: list[Network] = field(default_factory=list)
    sandboxes: list[Sandbox] = field(default_factory=list)
    containers: list[ContainerRecord] = field(default_factory=list)
    guests: list[GuestRecord] = field(default_factory=list)
    addresses: list[LeaseChange] = field(default_factory=list)
    gone_networks: list[NetworkId] = field(default_factory=list)
    gone_sandboxes: list[SandboxId] = field(default_factory=list)
    gone_containers: list[ContainerId] = field(default_factory=list)
    gone_guests: list[ContainerId] = field(default_factory=list)
    gone_pools: list[str] = field(default_factory=list)


class State:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._network_records = Collection(store, "networks/", Network)
        self._sandbox_records = Collection(store, "sandboxes/", Sandbox)
        self._container_records = Collection(store, "containers/", ContainerRecord)
        self._guest_records = Collection(store, "guests/", GuestRecord)
        self._lease_records = Collection(store, "leases/", Lease)
        self._pool_records = Collection(store, "pools/", PoolState)
        self.networks: dict[NetworkId, Network] = {}
        self.sandboxes: dict[SandboxId, Sandbox] = {}
        self.containers: dict[ContainerId, ContainerRecord] = {}
        self.guests: dict[ContainerId, GuestRecord] = {}
        self.on_endpoints: Callable[[], None] = _nobody
        """Is called after records of sandboxes or containers changed; the cluster part sets it."""
        self._guests_in: dict[str, dict[ContainerId, None]] = {}
        self._by_name: dict[str, ContainerId] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def load(self) -> tuple[list[Lease], list[PoolState], list[Undecodable]]:
        """Read everything; return the address records, and those that could not be decoded."""
        networks = await self._network_records.list()
        sandboxes = await self._sandbox_records.list()
        containers = await self._container_records.list()
        guests = await self._guest_records.list()
        leases = await self._lease_records.list()
        pools = await self._pool_records.list()
        self.networks = {item.id: item for item in networks.values}
        self.sandboxes = {item.id: item for item in sandboxes.values}
        self.containers = {item.id: item for item in containers.values}
        self.guests = {item.id: item for item in guests.values}
        for sandbox in sandboxes.values:
            self._place(sandbox)
        self._by_name = {item.name: item.id for item in containers.values}
        listings = (networks, sandboxes, containers, guests, leases, pools)
        return leases.values, pools.values, [item for listing in listings for item in listing.broken]

    async def save(self, write: Write) -> None:
        """Write to the store, all or nothing, and then to memory."""
        changes: list[Change] = [self._network_records.putting(item.id, item) for item in write.networks]
        changes += [self._sandbox_records.putting(item.id, item) for item in write.sandboxes]
        changes += [self._container_records.putting(item.id, item) for item in write.containers]
        changes += [self._guest_records.putting(item.id, item) for item in write.guests]
        for plan in write.addresses:
            # What a plan forgets it may put again under another owner: a key is named once only.
            put = {lease.id: lease for lease in plan.put}
            changes += [self._lease_records.putting(key, lease) for key, lease in put.items()]
            changes += [self._lease_records.deleting(item.id) for item in plan.forget if item.id not in put]
            if plan.state is not None and plan:
                changes.append(self._pool_records.putting(plan.state.id, plan.state))
        changes += [self._network_records.deleting(item) for item in write.gone_networks]
        changes += [self._sandbox_records.deleting(item) for item in write.gone_sandboxes]
        changes += [self._container_records.deleting(item) for item in write.gone_containers]
        changes += [self._guest_records.deleting(item) for item in write.gone_guests]
        for pool_id in write.gone_pools:
            changes.append(DeletePrefix(self._lease_records.key(f"{pool_id}/")))
            changes.append(self._pool_records.deleting(pool_id))
        if changes:
            await self._store.commit(changes)
        self.networks |= {item.id: item for item in write.networks}
        self.guests |= {item.id: item for item in write.guests}
        for sandbox in write.sandboxes:
            self._unplace(sandbox.id)
            self._place(sandbox)
        self.sandboxes |= {item.id: item for item in write.sandboxes}
        for container in write.containers:
            before = self.containers.get(container.id)
            if before is not None and before.name != container.name:
                self._by_name.pop(before.name, None)
            self.containers[container.id] = container
            self._by_name[container.name] = container.id
        for network_id in write.gone_networks:
            self.networks.pop(network_id, None)
            if not self.lock(network_id).locked():
                self._locks.pop(network_id, None)
        for sandbox_id in write.gone_sandboxes:
            self._unplace(sandbox_id)
            self.sandboxes.pop(sandbox_id, None)
        for container_id in write.gone_containers:
            gone = self.containers.pop(container_id, None)
            if gone is not None:
                self._by_name.pop(gone.name, None)
            self._locks.pop(container_id, None)
        for guest_id in write.gone_guests:
            self.guests.pop(guest_id, None)
            self._locks.pop(guest_id, None)
        if write.sandboxes or write.containers or write.gone_sandboxes or write.gone_containers:
            self.on_endpoints()

    def _place(self, sandbox: Sandbox) -> None:
        if sandbox.container_id in self.guests and sandbox.netns:
            self._guests_in.setdefault(sandbox.netns, {})[sandbox.container_id] = None

    def _unplace(self, sandbox_id: SandboxId) -> None:
        before = self.sandboxes.get(sandbox_id)
        there = self._guests_in.get(before.netns) if before is not None else None
        if before is not None and there is not None:
            there.pop(before.container_id, None)
            if not there:
                del self._guests_in[before.netns]

    def guests_in(self, netns: str) -> list[GuestRecord]:
        """Return the guests in the namespace at a path, in the order they came."""
        return [self.guests[item] for item in self._guests_in.get(netns, ())]

    def remember(self, container: ContainerRecord) -> None:
        """Take over what is not worth a write of its own, such as one more result of a health check.

        The record's lock is held. Memory alone has it until the record's next save.
        """
        self.containers[container.id] = container

    def lock(self, identifier: str) -> asyncio.Lock:
        """Return the lock that serialises changes to one container or network."""
        return self._locks.setdefault(identifier, asyncio.Lock())

    # Looking up ------------------------------------------------------------------------------

    def find_container(self, reference: str) -> ContainerRecord:
        """Find by full id, name, or prefix of an id, in that order. Docker's words on a miss."""
        found = self.containers.get(ContainerId(reference))
        if found is None and (by_name := self._by_name.get(reference.removeprefix("/"))):
            found = self.containers[by_name]
        if found is None and reference:
            matching = [item for item in self.containers.values() if item.id.startswith(reference)]
            if len(matching) > 1:
                raise InvalidRequest(
                    f"Multiple IDs found with provided prefix: {reference}", remedy="give more of the id"
                )
            found = matching[0] if matching else None
        if found is None:
            raise NotFound(f"No such container: {reference}")
        return found

    def occupant(self, sandbox: Sandbox) -> Occupant | None:
        """Return whose network a sandbox is: a container of ours, or a guest."""
        return self.containers.get(sandbox.container_id) or self.guests.get(sandbox.container_id)

    def container_named(self, name: str) -> ContainerRecord | None:
        container_id = self._by_name.get(name)
        return self.containers[container_id] if container_id else None

    def find_network(self, reference: str) -> Network:
        """Find by full id, exact name, or prefix of an id. Docker's words on a miss."""
        found = self.networks.get(NetworkId(reference))
        if found is None:
            found = next((item for item in self.networks.values() if item.name == reference), None)
        if found is None and reference:
            matching = [item for item in self.networks.values() if item.id.startswith(reference)]
            if len(matching) > 1:
                raise InvalidRequest(
                    f"network {reference} is ambiguous ({len(matching)} matches found on ID prefix)"
                )
            found = matching[0] if matching else None
        if found is None:
            raise NotFound(f"network {reference} not found")
        return found

    def network_or_none(self, reference: str) -> Network | None:
        try:
            return self.find_network(reference)
        except (NotFound, InvalidRequest):
            return None

    def containers_in(self, sandbox_id: SandboxId) -> Iterable[ContainerRecord]:
        """Return the containers that live in a sandbox: its own and the `container:ID` ones."""
        return [item for item in self.containers.values() if item.sandbox_id == sandbox_id]

    def endpoints_on(self, network_id: NetworkId) -> list[tuple[Sandbox, int]]:
        """Return the sandboxes with an endpoint on a network, each with that endpoint's position."""
        return [
            (sandbox, position)
            for sandbox in self.sandboxes.values()
            for position, endpoint in enumerate(sandbox.endpoints)
            if endpoint.network_id == network_id
        ]


def _nobody() -> None:
    """Nobody wants to know."""
