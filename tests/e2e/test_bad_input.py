"""Bad input, and many clients at once: a clear error, nothing changed, nothing left, no traceback."""

import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carrick.testing.daemon import Daemon, Reply, eventually
from carrick.testing.inventory import settle


@pytest.fixture(autouse=True)
def nothing_changes(host: Daemon) -> Iterator[None]:
    """Whatever a test does, the daemon lives, and its log has no traceback."""
    pid, known = host.pid, host.tracebacks()
    yield
    assert host.is_ready()
    assert host.pid == pid
    assert host.tracebacks() == known


def talk(daemon: Daemon, data: bytes) -> bytes:
    """Send bytes to the socket and return what comes back until the other side closes, or is silent."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(3)
        connection.connect(str(daemon.socket))
        answer = b""
        try:
            connection.sendall(data)
            while piece := connection.recv(65536):
                answer += piece
        except OSError:
            pass
        return answer


def refusal(reply: Reply) -> str:
    """Return the message of a reply that must be the client's fault."""
    assert 400 <= reply.status < 500, (reply.status, reply.body[:300])
    assert reply.message
    return reply.message


NO_JSON = [
    *(b"", b"{", b"[1,2", b'{"Image": }', b"nonsense", b'{"Image":"busybox"} trailing', b"\xff\xfe"),
    *(b"null", b"[]", b'"x"', b"5"),
]


class TestBytes:
    def test_a_mebibyte_of_garbage(self, host: Daemon) -> None:
        generator = random.Random(7)
        for data in (
            generator.randbytes(1 << 20),
            b"\0" * (1 << 20),
            b"A" * (1 << 20),
            b"GET /" + b"x" * (1 << 20) + b" HTTP/1.1\r\n\r\n",
            b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999999999\r\n\r\n{",
            b"GET / HTTP/1.1\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n",
            b"POST /v1.44/networks/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ):
            talk(host, data)
            assert host.is_ready()

    def test_clients_that_leave_in_the_middle(self, daemon: Daemon) -> None:
        body = json.dumps({"Image": "busybox", "Cmd": ["true"]}).encode()
        head = b"POST /containers/create?name=half HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        for cut in range(0, len(body), 7):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(daemon.socket))
                connection.sendall(head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:cut])
        assert daemon.do("ps", "-aq") == ""

    @pytest.mark.parametrize("data", NO_JSON)
    @pytest.mark.parametrize("path", ["/containers/create", "/networks/create", "/networks/bridge/connect"])
    def test_no_json(self, daemon: Daemon, path: str, data: bytes) -> None:
        before = daemon.api.get("/networks").json
        assert refusal(daemon.api.call("POST", path, raw=data))
        assert daemon.api.get("/networks").json == before

    def test_deep_json(self, host: Daemon) -> None:
        refusal(
            host.api.call(
                "POST", "/networks/create", raw=b'{"Name":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
            )
        )

    def test_unknown_paths_and_methods(self, host: Daemon) -> None:
        assert host.api.get("/nothing/here").json == {"message": "page not found"}
        assert host.api.get("/nothing/here").status == 404
        assert host.api.call("PATCH", "/containers/json").status in {404, 405}
        assert "client version 1.1 is too old" in host.api.get("/v1.1/info").message
        assert "is too new" in host.api.get("/v1.999/info").message
        assert host.api.get("/v1.44/../../etc/passwd").status == 404


WRONG_TYPES: list[tuple[str, Any]] = [
    ("Image", 5),
    ("Image", None),
    ("Cmd", 5),
    ("Cmd", {"a": 1}),
    ("Env", "A=B"),
    ("Env", [1]),
    ("Labels", ["a"]),
    ("Labels", {"a": 1}),
    ("ExposedPorts", 80),
    ("ExposedPorts", {"http": {}}),
    ("Tty", "yes"),
    ("User", []),
    ("HostConfig", "x"),
    ("HostConfig", {"Binds": "x"}),
    ("HostConfig", {"Binds": ["a:b:c:d"]}),
    ("HostConfig", {"PortBindings": []}),
    ("HostConfig", {"PortBindings": {"80/tcp": [{"HostPort": "x"}]}}),
    ("HostConfig", {"PortBindings": {"80/tcp": [{"HostPort": "99999"}]}}),
    ("HostConfig", {"PortBindings": {"80/tcp": [{"HostIp": "x", "HostPort": "1"}]}}),
    ("HostConfig", {"PortBindings": {"0/tcp": [{}]}}),
    ("HostConfig", {"NetworkMode": 5}),
    ("HostConfig", {"NetworkMode": "container:"}),
    ("HostConfig", {"RestartPolicy": {"Name": "often"}}),
    ("HostConfig", {"RestartPolicy": {"Name": "always", "MaximumRetryCount": -1}}),
    ("HostConfig", {"Memory": "lots"}),
    ("HostConfig", {"Memory": 5}),
    ("HostConfig", {"Memory": -5}),
    ("HostConfig", {"CapAdd": ["NO_SUCH"]}),
    ("HostConfig", {"Dns": ["not-an-address"]}),
    ("HostConfig", {"ExtraHosts": ["bad"]}),
    ("HostConfig", {"Links": ["a:b:c"]}),
    ("HostConfig", {"Sysctls": []}),
    ("HostConfig", {"Mounts": [{"Type": "bind", "Source": "relative", "Target": "/x"}]}),
    ("HostConfig", {"Mounts": [{"Type": "bind", "Source": "/nonexistent-at-all", "Target": "/x"}]}),
    ("HostConfig", {"Tmpfs": {"relative": ""}}),
    ("NetworkingConfig", {"EndpointsConfig": []}),
    ("NetworkingConfig", {"EndpointsConfig": {"bridge": 5}}),
    ("NetworkingConfig", {"EndpointsConfig": {"bridge": {"MacAddress": "xx"}}}),
    ("NetworkingConfig", {"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "1.2.3"}}}}),
    ("NetworkingConfig", {"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "::1"}}}}),
]


@pytest.mark.parametrize(("key", "value"), WRONG_TYPES, ids=[f"{k}={v}"[:60] for k, v in WRONG_TYPES])
def test_wrong_fields_of_a_container(daemon: Daemon, key: str, value: Any) -> None:
    reply = daemon.api.post(
        "/containers/create?name=wrong", {"Image": "busybox", "Cmd": ["true"], key: value}
    )
    assert refusal(reply)
    assert daemon.api.get("/containers/wrong/json").status == 404


HOSTILE = [
    "../../etc",
    "a/b",
    "-rf",
    "",
    " ",
    "a b",
    "a\nb",
    "a\0b",
    "né",
    "💥",
    "$(reboot)",
    "a;reboot",
    '"',
    "'",
    "a}b",
    "{{.Name}}",
    "%s%n",
    ".",
    "..",
    "_x",
    "\u202e",
    "a\r\nX-Evil: 1",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(daemon: Daemon, name: str) -> None:
    before = len(daemon.api.get("/networks").json)
    assert refusal(daemon.api.post("/networks/create", {"Name": name}))
    assert len(daemon.api.get("/networks").json) == before
    daemon.sleeper("box")
    quoted = "".join(f"%{byte:02x}" for byte in name.encode())
    if name:
        body = {"Image": "busybox", "Cmd": ["true"]}
        assert refusal(daemon.api.post(f"/containers/create?name={quoted}", body))
    assert refusal(daemon.api.post(f"/containers/box/rename?name={quoted}"))
    assert daemon.container("box")["Name"] == "/box"


@pytest.mark.parametrize("name", [*HOSTILE, "x" * 300, "y" * 63])
def test_hostile_aliases_and_host_names(daemon: Daemon, name: str) -> None:
    """Either refused or harmless: the others keep their names, files keep their form."""
    daemon.do("network", "create", "net")
    daemon.sleeper("peer", "--network", "net")
    reply = daemon.api.post(
        "/containers/create?name=odd",
        {
            "Image": "busybox",
            "Cmd": ["sleep", "1d"],
            "Hostname": name,
            "HostConfig": {"NetworkMode": "net"},
            "NetworkingConfig": {"EndpointsConfig": {"net": {"Aliases": [name]}}},
        },
    )
    if reply.status == 201:
        started = daemon.api.post("/containers/odd/start")
        assert started.status < 600
        if started.status == 204:
            hosts = daemon.machine.path(daemon.container("odd")["HostsPath"]).read_text()
            assert all(line.count("\t") == 1 for line in hosts.splitlines() if line)
            assert len(hosts.splitlines()) == 7
            assert daemon.dig("peer", "odd") == [daemon.address("odd")]
    else:
        refusal(reply)
    assert daemon.dig("peer", "peer") == [daemon.address("peer")]


@pytest.mark.parametrize(
    "options",
    [
        {"com.docker.network.bridge.name": "x; flush ruleset"},
        {"com.docker.network.bridge.name": 'a" accept; add rule inet x'},
        {"com.docker.network.bridge.name": "lo"},
        {"com.docker.network.bridge.name": "uplink"},
        {"com.docker.network.bridge.name": "sixteen-letters-x"},
        {"com.docker.network.bridge.name": ".."},
        {"com.docker.network.bridge.name": "a/b"},
        {"com.docker.network.driver.mtu": "-1"},
        {"com.docker.network.driver.mtu": "99999999"},
        {"com.docker.network.driver.mtu": "lots"},
        {"com.docker.network.host_ipv4": "1.2.3.4; drop"},
        {"com.docker.network.bridge.trusted_host_interfaces": "eth0:$(x)"},
        {"com.docker.network.container_iface_prefix": "a/b"},
        {"com.docker.network.container_iface_prefix": "averyveryverylongprefix"},
        {"com.docker.network.bridge.no_such_option": "x"},
    ],
)
def test_hostile_options(daemon: Daemon, options: dict[str, str]) -> None:
    # The kernel may still be freeing links of the test before.
    assert not settle(daemon)
    rules, links = daemon.machine.do("nft", "list", "ruleset"), daemon.machine.links()
    reply = daemon.api.post("/networks/create", {"Name": "odd", "Options": options})
    assert refusal(reply)
    assert daemon.machine.do("nft", "list", "ruleset") == rules
    assert daemon.machine.links() == links
    assert not settle(daemon)


@pytest.mark.parametrize(
    "config",
    [
        {"Subnet": "0.0.0.0/0"},
        {"Subnet": "127.0.0.0/8"},
        {"Subnet": "224.0.0.0/4"},
        {"Subnet": "10.0.0.0/33"},
        {"Subnet": "10.0.0/24"},
        {"Subnet": "::/0"},
        {"Subnet": "fe80::/64"},
        {"Subnet": "10.0.0.0/32"},
        {"Subnet": 5},
        {"Subnet": "10.0.0.0/24", "Gateway": "10.0.0.0/24"},
        {"Subnet": "10.0.0.0/24", "Gateway": "x"},
        {"Subnet": "10.0.0.0/24", "IPRange": "fd00::/64"},
        {"Subnet": "10.0.0.0/24", "AuxiliaryAddresses": {"a": "b"}},
        {"Subnet": "10.0.0.0/24", "AuxiliaryAddresses": {"a": "10.0.0.1"}, "Gateway": "10.0.0.1"},
        {"Gateway": "10.0.0.1"},
        {"Subnet": "192.0.2.0/24; flush"},
    ],
)
def test_hostile_subnets(daemon: Daemon, config: dict[str, Any]) -> None:
    """Each is refused, or it makes a network that works and goes again; never half of one."""
    reply = daemon.api.post("/networks/create", {"Name": "odd", "IPAM": {"Config": [config]}})
    if reply.status == 201:
        assert daemon.api.delete("/networks/odd").status == 204
    else:
        # Docker's own status for these is 500.
        assert reply.status < 500 or "failed to allocate" in reply.message, (reply.status, reply.body)
        assert daemon.api.get("/networks/odd").status == 404
    assert not settle(daemon)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8) | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["Name", "Driver", "Options", "IPAM", "Labels", "Internal", "EnableIPv6", "ConfigFrom", "Scope"]


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_any_body_for_a_network(host: Daemon, body: dict[str, Any]) -> None:
    reply = host.api.post("/networks/create", body)
    if reply.status == 201:
        assert host.api.delete(f"/networks/{reply.json['Id']}").status == 204
    else:
        assert refusal(reply) or reply.status == 501


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.dictionaries(st.sampled_from(sorted({key for key, _ in WRONG_TYPES})), JSON, max_size=3),
    name=st.none() | st.sampled_from(["StopSignal", "Healthcheck", "Volumes", "WorkingDir", "Entrypoint"]),
    value=JSON,
)
def test_any_body_for_a_container(host: Daemon, body: dict[str, Any], name: str | None, value: Any) -> None:
    asked = {"Image": "busybox", "Cmd": ["true"], **body} | ({name: value} if name else {})
    reply = host.api.post("/containers/create", asked)
    if reply.status == 201:
        assert host.api.delete(f"/containers/{reply.json['Id']}?v=1").status == 204
    else:
        assert refusal(reply) or reply.status == 501


UNKNOWN = [
    ("GET", "/containers/{}/json"),
    ("GET", "/containers/{}/logs?stdout=1"),
    ("GET", "/containers/{}/top"),
    ("GET", "/containers/{}/stats?stream=0"),
    ("GET", "/containers/{}/changes"),
    ("GET", "/containers/{}/export"),
    ("GET", "/containers/{}/archive?path=/"),
    ("POST", "/containers/{}/start"),
    ("POST", "/containers/{}/stop"),
    ("POST", "/containers/{}/restart"),
    ("POST", "/containers/{}/kill"),
    ("POST", "/containers/{}/pause"),
    ("POST", "/containers/{}/unpause"),
    ("POST", "/containers/{}/wait"),
    ("POST", "/containers/{}/rename?name=x1"),
    ("POST", "/containers/{}/resize?h=1&w=1"),
    ("POST", "/containers/{}/attach?stream=1&stdout=1"),
    ("DELETE", "/containers/{}"),
    ("GET", "/networks/{}"),
    ("DELETE", "/networks/{}"),
    ("GET", "/images/{}/json"),
    ("DELETE", "/images/{}"),
    ("GET", "/exec/{}/json"),
    ("GET", "/volumes/{}"),
    ("DELETE", "/volumes/{}"),
]


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_unknown_ids(host: Daemon, method: str, path: str) -> None:
    for reference in ("0" * 64, "nosuchthing", "..%2f..%2fetc", "%00", "a" * 3000):
        reply = host.api.call(method, path.format(reference))
        assert reply.status in {400, 404}, (reference, reply)
        assert reply.message


def at_once(calls: list[Callable[[], Reply]]) -> list[Reply]:
    """Make calls side by side, each in a thread."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(60) for future in [pool.submit(call) for call in calls]]


class TestAtOnce:
    def test_the_same_network(self, daemon: Daemon) -> None:
        replies = at_once([lambda: daemon.api.post("/networks/create", {"Name": "net"})] * 8)
        assert sorted(reply.status for reply in replies) == [201] + [409] * 7
        assert {r.message for r in replies if r.status == 409} == {"network with name net already exists"}
        assert not settle(daemon)

    def test_many_networks_choose_many_subnets(self, daemon: Daemon) -> None:
        def create(number: int) -> Callable[[], Reply]:
            return lambda: daemon.api.post("/networks/create", {"Name": f"net{number}"})

        assert {reply.status for reply in at_once([create(number) for number in range(8)])} == {201}
        subnets = [daemon.network(f"net{number}")["IPAM"]["Config"][0]["Subnet"] for number in range(8)]
        assert len(set(subnets)) == 8

    def test_the_same_container(self, daemon: Daemon) -> None:
        body = {"Image": "busybox", "Cmd": ["true"]}
        replies = at_once([lambda: daemon.api.post("/containers/create?name=box", body)] * 8)
        assert sorted(reply.status for reply in replies) == [201] + [409] * 7
        assert all("is already in use by container" in r.message for r in replies if r.status == 409)
        assert not settle(daemon)

    def test_the_same_start(self, daemon: Daemon) -> None:
        daemon.do("create", "--name", "box", "busybox", "sleep", "1d")
        replies = at_once([lambda: daemon.api.post("/containers/box/start")] * 6)
        assert sorted(reply.status for reply in replies) == [204] + [304] * 5

    def test_the_same_port(self, daemon: Daemon) -> None:
        def start(number: int) -> Callable[[], Reply]:
            return lambda: daemon.api.post(f"/containers/box{number}/start")

        for number in range(5):
            daemon.do("create", "--name", f"box{number}", "-p", "8080:80", "busybox", "sleep", "1d")
        replies = at_once([start(number) for number in range(5)])
        assert sorted(reply.status for reply in replies) == [204] + [500] * 4
        for reply in replies:
            message = "Bind for 0.0.0.0:8080 failed: port is already allocated"
            assert reply.status == 204 or message in reply.message
        assert not settle(daemon)

    def test_the_same_static_address(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "--subnet", "10.9.9.0/24", "net")

        def connect(number: int) -> Callable[[], Reply]:
            body = {
                "Container": f"box{number}",
                "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.9.9.9"}},
            }
            return lambda: daemon.api.post("/networks/net/connect", body)

        for number in range(5):
            daemon.sleeper(f"box{number}")
        replies = at_once([connect(number) for number in range(5)])
        assert sorted(reply.status for reply in replies) == [200] + [403] * 4
        assert not settle(daemon)

    def test_the_same_removal(self, daemon: Daemon) -> None:
        daemon.sleeper("box", "-p", "8080:80")
        replies = at_once([lambda: daemon.api.delete("/containers/box?force=1")] * 6)
        assert {reply.status for reply in replies} <= {204, 404, 409}
        assert 204 in {reply.status for reply in replies}
        eventually(lambda: daemon.api.get("/containers/box/json").status == 404)
        assert not settle(daemon)


@pytest.mark.timeout(300)
def test_connect_disconnect_stop_and_rm_race(daemon: Daemon) -> None:
    """Twenty times everything at once, in any order: no reply is an internal error, and nothing leaks."""
    rounds = 40 if os.environ.get("CARRICK_FULL") else 20
    daemon.do("network", "create", "one")
    daemon.do("network", "create", "two")
    daemon.sleeper("bystander", "--network", "one", "-p", "8001:80")
    api, victim = daemon.api, {"Container": "victim"}
    for number in range(rounds):
        daemon.sleeper("victim", "--network", "one", "-p", "8000:80")
        calls: list[Callable[[], Reply]] = [
            lambda: api.post("/networks/two/connect", victim),
            lambda: api.post("/networks/two/disconnect", victim),
            lambda: api.post("/networks/one/disconnect", victim),
            lambda: api.post("/networks/two/connect", victim),
            lambda: api.post("/containers/victim/restart?t=0"),
            lambda: api.post("/containers/victim/stop?t=0"),
            lambda: api.post("/containers/victim/rename?name=prey"),
            lambda: api.post("/containers/victim/start"),
            lambda: api.delete("/containers/victim?force=1"),
            lambda: api.delete("/networks/two"),
        ]
        random.Random(number).shuffle(calls)
        for reply in at_once(calls):
            assert reply.status in {200, 204, 304, 400, 403, 404, 409, 500}, reply
            assert reply.status != 500 or "internal error" not in reply.message, daemon.log_text()[-3000:]
        for name in ("victim", "prey"):
            daemon.api.delete(f"/containers/{name}?force=1")
        daemon.api.post("/networks/create", {"Name": "two"})
        leaks = settle(daemon)
        assert not leaks, f"round {number}: {leaks}"
    assert daemon.exec("bystander", "true").code == 0
