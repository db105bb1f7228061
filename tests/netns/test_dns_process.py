"""The real `carrick-dns` in real network namespaces, asked by `dig` and by hand. Needs root.

Every test has namespaces of its own, `ck-dns-<random>`: one that plays the host, where the process
and its upstream servers run, and one per sandbox.
"""

import asyncio
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from carrick.dns_process import LOCK_NAME, SOCKET_NAME, STATE_NAME
from carrick.domains.dns.message import (
    QR,
    RA,
    TC,
    Message,
    Question,
    Record,
    RecordType,
    ResponseCode,
    parse_message,
    render_message,
)
from carrick.domains.dns.names import parse_name
from carrick.domains.dns.protocol import (
    Codec,
    Done,
    Lookup,
    LookupReport,
    PutEndpoint,
    PutNetwork,
    PutSandbox,
    Refused,
    RemoveSandbox,
    Reply,
    Request,
    Snapshot,
    Stats,
    StatsReport,
    Update,
)
from carrick.domains.dns.zone import (
    EndpointRecord,
    NetworkZone,
    SandboxView,
    ServerSide,
    UpstreamServer,
)
from carrick.host.resolver.control import ResolverClient
from carrick.model.errors import Unavailable

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
    pytest.mark.skipif(shutil.which("dig") is None, reason="needs dig (apt: bind9-dnsutils)"),
]

T = TypeVar("T")
_LIBC = ctypes.CDLL(None, use_errno=True)


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.stderr}")
    return done.stdout


@contextmanager
def namespace() -> Iterator[str]:
    name = f"ck-dns-{secrets.token_hex(4)}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        run("ip", "netns", "del", name, check=False)


def path_of(name: str) -> str:
    return f"/run/netns/{name}"


def inside(name: str, function: Callable[[], T]) -> T:
    """Run in the namespace, in a thread that ends with it."""

    def enter() -> T:
        with open(path_of(name)) as handle:
            assert _LIBC.setns(handle.fileno(), 0x40000000) == 0
        return function()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result()


def wait_until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class Process:
    """A `carrick-dns`, and a control connection to it."""

    def __init__(self, home: str, directory: Path) -> None:
        self.home = home
        self.run_dir = directory / "run"
        self.state_dir = directory / "state"
        self.resolv_conf = directory / "resolv.conf"
        if not self.resolv_conf.exists():
            self.resolv_conf.write_text("")
        self.codec = Codec()
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command(), stderr=subprocess.PIPE)
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._collect, args=(self.process,), daemon=True)
        self._reader.start()
        self.connect()

    def _collect(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.log.append(line.decode())

    def command(self) -> list[str]:
        module = [sys.executable, "-m", "carrick.dns_process"]
        options = ["--run-dir", self.run_dir, "--state-dir", self.state_dir]
        options += ["--resolv-conf", self.resolv_conf]
        return ["nsenter", f"--net={path_of(self.home)}", *module, *map(str, options)]

    def connect(self) -> None:
        path = str(self.run_dir / SOCKET_NAME)

        def try_connect() -> bool:
            assert self.process.poll() is None, "".join(self.log)
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
            except OSError:
                self.socket.close()
                return False
            return True

        wait_until(try_connect)
        self.socket.settimeout(10)
        self.lines = self.socket.makefile("rwb")

    def disconnect(self) -> None:
        self.lines.close()
        self.socket.close()

    def ask(self, request: Request) -> Reply:
        self.lines.write(self.codec.encode(request) + b"\n")
        self.lines.flush()
        return self.codec.decode_reply(self.lines.readline().rstrip(b"\n"))

    def stats(self) -> StatsReport:
        report = self.ask(Stats())
        assert isinstance(report, StatsReport)
        return report

    def end(self, number: signal.Signals) -> int:
        self.disconnect()
        self.process.send_signal(number)
        code = self.process.wait(10)
        self._reader.join(10)
        return code


@pytest.fixture
def home() -> Iterator[str]:
    with namespace() as name:
        yield name


@pytest.fixture
def box() -> Iterator[str]:
    with namespace() as name:
        yield name


@pytest.fixture
def dns(home: str, tmp_path: Path) -> Iterator[Process]:
    process = Process(home, tmp_path)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


def view(box: str, **changes: object) -> SandboxView:
    values: dict[str, object] = {
        "sandbox_id": box,
        "netns_path": path_of(box),
        "networks": ("n",),
        **changes,
    }
    return SandboxView(**values)  # type: ignore[arg-type]


NETWORK = NetworkZone(
    "n",
    "net",
    ("172.18.0.0/16",),
    (
        EndpointRecord("e1", ("web",), ("172.18.0.2", "fd00::2")),
        *(EndpointRecord(f"m{n}", ("many",), (f"172.18.1.{n}",)) for n in range(1, 101)),
    ),
)


def put(dns: Process, *views: SandboxView, revision: int = 1) -> None:
    assert dns.ask(Snapshot(revision, (NETWORK,), views)) == Done(revision)


def dig(box: str, *words: str) -> str:
    return run(
        "nsenter",
        f"--net={path_of(box)}",
        "dig",
        "@127.0.0.11",
        "+tries=1",
        "+time=9",
        *words,
        check=False,
    )


def short(box: str, *words: str) -> list[str]:
    return dig(box, "+short", *words).split()


class Upstream:
    """A name server of the test's own, UDP and TCP, in some namespace."""

    def __init__(self, where: str, address: str, port: int = 53) -> None:
        self.questions: list[tuple[str, str]] = []
        self.answer: Callable[[Message, bool], Message | None] = self.answer_plainly
        self._where, self._target = where, (address, port)
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> "Upstream":
        inside(self._where, self._open)
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            # Wakes the thread that waits on it, which a mere close does not.
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    @staticmethod
    def answer_plainly(query: Message, tcp: bool) -> Message | None:
        name = query.questions[0].name
        data = b"\xc6\x33\x64\x02" if tcp else b"\xc6\x33\x64\x01"  # 198.51.100.2 and .1
        return Message(query.id, QR | RA, query.questions, (Record(name, RecordType.A, 1, 60, data),))

    def _open(self) -> None:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            sock = socket.socket(socket.AF_INET, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(self._target)
            self._sockets.append(sock)
        self._sockets[1].listen(8)

    def _reply(self, wire: bytes, *, tcp: bool) -> bytes | None:
        query = parse_message(wire)
        name = b".".join(query.questions[0].name).decode()
        self.questions.append((name, "tcp" if tcp else "udp"))
        reply = self.answer(query, tcp)
        return None if reply is None else render_message(reply)

    def _serve_udp(self) -> None:
        sock = self._sockets[0]
        try:
            while True:
                wire, peer = sock.recvfrom(4096)
                if not peer:
                    return
                if (reply := self._reply(wire, tcp=False)) is not None:
                    sock.sendto(reply, peer)
        except (OSError, ValueError):
            return

    def _serve_tcp(self) -> None:
        try:
            while True:
                connection, _ = self._sockets[1].accept()
                with connection:
                    size = int.from_bytes(connection.recv(2))
                    reply = self._reply(connection.recv(size), tcp=True)
                    if reply is not None:
                        connection.sendall(len(reply).to_bytes(2) + reply)
        except (OSError, ValueError):
            return


# -- answers -------------------------------------------------------------------------------------


def test_names_are_answered_over_udp_tcp_and_edns(dns: Process, box: str) -> None:
    put(dns, view(box))
    assert short(box, "web") == ["172.18.0.2"]
    assert short(box, "WEB.net", "AAAA") == ["fd00::2"]
    assert short(box, "web", "+tcp") == ["172.18.0.2"]
    assert short(box, "-x", "172.18.0.2") == ["web.net."]
    assert "status: NXDOMAIN" in dig(box, "-x", "172.18.9.9")
    assert "ANSWER: 0" in dig(box, "web", "MX")
    assert "status: BADVERS" in dig(box, "web", "+edns=1", "+noednsneg")
    assert "status: NOTIMP" in dig(box, "web", "+opcode=5")


def test_many_addresses_are_cut_to_size_and_whole_over_tcp(dns: Process, box: str) -> None:
    put(dns, view(box))
    plain = dig(box, "many", "+noedns", "+ignore")
    assert "tc" in plain.split("flags:")[1].split(";")[0].split()
    assert len(short(box, "many", "+bufsize=4096", "+ignore")) == 100
    assert len(short(box, "many", "+tcp")) == 100
    assert len(short(box, "many", "+noedns")) == 100  # dig goes on to TCP by itself
    assert len({short(box, "many", "+bufsize=4096")[0] for _ in range(4)}) > 1


def test_several_questions_on_one_connection(dns: Process, box: str) -> None:
    put(dns, view(box))
    output = run(
        "nsenter",
        f"--net={path_of(box)}",
        "dig",
        "@127.0.0.11",
        "+tcp",
        "+keepopen",
        "+short",
        *["web"] * 20,
    )
    assert output.split() == ["172.18.0.2"] * 20

    def pipelined() -> list[int]:
        # 1000 answers of 1.6 KB, none of them read before the last question has been sent.
        question = Question(parse_name("many") or (), RecordType.A)
        wire = [render_message(Message(n, 0x100, (question,))) for n in range(1000)]
        with socket.create_connection(("127.0.0.11", 53), timeout=10) as sock:
            sock.sendall(b"".join(len(w).to_bytes(2) + w for w in wire))
            sock.shutdown(socket.SHUT_WR)
            time.sleep(0.5)
            data = b""
            while chunk := sock.recv(65536):
                data += chunk
        found = []
        while data:
            size = int.from_bytes(data[:2])
            found.append(parse_message(data[2 : 2 + size]).id)
            data = data[2 + size :]
        return found

    assert sorted(inside(box, pipelined)) == list(range(1000))


def test_the_containers_own_software_may_have_port_53(dns: Process, box: str) -> None:
    put(dns, view(box))

    def own_server() -> bytes:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            own.bind(("0.0.0.0", 53))
            own.settimeout(5)
            stream.bind(("0.0.0.0", 53))
            client.sendto(b"for me", ("127.0.0.1", 53))
            assert short(box, "web") == ["172.18.0.2"]
            return own.recv(100)

    assert inside(box, own_server) == b"for me"


def test_garbage_and_responses_are_survived(dns: Process, box: str) -> None:
    put(dns, view(box))

    def send_garbage() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for size in (0, 1, 11, 12, 13, 600, 9000):
                sock.sendto(os.urandom(size), ("127.0.0.11", 53))
                sock.sendto(b"\0\0\x80" + os.urandom(size), ("127.0.0.11", 53))
        with socket.create_connection(("127.0.0.11", 53)) as stream:
            stream.sendall(os.urandom(5000))

    inside(box, send_garbage)
    assert short(box, "web") == ["172.18.0.2"]
    assert not any("Traceback" in line for line in dns.log)


def test_too_many_connections_do_not_shut_out_new_ones(dns: Process, box: str) -> None:
    put(dns, view(box))

    def hold() -> list[str]:
        held = [socket.create_connection(("127.0.0.11", 53), timeout=5) for _ in range(100)]
        try:
            return short(box, "web", "+tcp")
        finally:
            for sock in held:
                sock.close()

    assert inside(box, hold) == ["172.18.0.2"]


# -- the daemon's side ---------------------------------------------------------------------------


def test_changes_are_in_force_when_they_are_acknowledged(dns: Process, box: str) -> None:
    put(dns, view(box))
    assert short(box, "web") == ["172.18.0.2"]
    moved = PutEndpoint("n", EndpointRecord("e1", ("web", "neu"), ("172.18.0.99",)))
    assert dns.ask(Update(2, (moved,))) == Done(2)
    assert short(box, "web") == ["172.18.0.99"]
    assert short(box, "neu") == ["172.18.0.99"]
    report = dns.ask(Lookup(box, "neu"))
    assert report == LookupReport("names", "NOERROR", ("172.18.0.99",))
    stats = dns.stats()
    assert (stats.revision, stats.sandboxes, stats.networks) == (2, 1, 1)
    assert stats.counters["hits"] >= 3


def test_bad_requests_are_refused_and_change_nothing(dns: Process, box: str) -> None:
    early = dns.ask(Update(5, ()))
    assert isinstance(early, Refused)
    assert "snapshot" in early.message
    put(dns, view(box))
    stale = dns.ask(Update(1, ()))
    assert isinstance(stale, Refused)
    assert "stale" in stale.message
    bad = PutEndpoint("n", EndpointRecord("e1", ("web",), ("nonsense",)))
    good = PutNetwork(NetworkZone("n2", "two"))
    refused = dns.ask(Update(2, (good, bad)))
    assert isinstance(refused, Refused)
    assert "nonsense" in refused.message
    dns.lines.write(os.urandom(1 << 20).replace(b"\n", b"") + b"\n")
    dns.lines.flush()
    assert isinstance(dns.codec.decode_reply(dns.lines.readline()), Refused)
    assert dns.stats().networks == 1
    assert short(box, "web") == ["172.18.0.2"]


def test_names_outlive_the_daemons_connection(dns: Process, box: str) -> None:
    put(dns, view(box))
    dns.disconnect()
    assert short(box, "web") == ["172.18.0.2"]
    dns.connect()
    assert dns.ask(Snapshot(1, (), ())) == Done(1)  # a new daemon that knows nothing
    assert "no servers could be reached" in dig(box, "web", "+tcp")


def test_names_outlive_a_kill_without_the_daemon(dns: Process, box: str) -> None:
    put(dns, view(box))
    wait_until((dns.state_dir / STATE_NAME).exists)
    rules = run("nsenter", f"--net={path_of(box)}", "nft", "list", "ruleset")
    dns.end(signal.SIGKILL)
    dns.start()
    assert dns.stats().revision == 1
    assert short(box, "web") == ["172.18.0.2"]
    assert short(box, "web", "+tcp") == ["172.18.0.2"]
    # The same port was taken again, so nothing had to change.
    assert run("nsenter", f"--net={path_of(box)}", "nft", "list", "ruleset") == rules


def test_a_spoilt_state_file_is_survived(dns: Process, box: str) -> None:
    put(dns, view(box))
    assert dns.end(signal.SIGTERM) == 0
    assert not (dns.run_dir / SOCKET_NAME).exists()
    state = dns.state_dir / STATE_NAME
    state.write_bytes(state.read_bytes()[:-20])
    dns.start()
    assert dns.stats().sandboxes == 0
    put(dns, view(box))
    assert short(box, "web") == ["172.18.0.2"]


def test_a_second_instance_is_refused(dns: Process) -> None:
    second = subprocess.run(dns.command(), capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 4
    assert str(dns.process.pid) in second.stderr
    assert LOCK_NAME in second.stderr
    assert dns.stats().revision == 0


def test_without_its_run_directory_it_ends(dns: Process) -> None:
    """Nobody could reach it any more, and it would answer old names for ever."""
    (dns.run_dir / LOCK_NAME).unlink()
    assert dns.process.wait(timeout=10) == 0
    dns.disconnect()


def test_a_namespace_that_comes_again_is_served_again(dns: Process, box: str) -> None:
    put(dns, view(box))
    run("ip", "netns", "del", box)
    run("ip", "netns", "add", box)
    run("ip", "-n", box, "link", "set", "lo", "up")
    assert dns.ask(Update(2, (PutSandbox(view(box)),))) == Done(2)
    assert short(box, "web") == ["172.18.0.2"]
    run("ip", "netns", "del", box)
    wait_until(lambda: box in dns.stats().unreachable)  # noticed without the daemon
    run("ip", "netns", "add", box)
    run("ip", "-n", box, "link", "set", "lo", "up")
    wait_until(lambda: box not in dns.stats().unreachable)
    assert short(box, "web") == ["172.18.0.2"]


def test_a_missing_namespace_is_a_problem_of_that_sandbox_alone(dns: Process, box: str) -> None:
    missing = SandboxView("missing", "/run/netns/ck-dns-never", ("n",))
    done = dns.ask(Snapshot(1, (NETWORK,), (missing, view(box))))
    assert isinstance(done, Done)
    assert list(done.problems) == ["missing"]
    assert "ck-dns-never" in done.problems["missing"]
    assert short(box, "web") == ["172.18.0.2"]


def test_a_lost_redirection_is_put_back_and_a_left_namespace_is_clean(dns: Process, box: str) -> None:
    put(dns, view(box))
    nft = ("nsenter", f"--net={path_of(box)}", "nft")
    run(*nft, "flush", "ruleset")
    assert dns.ask(Update(2, (PutSandbox(view(box)),))) == Done(2)
    assert short(box, "web") == ["172.18.0.2"]
    run(*nft, "delete", "rule", "ip", "carrick-dns", "output", "handle", "3")
    assert dns.ask(Update(3, (PutSandbox(view(box)),))) == Done(3)
    assert short(box, "web") == ["172.18.0.2"]
    assert dns.ask(Update(4, (RemoveSandbox(box, namespace_stays=True),))) == Done(4)
    assert run(*nft, "list", "ruleset") == ""
    assert dns.stats().sandboxes == 0


async def test_the_daemons_client_syncs_and_comes_back(dns: Process, box: str) -> None:
    codec = Codec()
    taken = 0

    async def snapshot() -> Request:
        nonlocal taken
        taken += 1
        return Snapshot(taken, (NETWORK,), (view(box),))

    client: ResolverClient[Request, Reply] = ResolverClient(
        dns.run_dir / SOCKET_NAME,
        encode=codec.encode,
        decode=codec.decode_reply,
        snapshot=snapshot,
    )
    with pytest.raises(Unavailable):
        await client.wait_synced(0.05)
    task = asyncio.create_task(client.run())
    try:
        replies = await asyncio.gather(
            *(
                client.request(
                    Update(10 + n, (PutEndpoint("n", EndpointRecord(f"x{n}", (f"x{n}",), ("10.0.0.1",))),))
                )
                for n in range(50)
            )
        )
        assert replies == [Done(10 + n) for n in range(50)]
        assert await asyncio.to_thread(short, box, "x49") == ["10.0.0.1"]
        await asyncio.to_thread(dns.end, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: not client.is_synced)
        await asyncio.to_thread(dns.start)
        await client.wait_synced(10)
        assert taken >= 2
        assert isinstance(await client.request(Stats()), StatsReport)
        assert await asyncio.to_thread(short, box, "x49") == []  # not in the snapshot
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# -- forwarding ----------------------------------------------------------------------------------


def test_unknown_names_go_to_the_hosts_servers_as_they_change(dns: Process, home: str, box: str) -> None:
    put(dns, view(box))
    assert "status: SERVFAIL" in dig(box, "example.org")
    with Upstream(home, "127.0.0.53") as upstream:
        dns.resolv_conf.write_text("nameserver 127.0.0.53\n")
        wait_until(lambda: dns.ask(Lookup(box, "example.org")) == FORWARDED)
        assert short(box, "example.org") == ["198.51.100.1"]
        assert short(box, "example.org", "+tcp") == ["198.51.100.2"]
        assert upstream.questions == [("example.org", "udp"), ("example.org", "tcp")]
        assert short(box, "web") == ["172.18.0.2"]
        assert len(upstream.questions) == 2


FORWARDED = LookupReport("forward", "NOERROR", servers=("host(127.0.0.53)",))


def test_servers_of_the_container_are_asked_from_inside(dns: Process, box: str) -> None:
    server = UpstreamServer("127.0.0.77")
    put(dns, view(box, servers=(server,), use_host_servers=False, external=False))
    with Upstream(box, "127.0.0.77"):
        assert short(box, "example.org") == ["198.51.100.1"]
        assert short(box, "example.org", "+tcp") == ["198.51.100.2"]


def test_failing_and_silent_servers_give_way(dns: Process, home: str, box: str) -> None:
    servers = tuple(UpstreamServer(f"127.0.1.{n}", ServerSide.HOST) for n in range(1, 4))
    put(dns, view(box, servers=servers))
    with Upstream(home, "127.0.1.2") as failing, Upstream(home, "127.0.1.3") as good:
        # Nobody listens at the first: its ICMP error comes back at once.
        failing.answer = lambda query, _tcp: Message(query.id, QR | ResponseCode.SERVFAIL, query.questions)
        started = time.monotonic()
        assert short(box, "example.org") == ["198.51.100.1"]
        assert time.monotonic() - started < 1.5
        assert len(failing.questions) == len(good.questions) == 1
        failing.answer = lambda _query, _tcp: None
        assert short(box, "example.com") == ["198.51.100.1"]
        good.answer = lambda query, _tcp: Message(query.id, QR | ResponseCode.NXDOMAIN, query.questions)
        failing.answer = good.answer
        assert "status: NXDOMAIN" in dig(box, "absent.example")


def test_a_cut_answer_is_passed_on_and_fetched_whole_over_tcp(dns: Process, home: str, box: str) -> None:
    put(dns, view(box, servers=(UpstreamServer("127.0.1.1", ServerSide.HOST),)))
    with Upstream(home, "127.0.1.1") as upstream:

        def answer(query: Message, tcp: bool) -> Message | None:
            if not tcp:
                return Message(query.id, QR | RA | TC, query.questions)
            name = query.questions[0].name
            records = tuple(Record(name, 1, 1, 1, bytes((10, 0, 0, n))) for n in range(200))
            return Message(query.id, QR | RA, query.questions, records)

        upstream.answer = answer
        assert len(short(box, "big.example")) == 200
        assert [how for _, how in upstream.questions] == ["udp", "tcp"]


def test_a_server_that_leads_back_is_found_out(dns: Process, box: str) -> None:
    """The container runs a forwarder on 127.0.0.53 that asks 127.0.0.11, and has it for --dns."""
    server = UpstreamServer("127.0.0.53")
    put(dns, view(box, servers=(server,), use_host_servers=False))
    with Upstream(box, "127.0.0.53") as forwarder:

        def ask_back(query: Message, _tcp: bool) -> Message | None:
            def exchange() -> Message:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.settimeout(1)
                    sock.sendto(render_message(query), ("127.0.0.11", 53))
                    return parse_message(sock.recv(4096))

            try:
                return inside(box, exchange)
            except OSError:
                return None

        forwarder.answer = ask_back
        assert "status: SERVFAIL" in dig(box, "round.example", "+time=9")
        wait_until(lambda: any("127.0.0.53" in line for line in dns.log))
        started = time.monotonic()
        assert "status: SERVFAIL" in dig(box, "again.example")
        assert time.monotonic() - started < 1
        assert dns.stats().counters["forwarded"] < 20
    assert short(box, "web") == ["172.18.0.2"]
