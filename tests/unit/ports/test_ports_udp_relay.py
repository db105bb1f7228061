"""Flows of the UDP relay: how long they last, and how many there are. On an address drawn for the test."""

import random
import socket
import time
from collections.abc import Iterator

import pytest

from carrick.host.portholder import udp_relay
from carrick.host.portholder.contract import HeldPort
from carrick.host.portholder.descriptors import Descriptors
from carrick.host.portholder.sockets import open_reserved
from carrick.host.portholder.udp_relay import IDLE_S, UdpRelay
from carrick.host.resolver.reactor import Reactor


class Bench:
    def __init__(self) -> None:
        draw = random.SystemRandom()
        self.ip = f"127.{draw.randrange(1, 255)}.{draw.randrange(256)}.{draw.randrange(1, 255)}"
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind((self.ip, 53))
        self.server.settimeout(5)
        self.reactor = Reactor()
        self.descriptors = Descriptors(1000)
        port = HeldPort("udp", self.ip, 5353, (self.ip, 53))
        self.sock = open_reserved(port)
        buffer = memoryview(bytearray(1 << 16))
        self.relay = UdpRelay(self.sock, port, self.reactor, self.descriptors, buffer)
        self.relay.point_to(port.relay_to)
        self.clients: list[socket.socket] = []

    def turn(self) -> None:
        """Let the loop take what has come."""
        self.reactor.call_at(self.reactor.now() + 0.02, self.reactor.stop)
        self.reactor.run()

    def send(self, text: bytes, sock: socket.socket | None = None) -> socket.socket:
        if sock is None:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(5)
            self.clients.append(sock)
        sock.sendto(text, (self.ip, 5353))
        self.turn()
        return sock

    def wait(self, seconds: float) -> None:
        now = self.reactor.now()
        start = time.monotonic()
        self.reactor.now = lambda: now + seconds + time.monotonic() - start
        self.relay.sweep()

    def close(self) -> None:
        self.relay.close()
        self.reactor.close()
        for sock in (self.server, self.sock, *self.clients):
            sock.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()
    assert made.descriptors.used == 0


def test_a_silent_client_is_forgotten(bench: Bench) -> None:
    first = bench.send(b"1")
    bench.wait(IDLE_S - 10)
    bench.send(b"2")
    bench.send(b"again", first)
    assert bench.relay.flow_count == 2
    bench.wait(IDLE_S - 10)
    assert bench.relay.flow_count == 2
    bench.send(b"again", first)
    bench.wait(20)
    assert bench.relay.flow_count == 1
    bench.wait(IDLE_S)
    assert bench.relay.flow_count == 0


def test_answers_keep_a_flow(bench: Bench) -> None:
    bench.send(b"subscribe")
    _, flow = bench.server.recvfrom(100)
    for _ in range(3):
        bench.wait(IDLE_S - 10)
        bench.server.sendto(b"news", flow)
        bench.turn()
        assert bench.clients[0].recvfrom(100) == (b"news", (bench.ip, 5353))
    assert bench.relay.flow_count == 1


def test_the_longest_silent_makes_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_relay, "MAX_FLOWS", 3)
    clients = [bench.send(b"%d" % number) for number in range(3)]
    flows = [bench.server.recvfrom(100)[1] for _ in clients]
    bench.send(b"0", clients[0])
    bench.server.recvfrom(100)
    bench.send(b"3")
    assert bench.relay.flow_count == 3
    bench.server.sendto(b"kept", flows[0])
    bench.turn()
    assert clients[0].recv(100) == b"kept"
    bench.send(b"1", clients[1])  # was forgotten, and is a new one now
    messages = [bench.server.recvfrom(100) for _ in range(2)]
    assert [text for text, _ in messages] == [b"3", b"1"]
    assert messages[1][1] != flows[1]
