"""The scale run, small: 50 simulated nodes against a real etcd, at rest, at work, and while it is away."""

import pytest

from bench.scale.__main__ import run_once
from bench.scale.plan import Shape
from bench.scale.run import Options
from carrick.testing.etcd import has_etcd

pytestmark = pytest.mark.skipif(not has_etcd(), reason="needs etcd: apt-get install etcd-server etcd-client")

NODES = 50


@pytest.mark.timeout(240)
def test_fifty_nodes_see_each_other_and_outlast_their_store() -> None:
    shape = Shape(NODES, endpoints=20, span=10)
    figures = run_once(Options(shape, repetitions=1, rest_s=3, away_s=3, kill=False)).figures
    assert figures["rest"]["members"] == figures["rest"]["alive_seen"] == NODES
    # A sign of life every eight to ten seconds, and a look at one's own record now and then. 50 nodes.
    assert figures["rest"]["requests_per_s"] < 25
    for event in (
        "container_run_narrow",
        "container_stop_narrow",
        "container_run_wide",
        "container_stop_wide",
    ):
        assert figures[event]["seen"] == figures[event]["watching"], event
    # The others are waited for. Who joins, or leaves, may have seen itself by then or not.
    assert figures["node_join"]["seen"] >= NODES
    assert figures["node_leave"]["seen"] >= NODES
    assert figures["lone_node"]["nodes"] == NODES + 1
    assert figures["etcd_restart"]["seen"] == NODES
    assert figures["etcd_restart"]["new_epochs"] == 0
