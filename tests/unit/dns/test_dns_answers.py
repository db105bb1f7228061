"""The table of rules: what a sandbox is answered, what is forwarded."""

import pytest

from carrick.domains.dns.core import Nameserver
from carrick.domains.dns.forward import Ask, Deliver
from carrick.domains.dns.message import (
    AA,
    RA,
    RD,
    Edns,
    Message,
    Question,
    RecordType,
    ResponseCode,
    parse_message,
    render_message,
)
from carrick.domains.dns.names import parse_name, read_name, render_text
from carrick.domains.dns.protocol import (
    Lookup,
    PutEndpoint,
    RemoveEndpoint,
    RemoveNetwork,
    Snapshot,
)
from carrick.domains.dns.zone import (
    EndpointRecord,
    HostRecord,
    LinkAlias,
    NetworkZone,
    SandboxView,
    ServerSide,
    UpstreamServer,
)
from carrick.model.errors import NotFound

FRONT = NetworkZone(
    "n-front",
    "front",
    ("172.18.0.0/16", "fd00:18::/64"),
    (
        EndpointRecord("e1", ("web", "www", "0123456789ab"), ("172.18.0.2", "fd00:18::2")),
        EndpointRecord("e2", ("db", "pool", "dotted.name"), ("172.18.0.3",)),
        EndpointRecord("e3", ("six", "pool6"), ("fd00:18::4",)),
        EndpointRecord("e4", ("w1", "pool"), ("172.18.0.5",)),
    ),
)
BACK = NetworkZone(
    "n-back",
    "back.end",
    ("10.9.0.0/20",),
    (
        EndpointRecord("e5", ("web",), ("10.9.0.2",)),
        EndpointRecord("e6", ("store",), ("10.9.0.3",)),
    ),
)
OTHER = NetworkZone("n-other", "other", (), (EndpointRecord("e7", ("secret",), ("10.8.0.2",)),))

VIEW = SandboxView(
    sandbox_id="box",
    netns_path="/run/netns/box",
    networks=("n-front", "n-back"),
    links=(
        LinkAlias("store-alias", target="store"),
        LinkAlias("legacy", addresses=("172.17.0.9",)),
        LinkAlias("web", target="db", network_id="n-back"),
        LinkAlias("gone", target="stopped"),
    ),
    extra_hosts=(HostRecord("host.docker.internal", ("172.18.0.1", "fd00:18::1")),),
)


def server(**changes: object) -> Nameserver[str]:
    core: Nameserver[str] = Nameserver(lambda size: bytes(range(size)))
    values = {slot: getattr(VIEW, slot) for slot in VIEW.__slots__} | changes
    core.load(Snapshot(1, (FRONT, BACK, OTHER), (SandboxView(**values),)))  # type: ignore[arg-type]
    core.use_host_servers(("192.0.2.1",))
    return core


def query(name: str, qtype: int = RecordType.A, qclass: int = 1, edns: Edns | None = None) -> bytes:
    question = Question(parse_name(name) or (), qtype, qclass)
    return render_message(Message(77, RD, (question,), additional=(edns.record(),) if edns else ()))


def reply_of(core: Nameserver[str], wire: bytes, *, tcp: bool = False) -> Message | None:
    """Return the reply, or None if the question was forwarded."""
    steps = core.on_query("box", wire, "client", tcp=tcp, now=0.0)
    if isinstance(steps[0], Ask):
        return None
    assert isinstance(steps[0], Deliver)
    return parse_message(steps[0].reply)


def addresses(reply: Message | None) -> set[str]:
    assert reply is not None
    assert reply.rcode == ResponseCode.NOERROR
    return {record.rdata.hex() for record in reply.answers}


V4 = {"web": "ac120002", "db": "ac120003", "w1": "ac120005"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web", {V4["web"]}),  # the link of that name is for the other network: front comes first
        ("WEB", {V4["web"]}),
        ("web.", {V4["web"]}),
        ("0123456789ab", {V4["web"]}),
        ("www.front", {V4["web"]}),
        ("web.FRONT", {V4["web"]}),
        ("web.back.end", {"0a090002"}),
        ("store", {"0a090003"}),
        ("store.back.end", {"0a090003"}),
        ("dotted.name", {V4["db"]}),
        ("dotted.name.front", {V4["db"]}),
        ("pool", {V4["db"], V4["w1"]}),
        ("store-alias", {"0a090003"}),
        ("store-alias.back.end", {"0a090003"}),
        ("legacy", {"ac110009"}),
        ("host.docker.internal", {"ac120001"}),
        ("six", set()),  # exists, in the other family
        ("store.front", None),
        ("secret", None),
        ("secret.other", None),
        ("gone", None),
        ("web.nowhere", None),
        ("unknown", None),
        ("front", None),
        (".", None),
        ("example.org", None),
    ],
)
def test_addresses_by_name(name: str, expected: set[str] | None) -> None:
    reply = reply_of(server(), query(name))
    if expected is None:
        assert reply is None
    else:
        assert addresses(reply) == expected


def test_a_link_of_the_network_itself_comes_before_its_names() -> None:
    core = server(links=(LinkAlias("web", target="db", network_id="n-front"),))
    assert addresses(reply_of(core, query("web"))) == {V4["db"]}
    assert addresses(reply_of(core, query("web.back.end"))) == {"0a090002"}


@pytest.mark.parametrize(
    ("name", "qtype", "count"),
    [
        ("web", RecordType.AAAA, 1),
        ("db", RecordType.AAAA, 0),
        ("web", RecordType.MX, 0),
        ("web", RecordType.TXT, 0),
        ("web", 65, 0),
        ("web", RecordType.ANY, 2),
        ("host.docker.internal", RecordType.AAAA, 1),
    ],
)
def test_other_types_of_a_known_name_are_never_forwarded(name: str, qtype: int, count: int) -> None:
    reply = reply_of(server(), query(name, qtype))
    assert reply is not None
    assert reply.rcode == ResponseCode.NOERROR
    assert len(reply.answers) == count


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2.0.18.172.in-addr.arpa", "web.front."),
        ("2.0.9.10.in-addr.arpa", "web.back.end."),
        (
            "4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.1.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            None,
        ),
        ("4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.1.0.0.0.0.d.f.ip6.arpa", "six.front."),
    ],
)
def test_names_by_address(name: str, expected: str | None) -> None:
    reply = reply_of(server(), query(name, RecordType.PTR))
    if expected is None:
        assert reply is None
        return
    assert reply is not None
    assert [render_text(read_name(r.rdata, 0)[0]) for r in reply.answers] == [expected]


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        ("99.0.18.172.in-addr.arpa", ResponseCode.NXDOMAIN),
        ("1.15.9.10.in-addr.arpa", ResponseCode.NXDOMAIN),  # inside the /20
        ("1.16.9.10.in-addr.arpa", None),  # just outside
        ("18.172.in-addr.arpa", ResponseCode.NOERROR),
        ("172.in-addr.arpa", None),
        ("2.0.8.10.in-addr.arpa", None),  # no subnet declared: somebody else's zone
        ("8.8.8.8.in-addr.arpa", None),
    ],
)
def test_our_reverse_zones_do_not_leak(name: str, rcode: ResponseCode | None) -> None:
    reply = reply_of(server(), query(name, RecordType.PTR))
    assert (None if reply is None else reply.rcode) == rcode


def test_a_reverse_zone_is_let_go_with_its_network() -> None:
    core = server()
    asked = query("99.0.18.172.in-addr.arpa", RecordType.PTR)
    assert reply_of(core, asked) is not None
    core.apply(2, (RemoveNetwork("n-front"),))
    assert not core.answers("box")
    assert reply_of(core, asked) is None


def test_flags_class_and_case() -> None:
    reply = reply_of(server(), query("wEb"))
    assert reply is not None
    assert reply.flags & (AA | RA | RD) == AA | RA | RD
    assert reply.questions[0].name == (b"wEb",)
    assert reply.answers[0].ttl == 1
    chaos = reply_of(server(), query("version.bind", RecordType.TXT, qclass=3))
    assert chaos is not None
    assert chaos.rcode == ResponseCode.REFUSED
    transfer = reply_of(server(), query("example.org", RecordType.AXFR), tcp=True)
    assert transfer is not None
    assert transfer.rcode == ResponseCode.REFUSED


def test_single_labels_stay_home_if_the_user_set_ndots() -> None:
    core = server(ndots_set=True)
    for qtype in (RecordType.A, RecordType.AAAA):
        reply = reply_of(core, query("unknown", qtype))
        assert reply is not None
        assert (reply.rcode, reply.answers) == (ResponseCode.NOERROR, ())
    assert reply_of(core, query("unknown", RecordType.MX)) is None
    assert reply_of(core, query("un.known")) is None


def asked_servers(core: Nameserver[str]) -> list[str]:
    steps = core.on_query("box", query("example.org"), "c", tcp=False, now=0.0)
    found = []
    while isinstance(steps[0], Ask):
        ask = steps[0]
        found.append(f"{ask.server.side.value}:{ask.server.address}")
        steps = core.on_upstream_error(ask.flight, ask.attempt, 0.0)
    return found


OWN = UpstreamServer("172.18.0.53")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["host:192.0.2.1"]),
        ({"external": False}, []),
        ({"external": False, "servers": (OWN,)}, ["container:172.18.0.53"]),
        ({"servers": (OWN,), "use_host_servers": False}, ["container:172.18.0.53"]),
        ({"servers": (OWN,)}, ["container:172.18.0.53", "host:192.0.2.1"]),
        ({"servers": (UpstreamServer("127.0.0.11"),), "use_host_servers": False}, []),
        ({"servers": (UpstreamServer("127.0.0.11", ServerSide.HOST),)}, None),
        (
            {"servers": tuple(UpstreamServer(f"10.0.0.{n}") for n in range(1, 6))},
            ["container:10.0.0.1", "container:10.0.0.2", "container:10.0.0.3"],
        ),
    ],
)
def test_who_is_asked(changes: dict[str, object], expected: list[str] | None) -> None:
    core = server(**changes)
    if expected is None:  # the host's 127.0.0.11 is another's, unless we serve the host itself
        assert asked_servers(core)[0] == "host:127.0.0.11"
        core.set_host_is_sandbox(True)
        assert asked_servers(core) == ["host:192.0.2.1"]
    else:
        assert asked_servers(core) == expected


def test_without_a_server_the_answer_is_servfail() -> None:
    reply = reply_of(server(external=False), query("example.org"))
    assert reply is not None
    assert reply.rcode == ResponseCode.SERVFAIL


def test_several_addresses_take_turns() -> None:
    core = server()
    wire = query("pool")
    first = reply_of(core, wire)
    assert first is not None
    bodies = core.answers("box")[wire[2:]]
    heads = [first.answers[0].rdata]
    heads += [parse_message(wire[:2] + next(bodies)).answers[0].rdata for _ in range(5)]
    assert heads[0::2] == [heads[0]] * 3
    assert heads[1::2] == [heads[1]] * 3
    assert heads[0] != heads[1]


def test_repeated_answers_are_forgotten_with_the_change() -> None:
    core = server()
    wire = query("web")
    reply_of(core, wire)
    answers = core.answers("box")
    assert wire[2:] in answers
    core.apply(2, (RemoveEndpoint("n-other", "e7"),))
    assert wire[2:] in answers  # not a network of this sandbox
    core.apply(3, (PutEndpoint("n-front", EndpointRecord("e1", ("web",), ("172.18.0.77",))),))
    assert not answers
    assert addresses(reply_of(core, wire)) == {"ac12004d"}
    assert core.answers("box") is answers


def test_nothing_is_kept_for_tcp_options_or_forwards() -> None:
    core = server()
    reply_of(core, query("web"), tcp=True)
    reply_of(core, query("web", edns=Edns(1232, options=b"\0\x0a\0\x08cookie!!")))
    reply_of(core, query("example.org"))
    assert not core.answers("box")


def test_an_unknown_sandbox_is_refused() -> None:
    step = server().on_query("nobody", query("web"), "c", tcp=False, now=0.0)[0]
    assert isinstance(step, Deliver)
    assert parse_message(step.reply).rcode == ResponseCode.REFUSED


def test_lookup_tells_people_what_would_happen() -> None:
    core = server()
    assert core.lookup(Lookup("box", "pool")).records == ("172.18.0.3", "172.18.0.5")
    assert core.lookup(Lookup("box", "2.0.18.172.in-addr.arpa", "ptr")).records == ("web.front.",)
    forwarded = core.lookup(Lookup("box", "example.org"))
    assert (forwarded.source, forwarded.servers) == ("forward", ("host(192.0.2.1)",))
    assert core.lookup(Lookup("box", "web", "NONSENSE")).source == "none"
    with pytest.raises(NotFound):
        core.lookup(Lookup("nobody", "web"))
