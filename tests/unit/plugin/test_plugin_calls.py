"""The plugin's calls, one by one and in dockerd's order, with repetitions and restarts in between."""

import asyncio
import json
from typing import Any

import pytest
from docker_side import ENDPOINT, GATEWAY_TYPE, NETWORK, Docker

from carrick.doors.plugin.endpoints import interface_name
from carrick.doors.plugin.ipam import ENGINE
from carrick.model.errors import Failed
from carrick.model.guests import guest_id
from carrick.model.networks import Scope

GUEST = guest_id(ENGINE, ENDPOINT)
OWN = f"docker-{NETWORK[:12]}"
IDS = {"NetworkID": NETWORK, "EndpointID": ENDPOINT}
WEB = {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080}


# --- the protocol ------------------------------------------------------------------------------------


async def test_what_it_is(docker: Docker) -> None:
    status, answer = await docker.raw("/Plugin.Activate", b"")
    assert (status, answer) == (200, {"Implements": ["NetworkDriver", "IpamDriver"]})
    capabilities = await docker.call("NetworkDriver.GetCapabilities")
    assert (capabilities["Scope"], capabilities["ConnectivityScope"]) == ("local", "local")
    spaces = await docker.call("IpamDriver.GetDefaultAddressSpaces")
    assert set(spaces) == {"LocalDefaultAddressSpace", "GlobalDefaultAddressSpace"}
    assert await docker.call("IpamDriver.GetCapabilities") == {
        "RequiresMACAddress": False,
        "RequiresRequestReplay": False,
    }


async def test_global_scope_is_a_setting(docker: Docker) -> None:
    docker.scope = Scope.GLOBAL
    await docker.restart()
    assert (await docker.call("NetworkDriver.GetCapabilities"))["Scope"] == "global"


@pytest.mark.parametrize("path", ["/NetworkDriver.Fly", "/", "/Plugin.Deactivate", "/networks"])
async def test_an_unknown_method_is_404(docker: Docker, path: str) -> None:
    assert (await docker.raw(path, b"{}"))[0] == 404


async def test_get_is_404(docker: Docker) -> None:
    assert (await docker.raw("/Plugin.Activate", b"", "GET"))[0] == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b'{"NetworkID": 5}', b"\xff", b"{}{}", b"{}"])
async def test_a_bad_body_is_400_and_says_why(docker: Docker, body: bytes) -> None:
    for method in ("/NetworkDriver.CreateNetwork", "/NetworkDriver.Join", "/NetworkDriver.DeleteEndpoint"):
        status, answer = await docker.raw(method, body)
        assert status == 400 and answer["Err"]


async def test_ipam_says_error_and_err(docker: Docker) -> None:
    # The protocol's word is Error; Docker's client looks for Err when the status is one.
    status, answer = await docker.raw("/IpamDriver.RequestPool", b'{"AddressSpace": "Elsewhere"}')
    assert status == 400 and answer["Err"] == answer["Error"]


async def test_an_unexpected_error_is_500(docker: Docker) -> None:
    pool = await docker.create_network()
    docker.engine.guests.failure = RuntimeError("oops")
    status, said = await docker.refused(
        "NetworkDriver.CreateEndpoint", **IDS, Interface={"Address": await docker.address(pool)}
    )
    assert status == 500 and "internal error" in said and "oops" not in said


async def test_discovery_is_taken_note_of(docker: Docker) -> None:
    data = {"DiscoveryType": 1, "DiscoveryData": {"Address": "10.0.0.1", "self": True}}
    assert await docker.call("NetworkDriver.DiscoverNew", **data) == {}
    assert await docker.call("NetworkDriver.DiscoverDelete", **data) == {}


async def test_a_call_goes_on_when_its_client_leaves(docker: Docker) -> None:
    _, writer = await asyncio.open_unix_connection(str(docker.socket))
    body = json.dumps({"AddressSpace": "", "Pool": "10.4.0.0/24"}).encode()
    head = f"POST /IpamDriver.RequestPool HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    writer.close()
    for _ in range(3000):
        if any(name.startswith("docker-pool-") for name in docker.names()):
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("the call was given up")


# --- networks ----------------------------------------------------------------------------------------


async def test_a_network_of_docker_s_own(docker: Docker) -> None:
    await docker.create_network(driver="bridge", **{"com.docker.network.driver.mtu": "1400"})
    made = docker.named(OWN)
    assert made.driver == "bridge" and made.options == {"com.docker.network.driver.mtu": "1400"}
    assert made.labels["carrick.docker.network"] == NETWORK
    assert docker.names() == {OWN}
    await docker.call("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
    assert docker.names() == set()
    # Once more, and one that never was.
    await docker.call("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)


async def test_a_network_that_is_announced_again_is_the_same(docker: Docker) -> None:
    pool = await docker.pool()
    gateway = await docker.address(pool["PoolID"], gateway=True)
    for _ in range(2):
        await docker.announce(NETWORK, pool["Pool"], gateway)
        assert docker.names() == {OWN}
    await docker.restart()
    await docker.announce(NETWORK, pool["Pool"], gateway)
    assert docker.names() == {OWN}


async def test_the_same_id_with_another_subnet_is_refused(docker: Docker) -> None:
    await docker.create_network(subnet="10.4.0.0/24")
    status, said = await docker.refused(
        "NetworkDriver.CreateNetwork", NetworkID=NETWORK, IPv4Data=[{"Pool": "10.5.0.0/24"}]
    )
    assert status == 400 and "10.4.0.0/24" in said


async def test_a_restart_between_pool_and_network(docker: Docker) -> None:
    pool = await docker.pool("10.4.0.0/24", ip_range="10.4.0.128/25")
    await docker.restart()
    assert await docker.address(pool["PoolID"], gateway=True) == "10.4.0.1/24"
    await docker.restart()
    await docker.announce(NETWORK, "10.4.0.0/24", "10.4.0.1/24")
    assert docker.named(OWN).pools[0].ip_range == "10.4.0.128/25"
    assert docker.names() == {OWN}
    await docker.restart()
    assert (await docker.address(pool["PoolID"])).startswith("10.4.0.")


async def test_options_internal_and_pools_are_passed_on(docker: Docker) -> None:
    await docker.call(
        "NetworkDriver.CreateNetwork",
        NetworkID=NETWORK,
        Options={
            "com.docker.network.generic": {"driver": "macvlan", "parent": "eth0"},
            "com.docker.network.internal": True,
            "com.docker.network.enable_ipv6": True,
        },
        IPv4Data=[{"Pool": "10.4.0.0/24", "Gateway": "10.4.0.9/24", "AuxAddresses": {"r": "10.4.0.8/24"}}],
        IPv6Data=[{"Pool": "fd04::/64", "Gateway": "fd04::1/64"}],
    )
    made = docker.named(OWN)
    assert (made.driver, made.internal, made.enable_ipv6) == ("macvlan", True, True)
    assert made.options == {"parent": "eth0"}
    assert [(pool.subnet, pool.gateway) for pool in made.pools] == [
        ("10.4.0.0/24", "10.4.0.9"),
        ("fd04::/64", "fd04::1"),
    ]
    assert made.pools[0].aux_addresses == {"r": "10.4.0.8"}


async def test_docker_s_null_ipam_leaves_the_addresses_to_us(docker: Docker) -> None:
    await docker.call(
        "NetworkDriver.CreateNetwork",
        NetworkID=NETWORK,
        IPv4Data=[{"AddressSpace": "null", "Pool": "0.0.0.0/0", "Gateway": "0.0.0.0/0"}],
    )
    answer = await docker.call("NetworkDriver.CreateEndpoint", **IDS, Interface={})
    assert answer["Interface"]["Address"].endswith("/16") and answer["Interface"]["MacAddress"]


async def test_a_gateway_is_passed_on_if_it_was_asked_for(docker: Docker) -> None:
    await docker.create_network(subnet="10.4.0.0/24", gateway="10.4.0.254")
    assert docker.named(OWN).pools[0].gateway == "10.4.0.254"
    await docker.create_network("m" * 64, subnet="10.5.0.0/24", driver="macvlan")
    assert docker.named(f"docker-{'m' * 12}").pools[0].gateway == ""


async def test_gateways_that_nobody_needs_are_not_asked_for(docker: Docker) -> None:
    for driver, skipped in (("bridge", False), ("overlay", False), ("routed", True), ("macvlan", True)):
        answer = await docker.call(
            "NetworkDriver.GwAllocCheck", Options={"com.docker.network.generic": {"driver": driver}}
        )
        assert answer == {"SkipIPv4": skipped, "SkipIPv6": skipped}


async def test_an_unknown_driver_leaves_nothing(docker: Docker) -> None:
    pool = await docker.pool()
    status, said = await docker.refused(
        "NetworkDriver.CreateNetwork",
        NetworkID=NETWORK,
        Options={"com.docker.network.generic": {"driver": "pigeon"}},
        IPv4Data=[{"Pool": pool["Pool"]}],
    )
    assert status == 404 and "pigeon" in said
    await docker.call("IpamDriver.ReleasePool", PoolID=pool["PoolID"])
    assert docker.names() == set()


async def test_swarm_s_manager_makes_a_network_once_for_all(docker: Docker) -> None:
    body: dict[str, Any] = {
        "NetworkID": NETWORK,
        "Options": {"driver": "overlay", "com.docker.network.internal": "true"},
        "IPv4Data": [{"Pool": "10.4.0.0/24", "Gateway": "10.4.0.1/24"}],
    }
    assert await docker.call("NetworkDriver.AllocateNetwork", **body) == {"Options": {}}
    assert docker.named(OWN).driver == "overlay" and docker.named(OWN).internal
    await docker.call("NetworkDriver.CreateNetwork", **body)
    await docker.call("NetworkDriver.FreeNetwork", NetworkID=NETWORK)
    assert docker.names() == set()


# --- networks that are named -------------------------------------------------------------------------


async def test_a_named_network_is_made_for_the_first_and_shared_with_the_next(docker: Docker) -> None:
    first = await docker.create_network(network="shop")
    subnet = docker.named("shop").pools[0].subnet
    second = await docker.create_network("m" * 64, subnet=subnet, ipam={"network": "shop"}, network="shop")
    assert docker.names() == {"shop", OWN, f"docker-{'m' * 12}"}
    addresses = {
        await docker.create_endpoint(first, "e1"),
        await docker.create_endpoint(second, "e2", "m" * 64),
    }
    assert len(addresses) == 2
    views = await docker.engine.guests.list(ENGINE)
    assert {view.network.name for view in views} == {"shop"}


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_named_network_outlives_docker_s(docker: Docker, restarts: bool) -> None:
    await docker.create_network(network="shop")
    if restarts:
        await docker.restart()
    await docker.call("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
    assert docker.names() == {"shop"}


async def test_naming_it_to_the_ipam_is_enough(docker: Docker) -> None:
    await docker.create_network(network="shop")
    subnet = docker.named("shop").pools[0].subnet
    pool = await docker.create_network("m" * 64, subnet=subnet, ipam={"network": "shop"})
    await docker.create_endpoint(pool, "e2", "m" * 64)
    assert docker.names() == {"shop", OWN, f"docker-{'m' * 12}"}


async def test_a_network_that_was_named_to_the_ipam_alone_is_made(docker: Docker) -> None:
    await docker.create_network(ipam={"network": "shop"}, driver="bridge")
    assert docker.names() == {"shop", OWN}


async def test_a_named_network_that_is_another_is_refused(docker: Docker) -> None:
    await docker.create_network(network="shop", colour="red")
    subnet = docker.named("shop").pools[0].subnet
    for options, said in (
        ({"driver": "overlay"}, "its driver is bridge"),
        ({"colour": "blue"}, "option colour is red"),
        ({"taste": "sweet"}, "option taste is not set"),
    ):
        status, heard = await docker.refused(
            "NetworkDriver.CreateNetwork",
            NetworkID="m" * 64,
            Options={"com.docker.network.generic": {"network": "shop", **options}},
            IPv4Data=[{"Pool": subnet}],
        )
        assert status == 409 and said in heard
    status, heard = await docker.refused(
        "NetworkDriver.CreateNetwork",
        NetworkID="m" * 64,
        Options={"com.docker.network.generic": {"network": "shop"}},
        IPv4Data=[{"Pool": "10.99.0.0/16"}],
    )
    assert status == 400 and f"--ipam-opt network=shop --subnet {subnet}" in heard
    assert docker.names() == {"shop", OWN}


async def test_docker_is_not_let_ask_for_ever(docker: Docker) -> None:
    await docker.create_network(network="shop")
    # It saw the host's route to the first answer's subnet, and wants another one.
    await docker.pool(network="shop")
    status, said = await docker.refused(
        "IpamDriver.RequestPool", AddressSpace="CarrickLocal", Options={"network": "shop"}
    )
    assert status == 409 and "--subnet" in said
    # Whoever asks next begins anew.
    pool = await docker.pool(network="shop")
    await docker.address(pool["PoolID"], gateway=True)
    await docker.pool(network="shop")


async def test_a_carrick_network_that_has_gone_is_said_to_have(docker: Docker) -> None:
    await docker.create_network(network="shop")
    await docker.engine.networks.remove("shop")
    status, said = await docker.refused("NetworkDriver.CreateEndpoint", **IDS, Interface={})
    assert status == 404 and "has been removed" in said
    await docker.call("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
    assert docker.names() == set()


# --- pools and addresses -----------------------------------------------------------------------------


async def test_pools_that_wait_are_not_given_twice(docker: Docker) -> None:
    pools = await asyncio.gather(*(docker.pool() for _ in range(5)))
    assert len({pool["Pool"] for pool in pools}) == len({pool["PoolID"] for pool in pools}) == 5
    for pool in pools:
        await docker.call("IpamDriver.ReleasePool", PoolID=pool["PoolID"])
    assert docker.names() == set()
    # A pool that was let go may be let go once more.
    await docker.call("IpamDriver.ReleasePool", PoolID=pools[0]["PoolID"])


async def test_a_subnet_that_waits_is_not_given_to_another(docker: Docker) -> None:
    await docker.pool("10.4.0.0/16")
    status, said = await docker.refused("IpamDriver.RequestPool", Pool="10.4.9.0/24")
    assert status == 409 and "10.4.0.0/16" in said


async def test_what_no_network_came_for_is_let_go(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    await docker.pool("10.4.0.0/24")
    await docker.pool("10.5.0.0/24")
    monkeypatch.setattr("carrick.doors.plugin.bindings.HELD_FOR_S", -1)
    await docker.pool("10.6.0.0/24")
    held = [item.pools[0].subnet for item in docker.engine.networks.networks.values() if item.config_only]
    assert held == ["10.6.0.0/24"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"AddressSpace": "Mars"}, "unknown address space"),
        ({"Pool": "10.0.0.0/99"}, "10.0.0.0/99"),
        ({"Pool": "10.0.0.0/24", "V6": True}, "not of IPv6"),
        ({"SubPool": "10.0.0.0/24"}, "needs a subnet"),
        ({"Options": {"colour": "red"}}, "colour"),
        ({"Options": "red"}, "Options"),
    ],
)
async def test_pools_that_cannot_be(docker: Docker, body: dict[str, Any], said: str) -> None:
    status, answer = await docker.raw("/IpamDriver.RequestPool", json.dumps(body).encode())
    assert status == 400 and said in answer["Error"]


@pytest.mark.parametrize("pool", ["", "nonsense", "held.4.0000", "network.4.0000", "network.9.0", "a.b.c"])
async def test_unknown_pools(docker: Docker, pool: str) -> None:
    status, _ = await docker.refused("IpamDriver.RequestAddress", PoolID=pool)
    assert status == (404 if pool else 400)
    if pool:
        status, _ = await docker.raw(
            "/IpamDriver.ReleaseAddress", json.dumps({"PoolID": pool, "Address": "10.0.0.1"}).encode()
        )
        assert status == 200


async def test_addresses_come_and_go(docker: Docker) -> None:
    pool = await docker.create_network(subnet="10.4.0.0/29")
    given = [await docker.address(pool) for _ in range(3)]
    assert given == ["10.4.0.2/29", "10.4.0.3/29", "10.4.0.4/29"]
    await docker.call("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.4.0.3")
    await docker.call("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.4.0.3")
    assert await docker.address(pool) == "10.4.0.3/29"
    # The gateway's: asked for, and given back.
    assert await docker.address(pool, gateway=True) == "10.4.0.1/29"
    await docker.call("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.4.0.1")


async def test_an_address_that_is_asked_for_again_is_the_same_until_it_is_in_use(docker: Docker) -> None:
    pool = await docker.create_network(subnet="10.4.0.0/24")
    assert await docker.address(pool, "10.4.0.9") == await docker.address(pool, "10.4.0.9") == "10.4.0.9/24"
    await docker.call("NetworkDriver.CreateEndpoint", **IDS, Interface={"Address": "10.4.0.9/24"})
    status, said = await docker.refused("IpamDriver.RequestAddress", PoolID=pool, Address="10.4.0.9")
    assert status == 409 and "Address already in use" in said
    status, said = await docker.refused("IpamDriver.RequestAddress", PoolID=pool, Address="10.5.0.9")
    assert status == 400 and "10.4.0.0/24" in said


async def test_auxiliary_addresses_are_the_network_s_own(docker: Docker) -> None:
    pool = await docker.pool("10.4.0.0/24")
    assert await docker.address(pool["PoolID"], "10.4.0.8") == "10.4.0.8/24"
    status, _ = await docker.refused("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address="10.5.0.8")
    assert status == 400


async def test_a_shared_network_has_one_gateway(docker: Docker) -> None:
    await docker.create_network(network="shop", subnet="10.4.0.0/24", gateway="10.4.0.254")
    pool = await docker.pool("10.4.0.0/24", network="shop")
    assert await docker.address(pool["PoolID"], gateway=True) == "10.4.0.254/24"
    status, said = await docker.refused(
        "IpamDriver.RequestAddress",
        PoolID=pool["PoolID"], Address="10.4.0.1", Options=GATEWAY_TYPE,
    )  # fmt: skip
    assert status == 400 and "10.4.0.254" in said


async def test_a_gateway_that_a_network_has_not_is_nobody_s(docker: Docker) -> None:
    await docker.create_network(network="lan", subnet="10.4.0.0/24", driver="macvlan")
    pool = (await docker.pool("10.4.0.0/24", network="lan"))["PoolID"]
    for _ in range(2):
        assert await docker.address(pool, gateway=True) == "10.4.0.1/24"
    assert await docker.address(pool) == "10.4.0.2/24"
    await docker.call("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.4.0.1")
    assert await docker.address(pool) == "10.4.0.3/24"


async def test_addresses_without_a_carrick_network_are_refused(docker: Docker) -> None:
    pool = await docker.pool()
    status, said = await docker.refused("IpamDriver.RequestAddress", PoolID=pool["PoolID"])
    assert status == 501 and "--ipam-opt network=NAME" in said


# --- endpoints ---------------------------------------------------------------------------------------


async def test_the_life_of_an_endpoint(docker: Docker) -> None:
    pool = await docker.create_network(subnet="10.4.0.0/24")
    address = await docker.address(pool)
    made = await docker.call(
        "NetworkDriver.CreateEndpoint", **IDS, Interface={"Address": address, "MacAddress": ""}
    )
    # What Docker decided is not said back: it would be taken for a change.
    assert made == {"Interface": {"MacAddress": "02:42:0a:04:00:02"}}
    joined = await docker.call("NetworkDriver.Join", **IDS, SandboxKey="/var/run/docker/netns/1", Options={})
    assert joined["InterfaceName"] == {"SrcName": interface_name(ENDPOINT), "DstPrefix": "eth"}
    assert (joined["Gateway"], joined["DisableGatewayService"]) == ("10.4.0.1", True)
    await docker.restart()
    ports = {"com.docker.network.portmap": [WEB]}
    assert await docker.call("NetworkDriver.ProgramExternalConnectivity", **IDS, Options=ports) == {}
    details = (await docker.call("NetworkDriver.EndpointOperInfo", **IDS))["Value"]
    assert details["com.docker.network.portmap"][0]["HostPort"] == 8080
    assert await docker.call("NetworkDriver.RevokeExternalConnectivity", **IDS) == {}
    assert (await docker.engine.guests.get(GUEST)).record.ports == ()
    assert await docker.call("NetworkDriver.Leave", **IDS) == {}
    assert await docker.call("NetworkDriver.DeleteEndpoint", **IDS) == {}
    await docker.call("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.4.0.2")
    assert docker.engine.guests.views == {} and docker.engine.guests.leases == {}


async def test_both_families_are_one_guest_s(docker: Docker) -> None:
    pools = [await docker.pool("10.4.0.0/24"), await docker.pool("fd04::/64", v6=True)]
    await docker.call(
        "NetworkDriver.CreateNetwork",
        NetworkID=NETWORK,
        Options={"com.docker.network.enable_ipv6": True},
        IPv4Data=[{"Pool": "10.4.0.0/24"}],
        IPv6Data=[{"Pool": "fd04::/64"}],
    )
    four, six = [await docker.address(pool["PoolID"]) for pool in pools]
    assert six.startswith("fd04::") and six.endswith("/64")
    await docker.call("NetworkDriver.CreateEndpoint", **IDS, Interface={"Address": four, "AddressIPv6": six})
    view = await docker.engine.guests.get(GUEST)
    assert (view.endpoint.ipv4, view.endpoint.ipv6) == (four, six)
    await docker.call("NetworkDriver.DeleteEndpoint", **IDS)
    assert docker.engine.guests.leases == {}


async def test_every_call_may_be_repeated(docker: Docker) -> None:
    pool = await docker.create_network()
    address = await docker.address(pool)
    for method, body in (
        ("CreateEndpoint", {"Interface": {"Address": address}}),
        ("Join", {"SandboxKey": "/run/netns/x"}),
        ("ProgramExternalConnectivity", {"Options": {"com.docker.network.portmap": [WEB]}}),
        ("RevokeExternalConnectivity", {}),
        ("Leave", {}),
        ("DeleteEndpoint", {}),
    ):
        first = await docker.call(f"NetworkDriver.{method}", **IDS, **body)
        await docker.restart()
        assert await docker.call(f"NetworkDriver.{method}", **IDS, **body) == first


async def test_an_endpoint_that_is_another_is_refused(docker: Docker) -> None:
    pool = await docker.create_network()
    await docker.create_endpoint(pool)
    status, said = await docker.refused(
        "NetworkDriver.CreateEndpoint", **IDS, Interface={"Address": "172.18.7.7/16"}
    )
    assert status == 409 and "exists already" in said


async def test_what_is_not_known(docker: Docker) -> None:
    for method, status, body in (
        ("CreateEndpoint", 404, {"Interface": {}}),
        ("Join", 404, {"SandboxKey": "/x"}),
        ("EndpointOperInfo", 404, {}),
        # 404 would be taken for "there is no such method".
        ("ProgramExternalConnectivity", 400, {}),
    ):
        found, said = await docker.refused(f"NetworkDriver.{method}", **IDS, **body)
        assert found == status and ("not known" in said), method
    for method in ("Leave", "DeleteEndpoint", "RevokeExternalConnectivity"):
        assert await docker.call(f"NetworkDriver.{method}", **IDS) == {}


async def test_a_failed_endpoint_leaves_nothing(docker: Docker) -> None:
    pool = await docker.create_network()
    address = await docker.address(pool)
    docker.engine.guests.failure = Failed("no room")
    status, said = await docker.refused("NetworkDriver.CreateEndpoint", **IDS, Interface={"Address": address})
    assert (status, said) == (500, "no room")
    await docker.call("IpamDriver.ReleaseAddress", PoolID=pool, Address=address.partition("/")[0])
    assert docker.engine.guests.leases == {}


async def test_a_port_that_is_taken_is_said_in_docker_s_words(docker: Docker) -> None:
    pool = await docker.create_network()
    await docker.create_endpoint(pool)
    docker.engine.guests.taken.add(8080)
    status, said = await docker.refused(
        "NetworkDriver.ProgramExternalConnectivity", **IDS, Options={"com.docker.network.portmap": [WEB]}
    )
    assert status == 500 and said == "Bind for 0.0.0.0:8080 failed: port is already allocated"


def test_interfaces_have_names_of_their_own_that_fit() -> None:
    assert interface_name("abcdef0123456789" * 4) == "ckdabcdef012345"
    assert len({interface_name(f"{n:x}" + "0" * 63) for n in range(10, 90)}) == 80
