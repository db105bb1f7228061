"""The cluster over the API: every answer is compared with its description by the fixture."""

from typing import Any

import pytest

from carrick.engine.cluster.values import InitCluster, JoinCluster, UpdateNode
from carrick.model.errors import Failed
from carrick.testing.fake_cluster import CLUSTER, OTHER, SELF

ROOT = "/carrick/v1"
TOKEN = f"CKJ1-{'a' * 52}-{'b' * 32}"


async def init(api: Any, **body: Any) -> Any:
    reply = await api.call("POST", f"{ROOT}/cluster", body)
    assert reply.status == 201, reply.body
    return reply.document


async def test_without_a_cluster(api: Any) -> None:
    for method, path in (
        ("GET", "/cluster"),
        ("DELETE", "/cluster"),
        ("GET", "/nodes"),
        ("GET", "/nodes/x"),
        ("DELETE", "/nodes/x"),
        ("GET", "/peers"),
        ("POST", "/cluster/token"),
        ("POST", "/cluster/recover"),
        ("POST", "/cluster/keys"),
    ):
        reply = await api.call(method, ROOT + path, {} if method == "POST" else None)
        assert reply.status == 404, (method, path)
        assert reply.document["message"] == "this host is not in a cluster"
        assert "carrick cluster init" in reply.document["remedy"]


async def test_init_with_everything_and_with_nothing(api: Any) -> None:
    answer = await init(
        api,
        Name="n1",
        Endpoints=["http://192.0.2.1:2379"],
        Prefix="x/",
        EtcdCACert="/a",
        EtcdCert="/b",
        EtcdKey="/c",
        EtcdUser="u",
        EtcdPasswordFile="/d",
        Address="eth0",
        Listen=":2400",
        GoneAfter=60,
    )
    assert api.engine.cluster.requests == [
        InitCluster(
            "n1", ("http://192.0.2.1:2379",), "x/", "/a", "/b", "/c", "u", "/d", "eth0", ":2400", 60.0
        )
    ]
    assert answer["ID"] == CLUSTER and answer["NodeID"] == SELF and answer["Name"] == "n1"
    assert "without TLS" in answer["Warnings"][0]
    assert (await api.call("POST", f"{ROOT}/cluster", {})).status == 409
    assert (await api.call("DELETE", f"{ROOT}/cluster?force=1")).status == 204
    assert (await api.call("POST", f"{ROOT}/cluster", {})).status == 201
    assert api.engine.cluster.requests[-1] == InitCluster()
    assert (await api.get(f"{ROOT}/cluster"))["Warnings"] == []


async def test_join(api: Any) -> None:
    body = {"Host": "192.0.2.1", "Token": TOKEN, "Name": "n2", "Address": "10.0.0.0/8", "Listen": "[::]:1"}
    reply = await api.call("POST", f"{ROOT}/cluster/join", body)
    assert reply.status == 201
    assert api.engine.cluster.requests == [JoinCluster("192.0.2.1", TOKEN, "n2", "10.0.0.0/8", "[::]:1")]
    assert TOKEN not in repr(api.engine.cluster.requests)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"Host": "h"}, 400),
        ({"Host": 3, "Token": TOKEN}, 400),
        ({"Host": "h", "Token": "nonsense"}, 400),
        ({"Host": "h", "Token": TOKEN.replace("b", "c")}, 403),
    ],
)
async def test_join_refused(api: Any, body: Any, status: int, caplog: pytest.LogCaptureFixture) -> None:
    reply = await api.call("POST", f"{ROOT}/cluster/join", body)
    assert reply.status == status
    for secret in (TOKEN[-32:], "c" * 32, "nonsense"):
        assert secret.encode() not in reply.body and secret not in caplog.text


async def test_tokens(api: Any) -> None:
    await init(api)
    reply = await api.call("POST", f"{ROOT}/cluster/token", {"TTL": 60, "Uses": 3})
    assert reply.status == 201 and reply.document["Token"].startswith("CKJ1-")
    await api.call("POST", f"{ROOT}/cluster/token", {})
    assert api.engine.cluster.requests[1:] == [(60.0, 3), (3600.0, 0)]
    assert (await api.call("POST", f"{ROOT}/cluster/token", {"TTL": 0})).status == 400


async def test_nodes_and_peers(api: Any) -> None:
    await init(api, Name="me")
    nodes = await api.get(f"{ROOT}/nodes")
    assert [(node["Name"], node["Self"]) for node in nodes] == [("me", True), ("other", False)]
    node = await api.get(f"{ROOT}/nodes/other")
    assert node["ID"] == OTHER and node["Underlays"][0]["Address"] == "192.0.2.8"
    assert node["Blocks"] == [{"NetworkID": "d" * 64, "Prefix": "10.9.0.0/27"}]
    (peer,) = await api.get(f"{ROOT}/peers")
    assert (peer["Name"], peer["RTT"], peer["MTU"]) == ("other", 0.25, 1450)
    assert (await api.call("GET", f"{ROOT}/nodes/nobody")).status == 404


async def test_updating_and_removing_nodes(api: Any) -> None:
    await init(api)
    reply = await api.call("POST", f"{ROOT}/nodes/other", {"Drain": True, "Labels": {"rack": "1"}})
    assert reply.status == 204
    assert api.engine.cluster.requests[-1] == UpdateNode(None, {"rack": "1"}, True)
    assert (await api.get(f"{ROOT}/nodes/other"))["State"] == "draining"
    await api.call("POST", f"{ROOT}/nodes/other", {})
    assert api.engine.cluster.requests[-1] == UpdateNode()
    assert (await api.call("POST", f"{ROOT}/nodes/other", {"Address": "eth1"})).status == 400
    assert (
        await api.call("POST", f"{ROOT}/nodes/other", {"Labels": {str(n): "" for n in range(65)}})
    ).status == 400
    assert (await api.call("DELETE", f"{ROOT}/nodes/other")).status == 409
    assert (await api.call("DELETE", f"{ROOT}/nodes/other?force=1")).status == 204


async def test_recovering_a_store_that_has_lost_everything(api: Any) -> None:
    await init(api)
    reply = await api.call("POST", f"{ROOT}/cluster/recover")
    assert reply.status == 409 and "nothing to recover" in reply.document["message"]
    api.engine.cluster.problem = "connection refused"
    assert (await api.call("POST", f"{ROOT}/cluster/recover")).status == 503
    api.engine.cluster.problem, api.engine.cluster.is_lost = "it has lost cluster x", True
    reply = await api.call("POST", f"{ROOT}/cluster/recover")
    assert (reply.status, reply.document) == (200, {"Records": 5})
    assert (await api.get(f"{ROOT}/cluster"))["Problem"] == ""


async def test_a_new_key(api: Any) -> None:
    await init(api)
    replies = [await api.call("POST", f"{ROOT}/cluster/keys") for _ in range(2)]
    assert [reply.document["WireguardKey"] for reply in replies] == api.engine.cluster.keys
    api.engine.cluster.has_wireguard = False
    reply = await api.call("POST", f"{ROOT}/cluster/keys")
    assert reply.status == 501 and "wireguard-go" in reply.document["remedy"]
    api.engine.cluster.problem = "connection refused"
    assert (await api.call("POST", f"{ROOT}/cluster/keys")).status == 503


async def test_records_that_cannot_be_read_are_warned_of(api: Any) -> None:
    await init(api)
    cluster = api.engine.cluster
    cluster.broken = [
        Failed(f"the record nodes/{n} in the store cannot be read: ?", remedy="repair it") for n in range(10)
    ]
    warnings = (await api.get(f"{ROOT}/cluster"))["Warnings"]
    assert (
        warnings[9] == "the record nodes/9 in the store cannot be read: ?; repair it" and len(warnings) == 10
    )
    cluster.broken *= 5
    warnings = (await api.get(f"{ROOT}/cluster"))["Warnings"]
    assert len(warnings) == 11 and "40 more" in warnings[10] and "carrick doctor" in warnings[10]


async def test_a_store_that_is_away(api: Any) -> None:
    await init(api)
    api.engine.cluster.problem = "connection refused"
    assert (await api.get(f"{ROOT}/cluster"))["Problem"] == "connection refused"
    assert (await api.call("DELETE", f"{ROOT}/cluster")).status == 503
    assert (await api.call("DELETE", f"{ROOT}/cluster?force=true")).status == 204
