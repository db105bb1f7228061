"""A process with one node that shares nothing: what it reads when it joins, and what it weighs."""

import asyncio
import gc
import json
import logging
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carrick.engine.clock import SystemClock
from carrick.host.store.etcd_config import Endpoint, EtcdConfig
from carrick.testing.cluster import SimulatedNode

from .plan import WIDE, Shape, network_id, node_id
from .stores import Counter, open_store


def _rss_mib() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


async def _join(config: EtcdConfig, shape: Shape, number: int) -> dict[str, float]:
    """Join, watch the first network and the wide one, and leave again."""
    counter = Counter()
    async with open_store(config, counter) as store:
        node = SimulatedNode(node_id(number), store, SystemClock(), seed=number)
        before, cpu = _rss_mib(), time.process_time()
        began = time.monotonic()
        async with node.running():
            await node.membership.joined()
            joined = time.monotonic()
            for net in (network_id(0), WIDE):
                table = node.mirror.want_endpoints(net)
                await table.wait_for(lambda table=table: table.is_loaded)  # type: ignore[misc]
            await node.mirror.ready()
            ready = time.monotonic()
            used = time.process_time() - cpu
            loaded_bytes = counter.received_bytes
            address = await node.start(network_id(0), "first")
            started = time.monotonic()
            await node.publisher.settled()
            published = time.monotonic()
            assert address
            after = _rss_mib()
            known = {
                "nodes": len(node.mirror.nodes),
                "blocks": len(node.mirror.blocks),
                "endpoints": sum(len(table) for table in node.mirror.endpoints.values()),
            }
            await node.leave()
        return {
            "joined_s": joined - began,
            "ready_s": ready - began,
            "cpu_s": used,
            "received_bytes": loaded_bytes,
            "start_s": started - ready,
            "published_s": published - started,
            "mib_before": before,
            "mib_more": after - before,
            **known,
        }


async def _serve(settings: Mapping[str, Any]) -> None:
    host, port = settings["etcd"]
    config = EtcdConfig((Endpoint(host, port, tls=False),), prefix=settings["prefix"])
    line = await asyncio.to_thread(sys.stdin.readline)
    answer = await _join(config, Shape(**settings["shape"]), json.loads(line)["node"])
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(_serve(json.loads(sys.argv[1])))
