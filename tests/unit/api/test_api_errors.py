"""The tree of errors, walked: every class has its status, none is forgotten."""

import logging

import pytest

import carrick.host.runtime.api as runtime
from carrick.doors.api.errors import PageNotFound, reply_to, status_of
from carrick.model import errors

EXPECTED = {
    errors.CarrickError: 500,
    errors.InvalidRequest: 400,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.NotModified: 304,
    errors.Unavailable: 503,
    errors.Denied: 403,
    errors.Unsupported: 501,
    errors.KernelRefused: 500,
    errors.Failed: 500,
    runtime.CannotStart: 400,
    PageNotFound: 404,
}


def tree(kind: type[errors.CarrickError]) -> list[type[errors.CarrickError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]


def make(kind: type[errors.CarrickError]) -> errors.CarrickError:
    if kind is runtime.CannotStart:
        return runtime.CannotStart("no such file", exit_code=127)
    return kind() if kind is PageNotFound else kind("a message")


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in tree(errors.CarrickError)
        if kind.__module__ in (errors.__name__, runtime.__name__, PageNotFound.__module__)
    ],
)
def test_every_error_of_the_tree_has_its_status(kind: type[errors.CarrickError]) -> None:
    assert status_of(make(kind)) == EXPECTED[kind]


def test_message_is_passed_on_and_the_remedy_stands_beside_it() -> None:
    reply = reply_to(errors.Unsupported("no ipvlan", remedy="load the module"))
    assert (reply.status, reply.document()) == (501, {"message": "no ipvlan", "remedy": "load the module"})


def test_a_bug_is_logged_with_the_id_that_the_client_gets(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        reply = reply_to(ZeroDivisionError("secret"))
    assert reply.status == 500
    assert "secret" not in reply.message
    incident = reply.message.split()[2].rstrip(":")
    assert incident in caplog.text
    assert "ZeroDivisionError" in caplog.text
