"""Members of a cluster: whole engines over fake kernels, on one store, joined without a network.

For tests of what engines do together. What joining itself does is left out: its results are put in place.
"""

from contextlib import AsyncExitStack
from pathlib import Path

from ..engine.cluster.homes import Home, Kept
from ..engine.cluster.records import META, ClusterRecords
from ..engine.engine import CarrickEngine
from ..engine.values import Attachment, CreateContainer
from ..host.store.contract import Store
from ..model.cluster import ClusterMeta, ClusterSettings, NodeId
from ..model.containers import ContainerConfig, HostConfig
from ..model.networks import Endpoint, EndpointSettings
from .cluster import Wire
from .fake_machine import FakeMachine


class ClusterMember:
    """A machine with an engine that is in the cluster. `underlay` is its address there.

    The machine, and with it what a daemon leaves behind, outlives `stop`; `start` builds the engine anew.
    `wire` is between the engine and `store`, and can be cut.
    """

    def __init__(self, name: str, directory: Path, store: Store, number: int) -> None:
        directory.mkdir()
        self.name = name
        self.underlay = f"10.99.1.{number}"
        self.machine = FakeMachine(directory)
        self.machine.kernel.add_link("under0", addresses=(f"{self.underlay}/24",))
        self.store = store
        self.wire = Wire(store)
        self.machine.open_cluster_store = lambda settings: self.wire
        self.engine: CarrickEngine
        self._stack = AsyncExitStack()

    def prepare(self, engine: CarrickEngine) -> None:
        """Called with each new engine before it takes part in the cluster; for fakes of a test's own."""

    async def start(self) -> None:
        """Run an engine; return once it is a member and has taken over what the cluster says.

        With the wire cut it has only what it knew, and nothing is waited for.
        """
        self._stack = AsyncExitStack()
        self.engine = await self._stack.enter_async_context(self.machine.start())
        self.prepare(self.engine)
        if self.engine.link.settings is None:
            await self.join()
        elif not self.wire.is_cut:
            await self._settle()

    async def join(self) -> None:
        """Take part in the cluster that is in `store`, founding it if there is none."""
        link = self.engine.link
        settings = ClusterSettings(
            "c1", NodeId(f"{self.name}-id"), self.name, ("http://etcd",), address=self.underlay
        )
        # What joining leaves behind; it has tests of its own.
        home = Home(self.machine.config.state_dir / "cluster")
        home.make()
        home.write(Kept(settings))
        await ClusterRecords(self.wire).meta.put(META, ClusterMeta("c1", "", 0), expecting=None)
        await link.adopt_settings(settings)
        await link.attach(self.wire)
        await self.engine.cluster.start()
        await self._settle()

    async def _settle(self) -> None:
        runtime = self.engine.link.require()
        await runtime.mirror.ready()
        await runtime.membership.joined()
        await self.engine.link.settled()

    async def stop(self) -> None:
        await self._stack.aclose()

    async def run(self, name: str, network: str, address: str = "") -> str:
        """Start a container on a network, with the alias `<name>-alias`; return its address."""
        settings = EndpointSettings(ipv4_address=address, aliases=(f"{name}-alias",))
        created = await self.engine.containers.create(
            CreateContainer(
                ContainerConfig(image="busybox"),
                HostConfig(network_mode=network),
                (Attachment(network, settings),),
                name,
            )
        )
        await self.engine.containers.start(created.id)
        return self.endpoint(name).ipv4_address

    def endpoint(self, name: str) -> Endpoint:
        """Return a container's first endpoint."""
        record = self.engine.state.find_container(name)
        assert record.sandbox_id is not None
        return self.engine.state.sandboxes[record.sandbox_id].endpoints[0]
