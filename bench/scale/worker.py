"""A process with many simulated nodes. It takes commands as lines of JSON and answers each with one.

{"do": "start", "nodes": [0, 1]}  start nodes that have been there for long
{"do": "expect", "tag": …, "key": …, "gone": …}  note when each node's mirror shows this
{"do": "seen", "tag": …}  the moments, as time.monotonic()
{"do": "run" | "stop" | "join" | "leave" | "kill", …}  what a node does
"""

import asyncio
import gc
import json
import logging
import resource
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from carrick.engine.clock import SystemClock
from carrick.engine.cluster.table import Table, TableChange
from carrick.host.store.contract import Put
from carrick.host.store.etcd import EtcdStore
from carrick.host.store.etcd_config import Endpoint, EtcdConfig
from carrick.testing.cluster import Memory, SimulatedNode

from .plan import WIDE, Shape, memory_of, network_of, node_id
from .stores import (
    Counter,
    DecodeCache,
    ListSharingStore,
    SharedLists,
    SharedRecords,
    SharedTable,
    open_store,
)

_AT_ONCE = 50
_PER_TRANSACTION = 120


class Worker:
    """The nodes of this process. `share` nodes use one connection."""

    def __init__(self, config: EtcdConfig, shape: Shape, share: int) -> None:
        self._config = config
        self._shape = shape
        self._share = share
        self._clock = SystemClock()
        self._cache = DecodeCache()
        self._lists = SharedLists()
        self.counter = Counter()
        self._stores: list[EtcdStore] = []
        self._nodes: dict[int, SimulatedNode] = {}
        self._lives: dict[int, AsyncExitStack] = {}
        self._expected: dict[tuple[str, bool], str] = {}
        self._seen: dict[str, dict[int, float]] = {}

    async def do(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry out one command and return its answer."""
        return await getattr(self, f"do_{command['do']}")(command) or {}

    # Life ---------------------------------------------------------------------------------------

    async def do_start(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write the nodes' history, start their memberships, and then everything else."""
        began = time.monotonic()
        numbers: list[int] = command["nodes"]
        for number in numbers:
            self._make(number, memory_of(self._shape, number))
        await self._each(numbers, self._write_history)
        seeded = time.monotonic()
        gates = {number: asyncio.Event() for number in numbers}

        async def begin(number: int) -> None:
            await self._live(number, gates[number])
            await self._nodes[number].membership.joined()

        await self._each(numbers, begin)
        joined = time.monotonic()
        return {"seeding_s": seeded - began, "joining_s": joined - seeded, "gates": self._hold(gates)}

    def _hold(self, gates: dict[int, asyncio.Event]) -> int:
        self._gates = gates
        return len(gates)

    async def do_open(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Let everything begin that watches; answer when every node has seen all."""
        began = time.monotonic()

        async def open_gate(number: int) -> None:
            node = self._nodes[number]
            self._gates[number].set()
            tables = [node.mirror.want_endpoints(net) for net in (network_of(self._shape, number), WIDE)]
            await node.mirror.ready()
            for table in tables:
                await table.wait_for(lambda table=table: table.is_loaded)  # type: ignore[misc]

        await self._each(list(self._gates), open_gate)
        self._lists.end()
        self._cache.snapshots.clear()
        # What is long-lived is most of what there is: looking through it over and over is no node's cost.
        gc.collect()
        gc.freeze()
        return {"loading_s": time.monotonic() - began}

    async def _write_history(self, number: int) -> None:
        changes = self._nodes[number].history()
        for start in range(0, len(changes), _PER_TRANSACTION):
            await self._nodes[number].wire.commit(changes[start : start + _PER_TRANSACTION])

    def _make(self, number: int, memory: Memory) -> SimulatedNode:
        if len(self._nodes) % self._share == 0 or not self._stores:
            self._stores.append(open_store(self._config, self.counter))
        node = SimulatedNode(
            node_id(number),
            ListSharingStore(self._stores[-1], self._lists),
            self._clock,
            memory=memory,
            seed=number,
            records=lambda store: SharedRecords(store, self._cache),
            make_table=SharedTable if self._lists.is_on else Table,
        )
        self._nodes[number] = node
        node.mirror.listen(lambda table, change: self._note(number, table, change))
        return node

    async def _live(self, number: int, gate: asyncio.Event | None = None) -> None:
        stack = AsyncExitStack()
        await stack.enter_async_context(self._nodes[number].running(gate))
        self._lives[number] = stack

    async def _each(self, numbers: list[int], work: Any) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int) -> None:
            async with slots:
                await work(number)

        await asyncio.gather(*(one(number) for number in numbers))

    # What is looked for --------------------------------------------------------------------------

    def _note(self, number: int, table: Table[Any], change: TableChange[Any]) -> None:
        if not self._expected:
            return
        for keys, gone in ((change.put, False), (change.gone, True)):
            for key in keys:
                tag = self._expected.get((table.prefix + key, gone))
                if tag is not None:
                    self._seen[tag].setdefault(number, time.monotonic())

    async def do_expect(self, command: Mapping[str, Any]) -> None:
        self._expected[command["key"], command["gone"]] = command["tag"]
        self._seen[command["tag"]] = {}

    async def do_count(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"count": len(self._seen[command["tag"]])}

    async def do_seen(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        self._expected = {key: tag for key, tag in self._expected.items() if tag != command["tag"]}
        return {"times": list(self._seen.pop(command["tag"]).values())}

    # What nodes do -------------------------------------------------------------------------------

    async def do_run(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Start a container; the answer says when that began, and its address."""
        number = command["node"]
        net = WIDE if command.get("wide") else network_of(self._shape, number)
        began = time.monotonic()
        address = await self._nodes[number].start(net, command["name"])
        return {"began": began, "given": time.monotonic(), "address": address}

    async def do_key(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the key that a container's endpoint has, or will have."""
        number = command["node"]
        net = WIDE if command.get("wide") else network_of(self._shape, number)
        endpoint = self._nodes[number].endpoint(command["name"], net, "10.0.0.2")
        return {"key": f"endpoints/{endpoint.key}"}

    async def do_stop(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        began = time.monotonic()
        self._nodes[command["node"]].stop(command["name"])
        return {"began": began}

    async def do_join(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Let a node join that nobody has seen before."""
        number = command["node"]
        began = time.monotonic()
        node = self._make(number, Memory())
        await self._live(number)
        await node.membership.joined()
        joined = time.monotonic()
        tables = [node.mirror.want_endpoints(net) for net in (network_of(self._shape, number), WIDE)]
        await node.mirror.ready()
        for table in tables:
            await table.wait_for(lambda table=table: table.is_loaded)  # type: ignore[misc]
        return {"began": began, "joined": joined, "ready": time.monotonic()}

    async def do_leave(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        began = time.monotonic()
        await self._nodes[command["node"]].leave()
        left = time.monotonic()
        await self.do_kill(command)
        return {"began": began, "left": left}

    async def do_kill(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """End a node's daemon as a power cut would."""
        began = time.monotonic()
        del self._nodes[command["node"]]
        await self._lives.pop(command["node"]).aclose()
        return {"began": began}

    async def do_stats(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what this process has used and moved."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        nodes = self._nodes.values()
        return {
            "nodes": len(self._nodes),
            "cpu_s": used.ru_utime + used.ru_stime,
            "rss_mib": int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20,
            "received_bytes": self.counter.received_bytes,
            "attempts": self.counter.attempts if command.get("connections") else [],
            "connected": self.counter.connected if command.get("connections") else [],
            "members": sum(node.membership.is_member for node in nodes),
            "problems": sum(bool(node.mirror.problem) for node in nodes),
            "alive_seen": min((len(node.mirror.alive) for node in nodes), default=0),
            "epochs": sum(node.membership.epoch > 1 for node in nodes),
        }

    async def do_profile(self, command: Mapping[str, Any]) -> None:
        import cProfile
        import pstats

        profile = cProfile.Profile()
        profile.enable()
        await asyncio.sleep(command["seconds"])
        profile.disable()
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)

    async def aclose(self) -> None:
        for stack in self._lives.values():
            await stack.aclose()
        for store in self._stores:
            await store.aclose()


async def write_networks(config: EtcdConfig, networks: list[Put]) -> None:
    """Put the networks before any node starts."""
    async with open_store(config, Counter()) as store:
        for start in range(0, len(networks), _PER_TRANSACTION):
            await store.commit(networks[start : start + _PER_TRANSACTION])


async def _serve(settings: Mapping[str, Any]) -> None:
    host, port = settings["etcd"]
    config = EtcdConfig((Endpoint(host, port, tls=False),), prefix=settings["prefix"])
    worker = Worker(config, Shape(**settings["shape"]), settings["share"])
    loop = asyncio.get_running_loop()
    gc.set_threshold(50_000, 20, 100)
    commands: asyncio.StreamReader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        try:
            answer = await worker.do(json.loads(line))
        except Exception as error:
            logging.exception("the command failed")
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(_serve(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
