"""The directory of a cluster's networks: created once for all nodes, removed only when nobody is on them.

Names and VNIs are keys of their own, so that two nodes cannot take the same; subnets are kept apart by having
all creations depend on the one before (`network-index`). Both are rare.
"""

from dataclasses import replace

from ...domains.overlay.vni import check_vni, choose_vni
from ...drivers.overlay import VNI, no_cluster
from ...host.store.contract import (
    ABSENT,
    Change,
    Condition,
    Delete,
    DeletePrefix,
    OutcomeUnknown,
    Put,
    Requirement,
    StaleRevision,
)
from ...model.errors import Conflict, Denied, Unavailable
from ...model.ids import short
from ...model.networks import Network
from ..state import State
from ..values import Attached
from .link import ClusterLink
from .membership import Membership


class NetworkDirectory:
    def __init__(self, link: ClusterLink, state: State) -> None:
        self._link = link
        self._state = state
        link.follower.put_back = self._put_back

    async def _put_back(self, network: Network) -> None:
        """Write a network again without waiting for it to be taken over: it is the worker who asks."""
        await self._write(network, None, again=True)

    async def network_index(self) -> Condition:
        """Return what creating a network depends on: that no other has been created since now."""
        if self._link.runtime is None:
            raise no_cluster("a network across hosts")
        found = await self._link.require().store.get("network-index")
        if found is not None:
            # What was created last has to be known here, or it would be chosen again.
            runtime, last = self._link.require(), found.value.decode("utf-8", "replace")
            if await runtime.records.networks.get(last) is not None:
                await runtime.mirror.networks.wait_for(lambda: runtime.mirror.networks.get(last) is not None)
            await self._link.settled()
        return Condition("network-index", found.revision if found else ABSENT)

    def with_vni(self, network: Network) -> Network:
        """Return an overlay network with its VNI: the one asked for, or the next free one."""
        taken = {
            int(other.options[VNI])
            for other in self._state.networks.values()
            if other.options.get(VNI, "").isdigit() and other.id != network.id
        }
        asked = network.options.get(VNI, "")
        if asked.isdigit():
            check_vni(int(asked), taken)
            return network
        return replace(network, options=network.options | ({} if asked else {VNI: str(choose_vni(taken))}))

    async def put_network(self, network: Network, index: Condition | None) -> None:
        """Write a network to the cluster and wait until this node has taken it over.

        Conflict if its name is taken; StaleRevision if another network was created since `index`.
        """
        revision = await self._write(network, index)
        runtime = self._link.require()
        await runtime.mirror.networks.wait_for_revision(network.id, revision)
        await self._link.settled()

    async def _write(self, network: Network, index: Condition | None, *, again: bool = False) -> int:
        """Write a network and what it takes; with `again` its name and VNI may be its own already."""
        runtime = self._link.require()
        name, vni = f"network-names/{network.name}", f"vnis/{network.options.get(VNI, '')}"
        changes: list[Change] = [
            runtime.records.networks.putting(network.id, network),
            Put(name, network.id.encode()),
            Put("network-index", network.id.encode()),
        ]
        taken = [name]
        if VNI in network.options:
            changes.append(Put(vni, network.id.encode()))
            taken.append(vni)
        conditions = [runtime.membership.condition()]
        for key in taken:
            entry = await runtime.store.get(key) if again else None
            is_own = entry is not None and entry.value == network.id.encode()
            conditions.append(Condition(key, entry.revision if entry is not None and is_own else ABSENT))
        conditions += [index] if index is not None else []
        try:
            revision = await runtime.store.commit(changes, conditions)
        except OutcomeUnknown:
            found = await runtime.records.networks.get(network.id)
            if found is None:
                raise
            revision = found.revision
        except StaleRevision as error:
            if error.key == name:
                raise Conflict(f"network with name {network.name} already exists") from error
            _refused(runtime.membership, error)
            raise
        return revision

    async def take_network(self, network: Network) -> None:
        """Remove a network from the cluster. Denied, in Docker's words, while it has endpoints anywhere."""
        runtime = self._link.require()
        for _ in range(5):
            record = await runtime.records.networks.get(network.id)
            if record is None:
                break
            await self._check_unused(network)
            changes: list[Change] = [
                runtime.records.networks.deleting(network.id),
                Delete(f"network-names/{network.name}"),
                DeletePrefix(runtime.records.blocks.key(f"{network.id}/")),
                DeletePrefix(runtime.records.addresses.key(f"{network.id}/")),
            ]
            if VNI in network.options:
                changes.append(Delete(f"vnis/{network.options[VNI]}"))
            conditions: list[Requirement] = [
                runtime.records.networks.expecting(network.id, record.revision),
                runtime.records.endpoints.none_below(f"{network.id}/"),
                runtime.membership.condition(),
            ]
            try:
                await runtime.store.commit(changes, conditions)
                break
            except StaleRevision as error:
                # A node has just put an endpoint on it, or somebody else removed it.
                _refused(runtime.membership, error)
        else:
            raise Unavailable(f"network {network.name} keeps changing", remedy="try again")
        table = runtime.mirror.networks
        await table.wait_for(lambda: table.get(network.id) is None)
        await self._link.settled()

    def remote_endpoints(self, network: Network) -> list[Attached]:
        """Return the endpoints of a network on other nodes, as far as they are watched here."""
        lengths = {pool.version: pool.network.prefixlen for pool in network.pools}
        return [
            Attached(
                item.container_id,
                item.container_name,
                item.id,
                item.mac_address,
                f"{item.ipv4}/{lengths.get(4, 32)}" if item.ipv4 else "",
                f"{item.ipv6}/{lengths.get(6, 128)}" if item.ipv6 else "",
                item.engine,
            )
            for item in self._link.follower.remote_endpoints(network.id)
        ]

    async def _check_unused(self, network: Network) -> None:
        runtime = self._link.require()
        lent = [block for block in runtime.blocks.on_network(network.id) if block.bridge]
        if lent:
            nodes = {key: node.name for key, node in runtime.mirror.nodes.live().items()}
            where = ", ".join(
                f"{block.bridge} of node {nodes.get(block.node, block.node)}" for block in lent[:10]
            )
            raise Denied(
                f"error while removing network: network {network.name} has blocks that are lent ({where})",
                remedy=f"on each of them: carrick flannel release {network.name}",
            )
        listing = await self._link.require().records.endpoints_on(network.id).list()
        if listing.values:
            names = ", ".join(
                f'name:"{item.container_name}" id:"{short(item.id)}"' for item in listing.values[:10]
            )
            raise Denied(
                f"error while removing network: network {network.name} has active endpoints ({names})"
            )


def _refused(membership: Membership, error: StaleRevision) -> None:
    if membership.refused(error):
        raise Unavailable(
            membership.problem or "this node's membership was ended meanwhile",
            remedy=membership.remedy or "try again in a moment",
        ) from error
