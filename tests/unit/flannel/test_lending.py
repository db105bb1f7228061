"""Blocks lent to bridges of other engines, and hooks, on whole engines over fake kernels."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from carrick.domains.flannel import parse_subnet_env
from carrick.domains.flannel.hooks import OPTIONS
from carrick.domains.ipam.blocks import SUBNET_LEN, SUBNET_MAX, SUBNET_MIN
from carrick.domains.ipam.errors import AddressInUse
from carrick.engine.cluster.lending import LendBlock
from carrick.engine.cluster.records import ClusterRecords
from carrick.engine.engine import CarrickEngine
from carrick.engine.values import CreateNetwork
from carrick.host.hooks import Outcome
from carrick.model.cluster import NodeId
from carrick.model.errors import Conflict, Denied, Failed, InvalidRequest, NotFound
from carrick.model.networks import IPNetwork, PoolConfig
from carrick.testing.members import ClusterMember
from carrick.testing.memory_store import MemoryStore
from carrick.testing.waiting import until

FLANNEL = {SUBNET_LEN[4]: "24", SUBNET_MIN[4]: "10.5.1.0", SUBNET_MAX[4]: "10.5.3.0"}


class FakeEffects:
    """Files by path, and the networks that are let through."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.through: set[IPNetwork] = set()

    def read(self, path: str) -> str:
        return self.files.get(path, "")

    def write(self, path: str, text: str) -> None:
        self.files[path] = text

    def remove(self, path: str) -> None:
        self.files.pop(path, None)

    async def let_through(self, networks: Sequence[IPNetwork]) -> None:
        self.through |= set(networks)

    async def stop_letting_through(self, networks: Sequence[IPNetwork]) -> None:
        self.through -= set(networks)


class FakeShell:
    """Notes what is run; `outcomes` are the answers by command."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, dict[str, str], str]] = []
        self.outcomes: dict[str, Outcome] = {}

    async def __call__(
        self, command: str, *, environment: Mapping[str, str], stdin: str, timeout_s: float
    ) -> Outcome:
        self.ran.append((command, dict(environment), stdin))
        return self.outcomes.get(command, Outcome(0, f"said by {command}"))

    def commands(self) -> list[str]:
        return [command for command, _, _ in self.ran]


class Member(ClusterMember):
    """A member that lends, with a host that is noted down in memory."""

    def __init__(self, name: str, directory: Path, store: MemoryStore, number: int) -> None:
        super().__init__(name, directory, store, number)
        self.address = self.underlay
        self.machine.config = replace(self.machine.config, allow_hooks=True)
        self.effects = FakeEffects()
        self.shell = FakeShell()

    def prepare(self, engine: CarrickEngine) -> None:
        engine.lending.effects = self.effects
        engine.hooks.runner = self.shell

    async def create(self, **options: str) -> None:
        request = CreateNetwork("apps", "routed", pools=(PoolConfig("10.5.0.0/16"),), options=options)
        await self.engine.networks.create(request)

    async def routes(self) -> set[str]:
        state = await self.machine.kernel.read()
        return {route.destination for route in state.routes if route.is_own and route.kind == "unicast"}

    async def bridges(self) -> list[str]:
        state = await self.machine.kernel.read()
        return [name for name in state.links if name.startswith("br-")]


@pytest.fixture
async def members(tmp_path: Path) -> AsyncIterator[list[Member]]:
    store = MemoryStore()
    found = [Member(name, tmp_path / name, store, n) for n, name in enumerate(("one", "two"), start=1)]
    for member in found:
        await member.start()
    yield found
    for member in found:
        await member.stop()


def _knows(member: Member, name: str = "apps") -> bool:
    return any(network.name == name for network in member.engine.state.networks.values())


async def test_a_node_gets_a_block_without_containers_and_others_route_to_it(members: list[Member]) -> None:
    one, two = members
    await one.create(**FLANNEL)
    await until(lambda: _knows(two))
    views = [await member.engine.lending.lend("apps", LendBlock()) for member in members]
    envs = [parse_subnet_env(member.effects.files["/run/flannel/subnet.env"]) for member in members]
    assert [view.env for view in views] == envs
    subnets = [str(env.subnet4) for env in envs]
    assert len(set(subnets)) == 2
    # The first /24 is nobody's, as in flannel; and the last is where the file says.
    assert set(subnets) < {"10.5.1.0/24", "10.5.2.0/24", "10.5.3.0/24"}
    for member, theirs in ((one, subnets[1]), (two, subnets[0])):
        await member.engine.link.settled()
        assert await member.routes() == {theirs}
        assert not await member.bridges()
        assert {str(network) for network in member.effects.through} == {"10.5.0.0/16"}
        rules = "\n".join(text for item in member.machine.kernel.transactions for text in item)
        assert '10.5.0.0/16 . "docker0"' in rules
    assert envs[0].masquerades
    assert envs[0].mtu == 1450


async def test_our_own_containers_get_a_block_and_a_bridge_of_their_own(members: list[Member]) -> None:
    one = members[0]
    await one.create()
    view = await one.engine.lending.lend("apps", LendBlock())
    assert view.env is not None
    assert view.env.subnet4 is not None
    address = await one.run("c1", "apps")
    assert ip_address(address) not in view.env.subnet4
    assert len(await one.bridges()) == 1
    with pytest.raises(AddressInUse):
        await one.engine.link.require().blocks.claim(
            one.engine.state.find_network("apps"), 4, view.env.subnet4.network_address + 5
        )


async def test_what_is_lent_outlives_the_daemon_and_its_file(members: list[Member]) -> None:
    one = members[0]
    await one.create()
    await one.engine.lending.lend("apps", LendBlock(bridge="br9", file="/run/else.env"))
    before = dict(one.effects.files)
    await one.stop()
    one.effects.files.clear()
    one.wire.cut()
    await one.start()
    try:
        # The store is away: what was lent stays so.
        assert [view.bridge for view in await one.engine.lending.views()] == ["br9"]
        assert one.engine.link.stands(one.engine.state.find_network("apps"))
    finally:
        one.wire.heal()
    await until(lambda: one.effects.files == before)


async def test_giving_back_leaves_nothing(members: list[Member]) -> None:
    one, two = members
    await one.create()
    await until(lambda: _knows(two))
    await one.engine.lending.lend("apps", LendBlock())
    await until(two.engine.link.require().mirror.blocks.live)
    with pytest.raises(Denied, match="docker0 of node one"):
        await two.engine.networks.remove("apps")
    with pytest.raises(Conflict, match="bridges of other engines"):
        await one.engine.cluster.leave()
    block = await one.engine.lending.get("apps")
    assert block.env is not None
    assert block.env.subnet4 is not None
    one.machine.kernel.add_link(
        "docker0", addresses=(f"{block.env.subnet4.network_address + 1}/{block.env.subnet4.prefixlen}",)
    )
    with pytest.raises(Conflict, match="docker0 has"):
        await one.engine.lending.release("apps")
    await one.engine.lending.release("apps", force=True)
    assert not one.effects.files
    assert not one.effects.through
    assert not await one.routes()
    with pytest.raises(NotFound, match="no block"):
        await one.engine.lending.get("apps")
    await until(lambda: not two.engine.link.require().mirror.blocks.live())
    await two.engine.networks.remove("apps")


async def test_the_block_that_was_flannels_is_taken(members: list[Member]) -> None:
    one = members[0]
    await one.create(**FLANNEL)
    one.effects.files["/run/flannel/subnet.env"] = "FLANNEL_SUBNET=10.5.3.1/24\nFLANNEL_MTU=1500\n"
    view = await one.engine.lending.lend("apps", LendBlock())
    assert view.env is not None
    assert str(view.env.subnet4) == "10.5.3.0/24"


async def test_a_block_that_is_lost_is_replaced_and_the_file_says_so(members: list[Member]) -> None:
    one, two = members
    await one.create(**FLANNEL)
    await until(lambda: _knows(two))
    await one.engine.lending.lend("apps", LendBlock())
    (lost,) = [block for block in one.engine.link.require().mirror.blocks.live().values() if block.bridge]
    records, mirror = ClusterRecords(one.wire), one.engine.link.require().mirror
    revision = await records.blocks.put(lost.key, replace(lost, node=NodeId("two-id")), expecting=None)
    await mirror.blocks.wait_for_revision(lost.key, revision)
    view = await one.engine.lending.lend("apps", LendBlock(file="/run/other.env"))
    assert view.env is not None
    assert str(view.env.subnet4) != lost.prefix
    # Named anew, the old file is not left to mislead.
    assert list(one.effects.files) == ["/run/other.env"]
    assert parse_subnet_env(one.effects.files["/run/other.env"]) == view.env


async def test_what_cannot_be_lent(members: list[Member]) -> None:
    one = members[0]
    await one.create()
    for reference, request, kind, word in (
        ("nope", LendBlock(), NotFound, "nope"),
        ("bridge", LendBlock(), InvalidRequest, "routed"),
        ("apps", LendBlock(bridge="a/b"), InvalidRequest, "no name of a link"),
        ("apps", LendBlock(bridge="carrick0"), InvalidRequest, "own"),
        ("apps", LendBlock(file="x.env"), InvalidRequest, "absolute"),
    ):
        with pytest.raises(kind, match=word):
            await one.engine.lending.lend(reference, request)
    await one.engine.lending.lend("apps", LendBlock())
    with pytest.raises(Conflict, match="docker0"):
        await one.engine.lending.lend("apps", LendBlock(bridge="other0"))
    await one.engine.networks.create(CreateNetwork("more", "routed", pools=(PoolConfig("10.6.0.0/16"),)))
    with pytest.raises(Conflict, match="docker0 has a block of network apps"):
        await one.engine.lending.lend("more", LendBlock())
    with pytest.raises(Conflict, match="is about network apps"):
        await one.engine.lending.lend("more", LendBlock(bridge="br9"))


async def test_hooks_run_before_and_after_the_block_is_had_and_follow_the_others(
    members: list[Member],
) -> None:
    one, two = members
    commands = {OPTIONS[name]: name for name in OPTIONS}
    await one.create(backend="extension", **commands)
    await until(lambda: _knows(two))
    addresses = [await member.run(f"c-{member.name}", "apps") for member in members]
    assert one.shell.commands()[:2] == ["before", "after"]
    _, environment, _ = one.shell.ran[1]
    assert environment["PUBLIC_IP"] == one.address
    assert ip_address(addresses[0]) in ip_network(environment["SUBNET"])
    await until(lambda: "added" in one.shell.commands() and "added" in two.shell.commands())
    _, environment, stdin = one.shell.ran[2]
    assert environment["PUBLIC_IP"] == two.address
    assert ip_address(addresses[1]) in ip_network(environment["SUBNET"])
    assert stdin == "said by before\n"
    two.engine.hooks.rest_s = 0
    await two.engine.containers.remove("c-two", force=True)
    await until(lambda: two.shell.commands()[-1] == "shutdown")


async def test_a_host_has_to_allow_hooks(members: list[Member]) -> None:
    one = members[0]
    await one.stop()
    one.machine.config = replace(one.machine.config, allow_hooks=False)
    await one.start()
    await one.create(backend="extension", **{OPTIONS["before"]: "before"})
    with pytest.raises(Denied, match="allow"):
        await one.run("c1", "apps")
    with pytest.raises(Denied, match="allow"):
        await one.engine.lending.lend("apps", LendBlock())
    assert not one.shell.ran


async def test_a_failing_hook_fails_the_start_and_is_tried_again(members: list[Member]) -> None:
    one = members[0]
    await one.create(backend="extension", **{OPTIONS["before"]: "before"})
    one.shell.outcomes["before"] = Outcome(3, "no tunnel")
    with pytest.raises(Failed, match=r"PreStartupCommand failed .* no tunnel"):
        await one.run("c1", "apps")
    one.shell.outcomes["before"] = Outcome(0, "")
    await one.run("c2", "apps")
