"""The kernel suite on `FakeKernel`, and what the fake alone can do."""

import asyncio

import pytest

from carrick.model.errors import KernelRefused, Unsupported
from carrick.model.steps import (
    AddAddress,
    CreateBridge,
    CreateDummy,
    CreateNetns,
    CreateSlave,
    CreateVlan,
    CreateVxlan,
    Nft,
    SetFdb,
    SetLink,
)
from carrick.testing.fake_kernel import FakeKernel, Killed
from carrick.testing.kernel_suite import KernelSuite, World


class TestFakeKernel(KernelSuite):
    @pytest.fixture
    def world(self) -> World:
        return World(FakeKernel(), asyncio.run, lambda name: f"/run/carrick/netns/{name}")


BRIDGE = CreateBridge("br0", "carrick:x", 1500)


async def test_it_refuses_where_a_test_says_so() -> None:
    kernel = FakeKernel()
    kernel.fail_at(lambda step: isinstance(step, AddAddress))
    with pytest.raises(KernelRefused):
        await kernel.apply([BRIDGE, AddAddress("br0", "10.0.0.1/24")])
    assert kernel.applied == [BRIDGE]
    kernel.heal()
    await kernel.apply([AddAddress("br0", "10.0.0.1/24")])
    assert "10.0.0.1/24" in kernel.look().links["br0"].addresses


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_it_kills_after_so_many_steps(after: int) -> None:
    kernel = FakeKernel()
    kernel.killed_at(after)
    plan = [BRIDGE, AddAddress("br0", "10.0.0.1/24"), SetLink("br0", up=False)]
    with pytest.raises(Killed):
        await kernel.apply(plan)
    assert kernel.applied == plan[:after]
    with pytest.raises(Killed):
        await kernel.read()


async def test_it_keeps_nft_transactions() -> None:
    kernel = FakeKernel()
    await kernel.apply([Nft(("add table inet a",)), Nft(("add table inet b", "delete table inet a"))])
    assert kernel.transactions == [("add table inet a",), ("add table inet b", "delete table inet a")]


async def test_it_lacks_what_a_test_says() -> None:
    kernel = FakeKernel(lacks=("ipvlan", "vlan", "dummy", "vxlan"), uplink="up0")
    await kernel.apply([CreateNetns("/one")])
    for step, word in (
        (CreateSlave("ipvlan", "eth0", "/one", "up0", "l2"), "ipvlan"),
        (CreateVlan("up0.5", "up0", 5, ""), "802.1q vlan"),
        (CreateDummy("dm-1", ""), "dummy"),
        (CreateVxlan("vx0", 1, 4789, "192.0.2.1", "", 1450), "vxlan"),
    ):
        with pytest.raises(Unsupported, match=word) as caught:
            await kernel.apply([step])
        assert caught.value.remedy
    assert set(kernel.look().links) == {"lo", "up0"}
    assert set(kernel.look("/one").links) == {"lo"}


async def test_it_shows_what_cannot_be_read_otherwise() -> None:
    kernel = FakeKernel(uplink="up0")
    await kernel.apply(
        [
            BRIDGE,
            CreateVxlan("vx0", 1, 4789, "192.0.2.1", "", 1450, master="br0"),
            SetLink("vx0", learning=False, neigh_suppress=True),
            SetFdb("vx0", "02:00:00:00:00:01", "192.0.2.7", bridge=True),
            SetFdb("vx0", "02:00:00:00:00:02", "192.0.2.7"),
        ]
    )
    assert kernel.port_flags("vx0") == {"learning": False, "neigh_suppress": True}
    assert kernel.bridge_rows("vx0") == {"02:00:00:00:00:01"}
    kernel.add_route("10.9.0.0/16", "up0")
    (found,) = (route for route in kernel.look().routes if route.destination == "10.9.0.0/16")
    assert not found.is_own
