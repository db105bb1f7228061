"""Blocks of this node: claimed, confirmed, given back. The choice is `domains/ipam/blocks`'s.

A block is used from the moment that the store and the mirror both say it is ours in this epoch and
confirmed. While the store is away nothing can be claimed, and what is confirmed stays in use.
"""

import logging
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

from ...domains.ipam import Address, Pool, PoolId, Prefix
from ...domains.ipam.blocks import (
    OwnBlocks,
    block_of,
    blocks_to_return,
    choose_block,
    division_of,
    sort_own,
)
from ...domains.ipam.errors import AddressInUse, PoolFull
from ...host.store.contract import ABSENT, StaleRevision
from ...model.cluster import Block, BlockState
from ...model.errors import CarrickError, InvalidRequest, NotFound, Unavailable
from ...model.ids import NetworkId
from ...model.networks import Network
from ..clock import Clock
from .membership import Membership
from .mirror import Mirror
from .records import ClusterRecords
from .table import Table, TableChange

_log = logging.getLogger(__name__)
_TRIES = 10
_RETURN_EVERY_S = 20.0


class BlockService:
    """`on_change` is told a network whose own blocks changed, `on_released` a block that we gave back.

    `in_use` counts the leases of a network by block prefix.

    `exclusively` keeps addresses from being given for the length of its block.
    """

    def __init__(
        self,
        *,
        records: ClusterRecords,
        mirror: Mirror,
        membership: Membership,
        clock: Clock,
        on_change: Callable[[NetworkId], None],
        on_released: Callable[[Block], None],
        in_use: Callable[[NetworkId], Mapping[str, int]],
        exclusively: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
        choose: random.Random | None = None,
    ) -> None:
        self._records = records
        self._mirror = mirror
        self._membership = membership
        self._clock = clock
        self._on_change = on_change
        self._on_released = on_released
        self._in_use = in_use
        self._exclusively = exclusively
        self._random = choose or random.Random()
        self._empty_since: dict[tuple[NetworkId, str], float] = {}
        self._leaving: set[str] = set()
        self.data: dict[NetworkId, str] = {}
        """What new blocks of a network say to the hooks of other nodes."""
        # Ours among the many of the mirror, by key; filled when it is first asked for.
        self._mine: dict[str, Block] | None = None
        mirror.listen(self._look)

    def own(self, network_id: NetworkId, version: int) -> OwnBlocks:
        """Return this node's blocks of a network, as the mirror shows them; not those being given back."""
        staying = [
            block
            for key, block in self._own().items()
            if block.network_id == network_id and key not in self._leaving
        ]
        return sort_own(staying, self._membership.node, self._membership.epoch, version)

    def _own(self) -> dict[str, Block]:
        if self._mine is None:
            node = self._membership.node
            self._mine = {
                key: block for key, block in self._mirror.blocks.live().items() if block.node == node
            }
        return self._mine

    def on_network(self, network_id: NetworkId) -> list[Block]:
        """Return all blocks of a network, whoever's they are."""
        return [block for block in self._mirror.blocks.values() if block.network_id == network_id]

    async def claim(
        self,
        network: Network,
        version: int,
        address: Address | None = None,
        *,
        bridge: str = "",
        preferred: Prefix | None = None,
    ) -> None:
        """Take one more block of a network, or the one that holds `address`.

        With `bridge` it is lent to that link: no address of it is given here. `preferred` is taken if nobody
        has it. Raises PoolFull, AddressInUse if somebody else has the address's block, InvalidRequest if
        nobody may, Unavailable while the store cannot be asked.
        """
        config = network.pool(version)
        if config is None:
            raise NotFound(f"network {network.name} has no IPv{version} subnet")
        if self._membership.is_draining:
            raise Unavailable(
                "this node is draining: it takes no new addresses", remedy="carrick node activate NODE"
            )
        pool = Pool.of(PoolId(""), config, label=f"{network.name} ({network.id})")
        division = division_of(network, version)
        for number in range(_TRIES):
            blocks = self.on_network(network.id)
            if address is not None:
                prefix = block_of(pool, address, division)
                if division is not None and not division.allows(prefix):
                    raise InvalidRequest(
                        f"{address} is in none of the blocks that network {network.name} gives to nodes"
                    )
                holder = next((item for item in blocks if item.network == prefix), None)
                if holder is not None:
                    if self._is_mine(holder):
                        if not holder.bridge:
                            return
                        raise AddressInUse(address, f"in block {prefix}, which bridge {holder.bridge} has")
                    record = self._mirror.nodes.get(holder.node)
                    name = record.name if record else holder.node
                    raise AddressInUse(address, f"in block {prefix} of node {name}")
            elif preferred is not None and preferred not in [item.network for item in blocks]:
                prefix, preferred = preferred, None
            else:
                seed = f"{self._membership.node} {network.id} {number}"
                chosen = choose_block(pool, [item.network for item in blocks], seed, division)
                if chosen is None:
                    raise PoolFull(version, pool.label)
                prefix = chosen
            block = Block(
                network.id,
                str(prefix),
                self._membership.node,
                self._membership.epoch,
                bridge=bridge,
                data=self.data.get(network.id),
            )
            try:
                await self._take(block, network)
                return
            except StaleRevision as error:
                if self._membership.refused(error):
                    raise Unavailable(
                        "this node's membership was ended meanwhile", remedy="try again in a moment"
                    ) from error
                _log.info("block %s of network %s: %s", prefix, network.name, error)
            # Somebody was quicker: look again, once the mirror has seen it.
            await self._clock.sleep(self._random.uniform(0.01, 0.1) * (number + 1))
        raise Unavailable(
            f"no block of network {network.name} could be claimed in {_TRIES} tries", remedy="try again"
        )

    async def _take(self, block: Block, network: Network) -> None:
        known = self._mirror.networks.revision_of(network.id)
        if known == ABSENT:
            raise Unavailable(
                f"network {network.name} is not known to be in the cluster's store", remedy="try again"
            )
        conditions = [
            self._records.blocks.expecting(block.key, ABSENT),
            self._records.networks.expecting(network.id, known),
            self._membership.condition(),
        ]
        revision = await self._records.store.commit(
            [self._records.blocks.putting(block.key, block)], conditions
        )
        await self._mirror.blocks.wait_for_revision(block.key, revision)
        await self._confirm(block, revision)

    async def _confirm(self, block: Block, revision: int) -> None:
        confirmed = replace(block, state=BlockState.CONFIRMED)
        revision = await self._records.store.commit(
            [self._records.blocks.putting(block.key, confirmed)],
            [self._records.blocks.expecting(block.key, revision), self._membership.condition()],
        )
        await self._mirror.blocks.wait_for_revision(block.key, revision)

    def _is_mine(self, block: Block) -> bool:
        return (
            block.node == self._membership.node
            and block.epoch == self._membership.epoch
            and block.state is BlockState.CONFIRMED
        )

    async def say(self, network_id: NetworkId, data: str) -> None:
        """Have our blocks of a network say this to the hooks of other nodes, those to come too."""
        self.data[network_id] = data
        for block in [item for version in (4, 6) for item in self.own(network_id, version).usable]:
            if block.data != data:
                revision = await self._records.store.commit(
                    [self._records.blocks.putting(block.key, replace(block, data=data))],
                    [
                        self._records.blocks.expecting(block.key, self._mirror.blocks.revision_of(block.key)),
                        self._membership.condition(),
                    ],
                )
                await self._mirror.blocks.wait_for_revision(block.key, revision)

    async def reclaim(self, wanted: Mapping[str, Block]) -> list[Block]:
        """Take blocks again that were ours in an epoch before; return those that somebody else has now."""
        lost = []
        for key, block in wanted.items():
            mine = replace(
                block,
                node=self._membership.node,
                epoch=self._membership.epoch,
                state=BlockState.CONFIRMED,
            )
            found = await self._records.blocks.get(key)
            if found is not None and found.value.node != self._membership.node:
                lost.append(block)
                continue
            try:
                await self._records.store.commit(
                    [self._records.blocks.putting(key, mine)],
                    [
                        self._records.blocks.expecting(key, found.revision if found else ABSENT),
                        self._membership.condition(),
                    ],
                )
            except StaleRevision as error:
                if self._membership.refused(error):
                    raise Unavailable("this node's membership was ended meanwhile") from error
                lost.append(block)
        return lost

    # The node's own task -----------------------------------------------------------------------

    async def run(self) -> None:
        """Finish claims that were cut off, and give back what has been empty for a while."""
        await self._mirror.ready()
        while True:
            try:
                await self._membership.joined()
                await self._tidy()
            except (StaleRevision, CarrickError) as error:
                if isinstance(error, StaleRevision):
                    self._membership.refused(error)
                _log.info("tidying blocks: %s", error)
            await self._clock.sleep(self._random.uniform(0.7, 1.3) * _RETURN_EVERY_S)

    async def _tidy(self) -> None:
        now = self._clock.monotonic()
        for network_id in {block.network_id for block in self._own().values()}:
            for version in (4, 6):
                own = self.own(network_id, version)
                for block in own.to_confirm:
                    await self._confirm(block, self._mirror.blocks.revision_of(block.key))
                await self._give_back(network_id, own, now)

    async def _give_back(self, network_id: NetworkId, own: OwnBlocks, now: float) -> None:
        used = self._in_use(network_id)
        for block in own.usable:
            if block.bridge:
                continue
            place = (network_id, block.prefix)
            if used.get(block.prefix):
                self._empty_since.pop(place, None)
            else:
                self._empty_since.setdefault(place, now)
        since = {prefix: at for (item, prefix), at in self._empty_since.items() if item == network_id}
        for block in blocks_to_return(own.usable, used, since, now):
            self._empty_since.pop((network_id, block.prefix), None)
            await self.release(block)

    async def release(self, block: Block) -> None:
        """Give a block back, unless it has come into use meanwhile; one that is lent in any case.

        It is taken from whoever allocates first: an address given in between would be given by the next
        owner too.
        """
        async with self._exclusively():
            if self._in_use(block.network_id).get(block.prefix):
                return
            self._leaving.add(block.key)
            self._on_change(block.network_id)
        try:
            revision = self._mirror.blocks.revision_of(block.key)
            await self._records.store.commit(
                [self._records.blocks.deleting(block.key)],
                [self._records.blocks.expecting(block.key, revision), self._membership.condition()],
            )
            self._on_released(block)
            await self._mirror.blocks.wait_for(lambda: self._mirror.blocks.get(block.key) != block)
        finally:
            self._leaving.discard(block.key)
            self._on_change(block.network_id)

    def _look(self, table: Table[Block], change: TableChange[Block]) -> None:
        if table is not self._mirror.blocks:
            return
        node, own = self._membership.node, self._own()
        for key, block in change.gone.items():
            own.pop(key, None)
            if block.node == node:
                self._on_change(block.network_id)
        for key, block in change.put.items():
            if block.node == node:
                own[key] = block
                self._on_change(block.network_id)
            else:
                own.pop(key, None)
