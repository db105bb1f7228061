"""Published ports: every form of -p, from everywhere, to whom they belong, and what else clashes."""

import re
import socket
import time

import pytest

from carrick.testing.daemon import HOST4, HOST6, NEIGHBOUR4, NEIGHBOUR6, OUTSIDE, Daemon, eventually
from carrick.testing.inventory import settle


def ports(daemon: Daemon, name: str) -> dict[str, list[str]]:
    """Return what a container publishes: `80/tcp` to `0.0.0.0:8080`."""
    found = daemon.container(name)["NetworkSettings"]["Ports"]
    return {
        key: [f"{item['HostIp']}:{item['HostPort']}" for item in value]
        for key, value in found.items()
        if value
    }


def peer_address(text: str) -> str:
    """Return the address in what httpd calls its peer: `[::ffff:192.0.2.2]` or `[2001:db8::1]`."""
    return text.strip("[]").removeprefix("::ffff:")


class TestForms:
    @pytest.mark.parametrize(
        ("arguments", "published"),
        [
            (["8080:80"], {"80/tcp": ["0.0.0.0:8080", ":::8080"]}),
            (["127.0.0.1:8080:80"], {"80/tcp": ["127.0.0.1:8080"]}),
            (["8080:80/udp"], {"80/udp": ["0.0.0.0:8080", ":::8080"]}),
            (["8080:80/sctp"], {"80/sctp": ["0.0.0.0:8080"]}),
            (["[::1]:8080:80"], {"80/tcp": ["::1:8080"]}),
            (
                ["8080-8081:80-81"],
                {"80/tcp": ["0.0.0.0:8080", ":::8080"], "81/tcp": ["0.0.0.0:8081", ":::8081"]},
            ),
            (["published=8080,target=80,protocol=udp"], {"80/udp": ["0.0.0.0:8080", ":::8080"]}),
            (
                ["8080:80", "8080:80/udp"],
                {"80/tcp": ["0.0.0.0:8080", ":::8080"], "80/udp": ["0.0.0.0:8080", ":::8080"]},
            ),
        ],
    )
    def test_of_p(self, daemon: Daemon, arguments: list[str], published: dict[str, list[str]]) -> None:
        daemon.sleeper("box", *(word for text in arguments for word in ("-p", text)))
        assert {key: sorted(value) for key, value in ports(daemon, "box").items()} == published

    def test_a_range_for_one_port_means_any_of_them(self, daemon: Daemon) -> None:
        for number in range(3):
            daemon.sleeper(f"box{number}", "-p", "8090-8092:80")
        chosen = {ports(daemon, f"box{number}")["80/tcp"][0] for number in range(3)}
        assert chosen == {"0.0.0.0:8090", "0.0.0.0:8091", "0.0.0.0:8092"}
        assert "port is already allocated" in daemon.refused(
            "run", "-d", "-p", "8090-8092:80", "busybox", code=125
        )

    def test_left_to_us(self, daemon: Daemon) -> None:
        daemon.sleeper("box", "-p", "80", "-p", "127.0.0.1::81")
        found = ports(daemon, "box")
        low, high = daemon.machine.do("cat", "/proc/sys/net/ipv4/ip_local_port_range").split()
        for text in (*found["80/tcp"], *found["81/tcp"]):
            assert int(low) <= int(text.rpartition(":")[2]) <= int(high)
        assert len({text.rpartition(":")[2] for text in found["80/tcp"]}) == 1, "the same for both families"
        assert found["81/tcp"][0].startswith("127.0.0.1:")

    def test_all_exposed(self, daemon: Daemon) -> None:
        daemon.do("run", "-d", "--name", "box", "-P", "--expose", "9999", "exposing")
        assert set(ports(daemon, "box")) == {"80/tcp", "53/udp", "8000/tcp", "8001/tcp", "9999/tcp"}
        listed = daemon.do("ps", "--format", "{{.Ports}}")
        assert re.search(r"0\.0\.0\.0:\d+->80/tcp", listed)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("8080-8081:80-82", "invalid ranges specified for container and host Ports: 80-82 and 8080-8081"),
            ("8080:eighty", "invalid containerPort: eighty"),
            ("eighty:80", "invalid hostPort: eighty"),
            ("1.2.3:8080:80", "invalid IP address: 1.2.3"),
            ("8080:80/icmp", "invalid proto: icmp"),
            ("8080:70000", "invalid containerPort: 70000"),
            ("8080:", "no port specified: 8080:<empty>"),
        ],
    )
    def test_what_is_no_port(self, daemon: Daemon, text: str, message: str) -> None:
        assert message in daemon.refused("run", "-d", "-p", text, "busybox", code=125)
        assert daemon.do("ps", "-aq") == ""


class TestReaching:
    def test_from_everywhere(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "other")
        daemon.web("web", "--hostname", "server", "-p", "8080:80")
        daemon.sleeper("near")
        daemon.sleeper("far", "--network", "other")
        for address in ("127.0.0.1", "127.7.7.7", "[::1]", HOST4, f"[{HOST6}]", "172.17.0.1"):
            assert daemon.fetch(f"http://{address}:8080/") == "server", address
        for address in (HOST4, f"[{HOST6}]"):
            assert daemon.fetch(f"http://{address}:8080/", netns=OUTSIDE) == "server", address
        for name in ("near", "far", "web"):
            assert daemon.sh(name, f"timeout 3 wget -qO- http://{HOST4}:8080/") == "server", name
            assert daemon.sh(name, "timeout 3 wget -qO- http://host.docker.internal:8080/") == "server", name

    def test_the_clients_address_is_kept(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--ipv6", "dual")
        daemon.web("web", "--network", "dual", "-p", "8080:80")
        daemon.sleeper("peer", "--network", "dual")
        for url, client in ((f"http://{HOST4}:8080", NEIGHBOUR4), (f"http://[{HOST6}]:8080", NEIGHBOUR6)):
            assert peer_address(daemon.fetch(f"{url}/cgi-bin/peer", netns=OUTSIDE)) == client
        direct = peer_address(daemon.sh("peer", "wget -qO- http://web/cgi-bin/peer"))
        assert direct in {daemon.address("peer"), daemon.address6("peer")}

    def test_ipv6_reaches_a_container_that_has_none(self, daemon: Daemon) -> None:
        daemon.web("web", "--hostname", "four", "-p", "8080:80")
        assert daemon.fetch(f"http://[{HOST6}]:8080/", netns=OUTSIDE) == "four"

    def test_a_host_address_binds_that_one_alone(self, daemon: Daemon) -> None:
        daemon.web("web", "-p", "127.0.0.1:8080:80")
        daemon.web("web2", "-p", f"{HOST4}:8081:80")
        assert daemon.fetch("http://127.0.0.1:8080/")
        assert not daemon.answers(f"http://{HOST4}:8080/")
        assert not daemon.answers(f"http://{HOST4}:8080/", netns=OUTSIDE)
        assert daemon.fetch(f"http://{HOST4}:8081/", netns=OUTSIDE)
        assert not daemon.answers("http://127.0.0.1:8081/")
        # Nobody outside gets to what is published on 127.0.0.1 by routing there.
        daemon.machine.do("ip", "route", "add", "127.0.0.1", "via", HOST4, "table", "100", netns=OUTSIDE)
        assert not daemon.answers("http://127.0.0.1:8080/", netns=OUTSIDE)

    def test_containers_cannot_be_reached_past_their_ports(self, daemon: Daemon) -> None:
        daemon.web("web", "-p", "8080:80")
        address = daemon.address("web")
        daemon.machine.do("ip", "route", "add", "172.17.0.0/16", "via", HOST4, netns=OUTSIDE)
        try:
            assert not daemon.answers(f"http://{address}/", netns=OUTSIDE)
            assert daemon.fetch(f"http://{HOST4}:8080/", netns=OUTSIDE)
        finally:
            daemon.machine.do("ip", "route", "del", "172.17.0.0/16", netns=OUTSIDE)

    def test_udp(self, daemon: Daemon) -> None:
        daemon.sleeper("box", "-p", "9000:9000/udp")
        server = daemon.machine.socket(socket.AF_INET, socket.SOCK_DGRAM, netns=daemon.netns("box"))
        server.bind(("0.0.0.0", 9000))
        server.settimeout(5)
        for netns, address in (("", "127.0.0.1"), ("", HOST4), (OUTSIDE, HOST4)):
            with daemon.machine.socket(socket.AF_INET, socket.SOCK_DGRAM, netns=netns) as client:
                client.settimeout(5)
                client.connect((address, 9000))
                client.send(b"ping")
                data, peer = server.recvfrom(100)
                assert data == b"ping"
                if netns:
                    assert peer[0] == NEIGHBOUR4
                server.sendto(b"pong", peer)
                assert client.recv(100) == b"pong"
        server.close()

    def test_a_udp_flow_follows_to_the_next_container(self, daemon: Daemon) -> None:
        """What was sent before the port moved must not go to the old place for ever."""
        with daemon.machine.socket(socket.AF_INET, socket.SOCK_DGRAM, netns=OUTSIDE) as client:
            client.connect((HOST4, 9001))
            for name in ("first", "second"):
                daemon.sleeper(name, "-p", "9001:9000/udp")
                server = daemon.machine.socket(socket.AF_INET, socket.SOCK_DGRAM, netns=daemon.netns(name))
                server.bind(("0.0.0.0", 9000))
                server.settimeout(0.2)

                def arrives(server: socket.socket = server) -> bool:
                    # A port that was closed a moment ago may still be told by ICMP.
                    try:
                        client.send(b"hello")
                        return server.recv(100) == b"hello"
                    except (TimeoutError, ConnectionRefusedError):
                        return False

                eventually(arrives, 3, f"{name} hears")
                server.close()
                daemon.do("rm", "-f", name)

    def test_the_administrators_chain_comes_first_and_stays(self, daemon: Daemon) -> None:
        daemon.web("web", "-p", "8080:80")
        rule = f"ip saddr {NEIGHBOUR4} ct state new counter drop"
        daemon.machine.do("nft", f"add rule inet {daemon.name} admin {rule}")
        assert not daemon.answers(f"http://{HOST4}:8080/", netns=OUTSIDE)
        daemon.do("network", "create", "another")
        daemon.restart()
        assert not daemon.answers(f"http://{HOST4}:8080/", netns=OUTSIDE)
        daemon.machine.do("nft", f"flush chain inet {daemon.name} admin")
        assert daemon.fetch(f"http://{HOST4}:8080/", netns=OUTSIDE)


class TestClashes:
    def test_with_another_container(self, daemon: Daemon) -> None:
        daemon.sleeper("first", "-p", "8080:80")
        error = daemon.refused("run", "-d", "--name", "second", "-p", "8080:80", "busybox", code=125)
        assert (
            "failed to set up container networking: driver failed programming external connectivity on"
            in error
        )
        assert "Bind for 0.0.0.0:8080 failed: port is already allocated" in error
        assert "first" in error
        assert daemon.container("second")["State"]["Status"] == "created"
        daemon.do("rm", "-f", "first")
        daemon.do("start", "second")

    def test_with_a_program_of_the_host(self, daemon: Daemon) -> None:
        with daemon.machine.socket(socket.AF_INET, socket.SOCK_STREAM) as rival:
            rival.bind(("0.0.0.0", 8080))
            rival.listen()
            error = daemon.refused("run", "-d", "-p", "8080:80", "busybox", code=125)
            assert "failed to bind host port 0.0.0.0:8080/tcp: address already in use" in error

    def test_a_program_that_comes_later_is_told(self, daemon: Daemon) -> None:
        daemon.sleeper("box", "-p", "8080:80")
        rival = daemon.machine.socket(socket.AF_INET, socket.SOCK_STREAM)
        with rival, pytest.raises(OSError, match="Address already in use"):
            rival.bind(("0.0.0.0", 8080))

    def test_nothing_is_left_of_a_clash(self, daemon: Daemon) -> None:
        daemon.sleeper("first", "-p", "8082:80")
        daemon.cli("run", "-d", "--name", "second", "-p", "8080-8082:80-82", "busybox", "sleep", "1d")
        assert not settle(daemon)
        daemon.sleeper("third", "-p", "8080-8081:80-81")


class TestLive:
    def test_add_and_remove(self, daemon: Daemon) -> None:
        daemon.web("web")
        pid = daemon.container("web")["State"]["Pid"]
        daemon.do("port", "add", "web", "8085:80")
        assert daemon.fetch(f"http://{HOST4}:8085/", netns=OUTSIDE)
        assert ports(daemon, "web")["80/tcp"]
        daemon.sleeper("rival")
        assert "already" in daemon.refused("port", "add", "rival", "8085:80", code=1)
        daemon.do("restart", "-t", "0", "web")
        assert eventually(lambda: daemon.answers("http://127.0.0.1:8085/"))
        daemon.do("port", "rm", "web", "8085:80")
        assert not daemon.answers("http://127.0.0.1:8085/")
        assert ports(daemon, "web") == {}
        daemon.do("port", "add", "rival", "8085:80")
        assert daemon.is_up("web")
        assert pid

    def test_ports_follow_the_gateway(self, daemon: Daemon) -> None:
        for name in ("alpha", "beta"):
            daemon.do("network", "create", name)
        daemon.web("web", "--network", "alpha", "-p", "8086:80")
        assert daemon.fetch("http://127.0.0.1:8086/")
        daemon.do("network", "connect", "--gw-priority", "9", "beta", "web")
        assert daemon.fetch("http://127.0.0.1:8086/")
        daemon.do("network", "disconnect", "alpha", "web")
        assert daemon.fetch("http://127.0.0.1:8086/")
        daemon.do("network", "connect", "alpha", "web")
        daemon.do("network", "disconnect", "beta", "web")
        assert daemon.fetch("http://127.0.0.1:8086/")

    def test_none_on_internal_networks(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--internal", "cellar")
        daemon.web("web", "--network", "cellar", "-p", "8087:80")
        assert ports(daemon, "web") == {}
        daemon.do("network", "connect", "bridge", "web")
        time.sleep(0.1)

    def test_no_process_for_a_port(self, daemon: Daemon) -> None:
        def processes() -> int:
            return len([line for line in daemon.machine.do("ps", "-eo", "comm").split() if line])

        daemon.sleeper("few", "-p", "7000:7000")
        before = processes()
        daemon.sleeper("many", "-p", "7100-7349:7100-7349")
        assert processes() - before <= 2, "its conmon and its process"
        assert len(ports(daemon, "many")) == 250

    def test_routed_mode(self, daemon: Daemon) -> None:
        daemon.do(
            *("network", "create", "--subnet", "10.66.0.0/24"),
            *("-o", "com.docker.network.bridge.gateway_mode_ipv4=routed", "routed"),
        )
        daemon.web("web", "--network", "routed", "-p", "80")
        daemon.machine.do("ip", "route", "add", "10.66.0.0/24", "via", HOST4, netns=OUTSIDE)
        try:
            address = daemon.address("web")
            assert peer_address(daemon.fetch(f"http://{address}/cgi-bin/peer", netns=OUTSIDE)) == NEIGHBOUR4
            closed = daemon.machine.run("curl", "-s", "-m", "1", f"http://{address}:81/", netns=OUTSIDE)
            assert closed.code == 28, "dropped, not refused"
        finally:
            daemon.machine.do("ip", "route", "del", "10.66.0.0/24", netns=OUTSIDE)


def test_host_mode_ignores_ports_and_says_so(daemon: Daemon) -> None:
    result = daemon.cli(
        "run", "-d", "--name", "box", "--network", "host", "-p", "8080:80", "busybox", "sleep", "1d"
    )
    assert result.code == 0
    assert "Published ports are discarded when using host network mode" in result.err
    assert ports(daemon, "box") == {}
