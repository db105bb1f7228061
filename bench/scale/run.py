"""One scale run: build a cluster up, look at it at rest, let things happen, take etcd away for a while."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from carrick.host.store.contract import Put
from carrick.host.store.etcd_config import EtcdConfig
from carrick.host.store.typed import Collection
from carrick.model.networks import Network
from carrick.testing.etcd import CLIENT_PORT, EtcdCluster

from .etcd_metrics import Sample, read_metrics
from .plan import Shape, make_networks, neighbours, node_id
from .stores import percentile
from .worker import write_networks
from .workers import WorkerHandle, all_do

_PREFIX = "carrick/"
_LONGEST_WAIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to run. `away_s` is how long etcd is away; 0 leaves it alone."""

    shape: Shape
    processes: int = 2
    share: int = 1
    repetitions: int = 5
    rest_s: float = 30.0
    away_s: float = 15.0
    profile_s: float = 0.0
    kill: bool = True


@dataclass(slots=True)
class Outcome:
    """Figures by name, and what happened second by second when etcd was away."""

    figures: dict[str, Any] = field(default_factory=dict)
    reconnect: list[dict[str, float]] = field(default_factory=list)


class ScaleRun:
    """`say` receives progress."""

    def __init__(self, options: Options, etcd: EtcdCluster, say: Callable[[str], None]) -> None:
        self._options = options
        self._shape = options.shape
        self._etcd = etcd
        self._say = say
        self._workers: list[WorkerHandle] = []
        self._nodes = options.shape.nodes
        self._tags = 0
        self.outcome = Outcome()

    @property
    def config(self) -> EtcdConfig:
        return self._etcd.config(_PREFIX)

    async def run(self) -> Outcome:
        async with self._workers_running():
            await self._build_up()
            await self._rest()
            await self._happen()
            if self._options.kill:
                await self._die()
            await self._lone()
            if self._options.away_s:
                await self._take_etcd_away()
        return self.outcome

    # Processes -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _workers_running(self) -> AsyncIterator[None]:
        settings = self._settings()
        try:
            for number in range(self._options.processes):
                self._workers.append(await WorkerHandle.start(number, settings))
            yield
        finally:
            for worker in self._workers:
                await worker.end()

    def _settings(self) -> dict[str, Any]:
        shape = self._shape
        return {
            "etcd": [self._etcd.members[0].address, CLIENT_PORT],
            "prefix": _PREFIX,
            "shape": {"nodes": shape.nodes, "endpoints": shape.endpoints, "span": shape.span},
            "share": self._options.share,
        }

    def _home(self, node: int) -> WorkerHandle:
        """Return the worker that a node lives in: the nodes of one network share a process."""
        return self._workers[node // self._shape.span % len(self._workers)]

    def _metrics(self) -> Sample:
        return read_metrics(f"http://{self._etcd.members[0].address}:{CLIENT_PORT}")

    async def _sample(self) -> Sample:
        return await asyncio.to_thread(self._metrics)

    async def _stats(self) -> dict[str, float]:
        found = await all_do(self._workers, "stats")
        sums = {
            key: sum(item[key] for item in found) for key in ("nodes", "cpu_s", "rss_mib", "received_bytes")
        }
        return sums | {
            "members": sum(item["members"] for item in found),
            "problems": sum(item["problems"] for item in found),
            "epochs": sum(item["epochs"] for item in found),
            "alive_seen": min(item["alive_seen"] for item in found),
        }

    # The run -------------------------------------------------------------------------------------

    async def _build_up(self) -> None:
        began = time.monotonic()
        networks = make_networks(self._shape)
        records: Collection[Network] = Collection(None, "networks/", Network)  # type: ignore[arg-type]
        await write_networks(
            self.config, [Put(f"networks/{net.id}", records.encode(net)) for net in networks]
        )
        empty = await self._stats()
        places: dict[int, list[int]] = {worker.number: [] for worker in self._workers}
        for node in range(self._shape.nodes):
            places[self._home(node).number].append(node)
        self._say(f"{self._nodes} nodes: writing their history, starting their memberships")
        started = await asyncio.gather(*(w.do("start", nodes=places[w.number]) for w in self._workers))
        self._say("letting them watch")
        opened = await all_do(self._workers, "open")
        stats = await self._stats()
        sample = await self._sample()
        self.outcome.figures["build_up"] = {
            "seconds": time.monotonic() - began,
            "joining_s": max(item["joining_s"] for item in started),
            "loading_s": max(item["loading_s"] for item in opened),
            "workers_mib_per_node": (stats["rss_mib"] - empty["rss_mib"]) / self._nodes,
            "etcd": dict(sample.values),
        }
        self._say(f"built up in {time.monotonic() - began:.0f} s: {stats}")

    async def _rest(self) -> None:
        if self._options.profile_s:
            await self._workers[0].do("profile", seconds=self._options.profile_s)
        await asyncio.sleep(5)
        before, sample = await self._stats(), await self._sample()
        await asyncio.sleep(self._options.rest_s)
        after, rest = await self._stats(), (await self._sample()).since(sample)
        self.outcome.figures["rest"] = {
            "requests_per_s": rest.total / rest.at,
            "by_method": {key: value / rest.at for key, value in rest.requests.items() if value},
            "etcd_cores": rest.values["cpu_s"] / rest.at,
            "etcd_mib": rest.values["memory_bytes"] / 2**20,
            "worker_cores": (after["cpu_s"] - before["cpu_s"]) / rest.at,
            "worker_ms_per_node_s": 1000 * (after["cpu_s"] - before["cpu_s"]) / rest.at / self._nodes,
            "received_bytes_per_node_s": (after["received_bytes"] - before["received_bytes"])
            / rest.at
            / self._nodes,
            "sent_by_etcd_per_s": rest.values["sent_bytes"] / rest.at,
            "watchers": rest.values["watchers"],
            "members": after["members"],
            "alive_seen": after["alive_seen"],
        }
        self._say(f"at rest: {self.outcome.figures['rest']}")

    async def _happen(self) -> None:
        span = self._shape.span
        repetitions = self._options.repetitions
        rng_nodes = [(number * 7919 + 13) % self._shape.nodes for number in range(repetitions)]
        for wide, title in ((False, "narrow"), (True, "wide")):
            for kind in ("run", "stop"):
                series = []
                for number, node in enumerate(rng_nodes):
                    name = f"new-{title}-{number}"
                    home = self._home(node)
                    key = (await home.do("key", node=node, name=name, wide=wide))["key"]
                    watching = self._nodes if wide else len(neighbours(self._shape, node))

                    async def act(
                        home: WorkerHandle = home,
                        kind: str = kind,
                        node: int = node,
                        name: str = name,
                        wide: bool = wide,
                    ) -> dict[str, Any]:
                        return await home.do(kind, node=node, name=name, wide=wide)

                    if wide and kind == "run":
                        # The claim of the node's first block there is seen by all; it is another measure.
                        await home.do("run", node=node, name=f"first-{number}", wide=True)
                        await asyncio.sleep(1)
                    series.append(await self._event(act, key, gone=kind == "stop", watching=watching))
                self._keep(f"container_{kind}_{title}", series)
        joined, left = [], []
        for number in range(repetitions):
            new = self._shape.nodes + number * span * len(self._workers)
            home = self._home(new)

            async def join(home: WorkerHandle = home, new: int = new) -> dict[str, Any]:
                return await home.do("join", node=new)

            joined.append(await self._event(join, f"alive/{node_id(new)}", gone=False, watching=self._nodes))
            self._nodes += 1
        self._keep("node_join", joined)
        for number in range(repetitions):
            old = self._shape.nodes + number * span * len(self._workers)
            home = self._home(old)
            await home.do("run", node=old, name="only")

            async def leave(home: WorkerHandle = home, old: int = old) -> dict[str, Any]:
                return await home.do("leave", node=old)

            left.append(
                await self._event(leave, f"nodes/{node_id(old)}", gone=True, watching=self._nodes - 1)
            )
            self._nodes -= 1
        self._keep("node_leave", left)

    async def _die(self) -> None:
        node = self._shape.nodes // 2
        home = self._home(node)

        async def kill() -> dict[str, Any]:
            return await home.do("kill", node=node)

        figures = await self._event(kill, f"alive/{node_id(node)}", gone=True, watching=self._nodes - 1)
        self._nodes -= 1
        self._keep("node_dies", [figures])

    async def _event(
        self, act: Callable[[], Awaitable[dict[str, Any]]], key: str, *, gone: bool, watching: int
    ) -> dict[str, float]:
        """Do something and wait until so many nodes have seen it. Times are from its beginning."""
        self._tags += 1
        tag = f"event {self._tags}"
        await all_do(self._workers, "expect", tag=tag, key=key, gone=gone)
        before, sample = await self._stats(), await self._sample()
        answer = await act()
        deadline = time.monotonic() + _LONGEST_WAIT_S
        while (seen := sum(i["count"] for i in await all_do(self._workers, "count", tag=tag))) < watching:
            if time.monotonic() > deadline:
                self._say(f"only {seen} of {watching} nodes have seen {key}")
                break
            await asyncio.sleep(0.05)
        times = [
            t - answer["began"] for i in await all_do(self._workers, "seen", tag=tag) for t in i["times"]
        ]
        after, rest = await self._stats(), (await self._sample()).since(sample)
        return {
            "seen": len(times),
            "watching": watching,
            "p50_s": percentile(times, 0.5),
            "p99_s": percentile(times, 0.99),
            "last_s": max(times, default=0.0),
            "first_s": min(times, default=0.0),
            "etcd_cpu_s": rest.values["cpu_s"],
            "worker_cpu_s": after["cpu_s"] - before["cpu_s"],
            "bytes_per_node": (after["received_bytes"] - before["received_bytes"]) / self._nodes,
            **{
                f"own_{key}_s": answer[key] - answer["began"]
                for key in ("given", "joined", "ready", "left")
                if key in answer
            },
        }

    def _keep(self, name: str, series: list[dict[str, float]]) -> None:
        medians = {key: percentile([item[key] for item in series], 0.5) for key in series[0]}
        medians["worst_s"] = max(item["last_s"] for item in series)
        self.outcome.figures[name] = medians
        self._say(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in medians.items()))

    async def _lone(self) -> None:
        """Let one node join in a process of its own, which shares nothing."""
        node = self._shape.nodes + 1_000_000 // self._shape.span * self._shape.span
        worker = await WorkerHandle.start(99, self._settings(), "lone")
        try:
            self.outcome.figures["lone_node"] = await worker.do("join", node=node)
        finally:
            await worker.end()
        self._say(f"a node for itself: {self.outcome.figures['lone_node']}")

    async def _take_etcd_away(self) -> None:
        """Kill etcd, start it again, and look at who comes back when."""
        options = self._options
        member = self._etcd.members[0]
        await asyncio.to_thread(member.kill)
        await asyncio.sleep(options.away_s)
        gone = await self._stats()
        # Everybody is to see something that is written once etcd is back.
        await all_do(self._workers, "expect", tag="back", key="networks/back", gone=False)
        self._say(f"etcd was killed; {gone['problems']:.0f} nodes know it")
        member.start()
        began = time.monotonic()
        before: Sample | None = None
        marked = False
        seen = 0
        while time.monotonic() < began + _LONGEST_WAIT_S and seen < self._nodes:
            await asyncio.sleep(0.5)
            with suppress(OSError):
                sample = await self._sample()
                if before is not None:
                    step = sample.since(before)
                    self.outcome.reconnect.append(
                        {
                            "at_s": sample.at - began,
                            "requests_per_s": step.total / step.at,
                            "etcd_cores": step.values["cpu_s"] / step.at,
                            "watchers": sample.values["watchers"],
                            "etcd_mib": sample.values["memory_bytes"] / 2**20,
                        }
                    )
                before = sample
                if not marked:
                    back = make_networks(Shape(1))[1]
                    records: Collection[Network] = Collection(None, "networks/", Network)  # type: ignore[arg-type]
                    await write_networks(self.config, [Put("networks/back", records.encode(back))])
                    marked = True
                seen = sum(i["count"] for i in await all_do(self._workers, "count", tag="back"))
        found = await all_do(self._workers, "seen", tag="back")
        times = [t - began for item in found for t in item["times"]]
        stats = await all_do(self._workers, "stats", connections=True)
        connects = sorted(t - began for item in stats for t in item["connected"] if t > began)
        attempts = sorted(t - began for item in stats for t in item["attempts"] if t > began - options.away_s)
        per_s = [sum(second <= t < second + 1 for t in connects) for second in range(int(connects[-1]) + 1)]
        self.outcome.figures["etcd_restart"] = {
            "away_s": options.away_s,
            "seen": len(times),
            "p50_s": percentile(times, 0.5),
            "p99_s": percentile(times, 0.99),
            "last_s": max(times, default=0.0),
            "connections_p50_s": percentile(connects, 0.5),
            "connections_last_s": connects[-1],
            "most_connections_per_s": max(per_s),
            "connections_per_s": per_s,
            "attempts_while_away_per_s": sum(t < 0 for t in attempts) / options.away_s,
            "most_requests_per_s": max(item["requests_per_s"] for item in self.outcome.reconnect),
            "new_epochs": sum(item["epochs"] for item in stats),
        }
        self._say(f"etcd is back: {self.outcome.figures['etcd_restart']}")
