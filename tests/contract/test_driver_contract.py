"""What every network driver does: ours, those of installed packages, and the how-to's example.

A plan is a pure function of what it is given; carried out, it leaves nothing to plan; cut anywhere, planning
again finishes it; removal leaves the host as it was. A driver of one's own is tested by installing it.
"""

import asyncio
import contextlib
import importlib.util
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.domains.firewall import NetworkRules
from carrick.domains.sandboxes.interfaces import IFNAME_OPTION, SYSCTLS_OPTION
from carrick.drivers import bridge, macvlan, overlay
from carrick.drivers.contract import ClusterView, Delegating, Driver, HostView, LinkRows, Spanning
from carrick.drivers.registry import GROUP, DriverRegistry, load_drivers
from carrick.drivers.remote import RemoteDriver
from carrick.model.cluster import Block, BlockState, NodeId, NodeRecord, RemoteEndpoint, Underlay
from carrick.model.delegation import EndpointCall, Made, MadeRoute, Wishes
from carrick.model.errors import CarrickError, Conflict, NotFound
from carrick.model.ids import ContainerId, EndpointId, NetworkId, SandboxId
from carrick.model.networks import Endpoint, EndpointSettings, Network, PoolConfig, Sandbox
from carrick.model.observed import NamespaceState
from carrick.model.steps import AddRoute, CreateNetns, DeleteLink, DeleteNetns, Nft, Plan, Step
from carrick.testing.fake_kernel import FakeKernel, Killed

ROOT = Path(__file__).resolve().parents[2]
NETNS = "/run/carrick/netns/aaaaaaaaaaaa"


def every_driver() -> dict[str, Driver]:
    """Installed ones, ours by pyproject.toml (the tree may be used without installing it), the example."""
    registry = load_drivers()
    found = {name: registry.get(name) for name in registry.names()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, point in project["entry-points"][GROUP].items():
        module, _, attribute = point.partition(":")
        found[name] = getattr(import_module(module), attribute)()
    example = ROOT / "docs/how-to/example_driver"
    points = tomllib.loads((example / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    for name, point in points.items():
        module, _, attribute = point.partition(":")
        spec = importlib.util.spec_from_file_location(module, example / f"{module}.py")
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        found[name] = getattr(loaded, attribute)()
    # One of these stands for each plugin that somebody uses.
    found["remote"] = RemoteDriver("remote")
    return found


DRIVERS = every_driver()
POOL4 = PoolConfig("10.7.0.0/24", gateway="10.7.0.1")
POOL6 = PoolConfig("fd07::/64", gateway="fd07::1")
BRIDGE_NAME = {bridge.NAME: "br.lan"}
VNI = {overlay.VNI: "4097"}
BARE4, BARE6 = PoolConfig("10.7.0.0/24"), PoolConfig("fd07::/64")
"""Pools without a gateway for all of them, as networks have whose nodes have blocks."""

CONFLIST = '{"cniVersion": "1.0.0", "name": "third", "plugins": [{"type": "bridge"}, {"type": "portmap"}]}'

# A driver that is not here is tried as it comes.
VARIATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "bridge": {
        "plain": {},
        "named": {"options": BRIDGE_NAME},
        "dual stack": {"pools": (POOL4, POOL6), "enable_ipv6": True},
        "IPv6 alone": {"pools": (POOL6,), "enable_ipv4": False, "enable_ipv6": True},
        "icc off": {"options": {bridge.ICC: "false"}},
        "internal": {"internal": True},
        "isolated": {"internal": True, "options": {bridge.MODE4: "isolated", bridge.MODE6: "isolated"}},
        "no address": {"options": {bridge.INHIBIT4: "true"}},
        "small mtu": {"options": {bridge.MTU: "1300", **BRIDGE_NAME}},
        "other gateway": {"pools": (replace(POOL4, aux_addresses={"DefaultGatewayIPv4": "10.7.0.254"}),)},
    },
    "macvlan": {
        "plain": {"options": {"parent": "up0"}},
        "vlan": {"options": {"parent": "up0.12", "macvlan_mode": "private"}},
        "no parent": {"options": {}},
        "passthru": {"options": {"parent": "up0", "macvlan_mode": "passthru", macvlan.MTU: "1400"}},
    },
    "ipvlan": {
        "plain": {"options": {"parent": "up0"}},
        "l3": {"options": {"parent": "up0", "ipvlan_mode": "l3", "ipvlan_flag": "private"}},
        "vlan": {"options": {"parent": "up0.12"}, "pools": (POOL4, POOL6), "enable_ipv6": True},
        "no parent": {"options": {}},
    },
    "overlay": {
        "plain": {"options": VNI},
        "dual stack": {"options": VNI, "pools": (POOL4, POOL6), "enable_ipv6": True},
        "internal": {"options": VNI, "internal": True},
        "icc off": {"options": VNI | {bridge.ICC: "false"}},
    },
    "routed": {
        "plain": {"options": VNI, "pools": (BARE4,)},
        "dual stack": {"options": VNI, "pools": (BARE4, BARE6), "enable_ipv6": True},
        "direct": {"options": {"backend": "direct"}, "pools": (BARE4,)},
        "point": {"options": VNI | {"carrick.routed.mode": "point"}, "pools": (BARE4,)},
    },
    "cni": {"plain": {"options": {"conf": CONFLIST, "path": "/usr/lib/cni"}}},
    "remote": {
        "plain": {"options": {"anything": "goes"}},
        "dual stack": {"pools": (POOL4, POOL6), "enable_ipv6": True},
    },
    "ptp": {"plain": {}, "dual stack": {"pools": (POOL4, POOL6), "enable_ipv6": True}},
}


def rows_of(kernel: FakeKernel, link: str) -> LinkRows:
    """Read a link's rows without a loop; the fake never waits."""
    return LinkRows(asyncio.run(kernel.read_fdb(link)), asyncio.run(kernel.read_neighbours(link)))


def cluster_of(network: Network) -> ClusterView:
    """A cluster of three, with a container on each of the other two."""
    nodes = {
        NodeId(name): NodeRecord(NodeId(name), name, 1, (Underlay(f"192.0.2.{number}", "192.0.2.0/24"),))
        for number, name in enumerate(("me", "one", "two"), start=1)
    }
    endpoints = {}
    for number, node in enumerate(("one", "two"), start=40):
        endpoint = RemoteEndpoint(
            EndpointId(f"{number}" * 32),
            network.id,
            NodeId(node),
            ContainerId(node),
            node,
            f"02:00:00:00:00:{number}",
            f"10.7.0.{number}" if network.pool(4) else "",
            f"fd07::{number}" if network.pool(6) else "",
        )
        endpoints[endpoint.key] = endpoint
    blocks = tuple(
        Block(network.id, prefix, NodeId(node), 1, BlockState.CONFIRMED)
        for node, prefixes in {
            "me": ("10.7.0.0/28", "fd07::/112"),
            "one": ("10.7.0.32/28", "fd07::1:0/112"),
            "two": ("10.7.0.48/28", "fd07::2:0/112"),
        }.items()
        for prefix in prefixes
        if network.pool(6 if ":" in prefix else 4)
    )
    return ClusterView(
        nodes[NodeId("me")], nodes, blocks={network.id: blocks}, endpoints={network.id: endpoints}
    )


@dataclass
class Case:
    """One driver with one network, and what it takes to ask for an endpoint."""

    driver: Driver
    network: Network
    settings: EndpointSettings = field(default_factory=EndpointSettings)

    def kernel(self) -> FakeKernel:
        return FakeKernel(uplink="up0")

    def view(self, kernel: FakeKernel) -> HostView:
        view = HostView(kernel.look(), "carrick", 1450)
        if isinstance(self.driver, Spanning):
            links = [link for link in self.driver.tunnels(self.network) if link in view.state.links]
            view = replace(
                view, cluster=cluster_of(self.network), rows={link: rows_of(kernel, link) for link in links}
            )
        return view

    @property
    def endpoint(self) -> Endpoint:
        pool4, pool6 = self.network.pool(4), self.network.pool(6)
        addressed = self.driver.capabilities.addressed
        return self.driver.complete_endpoint(
            self.network,
            Endpoint(
                id=EndpointId("e" * 64),
                network_id=self.network.id,
                network_name=self.network.name,
                index=0,
                settings=self.settings,
                ipv4="10.7.0.5/24" if pool4 and addressed else "",
                ipv6="fd07::5/64" if pool6 and addressed else "",
            ),
        )

    @property
    def sandbox(self) -> Sandbox:
        return Sandbox(SandboxId("5" * 64), ContainerId("c" * 64), NETNS, True, (self.endpoint,))

    def plan_network(self, kernel: FakeKernel) -> Plan:
        return self.driver.plan_network(self.network, self.view(kernel))

    def plan_endpoint(self, kernel: FakeKernel) -> Plan:
        return self.driver.plan_endpoint(
            self.network, self.endpoint, self.sandbox, self.view(kernel), kernel.look(NETNS)
        )

    def made_network(self) -> FakeKernel:
        kernel = self.kernel()
        carry_out(kernel, self.plan_network(kernel).steps)
        carry_out(kernel, [CreateNetns(NETNS)])
        return kernel

    def made_endpoint(self) -> FakeKernel:
        kernel = self.made_network()
        carry_out(kernel, self.plan_endpoint(kernel).steps)
        return kernel


def new_network(driver: Driver, **changes: Any) -> Network:
    pools = changes.pop("pools", (POOL4,)) if driver.capabilities.addressed else ()
    network = Network(
        id=NetworkId("0123456789ab" + "f" * 52), name="lan", driver=driver.name, created_ns=1, pools=pools
    )
    return replace(network, **changes)


def cases() -> Iterator[Any]:
    for name, driver in DRIVERS.items():
        for label, changes in VARIATIONS.get(name, {"plain": {}}).items():
            yield pytest.param(driver, changes, id=f"{name}: {label}")


def make_case(driver: Driver, changes: dict[str, Any]) -> Case:
    network = new_network(driver, **changes)
    host = HostView(FakeKernel(uplink="up0").look(), "carrick", 1450, cluster_of(network))
    return Case(driver, driver.check(network, (), host))


def carry_out(kernel: FakeKernel, steps: "tuple[Step, ...] | list[Step]") -> None:
    asyncio.run(kernel.apply(steps))


def picture(kernel: FakeKernel) -> object:
    """Everything there is, without what differs from one making to the next (indexes and made-up MACs)."""
    seen = {}
    for netns in sorted({"", *kernel.namespaces}):
        state = kernel.look(netns)
        links = {
            name: (
                link.kind,
                link.mtu,
                link.up,
                link.master,
                link.alias,
                link.addresses - near(link.addresses),
            )
            for name, link in state.links.items()
        }
        keys = sorted(key for key in kernel.sysctls(netns) if ".default." not in key)
        sysctls = {key: kernel.sysctl(key, netns) for key in keys}
        routes = {(item.destination, item.link, item.via) for item in state.routes}
        seen[netns] = (links, sysctls, {item for item in routes if not item[0].startswith("fe80:")})
    return seen


def near(addresses: frozenset[str]) -> set[str]:
    return {item for item in addresses if item.startswith("fe80:")}


def isolated(kernel: FakeKernel) -> set[str]:
    return {command for commands in kernel.transactions for command in commands}


# Plans ---------------------------------------------------------------------------------------


@pytest.fixture(params=[pytest.param(item.values, id=item.id) for item in cases()])
def any_case(request: pytest.FixtureRequest) -> Case:
    return make_case(*request.param)


def test_it_has_the_shape_of_a_driver(any_case: Case) -> None:
    driver = any_case.driver
    assert driver.name in DRIVERS
    assert isinstance(driver.check(any_case.network, (), any_case.view(any_case.kernel())), Network)
    rules = driver.firewall_rules(any_case.network)
    assert rules is None or isinstance(rules, NetworkRules)
    assert driver.capabilities.published <= (rules is not None)


def test_plans_are_pure(any_case: Case) -> None:
    kernel = any_case.made_network()
    before = picture(kernel)
    assert any_case.plan_network(any_case.kernel()) == any_case.plan_network(any_case.kernel())
    assert any_case.plan_endpoint(kernel) == any_case.plan_endpoint(kernel)
    assert any_case.endpoint == any_case.endpoint
    assert picture(kernel) == before


def test_what_is_made_needs_no_more(any_case: Case) -> None:
    kernel = any_case.made_endpoint()
    assert any_case.plan_network(kernel).steps == ()
    assert any_case.plan_endpoint(kernel).steps == ()


def test_completing_twice_changes_nothing(any_case: Case) -> None:
    once = any_case.endpoint
    assert any_case.driver.complete_endpoint(any_case.network, once) == once


def test_the_fast_way_makes_the_same(any_case: Case) -> None:
    """An attach plans without having read anything; the result is that of the careful way."""
    careful, fast = any_case.made_endpoint(), any_case.made_network()
    view = HostView(NamespaceState(), "carrick", 1450, cluster_of(any_case.network))
    plan = any_case.driver.plan_endpoint(
        any_case.network, any_case.endpoint, any_case.sandbox, view, NamespaceState()
    )
    carry_out(fast, plan.steps)
    assert picture(fast) == picture(careful)
    assert any_case.plan_endpoint(fast).steps == ()


def test_the_default_route_can_be_put(any_case: Case) -> None:
    kernel, endpoint = any_case.made_endpoint(), any_case.endpoint
    for version, via in ((4, endpoint.gateway4), (6, endpoint.gateway6)):
        if via:
            near = "" if via in {"0.0.0.0", "::"} else via
            carry_out(kernel, [AddRoute("default", endpoint.interface, near, NETNS, version)])
    assert any_case.plan_endpoint(kernel).steps == ()


def test_every_step_can_be_shown_on_one_line(any_case: Case) -> None:
    kernel = any_case.made_network()
    steps = any_case.plan_network(any_case.kernel()).steps + any_case.plan_endpoint(kernel).steps
    view = any_case.view(any_case.made_endpoint())
    driver, network = any_case.driver, any_case.network
    steps += driver.plan_endpoint_removal(network, any_case.endpoint, any_case.sandbox, view).steps
    steps += driver.plan_network_removal(network, (network,), view).steps
    for step in steps:
        line = step.describe()
        assert line
        assert line.isprintable(), line


def test_every_step_may_be_repeated(any_case: Case) -> None:
    kernel = any_case.made_network()
    plan = any_case.plan_endpoint(kernel)
    carry_out(kernel, any_case.plan_network(any_case.kernel()).steps)
    for step in plan.steps:
        carry_out(kernel, [step, step])
    assert picture(kernel) == picture(any_case.made_endpoint())


# Killed anywhere -----------------------------------------------------------------------------


def cut_everywhere(kernel_of: Callable[[], FakeKernel], plan_of: Callable[[FakeKernel], Plan]) -> None:
    """Cut the plan before every step and after the last; planning again must end where it should have."""
    whole = kernel_of()
    plan = plan_of(whole)
    carry_out(whole, plan.steps)
    for length in range(len(plan.steps) + 1):
        kernel = kernel_of()
        kernel.killed_at(length)
        with contextlib.suppress(Killed):
            carry_out(kernel, plan.steps)
        kernel.heal()
        carry_out(kernel, plan_of(kernel).steps)
        where = f"cut after {length} steps: {[step.describe() for step in plan.steps[:length]][-1:]}"
        assert picture(kernel) == picture(whole), where
        assert isolated(kernel) == isolated(whole), where
        assert plan_of(kernel).steps == (), where


def test_a_network_cut_anywhere_is_finished(any_case: Case) -> None:
    cut_everywhere(any_case.kernel, any_case.plan_network)


def test_an_endpoint_cut_anywhere_is_finished(any_case: Case) -> None:
    cut_everywhere(any_case.made_network, any_case.plan_endpoint)


def test_one_failing_step_is_made_good(any_case: Case) -> None:
    whole = any_case.made_endpoint()
    for failing in any_case.plan_endpoint(any_case.made_network()).steps:
        kernel = any_case.made_network()
        kernel.fail_at(lambda step, failing=failing: step == failing)  # type: ignore[misc]
        with pytest.raises(CarrickError):
            carry_out(kernel, any_case.plan_endpoint(kernel).steps)
        kernel.heal()
        carry_out(kernel, any_case.plan_endpoint(kernel).steps)
        assert picture(kernel) == picture(whole)


# Removal -------------------------------------------------------------------------------------


def test_removal_leaves_nothing(any_case: Case) -> None:
    driver, network = any_case.driver, any_case.network
    kernel = any_case.made_endpoint()
    removal = driver.plan_endpoint_removal(
        network, any_case.endpoint, any_case.sandbox, any_case.view(kernel)
    )
    assert asyncio.run(kernel.remove(removal.steps)) == []
    assert picture(kernel) == picture(any_case.made_network())
    carry_out(kernel, [DeleteNetns(NETNS)])
    removal = driver.plan_network_removal(network, (network,), any_case.view(kernel))
    assert asyncio.run(kernel.remove(removal.steps)) == []
    assert picture(kernel) == picture(any_case.kernel())
    removal = driver.plan_network_removal(network, (), any_case.view(kernel))
    assert removal.steps == ()


def test_removal_may_be_repeated(any_case: Case) -> None:
    kernel = any_case.made_endpoint()
    view = HostView(NamespaceState(), "carrick", 1450, cluster_of(any_case.network))
    plan = any_case.driver.plan_endpoint_removal(any_case.network, any_case.endpoint, any_case.sandbox, view)
    for _ in range(2):
        assert asyncio.run(kernel.remove(plan.steps)) == []
    carry_out(kernel, [DeleteNetns(NETNS)])
    assert asyncio.run(kernel.remove(plan.steps)) == []


def test_a_namespace_that_went_first_is_no_obstacle(any_case: Case) -> None:
    kernel = any_case.made_endpoint()
    carry_out(kernel, [DeleteNetns(NETNS)])
    removal = any_case.driver.plan_network_removal(any_case.network, (), any_case.view(kernel))
    assert asyncio.run(kernel.remove(removal.steps)) == []
    assert picture(kernel) == picture(any_case.kernel())


# Hostile requests ----------------------------------------------------------------------------

KEYS = [*sorted(bridge.OPTIONS | macvlan.MACVLAN_OPTIONS | macvlan.IPVLAN_OPTIONS), "ptp.interface_prefix"]
VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *"01²٣",
            "-1",
            "9" * 5000,
            "true",
            "nat",
            "routed",
            "isolated",
            "up0",
            "up0.²",
            "up0.0",
            "lo",
            ".",
            "..",
            "up0.4095",
            'a"; flush ruleset',
            "br\n0",
            "br\x00",
            "ü" * 9,
            "a:b",
            "fe80::1%up0",
            "1.2.3.4/24",
            "l3",
        ]
    ),
)
OPTIONS = st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=30)), VALUES, max_size=5)


@pytest.mark.parametrize("name", sorted(DRIVERS))
@settings(max_examples=150, deadline=None)
@given(options=OPTIONS, internal=st.booleans())
def test_hostile_options_are_refused_in_our_words(name: str, options: dict[str, str], internal: bool) -> None:
    driver = DRIVERS[name]
    network = new_network(driver, options=options, internal=internal)
    try:
        case = Case(driver, driver.check(network, (), HostView(FakeKernel(uplink="up0").look(), "carrick")))
    except CarrickError as error:
        assert error.message
        return
    kernel = case.made_network()
    plan = case.plan_endpoint(kernel)
    for step in case.plan_network(case.kernel()).steps + plan.steps:
        assert step.describe().isprintable()
    carry_out(kernel, plan.steps)


@pytest.mark.parametrize("name", sorted(DRIVERS))
@settings(max_examples=150, deadline=None)
@given(
    options=st.dictionaries(st.sampled_from([IFNAME_OPTION, SYSCTLS_OPTION]), VALUES, max_size=2),
    mac=VALUES,
    link_local=st.lists(VALUES, max_size=2),
)
def test_hostile_endpoints_are_refused_in_our_words(
    name: str, options: dict[str, str], mac: str, link_local: list[str]
) -> None:
    driver = DRIVERS[name]
    variation = VARIATIONS.get(name, {"plain": {}})["plain"]
    case = make_case(driver, variation)
    case.settings = EndpointSettings(
        mac_address=mac, driver_opts=options, link_local_addresses=tuple(link_local)
    )
    try:
        endpoint = case.endpoint
    except CarrickError as error:
        assert error.message
        return
    for step in case.plan_endpoint(case.made_network()).steps:
        assert step.describe().isprintable()
    assert endpoint.interface == case.endpoint.interface


# Endpoints that somebody else makes ----------------------------------------------------------


@pytest.fixture(
    params=[
        pytest.param(item.values, id=item.id) for item in cases() if isinstance(item.values[0], Delegating)
    ]
)
def delegated(request: pytest.FixtureRequest) -> Case:
    return make_case(*request.param)


def made_by_somebody(case: Case) -> Made:
    """What the other side may answer, with a link that it has left on the host."""
    return Made(
        interface="fake0" if case.network.driver == "remote" else "eth0",
        source="left0" if case.network.driver == "remote" else "",
        mac_address="02:00:00:00:00:99",
        ipv4="10.7.0.5/24",
        ipv6="fd07::5/64" if case.network.pool(6) else "",
        gateway4="10.7.0.1",
        gateway6="fd07::1" if case.network.pool(6) else "",
        routes=(MadeRoute("198.51.100.0/24", "10.7.0.1"), MadeRoute("203.0.113.7/32")),
    )


def call_of(case: Case) -> EndpointCall:
    assert isinstance(case.driver, Delegating)
    return case.driver.plan_call(case.network, case.endpoint, case.sandbox, Wishes())


def test_a_call_names_its_endpoint(delegated: Case) -> None:
    call = call_of(delegated)
    assert call == call_of(delegated)
    assert (call.endpoint_id, call.netns) == (delegated.endpoint.id, NETNS)
    assert call.sandbox_id == delegated.sandbox.id


def test_what_was_made_is_taken_over_and_given_back(delegated: Case) -> None:
    driver, call, made = delegated.driver, call_of(delegated), made_by_somebody(delegated)
    assert isinstance(driver, Delegating)
    endpoint, plan = driver.plan_made(call, delegated.endpoint, made)
    assert (endpoint.mac_address, endpoint.ipv4, endpoint.gateway4) == (
        made.mac_address,
        "10.7.0.5/24",
        "10.7.0.1",
    )
    assert endpoint.interface == made.interface
    kernel = delegated.made_network()
    before = picture(kernel)
    if made.source:
        kernel.add_link(made.source, "veth")
        for step in plan.steps:
            assert step.describe().isprintable()
            carry_out(kernel, [step, step])
        inside = kernel.look(NETNS)
        assert inside.links[made.interface].up
        # Nothing is left to repair.
        view = HostView(kernel.look(), "carrick", 1450)
        sandbox = replace(delegated.sandbox, endpoints=(endpoint,))
        assert driver.plan_endpoint(delegated.network, endpoint, sandbox, view, inside).steps == ()
    carry_out(kernel, driver.plan_return(call, made).steps)
    if made.source:
        assert made.source in kernel.look().links
        carry_out(kernel, [DeleteLink(made.source)])
    assert picture(kernel) == before


# The registry --------------------------------------------------------------------------------


def test_the_registry_refuses_duplicates_and_names_the_known() -> None:
    registry = DriverRegistry(DRIVERS.values())
    with pytest.raises(Conflict, match="bridge"):
        registry.add(DRIVERS["bridge"])
    with pytest.raises(
        NotFound, match="could not find plugin foo in v1 plugin registry: plugin not found"
    ) as caught:
        registry.get("foo")
    assert "bridge" in (caught.value.remedy or "")
    assert "ipvlan" in registry
    assert "foo" not in registry


def test_isolation_comes_before_the_link() -> None:
    case = make_case(DRIVERS["bridge"], {"options": {bridge.ICC: "false"}})
    kinds = [type(step) for step in case.plan_endpoint(case.made_network()).steps]
    assert kinds[0] is Nft
