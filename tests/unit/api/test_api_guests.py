"""Guests over the API; every answer is compared with its description by the fixture."""

from typing import Any

import pytest

from carrick.model.containers import PortBinding
from carrick.model.guests import GuestSpec
from carrick.testing.fake_engine import FakeEngine

ROOT = "/carrick/v1/guests"


@pytest.fixture
async def guests(api: Any) -> None:
    engine: FakeEngine = api.engine
    for number, who in enumerate(("podman", "docker", "podman")):
        await engine.guests.add(
            GuestSpec(
                who,
                f"key{number}",
                f"container{number}",
                "bridge",
                f"eth{number}",
                netns=f"/run/netns/box{number}",
                name=f"web{number}",
                ports=(PortBinding(80, host_port=str(8080 + number)),),
            )
        )


async def test_listed(api: Any, guests: None) -> None:
    reply = await api.call("GET", ROOT)
    assert [(item["Engine"], item["Name"]) for item in reply.document] == [
        ("docker", "web1"),
        ("podman", "web0"),
        ("podman", "web2"),
    ]
    assert reply.document[0]["Ports"] == [
        {"PrivatePort": 80, "Type": "tcp", "IP": "0.0.0.0", "PublicPort": 8081}
    ]
    reply = await api.call("GET", f"{ROOT}?engine=docker")
    assert [item["ContainerID"] for item in reply.document] == ["container1"]


async def test_let_go(api: Any, guests: None) -> None:
    reply = await api.call("POST", f"{ROOT}/prune")
    assert (reply.status, reply.document) == (200, [])
    api.engine.guests.missing.add("/run/netns/box0")
    reply = await api.call("POST", f"{ROOT}/prune")
    assert [item["Name"] for item in reply.document] == ["web0"]
    reply = await api.call("POST", f"{ROOT}/prune?all=1")
    assert reply.status == 400 and "Name the engine" in reply.document["message"]
    reply = await api.call("POST", f"{ROOT}/prune?engine=podman&all=1")
    assert [item["Name"] for item in reply.document] == ["web2"]
    assert [view.record.name for view in await api.engine.guests.list()] == ["web1"]
