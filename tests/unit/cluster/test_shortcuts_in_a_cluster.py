"""When overlay networks take shortcuts past their bridges, and when not; on fake kernels."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carrick.domains.firewall.bridged import BRIDGE_SYSCTLS
from carrick.drivers.contract import HostView
from carrick.drivers.overlay import ENCRYPTED, VNI, takes_shortcuts
from carrick.engine.values import CreateNetwork, Finding
from carrick.model.guests import Bandwidth, GuestSpec
from carrick.model.ids import NetworkId
from carrick.model.networks import Network, PoolConfig
from carrick.model.observed import ShortcutState
from carrick.model.steps import CreateNetns
from carrick.testing.fake_kernel import FakeKernel
from carrick.testing.fake_machine import FakeMachine
from carrick.testing.members import ClusterMember
from carrick.testing.memory_store import MemoryStore
from carrick.testing.waiting import until

RULE = {"chain": "forward", "expr": []}
TAKEN = "overlay networks take them, and routed ones by VXLAN"


class Host(ClusterMember):
    """A member whose shortcuts are looked at."""

    async def states(self) -> dict[str, ShortcutState]:
        """By the first two letters of a link's name: `vx` the tunnel's, `ck` a container's."""
        links = (await self.machine.kernel.read()).links.values()
        return {link.name[:2]: link.shortcut for link in links if link.name.startswith(("vx-", "ck"))}

    async def all_states(self) -> list[ShortcutState]:
        links = (await self.machine.kernel.read()).links.values()
        return [link.shortcut for link in links if link.name.startswith(("vx-", "ck"))]

    def is_stateless(self) -> bool:
        """Tell whether the firewall, as it was put last, leaves a network's packets untracked."""
        (*_, last) = [
            item for item in self.machine.kernel.transactions if any("flush" in line for line in item)
        ]
        return any("add element inet carrick stateless4" in line for line in last)

    async def finding(self) -> Finding:
        (found,) = [item for item in await self.engine.system.doctor() if item.subject == "shortcuts"]
        return found


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    store = MemoryStore()
    host = Host("one", tmp_path / "one", store, 11)
    await host.start()
    await host.engine.networks.create(CreateNetwork("blue", "overlay", pools=(PoolConfig("10.5.0.0/24"),)))
    yield host
    await host.stop()
    await store.aclose()


async def test_taken_where_nobody_can_miss_what_is_passed_by(host: Host) -> None:
    await host.run("web", "blue")
    assert await host.states() == {"vx": "set", "ck": "set"}
    found = await host.finding()
    assert (found.level, found.problem) == ("ok", TAKEN)
    assert await host.engine.reconciler.converge() == []
    assert await host.engine.reconciler.inspect_sandboxes() == []


def _filter(kernel: FakeKernel, on: bool) -> None:
    kernel.add_sysctl(BRIDGE_SYSCTLS[0], "1" if on else "0")


def _protect(kernel: FakeKernel, on: bool) -> None:
    kernel.ipsec = on


def _forbid(family: str) -> Callable[[FakeKernel, bool], None]:
    def change(kernel: FakeKernel, on: bool) -> None:
        kernel.rulesets[f"{family} t"] = [{"rule": {"family": family, "table": "t", **RULE}}] if on else []

    return change


def _take_away(kernel: FakeKernel, on: bool) -> None:
    kernel.lacks = frozenset({"shortcut"} if on else ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_filter, "bridge-nf-call-iptables=1"),
        (_protect, "IPsec policies"),
        (_forbid("bridge"), "in table bridge t"),
        (_forbid("netdev"), "in table netdev t"),
        (_take_away, "Linux 6.3"),
    ],
)
async def test_given_up_when_somebody_could_and_taken_again(
    host: Host, change: Callable[[FakeKernel, bool], None], words: str
) -> None:
    await host.run("web", "blue")
    change(host.machine.kernel, True)
    found = await host.finding()
    assert found.level == "ok" and found.problem.startswith("not taken: ") and words in found.problem
    await host.engine.reconciler.converge()
    assert await host.states() == {"vx": "", "ck": ""}
    await host.run("later", "blue")
    assert set((await host.states()).values()) == {""}
    change(host.machine.kernel, False)
    await host.finding()
    await host.engine.reconciler.converge()
    await host.engine.reconciler.inspect_sandboxes()
    assert set(await host.all_states()) == {"set"}


def _forward(kernel: FakeKernel, on: bool) -> None:
    chain = {"family": "ip", "table": "t", "name": "FORWARD", "hook": "forward", "policy": "accept"}
    rule = {"family": "ip", "table": "t", "chain": "FORWARD", "expr": []}
    kernel.rulesets["ip t"] = [{"chain": chain}, *([{"rule": rule}] if on else [])]


def _drop(kernel: FakeKernel, on: bool) -> None:
    chain = {"family": "inet", "table": "t", "name": "all", "hook": "prerouting", "policy": "drop"}
    kernel.rulesets["inet t"] = [{"chain": chain}] if on else []


def _administer(kernel: FakeKernel, on: bool) -> None:
    chain = {"family": "inet", "table": "carrick", "name": "admin"}
    rule = {"family": "inet", "table": "carrick", "chain": "admin", "expr": []}
    kernel.rulesets["inet carrick"] = [{"chain": chain}, *([{"rule": rule}] if on else [])]


def _keep_legacy(kernel: FakeKernel, on: bool) -> None:
    kernel.legacy_tables = ["filter"] if on else []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_forward, "in the chain ip t FORWARD"),
        (_drop, "in the chain inet t all"),
        (_administer, "in the chain admin of inet carrick"),
        (_keep_legacy, "iptables-legacy for what is forwarded (filter)"),
    ],
)
async def test_rules_for_what_is_forwarded_are_in_the_way_of_routed_networks_alone(
    host: Host, change: Callable[[FakeKernel, bool], None], words: str
) -> None:
    pools = (PoolConfig("10.6.0.0/16"),)
    await host.engine.networks.create(CreateNetwork("ways", "routed", pools=pools))
    change(host.machine.kernel, False)
    await host.run("web", "blue")
    await host.run("far", "ways")
    assert await host.all_states() == ["set"] * 4
    assert host.is_stateless()
    change(host.machine.kernel, True)
    found = await host.finding()
    assert found.level == "ok" and words in found.problem
    assert found.problem.startswith("overlay networks take them, routed ones do not: ")
    await host.engine.reconciler.converge()
    assert sorted(await host.all_states()) == ["", "", "set", "set"]
    assert not host.is_stateless()
    change(host.machine.kernel, False)
    assert (await host.finding()).problem == TAKEN
    await host.engine.reconciler.converge()
    await host.engine.reconciler.inspect_sandboxes()
    assert await host.all_states() == ["set"] * 4
    assert host.is_stateless()


async def test_others_rules_are_looked_at_when_they_change(host: Host) -> None:
    """Not only once a minute."""
    pools = (PoolConfig("10.6.0.0/16"),)
    await host.engine.networks.create(CreateNetwork("ways", "routed", pools=pools))
    await host.run("far", "ways")
    kernel = host.machine.kernel
    _drop(kernel, True)
    _administer(kernel, True)
    host.engine.shortcuts.notice_rules()
    await until(lambda: not host.is_stateless())
    assert set(await host.all_states()) == {""}
    _drop(kernel, False)
    _administer(kernel, False)
    host.engine.shortcuts.notice_rules()
    await until(host.is_stateless)
    assert set(await host.all_states()) == {"set"}


async def test_the_setting_ends_those_that_there_are(host: Host) -> None:
    await host.run("web", "blue")
    await host.stop()
    host.machine.config = replace(host.machine.config, shortcuts="off")
    await host.start()
    assert await host.states() == {"vx": "", "ck": ""}
    assert (await host.finding()).problem == "not taken: shortcuts = off"


async def test_a_guest_whose_traffic_is_limited_takes_none(host: Host) -> None:
    netns = "/run/netns/pod"
    await host.machine.kernel.apply([CreateNetns(netns)])
    for number, bandwidth in enumerate((Bandwidth(0, 0, 8_000_000), Bandwidth(8_000_000))):
        spec = GuestSpec(
            "cni",
            f"pod/eth{number}",
            "c1" * 32,
            "blue",
            f"eth{number}",
            name="pod",
            netns=netns,
            bandwidth=bandwidth,
        )
        view = await host.engine.guests.add(spec)
        assert (await host.states())["ck"] == ("set" if number == 0 else "")
        await host.engine.guests.remove(view.record.id)


async def test_without_a_cluster_nobody_is_told_of_them(tmp_path: Path) -> None:
    async with FakeMachine(tmp_path).start() as engine:
        assert "shortcuts" not in {item.subject for item in await engine.system.doctor()}


@pytest.mark.parametrize(
    ("options", "taken"),
    [({}, True), ({ENCRYPTED: ""}, False), ({"com.docker.network.bridge.enable_icc": "false"}, False)],
)
def test_networks_that_need_their_bridge_or_the_hosts_output(options: dict[str, Any], taken: bool) -> None:
    network = Network(
        NetworkId("a" * 64),
        "blue",
        "overlay",
        0,
        pools=(PoolConfig("10.5.0.0/24"),),
        options={VNI: "7", **options},
    )
    assert takes_shortcuts(network, HostView(shortcuts=True)) is taken
    assert not takes_shortcuts(network, HostView())
