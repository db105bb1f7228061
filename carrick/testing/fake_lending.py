"""Lending in memory, for tests of doors: every network can be lent, and has the same block."""

from ipaddress import ip_network

from ..domains.flannel import SubnetEnv
from ..engine.cluster.lending import LendBlock, LentView
from ..model.errors import NotFound
from ..model.ids import NetworkId
from ..model.networks import Network, PoolConfig


class FakeLending:
    def __init__(self) -> None:
        self.lent: dict[str, LentView] = {}

    async def lend(self, reference: str, request: LendBlock) -> LentView:
        network = Network(
            NetworkId(f"{reference}-id"), reference, "routed", 0, pools=(PoolConfig("10.5.0.0/16"),)
        )
        env = SubnetEnv(ip_network("10.5.0.0/16"), ip_network("10.5.7.0/24"), 1450, True)
        self.lent[reference] = LentView(network, request.bridge, request.file, env)
        return self.lent[reference]

    async def get(self, reference: str) -> LentView:
        if reference not in self.lent:
            raise NotFound(f"no block of network {reference} is lent on this node")
        return self.lent[reference]

    async def views(self) -> list[LentView]:
        return [self.lent[name] for name in sorted(self.lent)]

    async def release(self, reference: str, *, force: bool = False) -> None:
        await self.get(reference)
        del self.lent[reference]
