"""Filters as the real clients use them: images by name, events of an image, what is no such thing."""

from datetime import UTC, datetime
from typing import cast

import pytest

from carrick.engine import filters
from carrick.engine.state import State
from carrick.engine.values import Event
from carrick.model.containers import Image, ImageConfig
from carrick.model.errors import InvalidRequest
from carrick.model.ids import ImageId

_ID = "sha256:" + "a" * 64
_IMAGE = Image(
    id=ImageId(_ID),
    repo_tags=("busybox:latest", "localhost:5000/tools/box:v1"),
    repo_digests=(),
    created=datetime(2026, 1, 1, tzinfo=UTC),
    size=1,
    architecture="amd64",
    os="linux",
    config=ImageConfig(),
)


@pytest.mark.parametrize(
    ("pattern", "tags"),
    [
        ("busybox", ("busybox:latest",)),
        ("b*", ("busybox:latest", "localhost:5000/tools/box:v1")),
        ("localhost:5000/tools/box", ("localhost:5000/tools/box:v1",)),
        ("*:v1", ("localhost:5000/tools/box:v1",)),
        ("nosuch", ()),
    ],
)
def test_only_the_tags_that_were_asked_for(pattern: str, tags: tuple[str, ...]) -> None:
    wanted = {"reference": (pattern,)}
    assert filters.tags_asked_for(_IMAGE, wanted) == tags
    assert filters.image_matches(_IMAGE, wanted, {}, 0) is bool(tags)


def test_all_tags_without_a_reference() -> None:
    assert filters.tags_asked_for(_IMAGE, {}) == _IMAGE.repo_tags


def _event(kind: str, actor: str = "x", **attributes: str) -> Event:
    return Event(kind, "start", actor, attributes, 0)


@pytest.mark.parametrize(
    ("event", "matches"),
    [
        (_event("container", image="busybox:1", name="web"), True),
        (_event("container", image="busybox"), True),
        (_event("container", image="other", name="busybox"), False),
        (_event("image", name="busybox:1"), True),
        (_event("image", _ID, name="other"), False),
        (_event("network", name="busybox"), False),
    ],
)
def test_events_of_an_image_are_those_of_its_containers_too(event: Event, matches: bool) -> None:
    assert filters.event_matches(event, {"image": ("busybox",)}) is matches


def test_events_of_an_image_by_its_id() -> None:
    assert filters.event_matches(_event("image", _ID), {"image": (_ID,)})


def test_a_registrys_port_is_no_tag() -> None:
    event = _event("container", image="localhost:5000/box")
    assert filters.event_matches(event, {"image": ("localhost:5000/box",)})
    assert not filters.event_matches(event, {"image": ("localhost",)})


def test_a_health_that_does_not_exist() -> None:
    with pytest.raises(InvalidRequest, match="Unrecognised filter value for health: bogus"):
        filters.ContainerMatcher({"health": ("bogus",)}, cast("State", None))
