"""A cluster whose etcd has lost its data for good, and what it is recovered from: any one of its nodes."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import pytest

from carrick.engine.clock import SystemClock
from carrick.engine.cluster.claims import check_same
from carrick.engine.cluster.records import META
from carrick.engine.cluster.recovery import recover
from carrick.host.store.contract import Put
from carrick.host.store.etcd import open_etcd
from carrick.model.cluster import ClusterMeta, ClusterSettings, NodeId
from carrick.model.errors import Conflict
from carrick.model.ids import NetworkId
from carrick.model.networks import Network, PoolConfig, Scope
from carrick.testing.cluster import SimulatedNode
from carrick.testing.etcd import EtcdCluster, has_etcd
from carrick.testing.waiting import until

pytestmark = pytest.mark.skipif(not has_etcd(), reason="needs etcd-server and etcd-client")
NET = NetworkId("a" * 64)
VNI = "com.docker.network.driver.overlay.vxlanid_list"
NETWORK = Network(
    NET,
    "blue",
    "overlay",
    0,
    scope=Scope.GLOBAL,
    pools=(PoolConfig("10.0.0.0/24", gateway="10.0.0.1"),),
    options={VNI: "4097"},
)
SETTINGS = ClusterSettings("simulated", NodeId("one"), "one", ("http://127.0.0.1:2379",))


def lose_everything(etcd: EtcdCluster) -> None:
    (member,) = etcd.members
    member.kill()
    shutil.rmtree(member.directory / "data")
    member.start()
    etcd.wait_ready()


@pytest.fixture
async def nodes() -> AsyncIterator[tuple[EtcdCluster, dict[str, SimulatedNode]]]:
    """Three nodes with a container each, in a cluster on an etcd of their own."""
    with EtcdCluster() as etcd:
        async with AsyncExitStack() as stack:
            made = {}
            for name in ("one", "two", "three"):
                node = SimulatedNode(name, open_etcd(etcd.config()), SystemClock())
                node.mirror.verify = partial(check_same, node.records, SETTINGS)
                if name == "one":
                    await node.records.meta.put(META, ClusterMeta("simulated", "", 0), expecting=0)
                made[name] = await stack.enter_async_context(node.running())
                await node.membership.joined()
            first = made["one"]
            await first.add_network(NETWORK)
            await first.records.store.commit(
                [Put("network-names/blue", NET.encode()), Put("vnis/4097", NET.encode())]
            )
            for name, node in made.items():
                node.mirror.want_endpoints(NET)
                await node.start(NET, f"c-{name}")
            for name, node in made.items():
                await until(lambda n=node: len(n.mirror.endpoints[NET]) == 3, name)
            yield etcd, made


async def test_one_node_writes_what_all_were(nodes: tuple[EtcdCluster, dict[str, SimulatedNode]]) -> None:
    etcd, made = nodes
    first = made["one"]
    before = {entry.key: entry.value for entry in (await first.records.store.list("")).entries}
    with pytest.raises(Conflict, match="there is nothing to recover"):
        await recover(first.records, first.mirror, SETTINGS, 1, has_authority=False)
    lose_everything(etcd)
    for name, node in made.items():
        await until(lambda n=node: "has lost cluster simulated" in n.mirror.problem, name)
        assert len(node.mirror.nodes) == 3 and len(node.mirror.endpoints[NET]) == 3
    # All go on; one has changed meanwhile, another one is gone for good.
    made["two"].stop("c-two")
    await recover(first.records, first.mirror, SETTINGS, 1, has_authority=False)
    for name, node in made.items():
        await until(lambda n=node: not n.mirror.problem and n.membership.is_member, name)
        assert node.membership.epoch == 1
    await until(
        lambda: {e.container_name for e in first.mirror.endpoints[NET].values()} == {"c-one", "c-three"}, "c"
    )
    await until(lambda: len(first.mirror.alive) == 3, "all give signs of life")
    after = {entry.key: entry.value for entry in (await first.records.store.list("")).entries}
    gone = {key for key in before if key not in after}
    assert [key.rpartition("/")[0] for key in gone] == [f"endpoints/{NET}/two"]
    same = {key for key in before if not key.startswith(("meta/", "alive/")) and key not in gone}
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert after["network-index"] == NET.encode()
    # And on as ever.
    await made["three"].start(NET, "new")
    await until(lambda: any(e.container_name == "new" for e in first.mirror.endpoints[NET].values()), "new")
    with pytest.raises(Conflict, match="there is nothing to recover"):
        await recover(first.records, first.mirror, SETTINGS, 1, has_authority=False)
