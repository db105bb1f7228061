"""Real packets through the real firewall: the bridge driver's networks in namespaces, without an engine.

One namespace plays the host, one per sandbox, and `outside` is a neighbour on the host's LAN:

    outside 192.0.2.2 ── up0 192.0.2.1 [ host ] br-aaa 10.1.0.1 ── a1 10.1.0.2, a2 10.1.0.3
                                                br-bbb 10.2.0.1 ── b1 10.2.0.2

The same with IPv6 (2001:db8::/64, fd01::/64, fd02::/64). Needs root; touches nothing of the machine's own.
"""

import os
import random
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from carrick.domains.firewall import (
    Firewall,
    Link,
    NetworkRules,
    OpenPort,
    Publication,
    render_add_network,
    render_all,
    render_close,
    render_open,
    render_publish,
    render_remove_network,
    render_unpublish,
)
from carrick.drivers import bridge
from carrick.drivers.bridge import BridgeDriver
from carrick.drivers.contract import HostView
from carrick.host.kernel import LinuxKernel
from carrick.model.ids import ContainerId, EndpointId, NetworkId, SandboxId
from carrick.model.networks import Endpoint, Network, PoolConfig, Sandbox
from carrick.model.steps import AddRoute, ForgetFlows, Nft, SetSysctl, Step
from carrick.testing.namespaces import Inhabitant, Namespace, Namespaces, namespaces

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft (apt: nftables)"),
]

TABLE = "ck-t"
HOST4, HOST6 = "192.0.2.1", "2001:db8::1"
OUT4, OUT6 = "192.0.2.2", "2001:db8::2"
PORT = 8080
DRIVER = BridgeDriver()
SOON, SOON_NOT = 3.0, 0.3


@dataclass
class Container:
    """A sandbox with one endpoint, and what a test does in it."""

    space: Namespace
    network: Network
    endpoint: Endpoint

    @property
    def ipv4(self) -> str:
        return self.endpoint.ipv4_address

    @property
    def ipv6(self) -> str:
        return self.endpoint.ipv6_address


@dataclass
class Stage:
    """The host, the outside, and what is on them. `firewall` is what should be in force."""

    spaces: Namespaces
    host: Namespace
    outside: Namespace
    inhabitant: Inhabitant
    kernel: LinuxKernel
    firewall: Firewall = field(default_factory=lambda: Firewall(TABLE))
    containers: dict[str, Container] = field(default_factory=dict)

    def apply(self, *steps: Step) -> None:
        self.inhabitant.run(self.kernel.apply(steps))

    def view(self) -> HostView:
        return HostView(self.inhabitant.run(self.kernel.read()), TABLE, 1500)

    def nft(self, text: str) -> str:
        return self.host.run("nft", *text.split())

    def add_network(
        self, letter: str, number: int, *, internal: bool = False, options: dict[str, str] | None = None
    ) -> Network:
        network = Network(
            id=NetworkId(letter * 64),
            name=letter,
            driver="bridge",
            created_ns=0,
            enable_ipv6=True,
            internal=internal,
            options=options or {},
            pools=(
                PoolConfig(f"10.{number}.0.0/24", gateway=f"10.{number}.0.1"),
                PoolConfig(f"fd0{number}::/64", gateway=f"fd0{number}::1"),
            ),
        )
        self.apply(*DRIVER.plan_network(network, self.view()).steps)
        rules = DRIVER.firewall_rules(network)
        assert rules is not None
        self.change(networks=(*self.firewall.networks, rules))
        return network

    def add_container(self, name: str, network: Network, number: int) -> Container:
        space = self.spaces.new()
        pool4, pool6 = network.pool(4), network.pool(6)
        assert pool4 is not None
        assert pool6 is not None
        endpoint = DRIVER.complete_endpoint(
            network,
            Endpoint(
                id=EndpointId((name.encode().hex() + "0" * 64)[:64]),
                network_id=network.id,
                network_name=network.name,
                index=0,
                ipv4=pool4.subnet.replace("0/24", f"{number}/24"),
                ipv6=pool6.subnet.replace("::/64", f"::{number}/64"),
            ),
        )
        sandbox = Sandbox(SandboxId("5" * 64), ContainerId("c" * 64), space.path, True, (endpoint,))
        inside = self.inhabitant.run(self.kernel.read(space.path))
        steps = [SetSysctl("net.ipv6.conf.default.accept_dad", "0", space.path)]
        steps += DRIVER.plan_endpoint(network, endpoint, sandbox, self.view(), inside).steps  # type: ignore[arg-type]
        for version, gateway in ((4, endpoint.gateway4), (6, endpoint.gateway6)):
            if gateway:
                steps.append(AddRoute("default", endpoint.interface, gateway, space.path, version))  # type: ignore[arg-type]
        self.apply(*steps)
        made = self.containers[name] = Container(space, network, endpoint)
        return made

    def change(self, **changes: object) -> None:
        self.firewall = replace(self.firewall, **changes)  # type: ignore[arg-type]
        self.apply(Nft(render_all(self.firewall)))

    def publish(self, *publications: Publication) -> None:
        self.change(publications=publications)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with namespaces() as spaces:
        host, outside = spaces.new(), spaces.new()
        for space in (host, outside):
            space.sysctl("net.ipv6.conf.default.accept_dad", "0")
        host.sysctl("net.ipv4.ip_forward", "1")
        host.sysctl("net.ipv6.conf.all.forwarding", "1")
        spaces.wire(host, "up0", outside, "lan0")
        host.ip(f"address add {HOST4}/24 dev up0")
        host.ip(f"-6 address add {HOST6}/64 dev up0 nodad")
        outside.ip(f"address add {OUT4}/24 dev lan0")
        outside.ip(f"-6 address add {OUT6}/64 dev lan0 nodad")
        host.ip(f"route add default via {OUT4}")
        host.ip(f"-6 route add default via {OUT6}")
        inhabitant = spaces.inhabit(host)
        kernel = inhabitant.call(LinuxKernel)
        spaces.defer(kernel.close)
        yield Stage(spaces, host, outside, inhabitant, kernel)


BRIDGE_FILTER = tuple(f"net.bridge.bridge-nf-call-{kind}" for kind in ("iptables", "ip6tables", "arptables"))


@pytest.fixture(params=[False, True], ids=["plain", "br_netfilter"])
def filtering(request: pytest.FixtureRequest, stage: Stage) -> bool:
    """Without and with br_netfilter, by which Docker and Kubernetes put bridged packets through IP rules."""
    loaded = Path("/proc/sys/net/bridge").exists()
    if request.param and not loaded:
        pytest.skip("the module br_netfilter is not loaded")
    for key in BRIDGE_FILTER if loaded else ():
        stage.host.sysctl(key, "1" if request.param else "0")
    return bool(request.param)


@pytest.fixture
def two(stage: Stage) -> Stage:
    """Two networks, `a` with two containers and `b` with one."""
    a, b = stage.add_network("a", 1), stage.add_network("b", 2)
    stage.add_container("a1", a, 2)
    stage.add_container("a2", a, 3)
    stage.add_container("b1", b, 2)
    return stage


# Traffic -------------------------------------------------------------------------------------


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET


@contextmanager
def serving(space: Namespace, port: int = PORT) -> Iterator[None]:
    """A TCP server that tells each client the address it came from, over both families."""

    def listen() -> socket.socket:
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)

    server = space.call(listen)
    server.settimeout(0.1)
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            try:
                client, peer = server.accept()
            except TimeoutError:
                continue
            with client, suppress(OSError):
                client.sendall(peer[0].removeprefix("::ffff:").encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        server.close()


def fetch(space: Namespace, address: str, port: int = PORT, *, wait_s: float = SOON) -> str:
    """Connect and return what the server said of us; OSError if there is no way."""

    def connect() -> str:
        with socket.create_connection((address, port), timeout=wait_s) as client:
            return client.recv(100).decode()

    return space.call(connect)


def out_of_reach(space: Namespace, address: str, port: int = PORT) -> bool:
    """Tell whether there is no way, after a short wait. That there is one is for `fetch` to say."""
    try:
        fetch(space, address, port, wait_s=SOON_NOT)
    except OSError:
        return True
    return False


def pings(space: Namespace, address: str, wait_s: float = SOON) -> bool:
    """One echo request and its reply."""
    version6 = ":" in address
    protocol = socket.IPPROTO_ICMPV6 if version6 else socket.IPPROTO_ICMP
    request, answer = (128, 129) if version6 else (8, 0)

    def exchange() -> bool:
        with socket.socket(family_of(address), socket.SOCK_RAW, protocol) as raw:
            mark = os.urandom(2)
            packet = struct.pack("!BBH2sH", request, 0, 0, mark, 1)
            if not version6:
                total = sum(struct.unpack("!4H", packet))
                packet = (
                    packet[:2] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + packet[4:]
                )
            raw.sendto(packet, (address, 0))
            end = time.monotonic() + wait_s
            while (left := end - time.monotonic()) > 0:
                raw.settimeout(left)
                try:
                    data = raw.recv(2000)
                except TimeoutError:
                    return False
                body = data if version6 else data[(data[0] & 15) * 4 :]
                if body[0] == answer and body[4:6] == mark:
                    return True
            return False

    return space.call(exchange)


def target(container: Container, host_ip: str = "", port: int = PORT, version: int = 4) -> Publication:
    address = container.ipv6 if version == 6 else container.ipv4
    return Publication("tcp", host_ip, port, address, PORT)


# Networks ------------------------------------------------------------------------------------


def test_one_bridge_is_one_segment(two: Stage, filtering: bool) -> None:
    a1, a2 = two.containers["a1"], two.containers["a2"]
    with serving(a2.space):
        assert fetch(a1.space, a2.ipv4) == a1.ipv4
        assert fetch(a1.space, a2.ipv6) == a1.ipv6
    assert pings(a1.space, a2.ipv4)
    assert pings(a1.space, a2.ipv6)


def test_networks_are_apart(two: Stage, filtering: bool) -> None:
    a1, b1 = two.containers["a1"], two.containers["b1"]
    with serving(b1.space):
        assert out_of_reach(a1.space, b1.ipv4)
        assert out_of_reach(a1.space, b1.ipv6)
        assert fetch(two.host, b1.ipv4) == "10.2.0.1"
        assert fetch(two.host, b1.ipv6) == "fd02::1"
    assert not pings(a1.space, b1.ipv4, SOON_NOT)
    assert not pings(a1.space, b1.ipv6, SOON_NOT)
    # The gateways are the host's own.
    assert pings(a1.space, "10.1.0.1")
    assert pings(a1.space, "fd01::1")


def test_nobody_outside_reaches_a_container_by_its_own_address(two: Stage) -> None:
    b1 = two.containers["b1"]
    two.outside.ip(f"route add 10.2.0.0/24 via {HOST4}")
    two.outside.ip(f"-6 route add fd02::/64 via {HOST6}")
    two.publish(target(b1), target(b1, version=6))
    with serving(b1.space):
        assert out_of_reach(two.outside, b1.ipv4)
        assert out_of_reach(two.outside, b1.ipv6)
    assert not pings(two.outside, b1.ipv4, SOON_NOT)


def test_an_internal_network_is_an_island(two: Stage, filtering: bool) -> None:
    inner = two.add_network("c", 3, internal=True)
    c1, c2 = two.add_container("c1", inner, 2), two.add_container("c2", inner, 3)
    a1 = two.containers["a1"]
    two.publish(target(a1), target(c1, port=PORT + 1))
    # Even a container that makes itself a route stays inside.
    c1.space.ip("route add default via 10.3.0.1")
    c1.space.ip("-6 route add default via fd03::1")
    with serving(c2.space), serving(two.outside), serving(a1.space), serving(c1.space):
        assert fetch(c1.space, c2.ipv4) == c1.ipv4
        assert fetch(c1.space, c2.ipv6) == c1.ipv6
        for address in (OUT4, OUT6, a1.ipv4, a1.ipv6, HOST4):
            assert out_of_reach(c1.space, address), address
        assert out_of_reach(a1.space, c1.ipv4)
        assert out_of_reach(two.outside, HOST4, PORT + 1)
        # The host reaches it, as with Docker.
        assert fetch(two.host, c1.ipv4) == "10.3.0.1"


# Published ports -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
def test_a_published_port_from_everywhere(two: Stage, version: int, filtering: bool) -> None:
    a1, a2, b1 = two.containers["a1"], two.containers["a2"], two.containers["b1"]
    two.publish(target(b1, version=version))
    host, gateway_a = (HOST4, "10.1.0.1") if version == 4 else (HOST6, "fd01::1")
    gateway_b = "10.2.0.1" if version == 4 else "fd02::1"
    outside = OUT4 if version == 4 else OUT6

    def own(container: Container) -> str:
        return container.ipv4 if version == 4 else container.ipv6

    with serving(b1.space):
        # Every client keeps its address …
        assert fetch(two.outside, host) == outside
        assert fetch(two.host, host) == host
        assert fetch(a1.space, host) == own(a1)
        assert fetch(a2.space, gateway_a) == own(a2)
        # … but for those that the answer would not pass the host on its way to.
        assert fetch(b1.space, host) == gateway_b
        assert fetch(b1.space, gateway_b) == gateway_b
        if version == 4:
            assert fetch(two.host, "127.0.0.1") == gateway_b
        assert out_of_reach(two.outside, host, PORT + 1)
    two.publish(target(a2, version=version))
    with serving(a2.space):
        # Within one bridge the host stands in between as well.
        assert fetch(a1.space, host) == gateway_a


def test_the_more_specific_publication_wins(two: Stage) -> None:
    a1, b1 = two.containers["a1"], two.containers["b1"]
    two.host.ip("address add 192.0.2.9/24 dev up0")
    two.publish(target(a1, "192.0.2.9"), target(b1))
    a1.space.call(lambda: None)
    with serving(b1.space):
        assert fetch(two.outside, HOST4)
        assert out_of_reach(two.outside, "192.0.2.9")
    with serving(a1.space):
        assert out_of_reach(two.outside, HOST4)
        assert fetch(two.outside, "192.0.2.9") == OUT4


def test_what_is_published_on_loopback_is_for_the_host_alone(two: Stage) -> None:
    b1 = two.containers["b1"]
    two.publish(target(b1, "127.0.0.1"))
    with serving(b1.space):
        assert fetch(two.host, "127.0.0.1") == "10.2.0.1"
        assert out_of_reach(two.outside, HOST4)
        assert out_of_reach(two.containers["a1"].space, "10.1.0.1")
        # A neighbour that sends packets for 127.0.0.1 to the host's MAC address.
        two.outside.ip("address delete 127.0.0.1/8 dev lo")
        two.outside.sysctl("net.ipv4.conf.lan0.route_localnet", "1")
        two.outside.ip(f"route add 127.0.0.1/32 via {HOST4} src {OUT4}")
        assert out_of_reach(two.outside, "127.0.0.1")


def test_the_hosts_loopback_is_closed_to_containers(two: Stage) -> None:
    a1 = two.containers["a1"]
    a1.space.ip("address delete 127.0.0.1/8 dev lo")
    a1.space.sysctl("net.ipv4.conf.eth0.route_localnet", "1")
    a1.space.ip("route add 127.0.0.1/32 via 10.1.0.1 src 10.1.0.2")
    with serving(two.host):
        assert fetch(a1.space, "10.1.0.1") == a1.ipv4
        assert out_of_reach(a1.space, "127.0.0.1")


def test_ports_come_and_go_one_by_one(two: Stage) -> None:
    a1, b1 = two.containers["a1"], two.containers["b1"]
    first, second = target(a1), target(b1, port=PORT + 1)
    with serving(a1.space), serving(b1.space):
        two.apply(Nft(tuple(render_publish(TABLE, [first, second]))))
        assert fetch(two.outside, HOST4)
        assert fetch(two.outside, HOST4, PORT + 1)
        # Taken out twice is as good as once.
        for _ in range(2):
            two.apply(Nft(tuple(render_unpublish(TABLE, [first]))))
        assert out_of_reach(two.outside, HOST4)
        assert fetch(two.outside, HOST4, PORT + 1)


def test_a_port_that_is_another_containers_is_not_taken_from_it(two: Stage) -> None:
    a1, b1 = two.containers["a1"], two.containers["b1"]
    two.publish(target(a1))
    errors = two.inhabitant.run(two.kernel.remove([Nft(tuple(render_unpublish(TABLE, [target(b1)])))]))
    assert len(errors) == 1
    with serving(a1.space):
        assert fetch(two.outside, HOST4)


@pytest.mark.skipif(shutil.which("conntrack") is None, reason="needs conntrack (apt: conntrack)")
def test_a_udp_client_follows_a_port_that_moves(two: Stage) -> None:
    a1, b1 = two.containers["a1"], two.containers["b1"]

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("0.0.0.0", PORT))
        made.settimeout(SOON)
        return made

    def publication(container: Container) -> Publication:
        return Publication("udp", "", PORT, container.ipv4, PORT)

    with a1.space.call(listen) as at_a1, b1.space.call(listen) as at_b1, two.outside.call(listen) as client:
        two.publish(publication(a1))
        client.sendto(b"one", (HOST4, PORT))
        assert at_a1.recv(10) == b"one"
        two.publish(publication(b1))
        two.apply(ForgetFlows("udp", PORT), ForgetFlows("udp", PORT, 6))
        client.sendto(b"two", (HOST4, PORT))
        assert at_b1.recv(10) == b"two"


# Options -------------------------------------------------------------------------------------


def test_icc_off_and_a_link(stage: Stage, filtering: bool) -> None:
    network = stage.add_network("a", 1, options={bridge.ICC: "false"})
    a1, a2 = stage.add_container("a1", network, 2), stage.add_container("a2", network, 3)
    names = (a1.endpoint.host_interface, a2.endpoint.host_interface)
    # The driver has isolated them already, before any replacing of the whole.
    with serving(a2.space), serving(a1.space), serving(stage.outside):
        assert out_of_reach(a1.space, a2.ipv4)
        stage.change(isolated=names)
        assert out_of_reach(a1.space, a2.ipv4)
        assert out_of_reach(a1.space, a2.ipv6)
        assert not pings(a1.space, a2.ipv4, SOON_NOT)
        assert fetch(a1.space, OUT4) == HOST4
        stage.change(isolated=names, linked=(Link(a1.ipv4, a2.ipv4, "tcp", PORT),))
        assert fetch(a1.space, a2.ipv4) == a1.ipv4
        assert out_of_reach(a2.space, a1.ipv4)
        # By way of the host no better: not routed back into the bridge either.
        a1.space.ip(f"route add {a2.ipv4}/32 via 10.1.0.1")
        stage.change(linked=(), isolated=names)
        assert out_of_reach(a1.space, a2.ipv4)


def test_masquerade_and_its_options(two: Stage) -> None:
    a1 = two.containers["a1"]
    two.host.ip("address add 192.0.2.77/24 dev up0")
    plain = two.add_network("c", 3, options={bridge.MASQUERADE: "false"})
    fixed = two.add_network("d", 4, options={bridge.HOST4: "192.0.2.77"})
    c1, d1 = two.add_container("c1", plain, 2), two.add_container("d1", fixed, 2)
    two.outside.ip(f"route add 10.3.0.0/24 via {HOST4}")
    with serving(two.outside):
        assert fetch(a1.space, OUT4) == HOST4
        assert fetch(a1.space, OUT6) == HOST6
        assert fetch(c1.space, OUT4) == c1.ipv4
        assert fetch(d1.space, OUT4) == "192.0.2.77"


def test_routed_and_unprotected_networks(two: Stage) -> None:
    routed = two.add_network("c", 3, options={bridge.MODE4: "routed", bridge.MODE6: "routed"})
    bare = two.add_network("d", 4, options={bridge.MODE4: "nat-unprotected"})
    c1, d1 = two.add_container("c1", routed, 2), two.add_container("d1", bare, 2)
    for subnet in ("10.3.0.0/24", "10.4.0.0/24"):
        two.outside.ip(f"route add {subnet} via {HOST4}")
    two.outside.ip(f"-6 route add fd03::/64 via {HOST6}")
    opened = [OpenPort("tcp", c1.ipv4, PORT), OpenPort("tcp", c1.ipv6, PORT)]
    with serving(c1.space), serving(c1.space, PORT + 1), serving(d1.space), serving(two.outside):
        assert out_of_reach(two.outside, c1.ipv4)
        two.apply(Nft(tuple(render_open(TABLE, opened))))
        assert fetch(two.outside, c1.ipv4) == OUT4
        assert fetch(two.outside, c1.ipv6) == OUT6
        assert out_of_reach(two.outside, c1.ipv4, PORT + 1)
        assert pings(two.outside, c1.ipv4)
        assert pings(two.outside, c1.ipv6)
        # Nothing is translated on the way out.
        assert fetch(c1.space, OUT4) == c1.ipv4
        # Every port of the unprotected one, which is masqueraded all the same.
        assert fetch(two.outside, d1.ipv4) == OUT4
        assert fetch(d1.space, OUT4) == HOST4
        assert out_of_reach(two.outside, d1.ipv6)
        for _ in range(2):
            two.apply(Nft(tuple(render_close(TABLE, opened))))
        assert out_of_reach(two.outside, c1.ipv4)


def test_a_trusted_interface_may_come_in(two: Stage) -> None:
    network = two.add_network("c", 3, options={bridge.TRUSTED: "up0"})
    c1 = two.add_container("c1", network, 2)
    two.outside.ip(f"route add 10.3.0.0/24 via {HOST4}")
    with serving(c1.space):
        assert fetch(two.outside, c1.ipv4) == OUT4
        assert out_of_reach(two.containers["a1"].space, c1.ipv4)


# The administrator, and replacing everything ---------------------------------------------------


def test_the_administrators_rules_come_first_and_stay(two: Stage) -> None:
    b1 = two.containers["b1"]
    two.publish(target(b1))
    two.outside.ip(f"route add 10.2.0.0/24 via {HOST4}")
    with serving(b1.space):
        two.nft(f"add rule inet {TABLE} admin ip saddr {OUT4} tcp dport {PORT} drop")
        assert out_of_reach(two.outside, HOST4)
        two.change()
        assert out_of_reach(two.outside, HOST4)
        assert fetch(two.host, HOST4)
        two.nft(f"flush chain inet {TABLE} admin")
        assert fetch(two.outside, HOST4)
        # The original port, as the reference shows it: here everyone but the host.
        original = f"meta l4proto tcp ct original proto-dst {PORT}"
        two.nft(f"add rule inet {TABLE} admin {original} ip saddr != {HOST4} drop")
        assert out_of_reach(two.outside, HOST4)
        two.nft(f"flush chain inet {TABLE} admin")
        # An accept there is the last word.
        two.nft(f"add rule inet {TABLE} admin ip saddr {OUT4} accept")
        assert fetch(two.outside, b1.ipv4)


def test_replacing_everything_interrupts_nobody(two: Stage) -> None:
    b1 = two.containers["b1"]
    two.publish(target(b1))
    server = b1.space.call(lambda: socket.create_server(("0.0.0.0", PORT)))
    client = two.outside.call(lambda: socket.create_connection((HOST4, PORT), timeout=SOON))
    with server, client:
        far, _ = server.accept()
        with far:
            far.settimeout(SOON)
            for turn in range(50):
                # Without its publication too: a flow that is there goes on.
                two.change(publications=() if turn % 2 else (target(b1),))
                text = b"%d" % turn
                client.sendall(text)
                assert far.recv(100) == text
                far.sendall(text)
                assert client.recv(100) == text


def rules_of(stage: Stage) -> Callable[[], object]:
    """A reader of our tables as nft shows them, without what says nothing: handles, and order in sets."""

    def simple(value: object) -> object:
        if isinstance(value, dict):
            return {key: simple(item) for key, item in value.items() if key != "handle"}
        if isinstance(value, list):
            return [simple(item) for item in value]
        return value

    def read() -> object:
        found = []
        for family in ("inet", "bridge"):
            for item in stage.inhabitant.run(stage.kernel.list_nft(f"{family} {TABLE}")) or ():
                plain = simple(item)
                assert isinstance(plain, dict)
                for body in plain.values():
                    if isinstance(body, dict) and isinstance(body.get("elem"), list):
                        body["elem"] = sorted(body["elem"], key=str)
                found.append(plain)
        chains = [item for item in found if "rule" not in item]
        rules: dict[str, list[object]] = {}
        for item in found:
            if "rule" in item:
                rules.setdefault(f"{item['rule']['family']} {item['rule']['chain']}", []).append(item)
        return sorted(map(str, chains)), {
            name: list(map(str, items)) for name, items in sorted(rules.items())
        }

    return read


@pytest.mark.parametrize("seed", range(6))
def test_changes_one_by_one_end_where_replacing_ends(stage: Stage, seed: int) -> None:
    """Random networks and ports, added and removed in random order, against `render_all` of the result."""
    chance = random.Random(seed)
    pool = [make_rules(number, chance) for number in range(6)]
    ports = [
        Publication(
            chance.choice(["tcp", "udp"]),
            chance.choice(["", HOST4]),
            9000 + number,
            chance.choice(["10.1.0.2", "10.2.0.3"]),
            80,
        )
        for number in range(8)
    ]
    ports += [Publication("tcp", "", 9100, "fd01::2", 80), Publication("sctp", HOST6, 9101, "fd01::3", 80)]
    opened = [OpenPort("tcp", "10.1.0.2", 80), OpenPort("udp", "fd01::2", 53)]
    read = rules_of(stage)
    stage.change()
    networks: dict[str, object] = {}
    publications: set[Publication] = set()
    open_ports: set[OpenPort] = set()
    for _ in range(40):
        match chance.randrange(6):
            case 0 | 1:
                rules = chance.choice(pool)
                networks[rules.key] = rules
                stage.apply(Nft(tuple(render_add_network(TABLE, rules))))
            case 2:
                rules = chance.choice(pool)
                networks.pop(rules.key, None)
                stage.apply(Nft(tuple(render_remove_network(TABLE, rules))))
            case 3:
                port = chance.choice(ports)
                publications.add(port)
                stage.apply(Nft(tuple(render_publish(TABLE, [port]))))
            case 4:
                port = chance.choice(ports)
                publications.discard(port)
                stage.apply(Nft(tuple(render_unpublish(TABLE, [port]))))
            case _:
                item = chance.choice(opened)
                if item in open_ports:
                    open_ports.discard(item)
                    stage.apply(Nft(tuple(render_close(TABLE, [item]))))
                else:
                    open_ports.add(item)
                    stage.apply(Nft(tuple(render_open(TABLE, [item]))))
    step_by_step = read()
    wanted = Firewall(
        TABLE,
        tuple(networks.values()),  # type: ignore[arg-type]
        tuple(publications),
        tuple(open_ports),
    )
    stage.apply(Nft(render_all(wanted)))
    assert read() == step_by_step
    # And again, and after somebody deleted everything.
    stage.apply(Nft(render_all(wanted)))
    assert read() == step_by_step
    stage.nft("flush ruleset")
    stage.apply(Nft(render_all(wanted)))
    assert read() == step_by_step
    # Networks that are no more leave their chains behind, until they are named.
    stale = [f"{side}_{key}" for key in networks for side in ("into", "outof")]
    stage.apply(Nft(render_all(Firewall(TABLE), stale)))
    empty = read()
    stage.nft("flush ruleset")
    stage.apply(Nft(render_all(Firewall(TABLE))))
    assert read() == empty


def make_rules(number: int, chance: random.Random) -> NetworkRules:
    pick = chance.choice
    return NetworkRules(
        key=f"{number:012x}",
        bridge=f"br-{number}",
        subnets=(PoolConfig(f"10.{number}.0.0/24").network, PoolConfig(f"fd0{number}::/64").network),
        internal=pick([False, False, True]),
        inter_container=pick([True, False]),
        masquerade=pick([True, True, False]),
        mode4=pick(["nat", "routed", "nat-unprotected"]),
        mode6=pick(["nat", "routed", "nat-unprotected"]),
        snat4=pick(["", "192.0.2.77"]),
        trusted_interfaces=pick([(), ("up0", "eth9")]),
    )
