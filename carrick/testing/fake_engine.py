"""An engine in memory, for tests of doors: containers that run commands of `fake_console`, networks that
give addresses, one image. It keeps the contract's promises about errors and results; it has no kernel.

Made for one event loop; `close()` ends what still runs.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from ..engine.values import (
    Event,
    Filters,
    Finding,
    SystemInfo,
)
from ..host.runtime.volume_store import Volume
from ..model.errors import InvalidRequest, NotFound
from .fake_cluster import FakeCluster
from .fake_containers import FakeContainers
from .fake_guests import FakeGuests
from .fake_ids import NO_FILTERS, make_id
from .fake_images import IMAGE_ID, FakeImages
from .fake_lending import FakeLending
from .fake_networks import FakeNetworks


class FakeEngine:
    """The engine's faces. `journal` records the calls that changed something."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.serial = itertools.count(1)
        self.bus = FakeEvents()
        self.networks = FakeNetworks(self)
        self.images = FakeImages(self)
        self.volumes = FakeVolumes()
        self.system = FakeSystem(self)
        self.containers = FakeContainers(self)
        self.cluster = FakeCluster()
        self.guests = FakeGuests(self)
        self.lending = FakeLending()

    async def close(self) -> None:
        for process in self.containers.processes.values():
            process.kill(137)
        await asyncio.sleep(0)


class FakeEvents:
    def __init__(self) -> None:
        self.past: list[Event] = []
        self.queues: set[asyncio.Queue[Event]] = set()

    def emit(self, kind: str, action: str, identifier: str, **attributes: str) -> None:
        event = Event(kind, action, identifier, attributes, time.time_ns())
        self.past.append(event)
        for queue in self.queues:
            queue.put_nowait(event)


class FakeVolumes:
    def __init__(self) -> None:
        self.store: dict[str, Volume] = {}

    async def size(self, name: str) -> int:
        return len((await self.get(name)).name)

    async def create(
        self, name: str, *, driver: str, options: dict[str, str], labels: dict[str, str]
    ) -> Volume:
        if driver != "local":
            raise NotFound(f"create {name}: error looking up volume plugin {driver}: plugin not found")
        name = name or make_id("volume", len(self.store))
        moment = datetime(2024, 1, 2, tzinfo=UTC)
        volume = Volume(name, Path(f"/state/volumes/{name}/_data"), moment, driver, options, labels)
        return self.store.setdefault(name, volume)

    async def get(self, name: str) -> Volume:
        if name not in self.store:
            raise NotFound(f"get {name}: no such volume")
        return self.store[name]

    async def list(self, filters: Filters) -> list[Volume]:
        return sorted(self.store.values(), key=lambda volume: volume.name)

    async def remove(self, name: str, *, force: bool = False) -> None:
        if self.store.pop(name, None) is None and not force:
            raise NotFound(f"get {name}: no such volume")

    async def prune(self, filters: Filters) -> tuple[tuple[str, ...], int]:
        names = tuple(self.store)
        self.store.clear()
        return names, 0


class FakeSystem:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.findings = [Finding("warning", "forwarding", "net.ipv4.ip_forward is 0", "sysctl -w …")]

    async def info(self) -> SystemInfo:
        return SystemInfo(
            id="FAKE",
            name="fake-host",
            root_dir="/state",
            kernel_version="6.18.0",
            operating_system="Debian GNU/Linux 12 (bookworm)",
            os_version="12",
            architecture="x86_64",
            cpus=2,
            memory=24 * 2**30,
            cgroup_version="1",
            cgroup_driver="cgroupfs",
            drivers=("bridge", "host", "null"),
            started=datetime(2024, 1, 2, tzinfo=UTC),
            runtime="runc",
            storage_driver="overlay2",
        )

    async def doctor(self) -> list[Finding]:
        return list(self.findings)

    async def fix(self) -> list[Finding]:
        self.findings = [Finding("ok", "forwarding", "")]
        return list(self.findings)

    async def events(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        filters: Filters = NO_FILTERS,
    ) -> AsyncIterator[Event]:
        for name in filters:
            if name not in ("type", "event", "container", "network", "image"):
                raise InvalidRequest(f"invalid filter '{name}'")
        bus = self._engine.bus
        queue: asyncio.Queue[Event] = asyncio.Queue()
        bus.queues.add(queue)
        try:
            for event in tuple(bus.past):
                if since_ns and since_ns <= event.time_ns <= (until_ns or event.time_ns):
                    yield event
            while until_ns is None or time.time_ns() < until_ns:
                left = None if until_ns is None else (until_ns - time.time_ns()) / 1e9
                try:
                    async with asyncio.timeout(left):
                        event = await queue.get()
                except TimeoutError:
                    return
                yield event
        finally:
            bus.queues.discard(queue)


__all__ = ["IMAGE_ID", "FakeEngine"]
