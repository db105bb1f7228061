"""A machine without a kernel: an engine over fakes, that can be killed at any effect and started again.

What would outlive a killed daemon (store, kernel, runtime, held ports) outlives `start`; the engine is
built anew. `kill_after(n)` lets n more effects happen and then raises `Killed` at every further one, so that
nothing of the dead daemon acts on.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import isasyncgenfunction, iscoroutinefunction
from pathlib import Path
from typing import Any

from ..drivers.registry import DriverRegistry, load_drivers
from ..engine.clock import Clock, SystemClock, as_datetime
from ..engine.engine import CarrickEngine
from ..host.cni import CniRunner
from ..host.config import Config
from ..host.plugins import Plugins
from ..host.store.contract import Store
from ..model.cluster import ClusterSettings
from ..model.containers import ImageConfig
from .fake_kernel import FakeKernel, Killed
from .fake_portholder import FakePortHolder
from .fake_prober import FakeProber
from .fake_runtime import FakeImageStore, FakeRuntime, FakeVolumeStore
from .memory_store import MemoryStore

_EFFECTS = {
    "kernel": {"apply", "remove"},
    "runtime": {"provision", "create", "start", "kill", "pause", "resume", "release", "remove"},
    "store": {"commit"},
    "holder": {"hold", "release", "sync"},
    "cni": {"run"},
    "plugins": {"call"},
}


class _Fuse:
    """Counts effects; burnt out, it lets none through."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.burnt = asyncio.Event()

    def burn(self) -> None:
        if self.left is not None:
            if self.left == 0:
                self.burnt.set()
                raise Killed
            self.left -= 1


class _Fused:
    """Stands before a fake: every call that has an effect passes the fuse first."""

    def __init__(self, target: Any, effects: set[str], fuse: _Fuse) -> None:
        self._target = target
        self._effects = effects
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in self._effects or isasyncgenfunction(found) or not iscoroutinefunction(found):
            return found

        async def guarded(*arguments: Any, **named: Any) -> Any:
            self._fuse.burn()
            return await found(*arguments, **named)

        return guarded


class FakeMachine:
    """Everything below the engine, in memory. `directory` is for the few files that the engine writes."""

    def __init__(
        self, directory: Path, drivers: DriverRegistry | None = None, clock: Clock | None = None
    ) -> None:
        self.config = Config(state_dir=directory / "state", run_dir=directory / "run")
        self.clock = clock or SystemClock()
        self.kernel = FakeKernel(uplink="eth0")
        self.store = MemoryStore()
        self.runtime = FakeRuntime(lambda: as_datetime(self.clock.now_ns()))
        self.images = FakeImageStore()
        self.volumes = FakeVolumeStore()
        self.holder = FakePortHolder()
        self.drivers = drivers or load_drivers()
        self.prober = FakeProber()
        self.cni: CniRunner | None = None
        self.plugins: Plugins | None = None
        self.open_cluster_store: Callable[[ClusterSettings], Store] | None = None
        self._fuse = _Fuse()
        self._resolv_conf = directory / "resolv.conf"
        self._resolv_conf.write_text("nameserver 192.0.2.53\n")
        self.images.add("busybox:latest", ImageConfig(cmd=("sh",)))

    def kill_after(self, effects: int) -> None:
        """Let so many more effects happen, and then none."""
        self._fuse.left = effects

    @property
    def is_dead(self) -> bool:
        return self._fuse.burnt.is_set()

    async def until_done_or_dead(self, operation: Awaitable[object]) -> None:
        """Wait for an operation, or for the daemon's death in the middle of it."""
        doing = asyncio.ensure_future(operation)
        dying = asyncio.ensure_future(self._fuse.burnt.wait())
        await asyncio.wait({doing, dying}, return_when=asyncio.FIRST_COMPLETED)
        for task in (doing, dying):
            task.cancel()
        results = await asyncio.gather(doing, dying, return_exceptions=True)
        if not self.is_dead and isinstance(results[0], BaseException):
            raise results[0]

    def reboot(self) -> None:
        """Lose what a reboot loses: processes, links, namespaces, held ports."""
        for container in self.runtime.containers.values():
            container.status = type(container.status).NONE
            container.pid = 0
            container.exit = None
        self.kernel = FakeKernel(uplink="eth0")
        self.holder = FakePortHolder()

    @asynccontextmanager
    async def start(self) -> AsyncIterator[CarrickEngine]:
        """Run an engine on this machine, as the daemon does, until the block ends."""
        self._fuse = fuse = _Fuse()
        self.runtime.restart_daemon()
        engine = CarrickEngine(
            config=self.config,
            store=_Fused(self.store, _EFFECTS["store"], fuse),
            kernel=_Fused(self.kernel, _EFFECTS["kernel"], fuse),
            runtime=_Fused(self.runtime, _EFFECTS["runtime"], fuse),
            images=self.images,
            volumes=self.volumes,
            holder=_Fused(self.holder, _EFFECTS["holder"], fuse),
            drivers=self.drivers,
            clock=self.clock,
            host_id="machine",
            resolv_conf=self._resolv_conf,
            open_cluster_store=self.open_cluster_store,
            prober=self.prober,
            cni=_Fused(self.cni, _EFFECTS["cni"], fuse) if self.cni else None,
            plugins=_Fused(self.plugins, _EFFECTS["plugins"], fuse) if self.plugins else None,
        )
        await engine.prepare()
        await self.holder.sync(engine.ports.everything_held())
        async with engine.running():
            yield engine

    async def settle(self) -> None:
        """Let tasks that are ready run: exits handled, restarts begun."""
        for _ in range(20):
            await asyncio.sleep(0)
