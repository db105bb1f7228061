"""flannel's side of the API; every answer is compared with its description by the fixture."""

import json
from typing import Any

ROOT = "/carrick/v1/lent"
CONF = json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 7, "Port": 8472}})


async def test_lent_shown_and_given_back(api: Any) -> None:
    assert (await api.call("GET", ROOT)).document == []
    reply = await api.call("POST", f"{ROOT}/apps", {"Bridge": "br9"})
    assert reply.status == 200
    assert reply.document["Bridge"] == "br9"
    assert reply.document["DockerOptions"] == ["--bip=10.5.7.1/24", "--ip-masq=false", "--mtu=1450"]
    assert "FLANNEL_SUBNET=10.5.7.1/24\n" in reply.document["Env"]
    assert (await api.call("GET", f"{ROOT}/apps")).document["Subnet"] == "10.5.7.0/24"
    assert [item["Network"] for item in (await api.call("GET", ROOT)).document] == ["apps"]
    assert (await api.call("DELETE", f"{ROOT}/apps?force=1")).status == 204
    assert (await api.call("DELETE", f"{ROOT}/apps")).status == 404
    reply = await api.call("POST", f"{ROOT}/apps", {})
    assert reply.document.get("Bridge") == "docker0", reply


async def test_a_network_from_flannels_file(api: Any) -> None:
    path = "/carrick/v1/networks/flannel"
    reply = await api.call("POST", path, {"Name": "apps", "Config": CONF, "DryRun": True})
    assert reply.status == 200
    assert (reply.document["Id"], reply.document["Driver"]) == ("", "routed")
    assert reply.document["Subnets"] == ["10.5.0.0/16"]
    assert reply.document["Options"]["carrick.routed.subnet-min"] == "10.5.1.0"
    assert reply.document["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "true"
    assert any("8472" in note for note in reply.document["Notes"])
    for body, word in (
        ({"Config": CONF}, "Name is missing"),
        ({"Name": "apps", "Config": "{"}, "JSON"),
        ({"Name": "apps", "Config": '{"Network": "10.5.0.0/30"}'}, "/28"),
    ):
        reply = await api.call("POST", path, body)
        assert reply.status == 400
        assert word in reply.document["message"]
    old = json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "udp"}})
    reply = await api.call("POST", path, {"Name": "apps", "Config": old})
    assert reply.status == 501
    assert "use vxlan" in str(reply.document), reply
