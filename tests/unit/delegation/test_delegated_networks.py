"""The engine and those who make endpoints for it: what is given is known, what fails leaves nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carrick.domains.sandboxes.interfaces import SYSCTLS_OPTION
from carrick.engine.engine import CarrickEngine
from carrick.engine.values import Attachment, CreateContainer, CreateNetwork
from carrick.host.cni import Answer
from carrick.model.containers import (
    ContainerConfig,
    ContainerStatus,
    HostConfig,
    PortBinding,
    RestartPolicy,
    RestartPolicyName,
)
from carrick.model.errors import (
    CarrickError,
    Conflict,
    Denied,
    Failed,
    InvalidRequest,
    NotFound,
    Unavailable,
    Unsupported,
)
from carrick.model.networks import Endpoint, EndpointSettings, PoolConfig
from carrick.model.steps import MoveLink
from carrick.testing.fake_delegates import CONFIGURATION, FakeCni, FakePlugins
from carrick.testing.fake_machine import FakeMachine
from carrick.testing.fake_plugin import FakePlugin

CNI = CreateNetwork("net", "cni", options={"conf": json.dumps(CONFIGURATION)})
PLUGIN = CreateNetwork("net", "tp", options={"colour": "red"})
IPAM = CreateNetwork("net", "bridge", ipam_driver="tp")
BOTH = CreateNetwork("net", "tp", ipam_driver="tp")
KINDS = {"cni": CNI, "plugin": PLUGIN, "ipam": IPAM, "both": BOTH}


class World:
    """A machine with CNI plugins and one Docker plugin, `tp`."""

    def __init__(self, directory: Path) -> None:
        self.machine = FakeMachine(directory)
        self.cni = FakeCni(self.machine.kernel)
        self.plugin = FakePlugin(kernel=False)
        self.plugins = FakePlugins(self.machine.kernel, {"tp": self.plugin})
        self.machine.cni, self.machine.plugins = self.cni, self.plugins

    async def run(
        self, engine: CarrickEngine, name: str, network: str = "net", *, start: bool = True, **changes: Any
    ) -> None:
        settings = changes.pop("settings", EndpointSettings())
        await engine.containers.create(
            CreateContainer(
                config=ContainerConfig(image="busybox", cmd=("sleep", "1d")),
                host_config=replace(HostConfig(network_mode=network), **changes),
                attachments=(Attachment(network, settings),),
                name=name,
            )
        )
        if start:
            await engine.containers.start(name)

    async def end(self, engine: CarrickEngine, name: str) -> None:
        self.machine.runtime.exit(engine.state.find_container(name).id, 0)
        await self.machine.settle()

    def endpoint(self, engine: CarrickEngine, name: str, network: str = "net") -> Endpoint:
        record = engine.state.find_container(name)
        assert record.sandbox_id is not None
        found = engine.state.sandboxes[record.sandbox_id].endpoint(engine.state.find_network(network).id)
        assert found is not None
        return found

    async def records(self) -> list[str]:
        """Return the keys of what is written down of others' doings."""
        snapshot = await self.machine.store.list("delegated/")
        return [entry.key.partition("/")[2].partition("/")[0] for entry in snapshot.entries]

    def given(self) -> list[str]:
        """Return what the others have given and not got back, but for networks."""
        taken = [item for pool in self.plugin.pools.values() for item in pool.taken]
        gateways = {"10.201.0.1"}
        return [*self.cni.given, *self.plugin.endpoints, *(item for item in taken if item not in gateways)]

    def methods(self) -> list[str]:
        return [method.partition(".")[2] for method, _ in self.plugin.calls]

    def last(self, method: str) -> dict[str, Any]:
        return [request for name, request in self.plugin.calls if name.endswith(f".{method}")][-1]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def engine(world: World) -> AsyncIterator[CarrickEngine]:
    async with world.machine.start() as running:
        yield running


# CNI -----------------------------------------------------------------------------------------


class TestCni:
    async def test_what_the_plugins_give_is_known(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(replace(CNI, options={"conflist": "/etc/third.conflist"}))
        await world.run(engine, "box")
        found = world.endpoint(engine, "box")
        assert (found.interface, found.ipv4, found.gateway4) == ("eth0", "10.77.0.2/24", "10.77.0.1")
        assert (found.mac_address, found.dns) == ("02:00:00:00:00:77", ("192.0.2.77",))
        view = await engine.networks.get("net")
        assert [(item.name, item.ipv4) for item in view.endpoints] == [("box", "10.77.0.2/24")]
        assert "10.77.0.2" in str(engine.names.snapshot(1))
        hosts = next((world.machine.config.state_dir / "sandboxes").glob("*/hosts")).read_text()
        assert "10.77.0.2" in hosts

    async def test_the_configuration_is_kept_and_the_path_completed(
        self, world: World, engine: CarrickEngine
    ) -> None:
        await engine.networks.create(replace(CNI, options={"conflist": "/etc/third.conflist"}))
        world.cni.files.clear()
        await world.run(engine, "box")
        options = engine.state.find_network("net").options
        assert json.loads(options["conf"]) == CONFIGURATION
        assert options["path"] == "/opt/cni/bin:/usr/lib/cni"

    async def test_calls_in_order_with_results_handed_on(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(CNI)
        await world.run(engine, "box", port_bindings=(PortBinding(80, "tcp", "", "8080"),))
        assert [(plugin, command) for plugin, command, _ in world.cni.runs] == [
            ("bridge", "ADD"),
            ("portmap", "ADD"),
        ]
        ports = world.cni.runs[1][2]["runtimeConfig"]["portMappings"]
        assert ports == [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}]
        assert world.cni.runs[1][2]["prevResult"]["ips"]
        assert "runtimeConfig" not in world.cni.runs[0][2]
        world.cni.runs.clear()
        await world.end(engine, "box")
        assert [(plugin, command) for plugin, command, _ in world.cni.runs] == [
            ("portmap", "DEL"),
            ("bridge", "DEL"),
        ]
        assert all(body["prevResult"]["ips"] for _, _, body in world.cni.runs)
        assert world.given() == []
        assert await world.records() == ["networks"]

    async def test_ports_are_left_to_the_bridge_where_there_is_one(
        self, world: World, engine: CarrickEngine
    ) -> None:
        await engine.networks.create(CNI)
        await world.run(engine, "box", "bridge", port_bindings=(PortBinding(80),))
        await engine.networks.connect("net", "box", EndpointSettings())
        assert all("runtimeConfig" not in body for _, _, body in world.cni.runs)
        assert engine.state.find_container("box").ports
        # Unless it is to be the gateway: then it has them, and we have not.
        await engine.networks.disconnect("net", "box")
        await world.run(engine, "web", "bridge", port_bindings=(PortBinding(81, "tcp", "", "8081"),))
        assert len(engine.state.find_container("web").ports) == 2
        await engine.networks.connect("net", "web", EndpointSettings(gw_priority=1))
        assert world.cni.runs[-1][2]["runtimeConfig"]["portMappings"][0]["hostPort"] == 8081
        assert engine.state.find_container("web").ports == ()
        await engine.networks.disconnect("net", "web")
        assert len(engine.state.find_container("web").ports) == 2

    async def test_connect_and_disconnect(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(CNI)
        await world.run(engine, "box", "bridge")
        await engine.networks.connect("net", "box", EndpointSettings())
        assert world.endpoint(engine, "box").interface == "eth1"
        assert world.endpoint(engine, "box").ipv4 == "10.77.0.2/24"
        await engine.networks.disconnect("net", "box")
        assert world.given() == []
        assert await world.records() == ["networks"]

    @pytest.mark.parametrize(
        ("request_", "error", "words"),
        [
            (CreateNetwork("net", "cni"), InvalidRequest, "needs a CNI configuration"),
            (CreateNetwork("net", "cni", options={"conflist": "/lost"}), InvalidRequest, "cannot be read"),
            (CreateNetwork("net", "cni", options={"conf": "{"}), InvalidRequest, "not JSON"),
            (
                CreateNetwork("net", "cni", options={"conf": '{"type": "lost"}'}),
                NotFound,
                'failed to find plugin "lost" in path',
            ),
            (
                CreateNetwork("net", "cni", options={"conf": '{"type": "bridge", "ipam": {"type": "lost"}}'}),
                NotFound,
                'failed to find plugin "lost" in path',
            ),
            (replace(CNI, pools=(PoolConfig("10.0.0.0/8"),)), InvalidRequest, "takes no subnet"),
            (replace(CNI, ipam_driver="tp"), InvalidRequest, "IPAM driver tp"),
            (
                replace(CNI, options={"conflist": "/etc/third.conflist", "conf": "{}"}),
                InvalidRequest,
                "not both",
            ),
        ],
    )
    async def test_networks_that_are_refused(
        self,
        world: World,
        engine: CarrickEngine,
        request_: CreateNetwork,
        error: type[CarrickError],
        words: str,
    ) -> None:
        with pytest.raises(error, match=words):
            await engine.networks.create(request_)
        assert engine.state.network_or_none("net") is None
        assert await world.records() == []
        assert world.plugin.pools == {}

    @pytest.mark.parametrize(
        ("plugin", "answer", "words"),
        [
            ("bridge", Answer(1, '{"code": 7, "msg": "no master", "details": "x"}', ""), "no master: x"),
            ("portmap", Answer(1, '{"code": 100, "msg": "no iptables"}', ""), 'type="portmap" failed .add.'),
            ("portmap", Answer(3, "", ""), "netplugin failed with no error message: exit status 3"),
            ("portmap", Answer(-11, "", "core dumped"), "'core dumped' .signal 11."),
            ("portmap", Answer(0, "hello", ""), "result cannot be read.*it printed 'hello'"),
            ("portmap", Answer(0, "", ""), "it printed nothing"),
            ("portmap", Failed('plugin type="portmap" did not end within 30 s'), "did not end within 30 s"),
        ],
    )
    async def test_plugins_that_fail_leave_nothing(
        self, world: World, engine: CarrickEngine, plugin: str, answer: Answer | Exception, words: str
    ) -> None:
        await engine.networks.create(CNI)
        await world.run(engine, "box", start=False)
        world.cni.behaviour[plugin, "ADD"] = answer
        with pytest.raises(Failed, match=f"failed to set up container networking: .*{words}"):
            await engine.containers.start("box")
        record = engine.state.find_container("box")
        assert (record.state.status, record.state.pid) == (ContainerStatus.CREATED, 0)
        assert world.given() == []
        assert await world.records() == ["networks"]
        assert world.machine.kernel.namespaces == frozenset()
        assert [command for _, command, _ in world.cni.runs][-2:] == ["DEL", "DEL"]
        world.cni.behaviour.clear()
        await engine.containers.start("box")
        assert world.endpoint(engine, "box").ipv4

    async def test_sysctls_of_the_interface(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(CNI)
        options = {SYSCTLS_OPTION: "net.ipv4.conf.IFNAME.arp_notify=1"}
        await world.run(engine, "box", settings=EndpointSettings(driver_opts=options))
        netns = next(iter(world.machine.kernel.namespaces))
        assert world.machine.kernel.sysctl("net.ipv4.conf.eth0.arp_notify", netns) == "1"

    async def test_a_check_is_told_the_result(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(CNI)
        await world.run(engine, "box")
        identifier = world.endpoint(engine, "box").id
        world.cni.runs.clear()
        await engine._delegation.check(identifier)
        assert [(plugin, command) for plugin, command, _ in world.cni.runs] == [
            ("bridge", "CHECK"),
            ("portmap", "CHECK"),
        ]
        assert all(body["prevResult"]["ips"] for _, _, body in world.cni.runs)
        world.cni.behaviour["portmap", "CHECK"] = Answer(1, '{"code": 100, "msg": "a rule is gone"}', "")
        with pytest.raises(Failed, match="a rule is gone"):
            await engine._delegation.check(identifier)

    async def test_one_that_was_uninstalled(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(CNI)
        world.cni.plugins.discard("portmap")
        with pytest.raises(Failed, match='failed to find plugin "portmap" in path'):
            await world.run(engine, "box")
        world.cni.plugins.add("portmap")
        await engine.containers.start("box")

    async def test_try_again_later(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(CNI)
        world.cni.behaviour["bridge", "ADD"] = Answer(1, '{"code": 11, "msg": "busy"}', "")
        with pytest.raises(Unavailable, match="busy"):
            await world.run(engine, "box")

    async def test_a_wish_that_no_plugin_can_fulfil(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(CNI)
        with pytest.raises(InvalidRequest, match="cannot do --ip"):
            await world.run(engine, "box", settings=EndpointSettings(ipv4_address="10.77.0.9"))
        with pytest.raises(InvalidRequest, match="needs a host port"):
            await world.run(engine, "web", port_bindings=(PortBinding(80),))
        assert world.cni.runs == []
        assert await world.records() == ["networks"]
        assert world.machine.kernel.namespaces == frozenset()

    async def test_a_connect_that_fails_changes_nothing(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(CNI)
        await world.run(engine, "box", "bridge")
        world.cni.behaviour["portmap", "ADD"] = Answer(1, "", "no")
        with pytest.raises(Failed, match="netplugin failed: 'no'"):
            await engine.networks.connect("net", "box", EndpointSettings())
        record = engine.state.find_container("box")
        assert [item.network for item in record.attachments] == ["bridge"]
        assert world.given() == []

    async def test_a_removal_that_fails_is_made_good(
        self, world: World, engine: CarrickEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await engine.networks.create(CNI)
        await world.run(engine, "box")
        world.cni.behaviour["portmap", "DEL"] = Answer(1, '{"code": 100, "msg": "locked"}', "")
        await world.end(engine, "box")
        # The others were asked all the same, and what is left to do is written down.
        assert world.given() == []
        assert await world.records() == ["endpoints", "networks"]
        with pytest.raises(Failed, match="locked"):
            await engine.containers.start("box")
        world.cni.behaviour.clear()
        await engine.containers.start("box")
        assert await world.records() == ["endpoints", "networks"]
        await world.end(engine, "box")
        assert await world.records() == ["networks"]

    async def test_what_was_left_to_do_is_done_by_the_next_daemon(self, world: World) -> None:
        async with world.machine.start() as engine:
            await engine.networks.create(CNI)
            await world.run(engine, "box")
            world.cni.behaviour["bridge", "DEL"] = Answer(1, "", "locked")
            await world.end(engine, "box")
            await engine.containers.remove("box")
            await engine.networks.remove("net")
            assert await world.records() == ["endpoints"]
        world.cni.behaviour.clear()
        async with world.machine.start() as engine:
            await world.machine.settle()
            assert await world.records() == []
            assert world.given() == []

    async def test_after_a_reboot_the_namespace_is_not_named(self, world: World) -> None:
        async with world.machine.start() as engine:
            await engine.networks.create(CNI)
            await world.run(engine, "box")
        world.machine.reboot()
        world.cni.kernel = world.plugins.kernel = world.machine.kernel
        async with world.machine.start():
            await world.machine.settle()
            assert world.cni.environments[-1]["CNI_COMMAND"] == "DEL"
            assert world.cni.environments[-1]["CNI_NETNS"] == ""
            assert await world.records() == ["networks"]
            assert world.given() == []


# Docker plugins ------------------------------------------------------------------------------


class TestPlugins:
    async def test_a_network_and_an_endpoint(self, world: World, engine: CarrickEngine) -> None:
        created = await engine.networks.create(
            replace(PLUGIN, pools=(PoolConfig("10.9.0.0/24", aux_addresses={"a": "10.9.0.7"}),))
        )
        assert world.last("CreateNetwork") == {
            "NetworkID": created.id,
            "Options": {
                "com.docker.network.generic": {"colour": "red"},
                "com.docker.network.enable_ipv4": True,
                "com.docker.network.enable_ipv6": False,
            },
            "IPv4Data": [
                {
                    "AddressSpace": "LocalDefault",
                    "Pool": "10.9.0.0/24",
                    "Gateway": "10.9.0.1/24",
                    "AuxAddresses": {"a": "10.9.0.7/24"},
                }
            ],
            "IPv6Data": [],
        }
        await world.run(engine, "box", port_bindings=(PortBinding(80, "udp", "", "8000-8010"),))
        found = world.endpoint(engine, "box")
        assert (found.interface, found.ipv4, found.gateway4) == ("fake0", "10.9.0.2/24", "10.9.0.1")
        assert found.mac_address.startswith("02:f0:")
        request = world.last("CreateEndpoint")
        assert request["Interface"] == {"Address": "10.9.0.2/24", "AddressIPv6": "", "MacAddress": ""}
        assert request["Options"]["com.docker.network.portmap"] == [
            {"Proto": 17, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8000, "HostPortEnd": 8010}
        ]
        assert request["Options"]["com.docker.network.endpoint.exposedports"] == [{"Proto": 17, "Port": 80}]
        netns = next(iter(world.machine.kernel.namespaces))
        assert world.last("Join")["SandboxKey"] == netns
        inside = world.machine.kernel.look(netns)
        link = inside.links["fake0"]
        assert (link.up, link.mac, "10.9.0.2/24" in link.addresses) == (True, found.mac_address, True)
        routes = {(item.destination, item.via) for item in inside.routes}
        assert {
            ("default", "10.9.0.1"),
            ("198.51.100.0/24", "10.9.0.1"),
            ("203.0.113.7/32", ""),
        } <= routes
        assert await engine.reconciler.inspect_sandboxes() == []
        world.plugin.calls.clear()
        await world.end(engine, "box")
        assert world.methods() == ["RevokeExternalConnectivity", "Leave", "DeleteEndpoint"]
        assert world.given() == []
        await engine.networks.remove("net")
        assert world.plugin.networks == {}
        assert await world.records() == []

    async def test_the_link_goes_back_before_it_is_deleted(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(PLUGIN)
        await world.run(engine, "box")
        peer = next(iter(world.plugin.endpoints.values())).peer
        await world.end(engine, "box")
        moves = [step for step in world.machine.kernel.applied if isinstance(step, MoveLink)]
        assert [(step.name, step.new_name) for step in moves] == [(peer, "fake0"), ("fake0", peer)]
        assert peer not in world.machine.kernel.look().links

    async def test_no_such_plugin(self, engine: CarrickEngine) -> None:
        for wrong in (CreateNetwork("net", "weave"), CreateNetwork("net", ipam_driver="weave")):
            with pytest.raises(NotFound, match="could not find plugin weave in v1 plugin registry"):
                await engine.networks.create(wrong)

    async def test_a_plugin_for_something_else(self, world: World, engine: CarrickEngine) -> None:
        world.plugin.implements = ("VolumeDriver",)
        for wrong in (PLUGIN, IPAM):
            with pytest.raises(Failed, match='plugin "tp" does not implement the requested driver'):
                await engine.networks.create(wrong)

    async def test_how_far_it_reaches(self, world: World, engine: CarrickEngine) -> None:
        world.plugin.scope = "galaxy"
        with pytest.raises(Failed, match='expecting "local" or "global", got galaxy'):
            await engine.networks.create(PLUGIN)
        world.plugin.scope = "global"
        await engine.networks.create(PLUGIN)
        assert engine.state.find_network("net").scope == "local"

    async def test_a_network_that_it_refuses(self, world: World, engine: CarrickEngine) -> None:
        with pytest.raises(Failed, match="remote: the test says no"):
            await engine.networks.create(replace(BOTH, options={"refuse": "no"}))
        assert engine.state.network_or_none("net") is None
        assert await world.records() == []
        assert world.plugin.pools == {}
        await engine.networks.create(BOTH)

    @pytest.mark.parametrize("method", ["CreateEndpoint", "Join", "ProgramExternalConnectivity"])
    @pytest.mark.parametrize("behaviour", [{"Err": "no"}, {"Hang": True}])
    async def test_an_endpoint_that_fails_leaves_nothing(
        self, world: World, engine: CarrickEngine, method: str, behaviour: dict[str, Any]
    ) -> None:
        await engine.networks.create(BOTH)
        await world.run(engine, "box", start=False)
        world.plugin.behaviour[f"NetworkDriver.{method}"] = behaviour
        words = "remote: no" if "Err" in behaviour else f"did not answer NetworkDriver.{method}"
        with pytest.raises((Failed, Unavailable), match=f"failed to set up container networking: .*{words}"):
            await engine.containers.start("box")
        assert world.given() == []
        assert await world.records() == ["networks"]
        world.plugin.behaviour.clear()
        await engine.containers.start("box")

    async def test_it_may_not_change_what_was_given(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(replace(PLUGIN, options={"modify": "it"}))
        with pytest.raises(Failed, match="driver modified interface address"):
            await world.run(engine, "box")
        assert world.given() == []

    async def test_calls_that_it_does_not_have(self, world: World, engine: CarrickEngine) -> None:
        world.plugin.missing |= {
            "NetworkDriver.ProgramExternalConnectivity",
            "NetworkDriver.RevokeExternalConnectivity",
            "NetworkDriver.GetCapabilities",
            "IpamDriver.GetCapabilities",
        }
        await engine.networks.create(BOTH)
        await world.run(engine, "box")
        await world.end(engine, "box")
        assert world.given() == []

    async def test_a_plugin_that_has_forgotten(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(PLUGIN)
        await world.run(engine, "box")
        world.plugins.plugins["tp"] = world.plugin = FakePlugin(kernel=False)
        await world.end(engine, "box")
        assert await world.records() == ["networks"]
        # Nobody's any more, and taken away.
        assert [name for name in world.machine.kernel.look().links if name.startswith("fpp")] == []
        await engine.containers.start("box")
        assert world.methods()[-4:] == [
            "CreateNetwork",
            "CreateEndpoint",
            "Join",
            "ProgramExternalConnectivity",
        ]
        await world.end(engine, "box")
        world.plugins.plugins["tp"] = world.plugin = FakePlugin(kernel=False)
        await engine.networks.remove("net")
        assert engine.state.network_or_none("net") is None

    async def test_a_network_that_it_will_not_let_go(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(PLUGIN)
        world.plugin.behaviour["NetworkDriver.DeleteNetwork"] = {"Err": "in use elsewhere"}
        with pytest.raises(Failed, match="error while removing network: remote: in use elsewhere"):
            await engine.networks.remove("net")
        assert engine.state.network_or_none("net") is not None
        world.plugin.behaviour["NetworkDriver.DeleteNetwork"] = {"Hang": True}
        with pytest.raises(Unavailable, match="did not answer"):
            await engine.networks.remove("net")
        # Uninstalled, it stands in nobody's way.
        world.plugins.plugins.clear()
        await engine.networks.remove("net")
        assert await world.records() == []

    async def test_a_network_in_use_is_not_even_asked_for(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(PLUGIN)
        await world.run(engine, "box")
        with pytest.raises(Denied, match="has active endpoints"):
            await engine.networks.remove("net")
        assert "DeleteNetwork" not in world.methods()

    async def test_a_name_that_is_taken_asks_nobody(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(BOTH)
        world.plugin.calls.clear()
        with pytest.raises(Conflict, match="already exists"):
            await engine.networks.create(BOTH)
        assert "CreateNetwork" not in world.methods()
        assert "RequestPool" not in world.methods()

    async def test_one_that_comes_after_us_at_boot(self, world: World) -> None:
        async with world.machine.start() as engine:
            await engine.networks.create(BOTH)
            await world.run(engine, "box", restart_policy=RestartPolicy(RestartPolicyName.ALWAYS))
        world.machine.reboot()
        world.cni.kernel = world.plugins.kernel = world.machine.kernel
        world.plugins.plugins.clear()
        async with world.machine.start() as engine:
            await world.machine.settle()
            assert not engine.state.find_container("box").state.is_running
            world.plugins.plugins["tp"] = world.plugin
            for _ in range(600):
                if engine.state.find_container("box").state.is_running:
                    break
                await asyncio.sleep(0.05)
            assert world.endpoint(engine, "box").ipv4

    async def test_networks_are_told_again_when_the_daemon_starts(self, world: World) -> None:
        async with world.machine.start() as engine:
            await engine.networks.create(PLUGIN)
        world.plugins.plugins["tp"] = world.plugin = FakePlugin(kernel=False)
        async with world.machine.start() as engine:
            await world.machine.settle()
            assert list(world.plugin.networks) == [engine.state.find_network("net").id]
            await world.run(engine, "box")

    async def test_a_plugin_that_hangs_holds_up_nobody_else(
        self, world: World, engine: CarrickEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await engine.networks.create(PLUGIN)
        await engine.networks.create(replace(PLUGIN, name="other"))
        call = world.plugins.call
        identifier = engine.state.find_network("net").id
        stuck: asyncio.Queue[str] = asyncio.Queue()

        async def hanging(name: str, method: str, request: Any, **options: Any) -> dict[str, Any]:
            if request.get("NetworkID") == identifier or method == "NetworkDriver.CreateNetwork":
                stuck.put_nowait(method)
                await asyncio.Event().wait()
            return await call(name, method, request, **options)

        monkeypatch.setattr(world.plugins, "call", hanging)
        starting = asyncio.create_task(world.run(engine, "box"))
        creating = asyncio.create_task(engine.networks.create(replace(PLUGIN, name="late")))
        await stuck.get()
        await stuck.get()
        await world.run(engine, "two", "other")
        await world.run(engine, "three", "bridge")
        await engine.networks.create(CreateNetwork("third"))
        await engine.networks.remove("third")
        await world.end(engine, "two")
        await engine.containers.remove("two")
        for task in (starting, creating):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


# IPAM plugins --------------------------------------------------------------------------------


class TestIpam:
    async def test_pools_and_addresses(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(replace(IPAM, enable_ipv6=True, ipam_options={"site": "x"}))
        network = engine.state.find_network("net")
        assert [(pool.subnet, pool.gateway) for pool in network.pools] == [
            ("10.201.0.0/24", "10.201.0.1"),
            ("fd00:201::/64", "fd00:201::1"),
        ]
        assert world.last("RequestPool") == {
            "AddressSpace": "here",
            "Pool": "",
            "SubPool": "",
            "Options": {"site": "x"},
            "V6": True,
        }
        await world.run(engine, "box")
        found = world.endpoint(engine, "box")
        assert (found.ipv4, found.ipv6) == ("10.201.0.2/24", "fd00:201::2/64")
        assert world.last("RequestAddress")["Options"] == {"com.docker.network.endpoint.name": "box"}
        assert sorted(await world.records()) == ["leases", "leases", "networks"]
        await world.end(engine, "box")
        assert [sorted(pool.taken) for pool in world.plugin.pools.values()] == [
            ["10.201.0.1"],
            ["fd00:201::1"],
        ]
        await engine.networks.remove("net")
        assert world.plugin.pools == {}
        assert await world.records() == []

    async def test_what_is_asked_for(self, world: World, engine: CarrickEngine) -> None:
        pool = PoolConfig("10.44.0.0/24", "10.44.0.64/26", "10.44.0.9", {"printer": "10.44.0.8"})
        await engine.networks.create(replace(IPAM, pools=(pool,)))
        assert sorted(world.plugin.pools["pool-10.44.0.0/24"].taken) == ["10.44.0.8", "10.44.0.9"]
        assert world.last("RequestPool")["SubPool"] == "10.44.0.64/26"
        await world.run(engine, "box", settings=EndpointSettings(ipv4_address="10.44.0.70"))
        assert world.endpoint(engine, "box").ipv4 == "10.44.0.70/24"
        with pytest.raises(Failed, match="already in use"):
            await world.run(engine, "thief", settings=EndpointSettings(ipv4_address="10.44.0.70"))
        await engine.containers.remove("thief")
        await engine.networks.connect("bridge", "box", EndpointSettings())
        await engine.networks.disconnect("net", "box")
        await engine.networks.remove("net")
        assert world.plugin.pools == {}

    async def test_the_mac_comes_first_where_it_is_needed(self, tmp_path: Path) -> None:
        world = World(tmp_path)
        world.plugins.plugins["tp"] = world.plugin = FakePlugin(
            kernel=False, capabilities={"RequiresMACAddress": True}
        )
        async with world.machine.start() as engine:
            await engine.networks.create(IPAM)
            await world.run(engine, "box")
            told = world.last("RequestAddress")["Options"]["com.docker.network.endpoint.macaddress"]
            assert told == world.endpoint(engine, "box").mac_address

    async def test_a_dry_run_takes_no_pool(self, world: World, engine: CarrickEngine) -> None:
        with pytest.raises(Unsupported, match="only that driver knows"):
            await engine.networks.plan(IPAM)
        await engine.networks.plan(PLUGIN)
        await engine.networks.plan(CNI)
        assert world.plugin.pools == {}
        assert await world.records() == []

    async def test_replays(self, tmp_path: Path) -> None:
        world = World(tmp_path)

        def fresh() -> FakePlugin:
            found = FakePlugin(kernel=False, capabilities={"RequiresRequestReplay": True})
            world.plugins.plugins["tp"] = world.plugin = found
            return found

        fresh()
        async with world.machine.start() as engine:
            await engine.networks.create(BOTH)
            await world.run(engine, "box")
        fresh()
        async with world.machine.start() as engine:
            await world.machine.settle()
            assert sorted(world.plugin.pools["pool-10.201.0.0/24"].taken) == ["10.201.0.1", "10.201.0.2"]
            await world.run(engine, "two")
            assert world.endpoint(engine, "two").ipv4 == "10.201.0.3/24"

    async def test_an_empty_pool(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(replace(IPAM, pools=(PoolConfig("10.44.0.0/30"),)))
        await world.run(engine, "one")
        with pytest.raises(Failed, match="no available addresses"):
            await world.run(engine, "two")
        assert engine.state.find_container("two").state.status is ContainerStatus.CREATED

    async def test_a_plugin_that_is_away_at_the_end(self, world: World, engine: CarrickEngine) -> None:
        await engine.networks.create(IPAM)
        await world.run(engine, "box")
        world.plugin.behaviour["IpamDriver.ReleaseAddress"] = {"Hang": True}
        await world.end(engine, "box")
        assert sorted(await world.records()) == ["leases", "networks"]
        world.plugin.behaviour.clear()
        await engine.containers.start("box")
        assert world.endpoint(engine, "box").ipv4 == "10.201.0.2/24"
        assert sorted(await world.records()) == ["leases", "networks"]


# Killed anywhere -----------------------------------------------------------------------------


async def operate(world: World, engine: CarrickEngine, kind: str, operation: str) -> None:
    match operation:
        case "create":
            await engine.networks.create(KINDS[kind])
        case "start":
            await engine.containers.start("box")
        case "stop":
            await world.end(engine, "box")
        case "rm":
            await world.end(engine, "box")
            await engine.containers.remove("box")
        case "connect":
            await engine.networks.connect("net", "bystander", EndpointSettings())
        case "disconnect":
            await engine.networks.disconnect("net", "bystander")
        case "network rm":
            await engine.networks.remove("net")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "operation", ["create", "start", "stop", "rm", "connect", "disconnect", "network rm"]
)
async def test_killed_at_every_effect(kind: str, operation: str, tmp_path: Path) -> None:
    for effects in range(60):
        directory = tmp_path / str(effects)
        directory.mkdir()
        world = World(directory)
        machine = world.machine

        async with machine.start() as engine:
            await world.run(engine, "bystander", "bridge")
            if operation != "create":
                await engine.networks.create(KINDS[kind])
            if operation in {"start", "stop", "rm"}:
                await world.run(engine, "box", start=operation != "start")
            if operation == "disconnect":
                await engine.networks.connect("net", "bystander", EndpointSettings())
            machine.kill_after(effects)
            await machine.until_done_or_dead(operate(world, engine, kind, operation))
            finished = not machine.is_dead
        async with machine.start() as engine:
            for _ in range(5):
                await machine.settle()
            where = f"{kind}: {operation}, killed after {effects} effects"
            for name in ("box", "bystander"):
                record = next((item for item in engine.state.containers.values() if item.name == name), None)
                if record is None:
                    continue
                if record.state.is_running:
                    machine.runtime.exit(record.id, 0)
                    await machine.settle()
                await engine.containers.start(name)
                machine.runtime.exit(record.id, 0)
                await machine.settle()
                await engine.containers.remove(name)
            left = [item for item in world.given() if item not in lost(world, operation)]
            assert left == [], where
            if engine.state.network_or_none("net") is not None:
                assert await world.records() in ([], ["networks"]), where
                await engine.networks.remove("net")
            await machine.settle()
            assert await world.records() == [], where
        if finished:
            assert effects > 0
            return
    pytest.fail(f"{operation} has more than 60 effects")


def lost(world: World, operation: str) -> set[str]:
    """Return addresses that were given at the very moment the daemon died: nobody was there to note them."""
    taken = [item for pool in world.plugin.pools.values() for item in pool.taken]
    return set(taken) if operation in {"create", "start", "connect"} else set()
