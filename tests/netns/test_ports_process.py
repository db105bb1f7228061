"""The real `carrick-ports` in real network namespaces. Needs root.

Every test has two namespaces of its own, `ck-ports-<random>`: the host, where the process runs, and a
container with 10.77.0.2 and no IPv6.
"""

import asyncio
import ctypes
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from carrick.host.portholder.client import PortHolderClient
from carrick.host.portholder.contract import HeldPort, PortTaken
from carrick.model.errors import Failed, Unavailable
from carrick.ports_process import LOCK_NAME, SOCKET_NAME, STATE_NAME

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")

T = TypeVar("T")
_LIBC = ctypes.CDLL(None, use_errno=True)
CONTAINER = "10.77.0.2"
BIG = 8 << 20


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def inside(namespace: str, function: Callable[[], T]) -> T:
    """Call it in a thread that has entered the namespace; a socket made there stays there."""

    def enter_and_call() -> T:
        with open(f"/run/netns/{namespace}") as file:
            if _LIBC.setns(file.fileno(), 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        return function()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter_and_call).result(60)


class Lab:
    """The two namespaces, the process, and a client of it."""

    def __init__(self, directory: Path) -> None:
        mark = secrets.token_hex(4)
        self.host = f"ck-ports-{mark}-h"
        self.container = f"ck-ports-{mark}-c"
        self.run_dir = directory / "run"
        self.state_dir = directory / "state"
        self.process: subprocess.Popen[bytes] | None = None

    def build(self) -> None:
        for namespace in (self.host, self.container):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        run("ip", "-n", self.host, "link", "add", "v0", "type", "veth", "peer", "v1", "netns", self.container)
        for namespace, device, address in ((self.host, "v0", "10.77.0.1"), (self.container, "v1", CONTAINER)):
            run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", device)
            run("ip", "-n", namespace, "link", "set", device, "up")

    def destroy(self) -> None:
        self.kill()
        for namespace in (self.host, self.container):
            with suppress(subprocess.CalledProcessError):
                run("ip", "netns", "del", namespace)

    def command(self) -> list[str]:
        return [
            *("nsenter", f"--net=/run/netns/{self.host}", sys.executable, "-m", "carrick.ports_process"),
            *("--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir)),
        ]

    def start(self, *prefix: str) -> None:
        self.process = subprocess.Popen([*prefix, *self.command()])
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(self.run_dir / SOCKET_NAME))
                return
            assert self.process.poll() is None
            time.sleep(0.01)
        raise AssertionError("carrick-ports did not start")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(10)
        self.process = None
        return code

    def ask(self, call: Callable[[PortHolderClient], object]) -> None:
        """Make one call with a client of its own, which then goes away."""

        async def connected() -> None:
            client = PortHolderClient(self.run_dir / SOCKET_NAME)
            try:
                await call(client)  # type: ignore[misc]
            finally:
                await client.close()
                await asyncio.sleep(0)

        asyncio.run(connected())

    def hold(self, *ports: HeldPort, owner: str = "a") -> None:
        self.ask(lambda client: client.hold(owner, ports))

    def release(self, *ports: HeldPort, owner: str = "a") -> None:
        self.ask(lambda client: client.release(owner, ports or None))

    def wait_kept(self, count: int) -> None:
        """Wait until the file names so many ports: that is written a moment after they are held."""

        def is_kept() -> bool:
            with suppress(FileNotFoundError):
                wanted = json.loads((self.state_dir / STATE_NAME).read_bytes())["wanted"]
                return sum(len(ports) for ports in wanted.values()) == count
            return False

        wait_for(is_kept, f"{count} ports are not in the file")

    def descriptors(self) -> int:
        assert self.process is not None
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def descriptors_at_rest(self) -> int:
        """Return how many it has without a client: by an answer to one, all before it have gone."""
        found = 0

        async def count(client: PortHolderClient) -> None:
            nonlocal found
            await client.release("nobody", None)
            found = self.descriptors() - 1

        self.ask(count)
        return found

    def connect(self, address: str, port: int) -> socket.socket:
        return inside(self.host, lambda: socket.create_connection((address, port), 10))

    def is_free(self, port: HeldPort, *options: int, v6only: bool = True) -> bool:
        def attempt() -> bool:
            family = socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET
            kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
            with socket.socket(family, kind) as sock:
                for option in options:
                    sock.setsockopt(socket.SOL_SOCKET, option, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
                try:
                    sock.bind((port.host_ip, port.host_port))
                    if port.protocol == "tcp":
                        sock.listen()
                except OSError:
                    return False
            return True

        return inside(self.host, attempt)

    @contextmanager
    def serving(
        self, serve: Callable[[socket.socket], None], port: int = 80, address: str = CONTAINER
    ) -> Iterator[None]:
        """A TCP server in the container; `serve` has a thread for each connection."""
        listener = inside(
            self.container, lambda: socket.create_server((address, port), backlog=1024, reuse_port=False)
        )
        threads: list[threading.Thread] = []

        def attend(sock: socket.socket) -> None:
            with sock, suppress(OSError):
                sock.settimeout(20)
                serve(sock)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    threads.append(threading.Thread(target=attend, args=(sock,)))
                    threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            acceptor.join(10)
            for thread in threads:
                thread.join(30)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    try:
        made.build()
        made.start()
        yield made
    finally:
        made.destroy()


def echo(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while data := sock.recv(1 << 18):
        parts.append(data)
    return b"".join(parts)


def wait_for(is_so: Callable[[], bool], what: str, timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


RELAY = HeldPort("tcp", "::", 8080, (CONTAINER, 80))


# Reservations


REUSE: Sequence[tuple[int, ...]] = (
    (),
    (socket.SO_REUSEADDR,),
    (socket.SO_REUSEPORT,),
    (socket.SO_REUSEADDR, socket.SO_REUSEPORT),
)


@pytest.mark.parametrize("target", [None, (CONTAINER, 80)])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_nobody_binds_an_overlapping_address(lab: Lab, protocol: str, target: tuple[str, int] | None) -> None:
    def port(address: str) -> HeldPort:
        return HeldPort(protocol, address, 8080, target)  # type: ignore[arg-type]

    cases = {
        "0.0.0.0": {"0.0.0.0": False, "127.0.0.1": False, "::1": True},
        "127.0.0.1": {"0.0.0.0": False, "127.0.0.1": False, "127.0.0.2": True, "::1": True},
        "::": {"::": False, "::1": False},
        "::1": {"::": False, "::1": False},
    }
    for held, others in cases.items():
        lab.hold(port(held))
        for options in REUSE:
            for other, expected in others.items():
                assert lab.is_free(port(other), *options) is expected, (held, other, options)
            assert not lab.is_free(port("::"), *options, v6only=False), (held, options)  # of both families
        lab.release()
        assert lab.is_free(port(held))


def test_a_reservation_refuses_and_does_not_hang(lab: Lab) -> None:
    lab.hold(HeldPort("tcp", "0.0.0.0", 8080), HeldPort("tcp", "::", 8080))
    for address in ("127.0.0.1", "10.77.0.1", "::1"):
        with pytest.raises(ConnectionRefusedError):
            lab.connect(address, 8080)


def test_a_udp_reservation_keeps_nothing(lab: Lab) -> None:
    lab.hold(HeldPort("udp", "0.0.0.0", 5353))
    sender = inside(lab.host, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with sender:
        for _ in range(1000):
            sender.sendto(bytes(1000), ("127.0.0.1", 5353))
    lines = inside(lab.host, lambda: Path("/proc/thread-self/net/udp").read_text()).splitlines()
    queues = [line.split()[4] for line in lines if ":14E9" in line.split()[1]]
    assert queues == ["00000000:00000000"]


def test_the_program_in_the_way_is_named(lab: Lab) -> None:
    script = "import socket; s = socket.create_server(('127.0.0.1', 8080)); print(flush=True); input()"
    with subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{lab.host}", sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        try:
            other.stdout.readline()
            with pytest.raises(PortTaken) as caught:
                lab.hold(HeldPort("tcp", "0.0.0.0", 8081), HeldPort("tcp", "0.0.0.0", 8080))
            assert f"(pid {other.pid})" in caught.value.holder
            assert caught.value.message.startswith(
                "failed to bind host port 0.0.0.0:8080/tcp: address already in use"
            )
            assert caught.value.held.host_port == 8080
        finally:
            other.stdin.close()
    assert lab.is_free(HeldPort("tcp", "0.0.0.0", 8081))
    lab.hold(HeldPort("tcp", "0.0.0.0", 8080))  # at once, though it had connections or not
    with pytest.raises(PortTaken) as ours:
        lab.hold(HeldPort("tcp", "127.0.0.1", 8080), owner="b")
    assert (ours.value.owner, ours.value.holder) == ("a", "a")


def test_an_address_that_is_not_there(lab: Lab) -> None:
    with pytest.raises(Failed, match="cannot assign requested address"):
        lab.hold(HeldPort("tcp", "192.0.2.1", 80))


def test_a_range_of_thousands(lab: Lab) -> None:
    ports = [HeldPort("tcp", "0.0.0.0", number) for number in range(10000, 15000)]
    lab.hold(*ports)
    assert not lab.is_free(ports[-1])
    lab.hold(*ports)
    lab.release()
    assert lab.is_free(ports[-1])


def test_descriptors_run_out_clearly(lab: Lab) -> None:
    lab.kill()
    lab.start("prlimit", "--nofile=300:300")
    with pytest.raises(Unavailable, match="all 204 descriptors") as caught:
        lab.hold(*(HeldPort("tcp", "0.0.0.0", number) for number in range(10000, 10300)))
    assert "LimitNOFILE" in (caught.value.remedy or "")
    lab.hold(*(HeldPort("tcp", "0.0.0.0", number) for number in range(10000, 10200)))


# Life and death


def test_kill_and_restart_keep_everything(lab: Lab) -> None:
    plain = HeldPort("tcp", "0.0.0.0", 8080)
    datagrams = HeldPort("udp", "0.0.0.0", 8080)
    with lab.serving(echo):
        lab.hold(plain, RELAY, datagrams)
        assert not lab.is_free(plain)  # with the client gone
        lab.wait_kept(3)
        with lab.connect("::1", 8080) as sock:
            sock.sendall(b"before")
            assert sock.recv(100) == b"before"
            assert lab.kill() == -signal.SIGKILL
            assert lab.is_free(plain)
            lab.start()
        for port in (plain, RELAY, datagrams):
            assert not lab.is_free(port, socket.SO_REUSEADDR)
        with lab.connect("::1", 8080) as sock:
            sock.sendall(b"after")
            assert sock.recv(100) == b"after"
    lab.release()
    lab.wait_kept(0)
    lab.kill()
    lab.start()
    assert lab.is_free(plain)


def test_a_second_instance_is_refused(lab: Lab) -> None:
    assert lab.process is not None
    done = subprocess.run(lab.command(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 4
    assert f"process {lab.process.pid}" in done.stderr
    assert str(lab.run_dir / LOCK_NAME) in done.stderr
    lab.hold(RELAY)  # the first is none the worse


def test_sigterm_ends_it_cleanly(lab: Lab) -> None:
    lab.hold(RELAY)
    assert lab.kill(signal.SIGTERM) == 0
    assert not (lab.run_dir / SOCKET_NAME).exists()
    assert b"8080" in (lab.state_dir / STATE_NAME).read_bytes()  # at once, not 0.1 s later
    with pytest.raises(Unavailable, match="does not answer"):
        lab.hold(RELAY)


def test_it_ends_when_its_run_directory_is_removed(lab: Lab) -> None:
    port = HeldPort("tcp", "0.0.0.0", 8080)
    lab.hold(port)
    orphan = lab.process
    assert orphan is not None
    lab.wait_kept(1)
    shutil.rmtree(lab.run_dir)
    lab.start()  # a successor, while the first one still has the port
    assert orphan.wait(10) == 0
    wait_for(lambda: not lab.is_free(port), "the successor does not get the port")
    lab.hold(RELAY)  # its socket is still there


def test_a_broken_state_file_is_no_obstacle(lab: Lab) -> None:
    lab.kill(signal.SIGTERM)
    (lab.state_dir / STATE_NAME).write_bytes(b"\0garbage")
    lab.start()
    lab.hold(RELAY)


def test_a_port_taken_meanwhile_comes_back(lab: Lab) -> None:
    port = HeldPort("tcp", "0.0.0.0", 8080)
    lab.hold(port)
    lab.wait_kept(1)
    lab.kill()
    with inside(lab.host, lambda: socket.create_server(("127.0.0.1", 8080))):
        lab.start()
        problems: dict[str, str] = {}

        async def sync(client: PortHolderClient) -> None:
            problems.update(await client.sync({"a": [port]}))

        lab.ask(sync)
        assert "address already in use (by" in problems["a"]
    wait_for(lambda: not lab.is_free(port), "not tried again")


def test_garbage_on_the_socket(lab: Lab) -> None:
    lab.hold(RELAY)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(lab.run_dir / SOCKET_NAME))
        sock.sendall(secrets.token_bytes(1 << 20).replace(b"\n", b"") + b"\n{}\n")
        assert sock.recv(1 << 16).count(b"InvalidRequest") >= 1
    assert not lab.is_free(RELAY)


# Relaying TCP


def test_half_close_in_both_directions(lab: Lab) -> None:
    def count_then_answer(sock: socket.socket) -> None:
        received = read_all(sock)  # until the client's end
        time.sleep(0.1)
        sock.sendall(b"%d" % len(received))

    def answer_then_count(sock: socket.socket) -> None:
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        digests.append(hashlib.sha256(read_all(sock)).hexdigest())

    digests: list[str] = []
    lab.hold(RELAY, HeldPort("tcp", "::", 8081, (CONTAINER, 81)))
    payload = secrets.token_bytes(BIG)
    with lab.serving(count_then_answer), lab.connect("::1", 8080) as sock:
        sock.sendall(payload)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"%d" % BIG
    with lab.serving(answer_then_count, 81), lab.connect("::1", 8081) as sock:
        assert read_all(sock) == b"hello"  # until the server's end
        sock.sendall(payload)
    assert digests == [hashlib.sha256(payload).hexdigest()]


def test_bulk_both_ways_with_a_slow_reader(lab: Lab) -> None:
    payload = secrets.token_bytes(BIG)
    digests: list[str] = []

    def send_and_take(sock: socket.socket) -> None:
        sender = threading.Thread(target=sock.sendall, args=(payload,))
        sender.start()
        digest, left = hashlib.sha256(), BIG
        while left:
            data = sock.recv(10_000)
            digest.update(data)
            left -= len(data)
        digests.append(digest.hexdigest())
        sender.join(20)

    lab.hold(RELAY)
    with lab.serving(send_and_take), lab.connect("::1", 8080) as sock:
        sender = threading.Thread(target=sock.sendall, args=(payload,))
        sender.start()
        time.sleep(0.3)  # meanwhile all buffers fill up
        assert read_all(sock) == payload
        sender.join(20)
    assert digests == [hashlib.sha256(payload).hexdigest()]


def test_five_hundred_at_once_leave_nothing_behind(lab: Lab) -> None:
    before = lab.descriptors_at_rest()
    lab.hold(RELAY)
    message = b"x" * 3000
    with lab.serving(echo):
        socks = inside(lab.host, lambda: [socket.create_connection(("::1", 8080), 20) for _ in range(500)])
        for sock in socks:
            sock.sendall(message)
        for sock in socks:
            received = b""
            while len(received) < len(message):
                received += sock.recv(4096)
            assert received == message
        assert lab.descriptors() >= before + 1001
        for sock in socks:
            sock.close()
        wait_for(lambda: lab.descriptors() == before + 1, "descriptors are left")


def test_more_clients_than_descriptors_wait(lab: Lab) -> None:
    lab.kill()
    lab.start("prlimit", "--nofile=200:200")
    lab.hold(RELAY)
    with lab.serving(echo):
        socks = inside(lab.host, lambda: [socket.create_connection(("::1", 8080), 20) for _ in range(60)])
        for sock in socks:
            sock.sendall(b"hi")
        lab.hold(HeldPort("tcp", "0.0.0.0", 9000))  # ports come first
        for sock in socks:  # each one that ends lets another in
            assert sock.recv(10) == b"hi"
            sock.close()


def test_nobody_listens_there(lab: Lab) -> None:
    lab.hold(RELAY)
    with pytest.raises(ConnectionError), lab.connect("::1", 8080) as sock:
        sock.sendall(b"x")
        if not sock.recv(1):
            raise AssertionError("closed as if all were well")


def test_a_reset_goes_through(lab: Lab) -> None:
    def reset(sock: socket.socket) -> None:
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    lab.hold(RELAY)
    before = lab.descriptors_at_rest()
    with lab.serving(reset), lab.connect("::1", 8080) as sock:
        sock.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    wait_for(lambda: lab.descriptors() == before, "descriptors are left")


def test_a_client_that_resets_ends_the_other_side(lab: Lab) -> None:
    ended = threading.Event()

    def wait_for_end(sock: socket.socket) -> None:
        try:
            read_all(sock)
        except ConnectionResetError:
            ended.set()

    lab.hold(RELAY)
    with lab.serving(wait_for_end):
        sock = lab.connect("::1", 8080)
        sock.sendall(b"x")
        time.sleep(0.1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        assert ended.wait(10)


def test_a_client_that_resets_while_the_server_reads_nothing(lab: Lab) -> None:
    lab.hold(RELAY)
    before = lab.descriptors_at_rest()
    done = threading.Event()

    def read_nothing(_: socket.socket) -> None:
        done.wait(20)

    with lab.serving(read_nothing):
        sock = lab.connect("::1", 8080)
        sock.setblocking(False)
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.5:  # until every buffer on the way is full
            with suppress(BlockingIOError):
                sock.send(bytes(1 << 16))
                quiet_since = time.monotonic()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        try:
            wait_for(lambda: lab.descriptors() == before, "the connection is left")
        finally:
            done.set()


def test_another_target_counts_for_new_connections(lab: Lab) -> None:
    def name(text: bytes) -> Callable[[socket.socket], None]:
        def serve(sock: socket.socket) -> None:
            while sock.recv(100):
                sock.sendall(text)

        return serve

    def says(sock: socket.socket) -> bytes:
        sock.sendall(b"who?")
        return sock.recv(100)

    lab.hold(RELAY)
    with lab.serving(name(b"one")), lab.serving(name(b"two"), 81), lab.connect("::1", 8080) as old:
        assert says(old) == b"one"
        lab.hold(HeldPort("tcp", "::", 8080, (CONTAINER, 81)))
        assert says(old) == b"one"
        with lab.connect("::1", 8080) as new:
            assert says(new) == b"two"
            lab.hold(HeldPort("tcp", "::", 8080))  # no target: reserved only
            with pytest.raises(ConnectionRefusedError):
                lab.connect("::1", 8080)
            assert says(new) == b"two"
            lab.release()
            for sock in (old, new):
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)


# Relaying UDP


@contextmanager
def answering(lab: Lab, name: bytes, port: int = 53) -> Iterator[None]:
    server = inside(lab.container, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind((CONTAINER, port))

    def serve() -> None:
        while True:
            data, client = server.recvfrom(65536)
            if data == b"stop":
                return
            server.sendto(name + data, client)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        with inside(lab.container, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stopper:
            stopper.sendto(b"stop", (CONTAINER, port))
        thread.join(10)
        server.close()


def udp_client(lab: Lab, address: str, port: int) -> socket.socket:
    sock = inside(lab.host, lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    sock.settimeout(5)
    sock.connect((address, port))  # takes answers from there and from nowhere else
    return sock


def test_udp_clients_get_their_own_answers(lab: Lab) -> None:
    run("ip", "-n", lab.host, "addr", "add", "fd77::1/128", "dev", "lo", "nodad")
    run("ip", "-n", lab.host, "addr", "add", "fd77::2/128", "dev", "lo", "nodad")
    before = lab.descriptors_at_rest()
    lab.hold(HeldPort("udp", "::", 5353, (CONTAINER, 53)))
    with answering(lab, b"re:"):
        clients = [
            udp_client(lab, address, 5353) for address in ("::1", "fd77::1", "fd77::2") for _ in range(20)
        ]
        for number, sock in enumerate(clients):
            sock.send(b"%d" % number)
        for number, sock in enumerate(clients):
            assert sock.recv(100) == b"re:%d" % number
        clients[0].send(bytes(40000))
        assert len(clients[0].recv(65536)) == 40003
        clients[1].send(b"")
        assert clients[1].recv(100) == b"re:"
        for sock in clients:
            sock.close()
        wait_for(lambda: lab.descriptors() == before + 1 + len(clients), "a flow each")
    lab.release()
    wait_for(lambda: lab.descriptors() == before, "descriptors are left")


def test_udp_follows_the_target_at_once(lab: Lab) -> None:
    lab.hold(HeldPort("udp", "::", 5353, (CONTAINER, 53)))
    with answering(lab, b"one"), answering(lab, b"two", 54), udp_client(lab, "::1", 5353) as sock:
        sock.send(b"")
        assert sock.recv(100) == b"one"
        lab.hold(HeldPort("udp", "::", 5353, (CONTAINER, 54)))
        sock.send(b"")
        assert sock.recv(100) == b"two"


def test_udp_survives_a_container_that_was_not_there(lab: Lab) -> None:
    lab.hold(HeldPort("udp", "::", 5353, (CONTAINER, 53)))
    with udp_client(lab, "::1", 5353) as sock:
        sock.send(b"lost")
        time.sleep(0.1)  # the container's refusal comes back
        with answering(lab, b"re:"):
            sock.send(b"found")
            assert sock.recv(100) == b"re:found"


def test_udp_over_ipv4_answers_from_the_address_asked(lab: Lab) -> None:
    lab.hold(HeldPort("udp", "0.0.0.0", 5353, (CONTAINER, 53)))
    with answering(lab, b"re:"):
        for address in ("127.0.0.1", "127.0.0.7", "10.77.0.1"):
            with inside(lab.host, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
                sock.settimeout(5)
                sock.connect((address, 5353))
                sock.send(b"x")
                assert sock.recv(100) == b"re:x"
