"""Held ports as values: what overlaps, what is refused, what a clash says; and the fake."""

import pytest

from carrick.host.portholder.contract import HeldPort, PortTaken, checked, overlaps
from carrick.model.errors import Conflict, InvalidRequest, Unavailable, Unsupported
from carrick.testing.fake_portholder import FakePortHolder

ANY = HeldPort("tcp", "0.0.0.0", 80)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (HeldPort("tcp", "0.0.0.0", 80), True),
        (HeldPort("tcp", "127.0.0.1", 80), True),
        (HeldPort("tcp", "0.0.0.0", 81), False),
        (HeldPort("udp", "0.0.0.0", 80), False),
        (HeldPort("tcp", "::", 80), False),
        (HeldPort("tcp", "::1", 80), False),
    ],
)
def test_overlaps_with_any(other: HeldPort, expected: bool) -> None:
    assert overlaps(ANY, other) is expected
    assert overlaps(other, ANY) is expected


def test_two_addresses_do_not_overlap() -> None:
    assert not overlaps(HeldPort("tcp", "127.0.0.1", 80), HeldPort("tcp", "127.0.0.2", 80))


def test_addresses_become_canonical() -> None:
    port = HeldPort("tcp", "0:0:0:0:0:0:0:1", 80, ("FD00::0:2", 8080))
    assert checked(port) == HeldPort("tcp", "::1", 80, ("fd00::2", 8080))


@pytest.mark.parametrize(
    "port",
    [
        HeldPort("tcp", "", 80),
        HeldPort("tcp", "localhost", 80),
        HeldPort("tcp", "::ffff:10.0.0.1", 80),
        HeldPort("tcp", "0.0.0.0", 0),
        HeldPort("tcp", "0.0.0.0", 65536),
        HeldPort("tcp", "::", 80, ("web", 80)),
        HeldPort("tcp", "::", 80, ("10.0.0.2", 0)),
    ],
)
def test_what_is_no_port_is_refused(port: HeldPort) -> None:
    with pytest.raises(InvalidRequest, match="host port"):
        checked(port)


def test_sctp_is_not_relayed() -> None:
    with pytest.raises(Unsupported, match="sctp"):
        checked(HeldPort("sctp", "::", 80, ("10.0.0.2", 80)))


def test_a_clash_says_what_docker_says() -> None:
    ours = PortTaken(ANY, "web", "web")
    assert isinstance(ours, Conflict)
    assert ours.message == "Bind for 0.0.0.0:80 failed: port is already allocated (by web)"
    theirs = PortTaken(HeldPort("tcp", "::", 80), "nginx (pid 12)")
    assert (
        theirs.message == "failed to bind host port [::]:80/tcp: address already in use (by nginx (pid 12))"
    )
    assert PortTaken(ANY).message == "failed to bind host port 0.0.0.0:80/tcp: address already in use"


async def test_fake_holds_all_or_nothing() -> None:
    fake = FakePortHolder({HeldPort("udp", "0.0.0.0", 53): "named (pid 7)"})
    await fake.hold("a", [ANY, ANY])
    with pytest.raises(PortTaken) as ours:
        await fake.hold("b", [HeldPort("tcp", "0.0.0.0", 81), HeldPort("tcp", "127.0.0.1", 80)])
    assert ours.value.owner == "a"
    with pytest.raises(PortTaken) as theirs:
        await fake.hold("b", [HeldPort("udp", "127.0.0.1", 53)])
    assert (theirs.value.owner, theirs.value.holder) == ("", "named (pid 7)")
    assert fake.held == {"a": (ANY,)}


async def test_fake_releases_and_syncs() -> None:
    fake = FakePortHolder()
    other = HeldPort("tcp", "0.0.0.0", 81)
    await fake.hold("a", [ANY, other])
    await fake.release("a", [ANY])
    await fake.release("nobody")
    assert fake.held == {"a": (other,)}
    problems = await fake.sync({"b": [ANY], "c": [ANY, other]})
    assert fake.held == {"b": (ANY,), "c": (other,)}
    assert "already allocated" in problems["c"]
    fake.is_available = False
    with pytest.raises(Unavailable):
        await fake.release("b")
    assert fake.held["b"] == (ANY,)
