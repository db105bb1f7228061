"""The shape of a simulated cluster: who is on which network, with which blocks and addresses. Pure.

A network spans `span` nodes, as an application does, and a node's endpoints are all on one of these. One
network more, `WIDE`, is on every node.
"""

import base64
import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address

from carrick.model.cluster import Block, BlockState, NodeId
from carrick.model.ids import NetworkId
from carrick.model.networks import Network, PoolConfig, Scope
from carrick.testing.cluster import Memory

_BLOCK_SIZE = 64
_PER_BLOCK = 50
_MAX_SPAN = 30
_SUBNET_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Shape:
    """`nodes` with `endpoints` each; networks of `span` nodes."""

    nodes: int
    endpoints: int = 100
    span: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.span <= _MAX_SPAN or not 0 <= self.endpoints <= 2 * _PER_BLOCK:
            raise ValueError(
                f"a network spans 1 to {_MAX_SPAN} nodes with at most {2 * _PER_BLOCK} endpoints"
            )

    @property
    def networks(self) -> int:
        return -(-self.nodes // self.span)


def node_id(number: int) -> NodeId:
    """Return a node's identity: 26 characters, as real ones."""
    digest = hashlib.sha256(f"node {number}".encode()).digest()
    return NodeId(base64.b32encode(digest).decode().lower()[:26])


def network_id(number: int) -> NetworkId:
    return NetworkId(hashlib.sha256(f"network {number}".encode()).hexdigest())


WIDE = network_id(-1)


def network_of(shape: Shape, node: int) -> NetworkId:
    """Return the network that a node's containers are on."""
    return network_id(node // shape.span % shape.networks)


def neighbours(shape: Shape, node: int) -> range:
    """Return the nodes that were on a node's network from the beginning, itself among them."""
    first = node // shape.span % shape.networks * shape.span
    return range(first, min(first + shape.span, shape.nodes))


def make_networks(shape: Shape) -> list[Network]:
    """Return all networks. Their subnets may be the same: nothing here routes."""
    return [_network(WIDE, "wide", "10.0.0.0/9"), *(_narrow(number) for number in range(shape.networks))]


def memory_of(shape: Shape, node: int) -> Memory:
    """Return what a node remembers that has been in the cluster for long."""
    net, place = network_of(shape, node), node % shape.span
    base = int(_narrow(node // shape.span).pools[0].network.network_address)
    blocks: dict[str, Block] = {}
    containers: dict[str, tuple[NetworkId, str]] = {}
    for number in range(shape.endpoints):
        start = base + (2 * place + number // _PER_BLOCK) * _BLOCK_SIZE
        # The first two are the network's own and the gateway, in the first block.
        containers[f"web-{number}-{node}"] = (net, str(IPv4Address(start + 2 + number % _PER_BLOCK)))
        block = Block(net, f"{IPv4Address(start)}/26", node_id(node), 1, BlockState.CONFIRMED)
        blocks[block.key] = block
    return Memory(epoch=1, blocks=blocks, containers=containers, is_published=True)


def _narrow(number: int) -> Network:
    subnet = IPv4Address(int(IPv4Address("10.128.0.0")) + (number % 1024 << (32 - _SUBNET_LENGTH)))
    return _network(network_id(number), f"app-{number}", f"{subnet}/{_SUBNET_LENGTH}")


def _network(identity: NetworkId, name: str, subnet: str) -> Network:
    return Network(
        identity, name, "overlay", 1, scope=Scope.GLOBAL, pools=(PoolConfig(subnet, gateway=_first(subnet)),)
    )


def _first(subnet: str) -> str:
    return str(IPv4Address(int(IPv4Address(subnet.partition("/")[0])) + 1))
