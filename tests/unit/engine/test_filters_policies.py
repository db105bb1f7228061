"""Docker's list filters, restart policies and signals, on records alone."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from carrick.engine import filters
from carrick.engine.naming import check_name, choose_name
from carrick.engine.policies import parse_signal, restarts_on_boot, should_restart
from carrick.engine.values import ContainerRecord, Event
from carrick.model.containers import (
    ContainerConfig,
    ContainerState,
    ContainerStatus,
    HostConfig,
    Image,
    RestartPolicy,
    RestartPolicyName,
)
from carrick.model.errors import InvalidRequest
from carrick.model.ids import ContainerId, ImageId, NetworkId
from carrick.model.networks import Network

NOW = 1_800_000_000_000_000_000
NET = Network(NetworkId("ab" * 32), "web-tier", "bridge", NOW, labels={"tier": "web"})
BRIDGE = Network(NetworkId("cd" * 32), "bridge", "bridge", NOW)


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ({}, True),
        ({"name": ("web",)}, True),
        ({"name": ("^tier",)}, False),
        ({"name": ("nope", "tier$")}, True),
        ({"id": ("abab",)}, True),
        ({"driver": ("bridge",)}, True),
        ({"driver": ("bri",)}, False),
        ({"label": ("tier",)}, True),
        ({"label": ("tier=db",)}, False),
        ({"label": ("tier=web", "other")}, False),
        ({"type": ("custom",)}, True),
        ({"type": ("builtin",)}, False),
        ({"scope": ("local",)}, True),
        ({"dangling": ("true",)}, True),
        ({"dangling": ("0",)}, False),
        ({"name": ("[",)}, False),
    ],
)
def test_network_filters(given: dict[str, tuple[str, ...]], matches: bool) -> None:
    assert filters.network_matches(NET, given, is_used=False) is matches


def test_predefined_networks_never_dangle() -> None:
    assert not filters.network_matches(BRIDGE, {"dangling": ("true",)}, is_used=False)
    assert filters.network_matches(BRIDGE, {"type": ("builtin",)}, is_used=False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"colour": ("red",)}, "invalid filter 'colour'"),
        ({"dangling": ("true", "false")}, 'more than one value for filter key "dangling"'),
        ({"dangling": ("perhaps",)}, "invalid filter 'dangling=[perhaps]'"),
        ({"type": ("odd",)}, "invalid filter 'type=odd'"),
    ],
)
def test_bad_filters_are_named(given: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(words)):
        filters.network_matches(NET, given, is_used=False)


def test_until_takes_times_and_durations() -> None:
    assert filters.parse_moment("10m", NOW) == NOW - 600_000_000_000
    assert filters.parse_moment("1h30m", NOW) == NOW - 5_400_000_000_000
    assert filters.parse_moment("1800000000", NOW) == NOW
    moment = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
    assert filters.parse_moment(moment.isoformat(), NOW) == int(moment.timestamp() * 1e9)
    with pytest.raises(InvalidRequest, match="neither a time nor a duration"):
        filters.parse_moment("soon", NOW)
    assert filters.matches_until({"until": ("10m",)}, NOW - 700_000_000_000, NOW)
    assert not filters.matches_until({"until": ("10m",)}, NOW, NOW)


def test_events_match_by_type_action_object_and_label() -> None:
    event = Event("container", "exec_start: ls", "ff" * 32, {"name": "web", "tier": "front"}, NOW)
    for given in (
        {"type": ("container",)},
        {"event": ("exec_start",)},
        {"container": ("web",)},
        {"container": ("ffff",)},
        {"label": ("tier=front",)},
    ):
        assert filters.event_matches(event, given), given
    assert not filters.event_matches(event, {"type": ("network",)})
    assert not filters.event_matches(event, {"image": ("web",)})


def test_image_references_match_as_patterns() -> None:
    image = Image(ImageId("sha256:" + "0" * 64), ("localhost:5000/team/web:1.2",))
    for pattern in ("localhost:5000/team/web:1.*", "localhost:5000/team/web", "web", "we?"):
        assert filters.image_matches(image, {"reference": (pattern,)}, {}, NOW), pattern
    assert not filters.image_matches(image, {"reference": ("db",)}, {}, NOW)
    assert filters.image_matches(replace(image, repo_tags=()), {"dangling": ("1",)}, {}, NOW)


def record(policy: RestartPolicyName, *, code: int = 0, count: int = 0, most: int = 0) -> ContainerRecord:
    return ContainerRecord(
        id=ContainerId("1" * 64),
        name="box",
        created=datetime.fromtimestamp(0, UTC),
        image_id=ImageId("sha256:0"),
        asked_image="busybox",
        config=ContainerConfig(),
        host_config=HostConfig(restart_policy=RestartPolicy(policy, most)),
        state=ContainerState(status=ContainerStatus.EXITED, exit_code=code),
        wanted=True,
        restart_count=count,
    )


def test_restart_policies() -> None:
    assert not should_restart(record(RestartPolicyName.NO, code=1))
    assert should_restart(record(RestartPolicyName.ALWAYS))
    assert should_restart(record(RestartPolicyName.UNLESS_STOPPED))
    assert not should_restart(record(RestartPolicyName.ON_FAILURE))
    assert should_restart(record(RestartPolicyName.ON_FAILURE, code=1, count=99))
    assert should_restart(record(RestartPolicyName.ON_FAILURE, code=1, count=2, most=3))
    assert not should_restart(record(RestartPolicyName.ON_FAILURE, code=1, count=3, most=3))
    assert not should_restart(replace(record(RestartPolicyName.ALWAYS), wanted=False))
    assert restarts_on_boot(record(RestartPolicyName.ALWAYS))
    assert not restarts_on_boot(record(RestartPolicyName.ON_FAILURE))


@pytest.mark.parametrize(
    ("text", "number"),
    [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("SIGRTMIN", 34), ("RTMIN+3", 37)],
)
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["0", "65", "SIGNOPE", "", "-9"])
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid signal"):
        parse_signal(text)


def test_names() -> None:
    assert check_name("/web.1") == "web.1"
    for bad in ("a", "-web", "we b", "", "x" + "\n", "é1"):
        with pytest.raises(InvalidRequest, match="Invalid container name"):
            check_name(bad)
    taken: set[str] = set()
    for _ in range(200):
        name = choose_name(taken.__contains__, lambda most: len(taken) % most)
        assert name not in taken
        check_name(name)
        taken.add(name)
