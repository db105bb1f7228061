"""What the resolver is told of where endpoints are, and of a network's wish."""

import pytest

from carrick.domains.dns.zone import LOCAL_FIRST, LocalFirst
from carrick.engine.names import NameService
from carrick.model.cluster import NodeId, RemoteEndpoint
from carrick.model.ids import ContainerId, EndpointId, NetworkId
from carrick.model.networks import Endpoint, Network, Scope

KEY = NetworkId("cd" * 32)


def network(wish: str) -> Network:
    return Network(KEY, "blue", "overlay", 0, scope=Scope.GLOBAL, options={LOCAL_FIRST: wish} if wish else {})


# A node of a later version may have made a network whose wish is not known here: its names are.
@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("", LocalFirst.OFF),
        ("true", LocalFirst.FIRST),
        ("only", LocalFirst.ONLY),
        ("near", LocalFirst.OFF),
    ],
)
def test_a_snapshot_says_who_is_here(wish: str, expected: LocalFirst) -> None:
    names = NameService()
    names.put_network(network(wish))
    names.put_endpoint(network(wish), Endpoint(EndpointId("e1"), KEY, "blue", 0, ipv4="10.5.0.2/24"))
    names.put_remote(
        RemoteEndpoint(
            EndpointId("e2"),
            KEY,
            NodeId("n2"),
            ContainerId("c2"),
            "two",
            "02:00:00:00:00:02",
            ipv4="10.5.0.3",
            names=("two",),
        )
    )
    (zone,) = names.snapshot(1).networks
    assert zone.local_first is expected
    assert {item.endpoint_id: item.local for item in zone.endpoints} == {"e1": True, "e2": False}
