"""Networks: their options, what they refuse and in which words, and what containers see of them."""

import json
import re
import time

import pytest

from carrick.testing.daemon import HOST4, NEIGHBOUR4, OUTSIDE, Daemon, eventually
from carrick.testing.inventory import settle


def interfaces(daemon: Daemon, name: str) -> dict[str, set[str]]:
    """Return a container's interfaces but lo, with their global addresses."""
    found = json.loads(daemon.machine.do("ip", "-j", "addr", netns=daemon.netns(name)))
    return {
        link["ifname"]: {item["local"] for item in link["addr_info"] if item["scope"] == "global"}
        for link in found
        if link["ifname"] != "lo"
    }


def default_route(daemon: Daemon, name: str, *family: str) -> str:
    """Return the interface of a container's default route."""
    text = daemon.machine.do("ip", *family, "route", "show", "default", netns=daemon.netns(name))
    return text.partition("dev ")[2].split()[0] if text else ""


def reaches(daemon: Daemon, name: str, target: str) -> bool:
    return daemon.exec(name, "ping", "-c", "1", "-W", "2", target).code == 0


class TestCommands:
    def test_the_predefined(self, daemon: Daemon) -> None:
        lines = daemon.do("network", "ls").splitlines()
        assert lines[0].split() == ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]
        assert [line.split()[1:] for line in lines[1:]] == [
            ["bridge", "bridge", "local"],
            ["host", "host", "local"],
            ["none", "null", "local"],
        ]

    def test_create_prints_the_id_and_everything_can_be_inspected(self, daemon: Daemon) -> None:
        identifier = daemon.do(
            *("network", "create", "--subnet", "10.9.0.0/16", "--ip-range", "10.9.5.0/24"),
            *("--gateway", "10.9.0.9", "--aux-address", "router=10.9.5.0", "--label", "a=b", "--attachable"),
            *("-o", "com.docker.network.driver.mtu=1400", "--ipv6", "--subnet", "fd00:9::/64", "full"),
        )
        assert re.fullmatch(r"[0-9a-f]{64}", identifier)
        found = daemon.network("full")
        assert (found["Id"], found["Driver"], found["Scope"]) == (identifier, "bridge", "local")
        assert found["IPAM"] == {
            "Driver": "default",
            "Options": None,
            "Config": [
                {
                    "Subnet": "10.9.0.0/16",
                    "IPRange": "10.9.5.0/24",
                    "Gateway": "10.9.0.9",
                    "AuxiliaryAddresses": {"router": "10.9.5.0"},
                },
                {"Subnet": "fd00:9::/64", "Gateway": "fd00:9::1"},
            ],
        }
        assert (found["EnableIPv4"], found["EnableIPv6"], found["Attachable"]) == (True, True, True)
        assert (found["Internal"], found["Ingress"], found["ConfigOnly"]) == (False, False, False)
        assert found["Labels"] == {"a": "b"}
        assert found["Containers"] == {}
        daemon.sleeper("box", "--network", "full")
        assert daemon.address("box") == "10.9.5.1"
        assert "mtu 1400" in daemon.machine.do("ip", "link", "show", "eth0", netns=daemon.netns("box"))
        entry = daemon.network("full")["Containers"][daemon.container("box")["Id"]]
        assert (entry["Name"], entry["IPv4Address"]) == ("box", "10.9.5.1/16")
        assert entry["IPv6Address"] == daemon.address6("box") + "/64"

    def test_ls_filters_and_formats(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--label", "team=red", "apples")
        daemon.do("network", "create", "pears2")
        daemon.do("network", "create", "pears10")
        daemon.sleeper("box", "--network", "apples")

        def names(*filters: str) -> list[str]:
            words = [word for item in filters for word in ("-f", item)]
            return daemon.do("network", "ls", "--format", "{{.Name}}", *words).split()

        assert names() == ["apples", "bridge", "host", "none", "pears2", "pears10"]
        assert names("name=pear") == ["pears2", "pears10"]
        assert names("label=team=red") == ["apples"]
        assert names("driver=null") == ["none"]
        assert names("type=custom") == ["apples", "pears2", "pears10"]
        assert names("dangling=true") == ["pears2", "pears10"]
        assert names("scope=swarm") == []
        identifier = daemon.network("apples")["Id"]
        assert daemon.do("network", "ls", "-q", "-f", f"id={identifier[:5]}") == identifier[:12]
        assert daemon.do("network", "ls", "-q", "--no-trunc", "-f", "name=apples") == identifier
        assert "invalid filter 'colour'" in daemon.refused("network", "ls", "-f", "colour=red")

    def test_inspect(self, daemon: Daemon) -> None:
        assert (
            daemon.do("network", "inspect", "-f", "{{.Name}}/{{.Driver}}", "bridge", "none")
            == "bridge/bridge\nnone/null"
        )
        missing = daemon.cli("network", "inspect", "nowhere")
        assert (missing.code, missing.out.strip()) == (1, "[]")
        assert "network nowhere not found" in missing.err

    def test_rm_goes_on_after_an_error(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "one")
        result = daemon.cli("network", "rm", "nowhere", "one")
        assert (result.code, result.out) == (1, "one\n")
        assert "network nowhere not found" in result.err
        assert daemon.cli("network", "rm", "-f", "nowhere").code == 0

    def test_prune(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "idle")
        daemon.do("network", "create", "--label", "keep", "kept")
        daemon.do("network", "create", "used")
        daemon.sleeper("box", "--network", "used")
        out = daemon.do("network", "prune", "-f", "--filter", "label!=keep")
        assert out.splitlines() == ["Deleted Networks:", "idle"]
        result = daemon.cli("network", "prune", input="n\n")
        assert (
            "This will remove all custom networks not used by at least one container."
            in result.out + result.err
        )
        assert daemon.network("kept")

    def test_dry_run_changes_nothing(self, daemon: Daemon) -> None:
        assert not settle(daemon)
        before = daemon.machine.links()
        out = daemon.do("network", "create", "--dry-run", "--subnet", "10.66.0.0/24", "imagined")
        assert "type bridge" in out
        assert "10.66.0.1/24" in out
        assert daemon.machine.links() == before
        assert daemon.api.get("/networks/imagined").status == 404

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--gateway", "10.1.0.1"], "every ip-range or gateway must have a corresponding subnet"),
            (
                ["--subnet", "10.1.0.0/16", "--subnet", "10.1.2.0/24"],
                "multiple overlapping subnet configuration is not supported",
            ),
            (
                ["--subnet", "10.1.0.0/16", "--ip-range", "10.2.0.0/24"],
                "no matching subnet for range 10.2.0.0/24",
            ),
            (["--subnet", "10.1.0.0/16", "--gateway", "10.2.0.1"], "no matching subnet for gateway 10.2.0.1"),
            (
                ["--subnet", "10.1.0.0/16", "--aux-address", "a=10.2.0.1"],
                "no matching subnet for aux-address 10.2.0.1",
            ),
            (
                [
                    *("--subnet", "10.1.0.0/16", "--subnet", "10.2.0.0/16"),
                    *("--gateway", "10.1.0.1", "--gateway", "10.1.0.2"),
                ],
                "cannot configure multiple gateways (10.1.0.2, 10.1.0.1) for the same subnet (10.1.0.0/16)",
            ),
            (["--subnet", "ten"], "invalid subnet"),
        ],
    )
    def test_what_the_client_refuses(self, daemon: Daemon, arguments: list[str], message: str) -> None:
        assert message in daemon.refused("network", "create", *arguments, "bad")

    def test_argument_errors(self, daemon: Daemon) -> None:
        daemon.refused("network", "create", code=1)
        daemon.refused("network", "connect", "one", code=1)
        assert "unknown flag: --colour" in daemon.refused("network", "create", "--colour", "x", code=125)


def ipam(*configs: dict[str, object]) -> dict[str, object]:
    return {"IPAM": {"Config": list(configs)}}


class TestRefusals:
    """Status and message, as the reference's table has them."""

    @pytest.mark.parametrize(
        ("body", "status", "message"),
        [
            ({"Name": "taken"}, 409, "network with name taken already exists"),
            ({"Name": "bridge"}, 403, "operation is not permitted on predefined bridge network "),
            ({"Name": ""}, 400, "invalid name: name is empty"),
            (
                {"Name": "x1", **ipam({"Subnet": "10.5.0.1/24"})},
                400,
                "invalid network config:\ninvalid subnet 10.5.0.1/24: it should be 10.5.0.0/24",
            ),
            (
                {"Name": "x2", **ipam({"Subnet": "10.5.0.0/24", "IPRange": "10.5.0.0/16"})},
                400,
                "invalid network config:\ninvalid ip-range 10.5.0.0/16: CIDR block is bigger than its parent "
                "subnet 10.5.0.0/24",
            ),
            (
                {"Name": "x3", **ipam({"Subnet": "10.5.0.0/24", "Gateway": "10.6.0.1"})},
                400,
                "invalid network config:\ninvalid gateway 10.6.0.1: parent subnet 10.5.0.0/24 doesn't "
                "contain this address",
            ),
            (
                {"Name": "x4", **ipam({"Subnet": "10.77.0.0/16"})},
                403,
                "invalid pool request: Pool overlaps with other one on this address space",
            ),
            ({"Name": "x5", "EnableIPv4": False}, 400, "IPv4 or IPv6 must be enabled"),
            ({"Name": "x6", "Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
            ({"Name": "x7", "Driver": "null"}, 403, 'only one instance of "null" network is allowed'),
            (
                {"Name": "x8", "Driver": "foo"},
                404,
                "could not find plugin foo in v1 plugin registry: plugin not found",
            ),
            (
                {"Name": "x9", **ipam({"Subnet": "10.5.0.0/24"}, {"Subnet": "10.6.0.0/24"})},
                403,
                "bridge driver doesn't support multiple subnets",
            ),
            (
                {"Name": "xa", "Options": {"com.docker.network.bridge.enable_icc": "maybe"}},
                400,
                "failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool: "
                'parsing "maybe": invalid syntax)',
            ),
            (
                {"Name": "xb", "Options": {"com.docker.network.bridge.gateway_mode_ipv4": "odd"}},
                400,
                "unknown gateway mode odd",
            ),
            (
                {"Name": "xc", "ConfigFrom": {"Network": "nothing"}},
                404,
                'configuration network "nothing" does not exist',
            ),
            (
                {"Name": "xd", "ConfigOnly": True, "Internal": True},
                403,
                "configuration network can only contain network specific fields. Network operator fields "
                "like [ ingress | internal | attachable | scope ] are not supported.",
            ),
        ],
    )
    def test_create(self, daemon: Daemon, body: dict[str, object], status: int, message: str) -> None:
        daemon.do("network", "create", "--subnet", "10.77.1.0/24", "taken")
        reply = daemon.api.post("/networks/create", body)
        assert (reply.status, reply.message) == (status, message)
        assert len(daemon.api.get("/networks").json) == 4, "it changes nothing"

    def test_same_bridge_name(self, daemon: Daemon) -> None:
        option = "com.docker.network.bridge.name=br-mine"
        daemon.do("network", "create", "-o", option, "first")
        reply = daemon.api.post(
            "/networks/create", {"Name": "second", "Options": {"com.docker.network.bridge.name": "br-mine"}}
        )
        assert reply.status == 403
        assert "same bridge name" in reply.message

    def test_rm(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "busy")
        daemon.sleeper("box", "--network", "busy")
        endpoint = daemon.container("box")["NetworkSettings"]["Networks"]["busy"]["EndpointID"]
        for name, status, message in (
            ("bridge", 403, "bridge is a pre-defined network and cannot be removed"),
            ("nowhere", 404, "network nowhere not found"),
            (
                "busy",
                403,
                "error while removing network: network busy has active endpoints "
                f'(name:"box" id:"{endpoint[:12]}")',
            ),
        ):
            reply = daemon.api.delete(f"/networks/{name}")
            assert (reply.status, reply.message) == (status, message)
        daemon.do("stop", "box")
        assert daemon.api.delete("/networks/busy").status == 204
        assert "network busy not found" in daemon.refused("start", "box")

    def test_connect_and_disconnect(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--subnet", "10.8.0.0/29", "net")
        daemon.do("network", "create", "other")
        box = daemon.sleeper("box", "--network", "net")
        daemon.sleeper("hosted", "--network", "host")
        daemon.sleeper("lonely", "--network", "none")

        def refused(action: str, network: str, container: str, settings: object = None) -> tuple[int, str]:
            body = {"Container": container, "EndpointConfig": settings or {}}
            reply = daemon.api.post(f"/networks/{network}/{action}", body)
            return reply.status, reply.message

        assert refused("connect", "net", "box") == (
            403,
            "endpoint with name box already exists in network net",
        )
        assert refused("connect", "nowhere", "box") == (404, "network nowhere not found")
        assert refused("connect", "net", "nobody") == (404, "No such container: nobody")
        assert refused("disconnect", "other", "box") == (
            500,
            f"container {box} is not connected to network other",
        )
        assert refused("connect", "host", "box") == (
            400,
            "cannot connect container to host network - container must be created in host network mode",
        )
        assert refused("disconnect", "host", "hosted") == (
            400,
            "cannot disconnect container from host network - container was created in host network mode",
        )
        assert refused("connect", "net", "hosted") == (
            400,
            "container sharing network namespace with another container or host cannot be connected to any "
            "other network",
        )
        assert refused("connect", "net", "lonely") == (
            400,
            "container cannot be connected to multiple networks with one of the networks in private (none) "
            "mode",
        )
        address = {"IPAMConfig": {"IPv4Address": "10.200.0.1"}}
        status, message = refused("connect", "other", "box", address)
        assert (status, message) == (
            400,
            "invalid endpoint settings:\nno configured subnet contains IP address 10.200.0.1",
        )
        assert refused("connect", "bridge", "box", address)[1].endswith(
            "user-specified IP address is supported on user-defined networks only"
        )
        assert refused("connect", "bridge", "box", {"Aliases": ["a"]})[1].endswith(
            "network-scoped aliases are only supported for user-defined networks"
        )
        daemon.sleeper("rival", "--network", "other")
        taken = {"IPAMConfig": {"IPv4Address": daemon.address("box")}}
        assert refused("connect", "net", "rival", taken) == (403, "Address already in use")

    def test_a_full_pool(self, daemon: Daemon) -> None:
        identifier = daemon.do("network", "create", "--subnet", "10.8.0.0/30", "tiny")
        daemon.sleeper("one", "--network", "tiny")
        error = daemon.refused("run", "-d", "--network", "tiny", "busybox", code=125)
        message = f"no available IPv4 addresses on this network's address pools: tiny ({identifier})"
        assert message in error
        daemon.sleeper("late")
        reply = daemon.api.post("/networks/tiny/connect", {"Container": "late"})
        assert reply.message == message

    def test_conflicting_options_of_run(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("box")
        for arguments, message in (
            ("net --network net", 'network "net" is specified multiple times'),
            ("name=net,colour=red", "invalid field key colour"),
            ("container:box --hostname x", "conflicting options: hostname and the network mode"),
            (
                "container:box -p 80",
                "conflicting options: port publishing and the container type network mode",
            ),
            ("container:box --dns 1.1.1.1", "conflicting options: dns and the network mode"),
            ("container:nobody", "No such container: nobody"),
            (
                "net --network host",
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ),
            ("net --ip 10.250.0.9", "no configured subnet contains IP address 10.250.0.9"),
        ):
            error = daemon.refused("run", "-d", "--network", *arguments.split(), "busybox", code=125)
            assert message in error

    def test_joining_a_stopped_container(self, daemon: Daemon) -> None:
        daemon.sleeper("box")
        daemon.do("create", "--name", "mate", "--network", "container:box", "busybox", "sleep", "1d")
        daemon.do("stop", "box")
        error = daemon.refused("start", "mate")
        assert "cannot join network namespace of a non running container" in error


class TestEndpoints:
    def test_connect_and_disconnect_live(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--subnet", "10.8.1.0/24", "net")
        daemon.sleeper("box")
        daemon.sleeper("peer", "--network", "net")
        daemon.do("network", "connect", "--ip", "10.8.1.77", "--alias", "boxy", "net", "box")
        assert interfaces(daemon, "box")["eth1"] == {"10.8.1.77"}
        assert reaches(daemon, "box", "peer")
        assert reaches(daemon, "peer", "boxy")
        assert "10.8.1.77" in daemon.sh("box", "cat /etc/hosts")
        daemon.do("network", "disconnect", "net", "box")
        assert set(interfaces(daemon, "box")) == {"eth0"}
        assert "10.8.1.77" not in daemon.sh("box", "cat /etc/hosts")
        assert daemon.dig("peer", "boxy") == []
        daemon.do("network", "disconnect", "bridge", "box")
        assert interfaces(daemon, "box") == {}
        daemon.do("network", "connect", "net", "box")
        assert reaches(daemon, "box", "peer")

    def test_interface_names_follow_the_order_and_stay(self, daemon: Daemon) -> None:
        for name in ("zebra", "mule", "ant"):
            daemon.do("network", "create", name)
        daemon.sleeper("box", "--network", "zebra", "--network", "mule", "--network", "ant")
        before = interfaces(daemon, "box")
        order = [daemon.address("box", name) for name in ("zebra", "mule", "ant")]
        assert [next(iter(before[f"eth{index}"])) for index in range(3)] == order
        daemon.do("restart", "-t", "0", "box")
        assert interfaces(daemon, "box") == before
        daemon.do("network", "disconnect", "mule", "box")
        daemon.do("network", "connect", "mule", "box")
        assert set(interfaces(daemon, "box")) == {"eth0", "eth1", "eth2"}

    def test_the_gateway_by_order_and_by_priority(self, daemon: Daemon) -> None:
        for name in ("alpha", "beta"):
            daemon.do("network", "create", name)
        daemon.do("network", "create", "--internal", "aaa")
        daemon.sleeper("box", "--network", "aaa", "--network", "beta", "--network", "alpha")
        assert default_route(daemon, "box") == "eth1", "the first that has a gateway"
        daemon.sleeper("wise", "--network", "beta", "--network", "name=alpha,gw-priority=1")
        assert default_route(daemon, "wise") == "eth1"
        daemon.do("network", "create", "gamma")
        daemon.do("network", "connect", "--gw-priority", "5", "gamma", "wise")
        assert default_route(daemon, "wise") == "eth2"
        daemon.do("network", "disconnect", "gamma", "wise")
        assert default_route(daemon, "wise") == "eth1"

    def test_static_addresses_and_mac(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--ipv6", "--subnet", "10.8.2.0/24", "--subnet", "fd00:82::/64", "net")
        daemon.sleeper(
            *("box", "--network", "net", "--ip", "10.8.2.200", "--ip6", "fd00:82::200"),
            *("--mac-address", "02:00:00:00:82:00"),
        )
        assert interfaces(daemon, "box") == {"eth0": {"10.8.2.200", "fd00:82::200"}}
        assert "02:00:00:00:82:00" in daemon.machine.do("ip", "link", netns=daemon.netns("box"))
        daemon.do("restart", "-t", "0", "box")
        assert interfaces(daemon, "box") == {"eth0": {"10.8.2.200", "fd00:82::200"}}

    def test_a_static_address_is_never_given_to_another(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--subnet", "10.8.3.0/29", "net")
        daemon.do(
            "create", "--name", "owner", "--network", "net", "--ip", "10.8.3.2", "busybox", "sleep", "1d"
        )
        for number in range(3):
            daemon.sleeper(f"other{number}", "--network", "net")
            assert daemon.address(f"other{number}") != "10.8.3.2"
        daemon.do("start", "owner")
        assert daemon.address("owner") == "10.8.3.2"

    def test_addresses_stay_over_restarts(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("one", "--network", "net")
        daemon.sleeper("two", "--network", "net")
        before = daemon.address("one")
        mac = daemon.container("one")["NetworkSettings"]["Networks"]["net"]["MacAddress"]
        daemon.do("stop", "one")
        daemon.sleeper("three", "--network", "net")
        assert daemon.address("three") != before
        daemon.do("start", "one")
        assert daemon.address("one") == before
        assert daemon.container("one")["NetworkSettings"]["Networks"]["net"]["MacAddress"] == mac

    def test_freed_addresses_are_not_given_again_at_once(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("one", "--network", "net")
        freed = daemon.address("one")
        daemon.do("rm", "-f", "one")
        daemon.sleeper("two", "--network", "net")
        assert daemon.address("two") != freed

    def test_link_local_addresses_and_interface_names(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper(
            "box",
            "--network",
            "name=net,link-local-ip=169.254.8.8,driver-opt=com.docker.network.endpoint.ifname=lan0",
        )
        found = daemon.machine.do("ip", "addr", "show", "lan0", netns=daemon.netns("box"))
        assert "169.254.8.8" in found
        assert daemon.address("box") in found

    def test_sysctls(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        option = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1"
        daemon.do(
            *("run", "-d", "--name", "box", "--network", f'name=net,"driver-opt={option}"'),
            *("--sysctl", "net.ipv4.ip_local_port_range=20000 20100", "busybox", "sleep", "1d"),
        )
        assert daemon.sh("box", "cat /proc/sys/net/ipv4/conf/eth0/log_martians") == "1"
        assert daemon.sh("box", "cat /proc/sys/net/ipv4/ip_local_port_range").split() == ["20000", "20100"]
        assert daemon.sh("box", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"
        assert daemon.sh("box", "cat /proc/sys/net/ipv4/ping_group_range").split() == ["0", "2147483647"]

    def test_dual_stack(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--ipv6", "dual")
        daemon.sleeper("one", "--network", "dual")
        daemon.sleeper("two", "--network", "dual")
        assert daemon.exec("one", "ping", "-6", "-c", "1", "-W", "1", "two").code == 0
        assert daemon.exec("one", "ping", "-4", "-c", "1", "-W", "1", "two").code == 0
        assert daemon.dig("one", "two", "AAAA") == [daemon.address6("two")]
        assert default_route(daemon, "one", "-6") == "eth0"

    def test_ipv6_only(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--ipv6", "--ipv4=false", "six")
        daemon.sleeper("one", "--network", "six")
        daemon.sleeper("two", "--network", "six")
        assert daemon.address("one") == ""
        assert daemon.exec("one", "ping", "-6", "-c", "1", "-W", "1", "two").code == 0


class TestTraffic:
    def test_out_and_masqueraded(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("box", "--network", "net")
        assert reaches(daemon, "box", NEIGHBOUR4)
        daemon.machine.do("ip", "route", "add", "10.55.0.0/24", "via", HOST4, netns=OUTSIDE)
        daemon.do(
            *("network", "create", "--subnet", "10.55.0.0/24"),
            *("-o", "com.docker.network.bridge.enable_ip_masquerade=false", "open"),
        )
        daemon.sleeper("plain", "--network", "open")
        assert reaches(daemon, "plain", NEIGHBOUR4), "the neighbour knows the way back"
        daemon.machine.do("ip", "route", "del", "10.55.0.0/24", netns=OUTSIDE)
        assert not reaches(daemon, "plain", NEIGHBOUR4), "it shows its own address"

    def test_networks_are_isolated(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "red")
        daemon.do("network", "create", "blue")
        daemon.sleeper("one", "--network", "red")
        daemon.web("two", "--network", "blue")
        assert not reaches(daemon, "one", daemon.address("two"))
        assert (
            daemon.exec("one", "timeout", "1", "wget", "-qO-", f"http://{daemon.address('two')}/").code != 0
        )
        assert daemon.dig("one", "two") == []

    def test_internal(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--internal", "cellar")
        daemon.sleeper("one", "--network", "cellar")
        daemon.sleeper("two", "--network", "cellar")
        assert reaches(daemon, "one", "two")
        assert default_route(daemon, "one") == ""
        assert not reaches(daemon, "one", NEIGHBOUR4)
        gateway = daemon.network("cellar")["IPAM"]["Config"][0]["Gateway"]
        daemon.machine.do("ip", "route", "add", "default", "via", gateway, netns=daemon.netns("one"))
        assert not reaches(daemon, "one", NEIGHBOUR4), "not even with a route"

    def test_icc_off_but_links_through(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "shy")
        daemon.do(
            *("run", "-d", "--name", "web", "--network", "shy", "--expose", "80", "busybox"),
            *("sh", "-c", "mkdir /www; echo linked >/www/index.html; exec httpd -f -h /www"),
        )
        daemon.sleeper("stranger", "--network", "shy")
        daemon.sleeper("friend", "--network", "shy", "--link", "web:server")
        assert not reaches(daemon, "stranger", "web")
        assert daemon.exec("stranger", "timeout", "1", "wget", "-qO-", "http://web/").code != 0
        assert reaches(daemon, "stranger", NEIGHBOUR4), "the way out is open"
        assert daemon.exec("friend", "timeout", "3", "wget", "-qO-", "http://server/").out == "linked\n"

    def test_links_on_the_default_network(self, daemon: Daemon) -> None:
        daemon.do("run", "-d", "--name", "db", "-e", "SECRET=s", "exposing", "sleep", "1d")
        daemon.sleeper("app", "--link", "db:data-base")
        environment = dict(line.split("=", 1) for line in daemon.sh("app", "env").splitlines())
        address = daemon.address("db")
        assert environment["DATA_BASE_PORT"] == f"tcp://{address}:80"
        assert environment["DATA_BASE_PORT_80_TCP"] == f"tcp://{address}:80"
        assert environment["DATA_BASE_PORT_80_TCP_ADDR"] == address
        assert environment["DATA_BASE_PORT_53_UDP_PORT"] == "53"
        assert environment["DATA_BASE_NAME"] == "/app/data-base"
        assert environment["DATA_BASE_ENV_SECRET"] == "s"
        assert environment["DATA_BASE_ENV_COLOUR"] == "red"
        hosts = daemon.sh("app", "cat /etc/hosts").splitlines()
        assert f"{address}\tdata-base {daemon.container('db')['Id'][:12]} db" in hosts
        assert reaches(daemon, "app", "data-base")

    def test_links_on_a_network_are_names_for_one_only(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("target", "--network", "net")
        daemon.sleeper("linked", "--network", "net", "--link", "target:nick")
        daemon.sleeper("plain", "--network", "net")
        assert daemon.dig("linked", "nick") == [daemon.address("target")]
        assert daemon.dig("plain", "nick") == []

    def test_the_mtu_is_that_of_the_way_out(self, daemon: Daemon) -> None:
        daemon.machine.do("ip", "link", "set", "uplink", "mtu", "1380")
        try:
            daemon.do("network", "create", "narrow")
            daemon.sleeper("box", "--network", "narrow")
            assert "mtu 1380" in daemon.machine.do("ip", "link", "show", "eth0", netns=daemon.netns("box"))
        finally:
            daemon.machine.do("ip", "link", "set", "uplink", "mtu", "1500")

    def test_a_subnet_that_the_host_uses_is_avoided(self, daemon: Daemon) -> None:
        daemon.machine.do("ip", "route", "add", "172.18.0.0/16", "via", NEIGHBOUR4)
        try:
            daemon.do("network", "create", "net")
            assert daemon.network("net")["IPAM"]["Config"][0]["Subnet"] == "172.19.0.0/16"
        finally:
            daemon.machine.do("ip", "route", "del", "172.18.0.0/16")


class TestModes:
    def test_host(self, daemon: Daemon) -> None:
        out = daemon.do("run", "--rm", "--network", "host", "busybox", "ip", "link")
        assert "uplink" in out
        assert "carrick0" in out
        assert daemon.do("run", "--rm", "--network", "host", "busybox", "hostname") == daemon.machine.do(
            "hostname"
        )

    def test_none(self, daemon: Daemon) -> None:
        out = daemon.do("run", "--rm", "--network", "none", "busybox", "ip", "-o", "link")
        assert [line.split(": ")[1] for line in out.splitlines()] == ["lo"]

    def test_container(self, daemon: Daemon) -> None:
        daemon.web("target", "--hostname", "shared")
        daemon.sleeper("mate", "--network", "container:target")
        assert daemon.sh("mate", "wget -qO- http://localhost/") == "shared"
        assert daemon.sh("mate", "hostname; cat /etc/hosts") == daemon.sh(
            "target", "hostname; cat /etc/hosts"
        )
        assert daemon.sh("mate", "ip -o addr") == daemon.sh("target", "ip -o addr")

    def test_companions_get_their_network_back(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.web("target", "--network", "net", "-p", "8077:80")
        daemon.sleeper("mate", "--network", "container:target")
        daemon.sleeper("peer", "--network", "net")
        pid = daemon.container("mate")["State"]["Pid"]
        address = daemon.address("target")
        daemon.do("restart", "-t", "0", "target")
        assert daemon.container("mate")["State"]["Pid"] == pid, "the companion runs on"
        assert daemon.address("target") == address
        assert daemon.sh("mate", "wget -qO- http://localhost/")
        assert reaches(daemon, "mate", "peer")
        assert daemon.sh("mate", "ip -o addr") == daemon.sh("target", "ip -o addr")
        assert daemon.fetch("http://127.0.0.1:8077/")
        daemon.do("rm", "-f", "target")
        assert daemon.exec("mate", "true").code == 0
        daemon.do("rm", "-f", "mate")
        assert not settle(daemon)


class TestMacvlan:
    def test_children_share_the_parents_lan(self, daemon: Daemon) -> None:
        do = daemon.machine.do
        do("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1", "netns", OUTSIDE)
        do("ip", "link", "set", "lan0", "up")
        do("ip", "addr", "add", "10.44.0.1/24", "dev", "lan1", netns=OUTSIDE)
        do("ip", "link", "set", "lan1", "up", netns=OUTSIDE)
        try:
            daemon.do(
                *("network", "create", "-d", "macvlan", "-o", "parent=lan0", "--subnet", "10.44.0.0/24"),
                *("--gateway", "10.44.0.1", "lan"),
            )
            daemon.sleeper("one", "--network", "lan", "--ip", "10.44.0.10")
            daemon.sleeper("two", "--network", "lan")
            assert reaches(daemon, "one", "10.44.0.1")
            assert reaches(daemon, "one", "two")
            assert daemon.machine.run("busybox", "ping", "-c1", "-W5", "10.44.0.10", netns=OUTSIDE).code == 0
            daemon.do("restart", "-t", "0", "one")
            assert reaches(daemon, "one", "10.44.0.1")
            error = daemon.refused(
                "network", "create", "-d", "macvlan", "-o", "parent=lan0", "-o", "macvlan_mode=odd", "x"
            )
            assert (
                "requested macvlan mode 'odd' is not valid, 'bridge' mode is the macvlan driver default"
                in error
            )
            daemon.remove_all()
            assert "lan0" in daemon.machine.links(), "the parent is not ours to remove"
        finally:
            do("ip", "link", "del", "lan0")

    def test_what_this_kernel_lacks_is_refused_clearly(self, daemon: Daemon) -> None:
        probe = daemon.machine.run("ip", "link", "add", "link", "uplink", "name", "iv0", "type", "ipvlan")
        if probe.code == 0:
            daemon.machine.do("ip", "link", "delete", "iv0")
            pytest.skip("this kernel has ipvlan")
        body = {"Name": "flat", "Driver": "ipvlan", "Options": {"parent": "uplink"}}
        reply = daemon.api.post("/networks/create", body)
        if reply.status == 201:
            daemon.do("create", "--name", "box", "--network", "flat", "busybox", "sleep", "1d")
            reply = daemon.api.post("/containers/box/start")
        assert reply.status == 501
        assert "this kernel has no ipvlan links" in reply.message
        daemon.remove_all()
        assert not settle(daemon)


def test_a_bridge_that_exists_is_used_and_left(daemon: Daemon) -> None:
    daemon.machine.do("ip", "link", "add", "mybr", "type", "bridge")
    try:
        daemon.do("network", "create", "-o", "com.docker.network.bridge.name=mybr", "net")
        daemon.sleeper("one", "--network", "net")
        daemon.sleeper("two", "--network", "net")
        assert reaches(daemon, "one", "two")
        daemon.remove_all()
        assert "mybr" in daemon.machine.links()
    finally:
        daemon.machine.do("ip", "link", "del", "mybr")


def test_nothing_is_left(daemon: Daemon) -> None:
    for number in range(3):
        daemon.do("network", "create", f"net{number}")
        daemon.sleeper(f"box{number}", "--network", f"net{number}", "-p", f"{9100 + number}:80/udp")
    daemon.remove_all()
    assert not settle(daemon)
    links = [name for name in daemon.machine.links() if name not in {"lo", "uplink", "carrick0"}]
    assert links == []
    eventually(lambda: daemon.cgroups() == [] or all(path.name == daemon.name for path in daemon.cgroups()))


def test_events_of_networks(daemon: Daemon) -> None:
    since = str(time.time())
    daemon.do("network", "create", "net")
    daemon.sleeper("box")
    daemon.do("network", "connect", "net", "box")
    daemon.do("network", "disconnect", "net", "box")
    daemon.do("network", "rm", "net")
    lines = daemon.do(
        *("events", "--since", since, "--until", str(time.time()), "--filter", "type=network"),
        *("--filter", "network=net", "--format", "{{.Action}} {{.Actor.Attributes.name}}"),
    )
    assert lines.splitlines() == ["create net", "connect net", "disconnect net", "destroy net"]


def test_a_container_and_its_companion_removed_at_once(daemon: Daemon) -> None:
    for _ in range(5):
        daemon.sleeper("target")
        daemon.sleeper("mate", "--network", "container:target")
        daemon.do("rm", "-f", "target", "mate")
        assert not settle(daemon)
