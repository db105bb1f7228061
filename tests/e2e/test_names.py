"""Names, as containers see them: `carrick-dns` at 127.0.0.11, /etc/hosts and /etc/resolv.conf."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.testing.daemon import HOST4, NEIGHBOUR4, OUTSIDE, Daemon, eventually
from carrick.testing.upstream import ADDRESS, Upstream
from carrick.testing.watching import Watch


@pytest.fixture(scope="module")
def host(images: Path) -> Iterator[Daemon]:
    """The host's resolver is its neighbour."""
    with Daemon(
        images=images, outside=True, resolv_conf=f"nameserver {NEIGHBOUR4}\nsearch corp.example\n"
    ) as daemon:
        yield daemon
        assert not daemon.tracebacks()


@pytest.fixture
def upstream(host: Daemon) -> Iterator[Upstream]:
    with Upstream(host.machine, NEIGHBOUR4, netns=OUTSIDE) as server:
        yield server


class TestContainers:
    def test_every_name_of_a_container(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        web = daemon.sleeper("web", "--network", "net", "--network-alias", "www", "--hostname", "webhost")
        daemon.sleeper("box", "--network", "net")
        address = [daemon.address("web")]
        for name in ("web", "www", "webhost", web[:12], "web.net", "www.net", "WEB", "Web.Net"):
            assert daemon.dig("box", name) == address, name
        for name in ("web.other", "wev", web[:11]):
            assert daemon.dig("box", name) == [], name

    def test_reverse(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--ipv6", "net")
        daemon.sleeper("web", "--network", "net")
        daemon.sleeper("box", "--network", "net")
        assert daemon.dig("box", "-x", daemon.address("web")) == ["web.net."]
        assert daemon.dig("box", "-x", daemon.address6("web")) == ["web.net."]

    def test_both_families_and_empty_answers(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "four")
        daemon.do("network", "create", "--ipv6", "both")
        daemon.sleeper("web", "--network", "four", "--network", "both")
        daemon.sleeper("box", "--network", "four")
        daemon.sleeper("dual", "--network", "both")
        assert daemon.dig("box", "web", "AAAA") == []
        assert daemon.dig_status("box", "web", "AAAA") == "NOERROR"
        assert daemon.dig_status("box", "web", "MX") == "NOERROR"
        assert daemon.dig("dual", "web", "AAAA") == [daemon.address6("web", "both")]

    def test_tcp_and_edns(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("box", "--network", "net")
        assert daemon.dig("box", "+tcp", "box") == [daemon.address("box")]
        assert daemon.dig("box", "+noedns", "box") == [daemon.address("box")]

    def test_an_alias_of_many_rotates_and_is_truncated(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        addresses = set()
        for number in range(4):
            daemon.sleeper(f"web{number}", "--network", "net", "--network-alias", "web")
            addresses.add(daemon.address(f"web{number}"))
        daemon.sleeper("box", "--network", "net")
        assert set(daemon.dig("box", "web")) == addresses
        first = {
            daemon.machine.do("dig", "+short", "@127.0.0.11", "web", netns=daemon.netns("box")).split()[0]
            for _ in range(40)
        }
        assert first == addresses
        daemon.do("stop", "web0")
        assert set(daemon.dig("box", "web")) == addresses - {
            daemon.address("web0") or _gone(daemon, addresses)
        }

    def test_names_are_of_shared_networks_only(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "red")
        daemon.do("network", "create", "blue")
        daemon.sleeper("both", "--network", "red", "--network", "blue")
        daemon.sleeper("one", "--network", "red")
        daemon.sleeper("two", "--network", "blue")
        assert daemon.dig("one", "both") == [daemon.address("both", "red")]
        assert daemon.dig("two", "both") == [daemon.address("both", "blue")]
        assert daemon.dig("one", "two") == []
        assert daemon.dig("both", "two") == [daemon.address("two")]
        assert daemon.dig("both", "both.blue") == [daemon.address("both", "blue")]

    def test_changes_are_known_at_once(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.do("network", "create", "side")
        daemon.sleeper("box", "--network", "net")
        daemon.sleeper("web", "--network", "net")
        assert daemon.dig("box", "web")
        daemon.do("rename", "web", "shop")
        assert (daemon.dig("box", "web"), daemon.dig("box", "shop")) == ([], [daemon.address("shop")])
        daemon.do("network", "disconnect", "net", "shop")
        assert daemon.dig("box", "shop") == []
        daemon.do("network", "connect", "--alias", "till", "net", "shop")
        assert daemon.dig("box", "till") == [daemon.address("shop", "net")]
        daemon.do("network", "connect", "side", "box")
        daemon.sleeper("far", "--network", "side")
        assert daemon.dig("box", "far") == [daemon.address("far")]
        daemon.do("stop", "shop")
        assert daemon.dig("box", "till") == []
        daemon.do("start", "shop")
        assert daemon.dig("box", "till") == [daemon.address("shop", "net")]
        daemon.do("rm", "-f", "shop")
        assert daemon.dig("box", "till") == []

    def test_on_the_default_network_too(self, daemon: Daemon) -> None:
        daemon.sleeper("web")
        daemon.sleeper("box")
        assert daemon.sh("box", "ping -c1 -W5 web >/dev/null && echo yes") == "yes"

    def test_a_container_knows_itself(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("box", "--network", "net", "--hostname", "me", "--domainname", "here.example")
        assert daemon.sh("box", "hostname") == "me"
        assert daemon.sh("box", "hostname -f") == "me.here.example"
        assert daemon.sh("box", "hostname -i") == daemon.address("box")

    def test_names_go_on_without_the_daemon(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("web", "--network", "net")
        daemon.sleeper("box", "--network", "net")
        address, netns = daemon.address("web"), daemon.netns("box")
        with Watch(daemon.machine).resolve("name", "web", address, netns=netns) as watch:
            daemon.kill9()
            found = daemon.machine.do("dig", "+short", "@127.0.0.11", "web", netns=netns)
            assert found == address
            daemon.start()
            assert daemon.dig("box", "web") == [address]
        assert not watch.failures


def _gone(daemon: Daemon, addresses: set[str]) -> str:
    """Return the address that no running container of a set has."""
    running = {daemon.address(f"web{number}") for number in range(1, 4)}
    return next(iter(addresses - running))


class TestForwarding:
    def test_what_is_not_ours_goes_to_the_hosts_resolver(self, daemon: Daemon, upstream: Upstream) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("box", "--network", "net")
        assert daemon.dig("box", "www.example") == [ADDRESS]
        assert daemon.dig_status("box", "nx.example") == "NXDOMAIN"
        assert daemon.dig_status("box", "fail.example") == "SERVFAIL"
        assert {client for client, _ in upstream.queries} == {HOST4}, "asked from the host's namespace"
        before = len(upstream.queries)
        daemon.dig("box", "box")
        daemon.dig("box", "box", "AAAA")
        daemon.dig("box", "box.net")
        assert len(upstream.queries) == before, "ours never leave"

    def test_servers_of_its_own(self, daemon: Daemon, upstream: Upstream) -> None:
        daemon.do("network", "create", "net")
        with Upstream(daemon.machine, "0.0.0.0", answer="203.0.113.99"):
            gateway = daemon.network("net")["IPAM"]["Config"][0]["Gateway"]
            daemon.sleeper("box", "--network", "net", "--dns", gateway)
            assert daemon.dig("box", "www.example") == ["203.0.113.99"]
            assert not upstream.queries
        assert f"ExtServers: [{gateway}]" in daemon.sh("box", "cat /etc/resolv.conf")

    def test_the_second_server_when_the_first_is_silent(self, daemon: Daemon, upstream: Upstream) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("box", "--network", "net", "--dns", "192.0.2.250", "--dns", NEIGHBOUR4)
        assert eventually(lambda: daemon.dig("box", "www.example"), 15) == [ADDRESS]

    def test_search_and_options(self, daemon: Daemon, upstream: Upstream) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("box", "--network", "net")
        text = daemon.sh("box", "cat /etc/resolv.conf")
        assert "nameserver 127.0.0.11\n" in text
        assert "search corp.example\n" in text
        assert "options ndots:0" in text
        assert f"# ExtServers: [host({NEIGHBOUR4})]" in text
        daemon.sleeper(
            *("own", "--network", "net", "--dns-search", "a.example", "--dns-search", "b.example"),
            *("--dns-option", "ndots:3", "--dns-opt", "timeout:1"),
        )
        text = daemon.sh("own", "cat /etc/resolv.conf")
        assert "search a.example b.example\n" in text
        assert "options ndots:3 timeout:1\n" in text
        daemon.sleeper("none", "--network", "net", "--dns-search", ".")
        assert "\nsearch" not in daemon.sh("none", "cat /etc/resolv.conf")
        assert daemon.sh("box", "nslookup intranet | tail -4").count(ADDRESS), "the search list is used"

    def test_internal_networks_do_not_forward(self, daemon: Daemon, upstream: Upstream) -> None:
        daemon.do("network", "create", "--internal", "cellar")
        daemon.sleeper("box", "--network", "cellar")
        daemon.sleeper("web", "--network", "cellar")
        assert daemon.dig("box", "web") == [daemon.address("web")]
        assert daemon.dig_status("box", "www.example") == "SERVFAIL"
        assert not upstream.queries

    def test_a_resolver_edited_inside_is_left_alone(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("box", "--network", "net")
        daemon.sh("box", "echo nameserver 10.1.1.1 >/etc/resolv.conf")
        daemon.do("restart", "-t", "0", "box")
        assert daemon.sh("box", "cat /etc/resolv.conf") == "nameserver 10.1.1.1"


class TestHosts:
    def test_the_file(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--ipv6", "net")
        daemon.sleeper("box", "--network", "net", "--hostname", "me", "--add-host", "far:10.9.9.9")
        lines = daemon.sh("box", "cat /etc/hosts").splitlines()
        assert lines == [
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::\tip6-localnet",
            "ff00::\tip6-mcastprefix",
            "ff02::1\tip6-allnodes",
            "ff02::2\tip6-allrouters",
            "10.9.9.9\tfar",
            f"{daemon.address('box')}\tme",
            f"{daemon.address6('box')}\tme",
        ]

    def test_added_hosts(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        gateway = daemon.network("net")["IPAM"]["Config"][0]["Gateway"]
        daemon.sleeper(
            *("box", "--network", "net", "--add-host", "four=10.9.9.9", "--add-host", "six:[2001:db8::9]"),
            *("--add-host", "myhost:host-gateway"),
        )
        text = daemon.sh("box", "cat /etc/hosts")
        assert "10.9.9.9\tfour\n" in text
        assert "2001:db8::9\tsix\n" in text
        assert f"{gateway}\tmyhost\n" in text
        assert daemon.sh("box", "ping -c1 -W5 myhost >/dev/null && echo yes") == "yes"
        assert "invalid" in daemon.refused("run", "--add-host", "bad", "busybox", code=125)

    def test_the_host_has_a_name(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("box", "--network", "net")
        gateway = daemon.network("net")["IPAM"]["Config"][0]["Gateway"]
        for name in ("host.docker.internal", "host.carrick.internal"):
            assert daemon.dig("box", name) == [gateway]
            assert daemon.sh("box", f"ping -c1 -W5 {name} >/dev/null && echo yes") == "yes"
        daemon.sleeper("plain")
        assert daemon.dig("plain", "host.docker.internal") == ["172.17.0.1"]

    def test_lines_of_ones_own_survive_connect(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "net")
        daemon.sleeper("box")
        daemon.sh("box", "echo '10.1.2.3 mine' >>/etc/hosts")
        daemon.do("network", "connect", "net", "box")
        text = daemon.sh("box", "cat /etc/hosts")
        assert "10.1.2.3 mine" in text
        assert daemon.address("box", "net") in text
        daemon.do("network", "disconnect", "net", "box")
        text = daemon.sh("box", "cat /etc/hosts")
        assert "10.1.2.3 mine" in text
        assert text.count("172.") == 1


def test_the_default_network_without_names(images: Path) -> None:
    with Daemon(images=images, configuration="default-network-names = false\n") as daemon:
        daemon.sleeper("web")
        daemon.sleeper("box")
        assert daemon.dig("box", "web") == []
        daemon.do("network", "create", "net")
        daemon.do("network", "connect", "net", "web")
        daemon.do("network", "connect", "net", "box")
        assert daemon.dig("box", "web") == [daemon.address("web", "net")]
