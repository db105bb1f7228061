"""The forwarder on a clock of the test's own."""

import itertools

import pytest

from carrick.domains.dns.forward import (
    GIVE_UP_AFTER_S,
    LOOP_HOLD_S,
    NEXT_AFTER_S,
    Ask,
    Close,
    Deliver,
    Forwarder,
    Step,
    Warn,
)
from carrick.domains.dns.message import (
    QR,
    RA,
    RD,
    TC,
    Edns,
    Message,
    Question,
    Record,
    ResponseCode,
    parse_message,
    render_message,
)
from carrick.domains.dns.names import parse_name
from carrick.domains.dns.query import Query, parse_query
from carrick.domains.dns.zone import ServerSide, UpstreamServer

ONE, TWO, THREE, FOUR = (UpstreamServer(f"192.0.2.{n}", ServerSide.HOST) for n in range(1, 5))


class World:
    """A forwarder, and what it asks and delivers."""

    def __init__(self, max_in_flight: int = 2048) -> None:
        serial = itertools.count(0x4000)
        self.forwarder: Forwarder[str] = Forwarder(
            lambda size: next(serial).to_bytes(size), max_in_flight=max_in_flight
        )
        self.asked: list[Ask] = []
        self.delivered: dict[str, Message] = {}
        self.warnings: list[str] = []
        self.closed: list[int] = []

    def take(self, steps: list[Step[str]]) -> None:
        for step in steps:
            match step:
                case Ask():
                    self.asked.append(step)
                case Deliver():
                    self.delivered[step.client] = parse_message(step.reply)
                case Warn():
                    self.warnings.append(step.text)
                case Close():
                    self.closed.append(step.flight)

    def ask(
        self,
        client: str,
        name: str = "example.org",
        servers: tuple[UpstreamServer, ...] = (ONE, TWO),
        *,
        box: str = "box",
        tcp: bool = False,
        now: float = 0.0,
        edns: Edns | None = None,
        identity: int = 99,
    ) -> None:
        extra = (edns.record(),) if edns else ()
        question = Question(parse_name(name) or (), 1)
        wire = render_message(Message(identity, RD, (question,), additional=extra))
        query = parse_query(wire)
        assert isinstance(query, Query)
        self.take(self.forwarder.start(box, servers, query, wire, client, tcp=tcp, now=now))

    def reply(
        self, index: int, rcode: int = 0, *, now: float = 0.0, records: int = 1, flags: int = 0
    ) -> None:
        ask = self.asked[index]
        sent = parse_message(ask.payload)
        record = Record(sent.questions[0].name, 1, 1, 60, b"\x01\x02\x03\x04")
        reply = Message(sent.id, QR | RD | RA | rcode | flags, sent.questions, (record,) * records)
        self.raw(index, render_message(reply), now=now)

    def raw(self, index: int, data: bytes, *, now: float = 0.0) -> None:
        ask = self.asked[index]
        self.take(self.forwarder.on_reply(ask.flight, ask.attempt, data, now))

    def later(self, now: float) -> None:
        self.take(self.forwarder.expire(now))


def test_a_question_goes_out_unchanged_but_for_its_id_and_the_answer_comes_back() -> None:
    world = World()
    world.ask("c", edns=Edns(4096, options=b"\0\x0a\0\x08cookie!!"))
    assert world.asked[0].server == ONE
    sent = parse_message(world.asked[0].payload)
    assert sent.id != 99
    assert sent.edns == Edns(4096, options=b"\0\x0a\0\x08cookie!!")
    world.reply(0)
    assert world.delivered["c"].id == 99
    assert len(world.delivered["c"].answers) == 1
    assert world.closed == [world.asked[0].flight]
    assert world.forwarder.in_flight == 0
    assert world.forwarder.next_deadline() is None


@pytest.mark.parametrize("rcode", [ResponseCode.SERVFAIL, ResponseCode.REFUSED])
def test_a_server_that_fails_gives_way_to_the_next(rcode: ResponseCode) -> None:
    world = World()
    world.ask("c")
    world.reply(0, rcode)
    assert [ask.server for ask in world.asked] == [ONE, TWO]
    world.reply(1)
    assert world.delivered["c"].rcode == ResponseCode.NOERROR


def test_no_such_name_is_final() -> None:
    world = World()
    world.ask("c")
    world.reply(0, ResponseCode.NXDOMAIN, records=0)
    assert len(world.asked) == 1
    assert world.delivered["c"].rcode == ResponseCode.NXDOMAIN


def test_silence_goes_on_to_the_next_and_the_first_may_still_answer() -> None:
    world = World()
    world.ask("c")
    assert world.forwarder.next_deadline() == NEXT_AFTER_S
    world.later(NEXT_AFTER_S - 0.1)
    assert len(world.asked) == 1
    world.later(NEXT_AFTER_S)
    assert len(world.asked) == 2
    world.reply(0, now=NEXT_AFTER_S + 0.1)
    assert world.delivered["c"].rcode == ResponseCode.NOERROR


def test_when_all_are_silent_the_client_hears_servfail() -> None:
    world = World()
    world.ask("c", servers=(ONE, TWO, THREE, FOUR))
    for _ in range(5):
        deadline = world.forwarder.next_deadline()
        if deadline is None:
            break
        world.later(deadline)
    assert [ask.server for ask in world.asked] == [ONE, TWO, THREE]
    assert world.delivered["c"].rcode == ResponseCode.SERVFAIL
    assert deadline is None


def test_the_last_failure_waits_for_servers_that_are_still_open() -> None:
    world = World()
    world.ask("c")
    world.later(NEXT_AFTER_S)
    world.reply(1, ResponseCode.SERVFAIL, now=NEXT_AFTER_S)
    assert not world.delivered
    world.reply(0, now=NEXT_AFTER_S + 1)
    assert world.delivered["c"].rcode == ResponseCode.NOERROR


def test_when_all_fail_the_client_hears_servfail_at_once() -> None:
    world = World()
    world.ask("c")
    world.reply(0, ResponseCode.REFUSED)
    ask = world.asked[1]
    world.take(world.forwarder.on_error(ask.flight, ask.attempt, 0.0))
    assert world.delivered["c"].rcode == ResponseCode.SERVFAIL
    world.take(world.forwarder.on_error(ask.flight, ask.attempt, 0.0))  # too late, harmless


def test_without_servers_the_answer_is_servfail() -> None:
    world = World()
    world.ask("c", servers=())
    assert world.delivered["c"].rcode == ResponseCode.SERVFAIL
    assert world.forwarder.in_flight == 0


def test_what_does_not_belong_is_ignored() -> None:
    world = World()
    world.ask("c")
    sent = parse_message(world.asked[0].payload)
    wrong_id = Message(sent.id ^ 1, QR, sent.questions)
    wrong_name = Message(sent.id, QR, (Question((b"evil",), 1),))
    wrong_type = Message(sent.id, QR, (Question(sent.questions[0].name, 28),))
    no_response = Message(sent.id, 0, sent.questions)
    answer_without_question = Message(sent.id, QR, (), (Record((), 1, 1, 1, b"1234"),))
    for forged in (wrong_id, wrong_name, wrong_type, no_response, answer_without_question):
        world.raw(0, render_message(forged))
    world.raw(0, b"")
    world.raw(0, b"\xff" * 600)
    assert not world.delivered
    world.reply(0)
    assert world.delivered


def test_a_format_error_without_a_question_is_passed_on() -> None:
    world = World()
    world.ask("c")
    sent = parse_message(world.asked[0].payload)
    world.raw(0, render_message(Message(sent.id, QR | ResponseCode.FORMERR)))
    assert world.delivered["c"].rcode == ResponseCode.FORMERR


def test_a_cut_answer_is_passed_with_its_mark_and_an_oversized_one_is_cut() -> None:
    world = World()
    world.ask("c")
    world.reply(0, flags=TC)
    assert world.delivered["c"].flags & TC
    world.ask("d")
    world.reply(1, records=200)
    assert world.delivered["d"].flags & TC
    assert world.delivered["d"].answers == ()
    world.ask("e", tcp=True)
    assert world.asked[2].tcp
    world.reply(2, records=200)
    assert len(world.delivered["e"].answers) == 200


def test_equal_questions_share_a_flight_and_keep_their_own_id_and_case() -> None:
    world = World()
    world.ask("a", "example.org", identity=1)
    world.ask("b", "eXample.ORG", identity=2)
    world.ask("c", "example.org", box="another", identity=3)
    assert len(world.asked) == 2
    world.reply(0)
    assert set(world.delivered) == {"a", "b"}
    assert (world.delivered["a"].id, world.delivered["b"].id) == (1, 2)
    assert world.delivered["b"].questions[0].name == (b"eXample", b"ORG")


def test_a_busy_sandbox_cannot_shut_the_others_out() -> None:
    world = World(max_in_flight=20)
    for number in range(40):
        world.ask(f"busy{number}", f"n{number}.example", box="busy")
    refused = [c for c, r in world.delivered.items() if r.rcode == ResponseCode.REFUSED]
    assert len(refused) == 30
    world.ask("quiet", "q.example", box="quiet")
    assert "quiet" not in world.delivered
    for index in range(len(world.asked)):
        world.reply(index)
    assert world.forwarder.in_flight == 0
    world.ask("again", "again.example", box="busy")
    assert "again" not in world.delivered


def test_a_sandbox_that_goes_takes_its_flights_with_it() -> None:
    world = World()
    world.ask("a")
    world.ask("b", box="stays")
    world.take(world.forwarder.drop_sandbox("box"))
    assert world.closed == [world.asked[0].flight]
    assert world.forwarder.in_flight == 1
    world.reply(0)
    assert not world.delivered


def test_a_loop_ends_and_is_proven_by_a_probe() -> None:
    world = World()
    server = UpstreamServer("172.18.0.9")
    world.ask("app", servers=(server,))
    world.ask("returned", servers=(server,))  # what the server, asked, asks us
    assert len(world.asked) == 1
    world.later(GIVE_UP_AFTER_S)
    assert world.delivered["app"].rcode == ResponseCode.SERVFAIL
    assert world.delivered["returned"].rcode == ResponseCode.SERVFAIL
    probe = world.asked[1]
    assert probe.server == server
    nonce = parse_message(probe.payload).questions[0].name
    assert nonce[1:] == (b"carrick-loop", b"test")

    world.take(world.forwarder.on_probe_seen(b"guessed", GIVE_UP_AFTER_S))
    assert not world.warnings
    now = GIVE_UP_AFTER_S + 0.01
    world.take(world.forwarder.on_probe_seen(nonce[0], now))
    assert len(world.warnings) == 1
    assert "172.18.0.9" in world.warnings[0]
    world.ask("later", servers=(server,), now=now)
    assert world.delivered["later"].rcode == ResponseCode.SERVFAIL
    world.ask("other", servers=(server, ONE), now=now)
    assert world.asked[-1].server == ONE
    world.ask("much later", "else.example", servers=(server,), now=now + LOOP_HOLD_S)
    assert world.asked[-1].server == server


def test_a_silent_server_is_not_probed_without_suspicion() -> None:
    world = World()
    world.ask("c", servers=(ONE,))
    world.later(GIVE_UP_AFTER_S)
    assert len(world.asked) == 1


def test_a_probe_that_is_answered_elsewhere_proves_nothing() -> None:
    world = World()
    world.ask("a", servers=(ONE,))
    world.ask("b", servers=(ONE,))
    world.later(GIVE_UP_AFTER_S)
    world.reply(1, ResponseCode.NXDOMAIN, records=0, now=GIVE_UP_AFTER_S)
    assert not world.warnings
    assert world.forwarder.next_deadline() is None
