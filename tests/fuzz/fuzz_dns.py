"""Random and mutated packets through the whole answer path of `carrick-dns`.

`CARRICK_FUZZ_ROUNDS` packets (20 000 by default), from the seed `CARRICK_FUZZ_SEED` (printed, so that
a failure can be repeated). Fails if anything raises, if a reply is not a parsable response to its
query, or if it is larger than the client accepts.
"""

import os
import random

from carrick.domains.dns.core import Nameserver
from carrick.domains.dns.forward import Ask, Deliver
from carrick.domains.dns.message import (
    QR,
    RD,
    Edns,
    MalformedMessage,
    Message,
    Question,
    Record,
    parse_message,
    render_message,
)
from carrick.domains.dns.protocol import Snapshot
from carrick.domains.dns.query import Query, parse_query
from carrick.domains.dns.zone import EndpointRecord, LinkAlias, NetworkZone, SandboxView

LABELS = (b"web", b"net", b"WEB", b"in-addr", b"arpa", b"ip6", b"2", b"18", b"172", b"a.b", b"\xff")


def build_server() -> Nameserver[int]:
    core: Nameserver[int] = Nameserver(os.urandom)
    many = tuple(
        EndpointRecord(f"e{n}", (f"c{n}", "web"), (f"172.18.1.{n}", f"fd00::{n:x}")) for n in range(1, 100)
    )
    view = SandboxView("box", "/netns", ("n",), links=(LinkAlias("a.b", "web"),))
    core.load(Snapshot(1, (NetworkZone("n", "net", ("172.18.0.0/16",), many),), (view,)))
    core.use_host_servers(("192.0.2.1", "192.0.2.2"))
    return core


def make_packet(rng: random.Random) -> bytes:
    """Return garbage, or a query with some of its bytes changed."""
    if rng.random() < 0.2:
        return rng.randbytes(rng.randrange(80))
    name = tuple(rng.choice(LABELS) for _ in range(rng.randrange(5)))
    qtype = rng.choice((1, 28, 12, 15, 255, 41, 252, rng.randrange(65536)))
    extra = []
    if rng.random() < 0.5:
        edns = Edns(rng.randrange(65536), rng.choice((0, 0, 0, 1)), options=rng.randbytes(4))
        extra.append(edns.record())
    question = Question(name, qtype, rng.choice((1, 1, 1, 3, 255)))
    wire = bytearray(render_message(Message(rng.randrange(65536), RD, (question,), (), (), tuple(extra))))
    for _ in range(rng.choice((0, 0, 1, 2, 8))):
        wire[rng.randrange(len(wire))] = rng.randrange(256)
    if rng.random() < 0.1:
        del wire[rng.randrange(len(wire)) :]
    return bytes(wire)


def check_reply(wire: bytes, reply: bytes, *, tcp: bool, ours: bool) -> None:
    assert reply[2] & 0x80
    assert reply[:2] == wire[:2]
    if ours:  # an upstream's answer is passed on as it came, sense or nonsense
        parse_message(reply)
    query = parse_query(wire)
    if isinstance(query, Query):
        assert tcp or len(reply) <= query.udp_size
        assert reply[4:6] == b"\0\1"
        assert reply[12 : 12 + len(query.question)] == query.question


def mangle_reply(rng: random.Random, ask: Ask) -> bytes:
    try:
        sent = parse_message(ask.payload)
    except MalformedMessage:  # only its question has to make sense to be forwarded
        return ask.payload[:2] + b"\x81\x80" + ask.payload[4:]
    record = Record((b"x",), rng.choice((1, 5, 6, 15)), 1, 1, rng.randbytes(rng.randrange(30)))
    rcode = rng.choice((0, 0, 2, 3, 5))
    reply = bytearray(
        render_message(Message(sent.id, QR | rcode, sent.questions[:1], (record,) * rng.randrange(60)))
    )
    for _ in range(rng.choice((0, 0, 1, 4))):
        reply[rng.randrange(2, len(reply))] = rng.randrange(256)
    return bytes(reply)


def run(rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    core = build_server()
    now = 0.0
    clients: dict[int, tuple[bytes, bool]] = {}
    for number in range(rounds):
        now += rng.random()
        wire, tcp = make_packet(rng), rng.random() < 0.3
        clients[number] = (wire, tcp)
        steps = core.on_query("box", wire, number, tcp=tcp, now=now)
        ours = bool(steps) and isinstance(steps[0], Deliver)
        steps += core.expire(now)
        while steps:
            step = steps.pop()
            if isinstance(step, Deliver):
                asked, over_tcp = clients.pop(step.client)
                check_reply(asked, step.reply, tcp=over_tcp, ours=ours and step.client == number)
            elif isinstance(step, Ask) and rng.random() < 0.8:
                steps += core.on_upstream_reply(step.flight, step.attempt, mangle_reply(rng, step), now)
    for repeatable in core.answers("box").values():
        assert next(repeatable)


def test_no_packet_upsets_the_name_server() -> None:
    rounds = int(os.environ.get("CARRICK_FUZZ_ROUNDS", "20000"))
    seed = int(os.environ.get("CARRICK_FUZZ_SEED", str(random.SystemRandom().randrange(1 << 32))))
    print(f"CARRICK_FUZZ_SEED={seed} CARRICK_FUZZ_ROUNDS={rounds}")
    run(rounds, seed)


if __name__ == "__main__":
    test_no_packet_upsets_the_name_server()
