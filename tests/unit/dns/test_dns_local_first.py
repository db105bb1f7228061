"""Addresses on this host before, or instead of, those of the same name elsewhere."""

from ipaddress import ip_address

import pytest

from carrick.domains.dns.core import Nameserver
from carrick.domains.dns.forward import Deliver
from carrick.domains.dns.message import RD, Message, Question, RecordType, parse_message, render_message
from carrick.domains.dns.names import parse_name
from carrick.domains.dns.protocol import Codec, PutEndpoint, RemoveEndpoint, Snapshot
from carrick.domains.dns.zone import (
    LOCAL_FIRST,
    EndpointRecord,
    LinkAlias,
    LocalFirst,
    NetworkZone,
    SandboxView,
    parse_local_first,
)
from carrick.model.errors import InvalidRequest

NEAR = ("10.0.0.1", "10.0.0.2")
FAR = ("10.0.1.1", "10.0.1.2", "10.0.1.3")


def endpoint(address: str, *more: str) -> EndpointRecord:
    return EndpointRecord(address, ("web",), (address, *more), local=address in NEAR)


def server(wish: LocalFirst, *addresses: str) -> Nameserver[str]:
    core: Nameserver[str] = Nameserver(lambda size: bytes(range(size)))
    zone = NetworkZone("n", "net", ("10.0.0.0/16",), tuple(map(endpoint, addresses)), local_first=wish)
    core.load(Snapshot(1, (zone,), (SandboxView("box", "/run/netns/box", ("n",)),)))
    return core


def ask(core: Nameserver[str], name: str = "web", qtype: int = RecordType.A) -> list[str]:
    """Return one answer's addresses in their order, as a client gets it: kept ones come again by turns."""
    wire = render_message(Message(7, RD, (Question(parse_name(name) or (), qtype, 1),)))
    if kept := core.answers("box").get(wire[2:]):
        reply = wire[:2] + next(kept)
    else:
        (step,) = core.on_query("box", wire, "client", tcp=False, now=0.0)
        assert isinstance(step, Deliver)
        reply = step.reply
    return [str(ip_address(record.rdata)) for record in parse_message(reply).answers]


def test_those_here_come_first_and_each_group_takes_turns() -> None:
    core = server(LocalFirst.FIRST, FAR[0], NEAR[0], FAR[1], NEAR[1], FAR[2])
    answers = [ask(core) for _ in range(60)]
    assert all(set(answer[:2]) == set(NEAR) and set(answer[2:]) == set(FAR) for answer in answers)
    assert {answer[0] for answer in answers} == set(NEAR)
    assert {answer[2] for answer in answers} == set(FAR)
    # None is preferred within its group.
    assert sum(answer[0] == NEAR[0] for answer in answers) == 30
    assert sum(answer[2] == FAR[0] for answer in answers) == 20


def test_many_of_both_kinds_still_take_turns() -> None:
    near = tuple(f"10.0.0.{number}" for number in range(1, 8))
    far = tuple(f"10.0.1.{number}" for number in range(1, 31))
    core = server(LocalFirst.FIRST)
    for number, address in enumerate((*near, *far), 2):
        core.apply(number, [PutEndpoint("n", EndpointRecord(address, ("web",), (address,), address in near))])
    answers = [ask(core, "web.net")[: len(near)] for _ in range(32)]
    assert {answer[0] for answer in answers} == set(near)
    assert all(set(answer) <= set(near) for answer in answers)


def test_only_those_here_as_long_as_there_is_one() -> None:
    core = server(LocalFirst.ONLY, FAR[0], NEAR[0], FAR[1])
    assert [ask(core) for _ in range(3)] == [[NEAR[0]]] * 3
    core.apply(2, [RemoveEndpoint("n", NEAR[0])])
    assert set(ask(core)) == {FAR[0], FAR[1]}
    core.apply(3, [PutEndpoint("n", endpoint(NEAR[1]))])
    assert ask(core) == [NEAR[1]]


def test_only_counts_containers_not_families() -> None:
    core = server(LocalFirst.ONLY, NEAR[0])
    core.apply(2, [PutEndpoint("n", endpoint(FAR[0], "fd00::5"))])
    assert ask(core, qtype=RecordType.AAAA) == []


def test_first_is_told_apart_in_each_family() -> None:
    core = server(LocalFirst.FIRST)
    core.apply(2, [PutEndpoint("n", endpoint(FAR[0], "fd00::5")), PutEndpoint("n", endpoint(NEAR[0]))])
    assert ask(core, qtype=RecordType.AAAA) == ["fd00::5"]
    assert ask(core) == [NEAR[0], FAR[0]]


def test_without_the_option_all_take_turns() -> None:
    core = server(LocalFirst.OFF, FAR[0], NEAR[0], FAR[1])
    assert {ask(core)[0] for _ in range(12)} == {FAR[0], NEAR[0], FAR[1]}


def test_links_follow_the_same_order() -> None:
    core = server(LocalFirst.ONLY, FAR[0], NEAR[0])
    zones = core.snapshot().networks
    view = SandboxView("box", "/run/netns/box", ("n",), links=(LinkAlias("other", target="web"),))
    core.load(Snapshot(2, zones, (view,)))
    assert ask(core, "other") == [NEAR[0]]


def test_what_is_kept_and_what_is_sent_have_it() -> None:
    core = server(LocalFirst.FIRST, FAR[0], NEAR[0])
    codec = Codec()
    sent = codec.decode_request(codec.encode(core.snapshot()))
    assert sent == core.snapshot()
    assert isinstance(sent, Snapshot)
    assert sent.networks[0].local_first is LocalFirst.FIRST
    assert [item.local for item in sent.networks[0].endpoints] == [False, True]


def test_older_snapshots_are_as_without_the_option() -> None:
    record = b'{"endpoint_id":"e","names":["web"],"addresses":["10.0.1.1"]}'
    zone = b'{"network_id":"n","name":"net","subnets":[],"endpoints":[' + record + b"]}"
    read = Codec().decode_request(b'{"type":"snapshot","revision":1,"networks":[' + zone + b"]}")
    assert isinstance(read, Snapshot)
    assert read.networks[0].local_first is LocalFirst.OFF
    assert read.networks[0].endpoints[0].local


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", LocalFirst.OFF),
        ("false", LocalFirst.OFF),
        ("true", LocalFirst.FIRST),
        ("only", LocalFirst.ONLY),
    ],
)
def test_the_option(text: str, expected: LocalFirst) -> None:
    assert parse_local_first({LOCAL_FIRST: text}) is expected
    assert parse_local_first({}) is LocalFirst.OFF


def test_another_value_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        InvalidRequest, match=r"carrick\.dns\.local_first: 'yes' is none of false, true, only"
    ):
        parse_local_first({LOCAL_FIRST: "yes"})
