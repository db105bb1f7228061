"""What each CNI command does with the engine, and what it answers; the engine is in memory."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from cni_door import NETNS, Door, conf

from carrick.doors.cni.ipam import IpamPlugins
from carrick.doors.cni.request import Call, Command
from carrick.doors.cni.versions import SUPPORTED
from carrick.doors.cni.wire import Ipam
from carrick.engine.values import CreateNetwork
from carrick.host.cni import Answer as PluginAnswer
from carrick.host.cni import LocalCni
from carrick.model.errors import Conflict, Denied, Failed, KernelRefused, NotFound, Unavailable
from carrick.model.guests import Bandwidth, GuestSpec
from carrick.model.networks import PoolConfig

PODMAN = "IgnoreUnknown=1;K8S_POD_NAME=web"
OLD_PODMAN = "IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=one"
POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=one"


def only_guest(door: Door) -> GuestSpec:
    (view,) = door.engine.guests.views.values()
    return view.spec


# ADD -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", SUPPORTED)
async def test_add(door: Door, version: str) -> None:
    result = await door.add(conf(version))
    assert result["cniVersion"] == version
    assert [item["name"] for item in result["interfaces"]][1] == "eth0"
    assert result["interfaces"][1]["sandbox"] == NETNS
    (address,) = result["ips"]
    assert address["address"] == "10.9.0.2/24"
    assert address["gateway"] == "10.9.0.1"
    assert address["interface"] == 1
    assert address.get("version") == ("4" if version < "1.0.0" else None)
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}]
    assert result["dns"] == {"nameservers": ["127.0.0.11"]}
    spec = only_guest(door)
    assert (spec.engine, spec.key) == ("cni", "shop/one/eth0")
    assert spec.hold_ports


async def test_what_a_runtime_asks_for(door: Door) -> None:
    runtime = {
        "portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": ""},
            {"hostPort": 0, "containerPort": 81, "protocol": "udp"},
        ],
        "bandwidth": {"ingressRate": 1, "ingressBurst": 2, "egressRate": 3, "egressBurst": 4},
        "ips": ["10.9.0.77/24"],
        "mac": "02:00:00:AA:00:01",
        "dns": {"servers": ["192.0.2.1"], "searches": ["a.example"], "options": ["ndots:2"]},
        "aliases": ["db", "primary"],
    }
    config = conf(
        runtimeConfig=runtime,
        mtu=1400,
        isDefaultGateway=False,
        dns={"nameservers": ["192.0.2.2"], "domain": "b.example", "search": ["c.example"]},
        ipam={"routes": [{"dst": "192.0.2.0/24"}]},
    )
    result = await door.add(config, args=PODMAN)
    spec = only_guest(door)
    assert [(p.container_port, p.protocol, p.host_port) for p in spec.ports] == [(80, "tcp", "8080")]
    assert spec.bandwidth == Bandwidth(1, 2, 3, 4)
    assert spec.settings.ipv4_address == "10.9.0.77"
    assert spec.settings.mac_address == "02:00:00:aa:00:01"
    assert spec.settings.aliases == ("db", "primary")
    assert spec.dns.servers == ("192.0.2.1", "192.0.2.2")
    assert spec.mtu == 1400
    assert spec.default_route is False
    assert spec.routes == (("192.0.2.0/24", ""),)
    assert (spec.engine, spec.name, spec.hold_ports) == ("podman", "web", False)
    assert result["dns"]["nameservers"] == ["127.0.0.11"]
    assert result["dns"]["search"] == ["a.example", "c.example", "b.example"]
    assert result["dns"]["domain"] == "b.example"
    assert result["routes"] == [{"dst": "192.0.2.0/24"}]


@pytest.mark.parametrize(
    ("args", "engine"),
    [
        ("", "cni"),
        (PODMAN, "podman"),
        (OLD_PODMAN, "podman"),
        (POD, "kubernetes"),
        ("K8S_POD_NAMESPACE=web;K8S_POD_NAME=web;K8S_POD_UID=u", "kubernetes"),
    ],
)
async def test_who_calls(door: Door, args: str, engine: str) -> None:
    await door.add(args=args)
    assert only_guest(door).engine == engine
    assert only_guest(door).hold_ports == (engine != "podman")


async def test_a_pod(door: Door) -> None:
    await door.add(args=POD)
    spec = only_guest(door)
    assert (spec.engine, spec.name, spec.settings.aliases) == ("kubernetes", "web-0", ("web-0.prod",))


@pytest.mark.parametrize(
    ("config", "args"),
    [
        (conf(args={"cni": {"ips": ["10.9.0.9"], "mac": "02:00:00:00:00:09"}}), ""),
        (conf(), "IP=10.9.0.9;MAC=02:00:00:00:00:09"),
        (conf(runtimeConfig={"ips": ["10.9.0.9/24"], "mac": "02:00:00:00:00:09"}), "IP=10.9.0.8"),
    ],
)
async def test_addresses_may_be_asked_for_in_three_ways(door: Door, config: Any, args: str) -> None:
    result = await door.add(config, args=args)
    assert result["ips"][0]["address"] == "10.9.0.9/24"
    assert result["interfaces"][1]["mac"] == "02:00:00:00:00:09"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"network": "nowhere"}, 7),
        ({"mtu": 20}, 7),
        ({"runtimeConfig": {"ips": ["10.9.0.2", "10.9.0.3"]}}, 7),
        ({"runtimeConfig": {"ips": ["ten"]}}, 7),
        ({"runtimeConfig": {"portMappings": [{"hostPort": 70000, "containerPort": 80}]}}, 7),
        ({"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 0}]}}, 7),
        ({"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "x"}]}}, 7),
        ({"runtimeConfig": {"bandwidth": {"ingressRate": 1}}}, 7),
        ({"runtimeConfig": {"bandwidth": {"egressRate": -1, "egressBurst": 1}}}, 7),
        ({"runtimeConfig": {"ipRanges": [[{"subnet": "10.8.0.0/24"}]]}}, 7),
        ({"runtimeConfig": {"ipRanges": [[{"subnet": "10.9.0.1/24"}]]}}, 7),
        ({"ipam": {"routes": [{"dst": "nowhere"}]}}, 7),
        ({"ipam": {"type": "not-there"}}, 7),
        ({"ipam": {"type": "../bridge"}}, 7),
        ({"ipam": {"type": ".."}}, 7),
    ],
)
async def test_a_bad_add_leaves_nothing(door: Door, more: dict[str, Any], code: int) -> None:
    assert await door.code("ADD", conf(**more)) == code
    assert not door.engine.guests.views


async def test_the_ranges_that_the_network_has(door: Door) -> None:
    await door.add(conf(runtimeConfig={"ipRanges": [[{"subnet": "10.9.0.0/24"}]]}))


async def test_a_second_add_of_the_same_interface(door: Door) -> None:
    before = await door.add()
    assert await door.code("ADD") == 101
    # Nor may another runtime take it, or another network.
    assert await door.code("ADD", args=PODMAN) == 101
    assert await door.code("ADD", {**conf(), "name": "other", "network": "shop"}) == 101
    assert only_guest(door).key == "shop/one/eth0"
    await door.add(interface="eth1")
    previous = {**before, "ips": before["ips"]}
    assert (await door.call("CHECK", conf(prevResult=previous)))[0] == 0


async def test_a_namespace_that_is_not_there(door: Door) -> None:
    door.plugins.missing.add(NETNS)
    assert await door.code("ADD") == 3
    door.plugins.missing.clear()
    # It goes while we are at it.
    door.engine.guests.failure = NotFound("no namespace")

    def has_netns(path: str, seen: list[str] = []) -> bool:  # noqa: B006
        seen.append(path)
        return len(seen) == 1

    door.plugins.has_netns = has_netns  # type: ignore[method-assign]
    assert await door.code("ADD") == 3


async def test_the_hosts_own_namespace(door: Door) -> None:
    assert await door.code("ADD", netns=door.own_namespace) == 8
    await door.add(netns=door.own_namespace, CNI_NETNS_OVERRIDE="1")


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Unavailable("the pool is empty"), 11),
        (Failed("Bind for 0.0.0.0:80 failed: port is already allocated"), 105),
        (KernelRefused("no"), 104),
        (RuntimeError("a bug"), 999),
    ],
)
async def test_what_the_engine_refuses(door: Door, failure: Exception, code: int) -> None:
    door.engine.guests.failure = failure
    assert await door.code("ADD") == code


async def test_a_port_that_is_taken(door: Door) -> None:
    door.engine.guests.taken.add(8080)
    config = conf(runtimeConfig={"portMappings": [{"hostPort": 8080, "containerPort": 80}]})
    code, document = await door.call("ADD", config)
    assert (code, document["code"]) == (1, 105)
    assert "port is already allocated" in document["msg"]


async def test_it_takes_too_long(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(spec: GuestSpec) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(door.engine.guests, "add", hang)
    monkeypatch.setattr(door.calls, "_timeout_s", 0.01)
    assert await door.code("ADD") == 11


# The network -----------------------------------------------------------------------------------------


async def test_a_network_is_created_once(door: Door) -> None:
    config = conf(
        create={"driver": "bridge", "subnet": "10.7.0.0/24", "options": {"a": "b"}, "labels": {"c": "d"}},
        ipMasq=False,
        network="made",
    )
    await asyncio.gather(*(door.add(config, container=f"c{n}", netns=f"/n/{n}") for n in range(20)))
    network = (await door.engine.networks.get("made")).network
    assert network.pools[0].subnet == "10.7.0.0/24"
    assert network.options == {"a": "b", "com.docker.network.bridge.enable_ip_masquerade": "false"}
    assert network.labels == {"c": "d"}
    assert len(door.engine.guests.views) == 20


@pytest.mark.parametrize(
    ("refusal", "looks"),
    [(Conflict("network with name made already exists"), 6), (Denied("Pool overlaps with other one"), 3)],
)
async def test_another_host_is_faster(
    door: Door, monkeypatch: pytest.MonkeyPatch, refusal: Exception, looks: int
) -> None:
    networks = door.engine.networks
    create, find = networks.create, networks.find
    looked = 0

    async def create_there(request: CreateNetwork) -> None:
        await create(request)
        raise refusal

    def find_late(reference: str) -> Any:
        nonlocal looked
        looked += reference == "made"
        if reference == "made" and looked < looks:
            raise NotFound("network made not found")
        return find(reference)

    monkeypatch.setattr(networks, "create", create_there)
    monkeypatch.setattr(networks, "find", find_late)
    await door.add(conf(network="made", create={"subnet": "10.7.0.0/24"}))
    assert looked == looks


async def test_a_network_that_cannot_be(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse_it(request: CreateNetwork) -> None:
        raise Denied("Pool overlaps with other one")

    monkeypatch.setattr(door.engine.networks, "create", refuse_it)
    assert await door.code("ADD", conf(network="made", create={})) == 102


async def test_a_prefix_of_an_id_is_no_name(door: Door) -> None:
    network = (await door.engine.networks.get("shop")).network
    assert await door.code("ADD", conf(network=network.id[:6])) == 7
    await door.add(conf(network=network.id))


async def test_subnets_of_both_families(door: Door) -> None:
    config = conf(
        network="dual",
        create={"subnets": [{"subnet": "10.6.0.0/24", "gateway": "10.6.0.1"}, {"subnet": "fd00:6::/64"}]},
    )
    result = await door.add(config)
    assert [item["address"].partition(":")[0] for item in result["ips"]] == ["10.6.0.2/24", "fd00"]
    network = (await door.engine.networks.get("dual")).network
    assert network.enable_ipv6


async def test_the_runtimes_range_makes_the_network(door: Door) -> None:
    ranges = [[{"subnet": "10.5.0.0/24", "gateway": "10.5.0.1"}]]
    await door.add(conf(network="ranged", create={}, runtimeConfig={"ipRanges": ranges}))
    assert (await door.engine.networks.get("ranged")).network.pools[0].subnet == "10.5.0.0/24"
    ranges[0][0] |= {"rangeStart": "10.5.0.9", "rangeEnd": "10.5.0.10"}
    config = conf(network="ranged", runtimeConfig={"ipRanges": ranges})
    for number, expected in enumerate(("10.5.0.9/24", "10.5.0.10/24")):
        result = await door.add(config, container=f"in{number}", interface=f"net{number}")
        assert result["ips"][0]["address"] == expected
    for start, end in (("10.5.0.9", "10.5.0.3"), ("10.6.0.9", ""), ("x", "")):
        ranges[0][0] |= {"rangeStart": start, "rangeEnd": end}
        assert await door.code("ADD", config, container="two") == 7


# Chains ----------------------------------------------------------------------------------------------


async def test_after_another_plugin(door: Door) -> None:
    previous = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "lo", "sandbox": NETNS}, {"name": "side0", "sandbox": NETNS}],
        "ips": [{"address": "192.0.2.5/24", "interface": 1}, {"address": "127.0.0.1/8", "interface": 0}],
        "routes": [{"dst": "192.0.2.0/24"}],
        "dns": {"nameservers": ["192.0.2.53"], "search": ["x.example"]},
    }
    result = await door.add(conf("1.0.0", prevResult=previous))
    assert [item["name"] for item in result["interfaces"]][:2] == ["lo", "side0"]
    assert [item["interface"] for item in result["ips"]] == [1, 0, 3]
    assert result["interfaces"][3]["name"] == "eth0"
    assert result["routes"][0] == {"dst": "192.0.2.0/24"}
    assert result["dns"] == {"nameservers": ["127.0.0.11", "192.0.2.53"], "search": ["x.example"]}
    code, document = await door.call("CHECK", conf("1.0.0", prevResult=result))
    assert code == 0, document


# Delegated IPAM --------------------------------------------------------------------------------------


def host_local(command: str, config: dict[str, Any]) -> PluginAnswer:
    if command != "ADD":
        return PluginAnswer(0, "", "")
    result = {
        "cniVersion": config["cniVersion"],
        "ips": [{"address": "10.9.0.50/24", "gateway": "10.9.0.1"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "198.51.100.0/24", "gw": "10.9.0.7"}],
    }
    return PluginAnswer(0, json.dumps(result), "")


def refuse(command: str, config: dict[str, Any]) -> PluginAnswer:
    return PluginAnswer(1, '{"code": 11, "msg": "no addresses", "details": "all are taken"}', "")


DELEGATED = conf("1.0.0", ipam={"type": "host-local", "subnet": "10.9.0.0/24"})


async def test_delegated_addresses_in_the_networks_pool(door: Door) -> None:
    door.plugins.plugins["host-local"] = host_local
    result = await door.add(DELEGATED)
    spec = only_guest(door)
    assert spec.settings.ipv4_address == "10.9.0.50"
    assert spec.addresses == ()
    assert spec.default_route is True
    assert spec.routes == (("198.51.100.0/24", "10.9.0.7"),)
    assert result["ips"][0]["address"] == "10.9.0.50/24"
    assert door.plugins.environments[0]["CNI_IFNAME"] == "eth0"
    assert (await door.call("CHECK", {**DELEGATED, "prevResult": result}))[0] == 0
    assert await door.call("DEL", DELEGATED) == (0, None)
    assert [command for _, command, _ in door.plugins.calls] == ["ADD", "CHECK", "DEL"]


async def test_delegated_addresses_of_another_pool(door: Door) -> None:
    await door.engine.networks.create(
        CreateNetwork("far", pools=(PoolConfig("10.4.0.0/24", gateway="10.4.0.1"),))
    )
    door.plugins.plugins["host-local"] = host_local
    await door.add({**DELEGATED, "network": "far"})
    spec = only_guest(door)
    assert spec.addresses == ("10.9.0.50/24",)
    assert spec.gateways == ("10.9.0.1",)


async def test_a_network_is_created_around_delegated_addresses(door: Door) -> None:
    door.plugins.plugins["host-local"] = host_local
    await door.add({**DELEGATED, "network": "around", "create": {}})
    pool = (await door.engine.networks.get("around")).network.pools[0]
    assert (pool.subnet, pool.gateway) == ("10.9.0.0/24", "10.9.0.1")


async def test_what_the_plugin_refuses_is_passed_on(door: Door) -> None:
    door.plugins.plugins["host-local"] = refuse
    code, document = await door.call("ADD", DELEGATED)
    assert (code, document["code"], document["details"]) == (1, 11, "all are taken")
    assert document["msg"] == "IPAM plugin host-local: no addresses"
    # What the plugin did not give is not taken back from it.
    assert [command for _, command, _ in door.plugins.calls] == ["ADD"]


@pytest.mark.parametrize(
    ("output", "exit_code", "code"),
    [
        ("", 1, 105),
        ("not json", 0, 6),
        ("{}", 0, 7),
        ('{"ips":[{"address":"nonsense"}]}', 0, 7),
        ('{"ips":[{"address":"10.9.0.5/24"}],"routes":[{"dst":"x"}]}', 0, 7),
    ],
)
async def test_a_plugin_that_talks_nonsense(door: Door, output: str, exit_code: int, code: int) -> None:
    door.plugins.plugins["host-local"] = lambda command, config: PluginAnswer(exit_code, output, "oops")
    assert await door.code("ADD", DELEGATED) == code
    assert not door.engine.guests.views


async def test_addresses_are_given_back_after_a_failure(door: Door) -> None:
    door.plugins.plugins["host-local"] = host_local
    door.engine.guests.failure = KernelRefused("no")
    assert await door.code("ADD", DELEGATED) == 104
    assert [command for _, command, _ in door.plugins.calls] == ["ADD", "DEL"]


async def test_addresses_are_given_back_when_the_caller_goes(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.plugins.plugins["host-local"] = host_local
    reached = asyncio.Event()

    async def hang(spec: GuestSpec) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(door.engine.guests, "add", hang)
    task = asyncio.create_task(door.call("ADD", DELEGATED))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [command for _, command, _ in door.plugins.calls] == ["ADD", "DEL"]


async def test_a_second_add_does_not_ask_the_plugin(door: Door) -> None:
    door.plugins.plugins["host-local"] = host_local
    await door.add(DELEGATED)
    assert await door.code("ADD", DELEGATED) == 101
    assert [command for _, command, _ in door.plugins.calls] == ["ADD"]


async def test_dhcp_has_a_link_before_it_is_asked(door: Door) -> None:
    config = conf("1.0.0", ipam={"type": "dhcp"})
    seen: list[bool] = []

    def dhcp(command: str, given: dict[str, Any]) -> PluginAnswer:
        seen.append(any(view.spec.unaddressed for view in door.engine.guests.views.values()))
        return host_local(command, given)

    door.plugins.plugins["dhcp"] = dhcp
    result = await door.add(config)
    assert result["ips"][0]["address"] == "10.9.0.50/24"
    assert await door.call("DEL", config) == (0, None)
    assert seen == [True, False]
    door.plugins.plugins["dhcp"] = refuse
    assert await door.code("ADD", config) == 11
    assert not door.engine.guests.views


async def test_a_plugin_that_hangs(tmp_path: Path) -> None:
    (tmp_path / "slow").write_text("#!/bin/sh\nsleep 100 & wait\n")
    (tmp_path / "slow").chmod(0o755)
    plugins = IpamPlugins(LocalCni(tmp_path / "locks"), timeout_s=0.2)
    call = Call(Command.ADD, "one", path=(str(tmp_path),), environment={"CNI_COMMAND": "ADD"})
    with pytest.raises(Failed, match="did not end within"):
        await plugins.add(call, Ipam(type="slow"), b"{}")


async def test_no_path_to_plugins(door: Door) -> None:
    assert await door.code("ADD", DELEGATED, drop=("CNI_PATH",)) == 4


# DEL -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", SUPPORTED)
async def test_del_may_be_repeated(door: Door, version: str) -> None:
    await door.add(conf(version))
    for _ in range(3):
        assert await door.call("DEL", conf(version)) == (0, None)
    assert not door.engine.guests.views


async def test_del_needs_little(door: Door) -> None:
    await door.add(args=PODMAN)
    door.plugins.missing.add(NETNS)
    spoilt = conf(mtu="x", network=7, unknown=True)
    assert await door.call("DEL", spoilt, drop=("CNI_NETNS", "CNI_PATH")) == (0, None)
    assert not door.engine.guests.views


async def test_del_removes_though_ipam_fails(door: Door) -> None:
    door.plugins.plugins["host-local"] = host_local
    await door.add(DELEGATED)
    door.plugins.plugins["host-local"] = refuse
    assert await door.code("DEL", DELEGATED) == 11
    assert not door.engine.guests.views


async def test_del_of_another_network_leaves_it(door: Door) -> None:
    await door.add()
    assert await door.call("DEL", {**conf(), "name": "other", "network": "shop"}) == (0, None)
    assert len(door.engine.guests.views) == 1


# CHECK -----------------------------------------------------------------------------------------------


async def test_check(door: Door) -> None:
    assert await door.code("CHECK", conf("0.3.1")) == 1
    result = await door.add()
    assert await door.code("CHECK") == 7  # no prevResult
    assert (await door.call("CHECK", conf(prevResult=result)))[0] == 0
    assert await door.code("CHECK", conf(prevResult=result), container="two") == 3
    door.engine.guests.problems = ("add link eth0", "add address")
    code, document = await door.call("CHECK", conf(prevResult=result))
    assert (code, document["code"], document["details"]) == (1, 105, "add link eth0; add address")


@pytest.mark.parametrize("spoil", ["interface", "sandbox", "address", "further", "mac"])
async def test_check_against_the_previous_result(door: Door, spoil: str) -> None:
    result = await door.add()
    ours = result["interfaces"][1]
    if spoil == "interface":
        ours["name"] = "eth7"
    elif spoil == "sandbox":
        ours["sandbox"] = "/elsewhere"
    elif spoil == "address":
        result["ips"][0]["address"] = "10.9.0.200/24"
    elif spoil == "further":
        result["ips"].append({"address": "10.9.0.200/24", "interface": 1})
    else:
        ours["mac"] = "02:00:00:00:00:99"
    assert await door.code("CHECK", conf(prevResult=result)) == 105


# GC, STATUS, VERSION ---------------------------------------------------------------------------------


async def test_gc(door: Door) -> None:
    for container in ("one", "two", "three"):
        await door.add(container=container, netns=f"/n/{container}", args=PODMAN)
    await door.add({**conf(), "name": "other", "network": "shop"}, container="four", netns="/n/four")
    config = conf(**{"cni.dev/valid-attachments": [{"containerID": "two", "ifname": "eth0"}]})
    assert await door.call("GC", config) == (0, None)
    left = {view.spec.container_id for view in door.engine.guests.views.values()}
    assert left == {"two", "four"}
    assert await door.code("GC", conf()) == 7
    assert await door.code("GC", conf("1.0.0", **{"cni.dev/valid-attachments": []})) == 1
    assert await door.call("GC", conf(**{"cni.dev/valid-attachments": []})) == (0, None)
    assert len(door.engine.guests.views) == 1


async def test_gc_goes_on_after_an_error(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(keep: Any) -> None:
        raise KernelRefused("no")

    monkeypatch.setattr(door.engine.guests, "gc", fail)
    door.plugins.plugins["host-local"] = host_local
    config = conf(ipam={"type": "host-local"}, **{"cni.dev/valid-attachments": []})
    assert await door.code("GC", config) == 104
    assert [command for _, command, _ in door.plugins.calls] == ["GC"]


async def test_status(door: Door) -> None:
    assert await door.call("STATUS", drop=("CNI_PATH", "CNI_NETNS")) == (0, None)
    assert await door.code("STATUS", conf(network="nowhere")) == 50
    assert await door.call("STATUS", conf(network="nowhere", create={})) == (0, None)
    door.plugins.plugins["host-local"] = refuse
    assert await door.code("STATUS", conf(ipam={"type": "host-local"})) == 50
    assert await door.code("STATUS", conf("1.0.0")) == 1


@pytest.mark.parametrize("version", SUPPORTED)
async def test_version(door: Door, version: str) -> None:
    code, document = await door.call("VERSION", {"cniVersion": version})
    assert code == 0
    assert document == {"cniVersion": version, "supportedVersions": list(SUPPORTED)}


async def test_errors_are_in_the_callers_version(door: Door) -> None:
    _, document = await door.call("ADD", conf("0.4.0", mtu=1))
    assert document["cniVersion"] == "0.4.0"
    _, document = await door.call("ADD", conf("9.0.0"))
    assert document["cniVersion"] == "1.1.0"


# Concurrency -----------------------------------------------------------------------------------------


async def test_calls_for_one_attachment_follow_one_another(door: Door) -> None:
    answers = await asyncio.gather(*(door.call("ADD") for _ in range(20)))
    assert sorted(code for code, _ in answers) == [0, *[1] * 19]
    assert {document["code"] for code, document in answers if code} == {101}
    await asyncio.gather(*(door.call("DEL") for _ in range(20)))
    assert not door.engine.guests.views


async def test_calls_for_different_ones_run_side_by_side(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    add = door.engine.guests.add
    barrier = asyncio.Barrier(50)

    async def meet(spec: GuestSpec) -> Any:
        await barrier.wait()
        return await add(spec)

    monkeypatch.setattr(door.engine.guests, "add", meet)
    results = await asyncio.gather(*(door.add(container=f"c{n}", netns=f"/n/{n}") for n in range(50)))
    assert len({result["ips"][0]["address"] for result in results}) == 50
