"""What goes over the control socket, and what a request does whatever it is."""

import json
import logging

import msgspec
import pytest

from carrick.host.portholder.contract import HeldPort, PortTaken
from carrick.host.portholder.descriptors import Descriptors
from carrick.host.portholder.holdings import Holdings
from carrick.host.portholder.protocol import (
    Done,
    Hold,
    Refused,
    Release,
    Request,
    Sync,
    decode_reply,
    encode,
    parse_request,
    raise_error,
    render_error,
)
from carrick.host.resolver.reactor import Reactor
from carrick.model.errors import (
    CarrickError,
    Conflict,
    Denied,
    Failed,
    InvalidRequest,
    KernelRefused,
    Unavailable,
    Unsupported,
)
from carrick.ports_process import handle

PORT = HeldPort("tcp", "::", 8080, ("10.0.0.2", 80))


@pytest.mark.parametrize(
    "request_",
    [
        Hold(1, "a", (PORT, HeldPort("udp", "0.0.0.0", 53))),
        Release(2, "a"),
        Release(3, "a", (PORT,)),
        Sync(4, {"a": (PORT,), "b": ()}),
    ],
)
def test_requests_survive_the_wire(request_: Request) -> None:
    assert parse_request(encode(request_)) == request_


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("a", remedy="b"),
        Unavailable("a"),
        Denied("a"),
        Unsupported("a"),
        Conflict("a"),
        Failed("a", remedy="c"),
        KernelRefused("a", errno=5),
        PortTaken(PORT, "nginx (pid 3)"),
        PortTaken(PORT, "web", "web"),
    ],
)
def test_errors_survive_the_wire(error: CarrickError) -> None:
    reply = decode_reply(encode(render_error(7, error)))
    assert isinstance(reply, Refused)
    assert reply.number == 7
    with pytest.raises(type(error)) as caught:
        raise_error(reply)
    assert type(caught.value) is type(error)
    assert caught.value.message == error.message
    assert caught.value.remedy == error.remedy
    if isinstance(error, PortTaken):
        assert isinstance(caught.value, PortTaken)
        assert (caught.value.held, caught.value.holder, caught.value.owner) == (
            error.held,
            error.holder,
            error.owner,
        )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"type":"steal","number":9}',
        b'{"type":"hold","number":9,"owner":"a"}',
        b'{"type":"hold","number":9,"owner":"a","ports":[{"protocol":"icmp","host_ip":"::","host_port":1}]}',
        b'{"type":"hold","number":9,"owner":"a","ports":[{"protocol":"tcp","host_ip":"x","host_port":1}]}',
        b'{"type":"sync","number":9,"everything":{"a":[1]}}',
    ],
)
def test_garbage_is_answered_and_changes_nothing(line: bytes) -> None:
    reactor = Reactor()
    holdings = Holdings(reactor, Descriptors(1000))
    reply = decode_reply(handle(holdings, line))
    assert isinstance(reply, Refused)
    assert reply.kind == "InvalidRequest"
    assert reply.number == (9 if b"9" in line else 0)
    assert holdings.wanted() == {}
    reactor.close()


def test_our_own_bug_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Holdings):
        def hold(self, *_: object) -> None:
            raise RuntimeError("oops")

    reactor = Reactor()
    with caplog.at_level(logging.CRITICAL):
        reply = decode_reply(handle(Broken(reactor, Descriptors(1000)), encode(Hold(3, "a", (PORT,)))))
    assert isinstance(reply, Refused)
    assert (reply.number, reply.kind) == (3, "Failed")
    reactor.close()


def test_done_is_short() -> None:
    assert json.loads(encode(Done(5))) == {"type": "done", "number": 5}
    assert msgspec.json.decode(encode(Done(5)), type=Done) == Done(5)
