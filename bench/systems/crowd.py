"""`python -m bench.systems.crowd ETCD NETWORK SUBNET NODES NAMES`: nodes that are records and nothing else.

Writes their records and endpoints into a cluster's etcd and prints the endpoints' names.
"""

import asyncio
import sys
from ipaddress import IPv4Network

from carrick.engine.cluster.records import ClusterRecords
from carrick.host.store.contract import Change
from carrick.host.store.etcd import open_etcd
from carrick.host.store.etcd_config import EtcdConfig, parse_endpoint
from carrick.model.cluster import Block, BlockState, NodeRecord, RemoteEndpoint, Underlay
from carrick.model.ids import ContainerId, EndpointId, NetworkId

from ..scale.plan import node_id

_PER_TRANSACTION = 120


async def _write(endpoints: str, network: NetworkId, subnet: str, nodes: int, names: int) -> list[str]:
    config = EtcdConfig(tuple(parse_endpoint(text) for text in endpoints.split(",")))
    # The second half: the hosts' own blocks are claimed at random, and seldom there.
    addresses = IPv4Network(subnet)
    written = []
    async with open_etcd(config) as store:
        records = ClusterRecords(store)
        changes: list[Change] = []
        for number in range(nodes):
            node = node_id(number)
            underlay = Underlay(f"192.0.2.{number + 1}", "192.0.2.0/24")
            changes.append(records.nodes.putting(node, NodeRecord(node, f"crowd{number}", 1, (underlay,))))
        taken = {block.value.prefix for block in (await records.blocks.list(f"{network}/")).records.values()}
        free = (item for item in addresses.subnets(new_prefix=26) if str(item) not in taken)
        next(free)
        for number in range(nodes):
            node = node_id(number)
            wanted = names // nodes + (number < names % nodes)
            hosts: list[str] = []
            while len(hosts) < wanted:
                prefix = next(free)
                block = Block(network, str(prefix), node, 1, BlockState.CONFIRMED)
                changes.append(records.blocks.putting(block.key, block))
                hosts += [str(address) for address in prefix]
            for place in range(wanted):
                name = f"svc-{number}-{place}"
                endpoint = RemoteEndpoint(
                    EndpointId(f"{number:032x}{place:032x}"),
                    network,
                    node,
                    ContainerId(f"{place:032x}{number:032x}"),
                    name,
                    f"02:42:00:{number:02x}:{place >> 8:02x}:{place & 255:02x}",
                    ipv4=hosts[place],
                    names=(name,),
                )
                changes.append(records.endpoints.putting(endpoint.key, endpoint))
                written.append(name)
        for start in range(0, len(changes), _PER_TRANSACTION):
            await store.commit(changes[start : start + _PER_TRANSACTION])
    return written


def main(arguments: list[str]) -> None:
    etcd, network, subnet, nodes, names = arguments
    print("\n".join(asyncio.run(_write(etcd, NetworkId(network), subnet, int(nodes), int(names)))))


if __name__ == "__main__":
    main(sys.argv[1:])
