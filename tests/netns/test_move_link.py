"""Links that are moved between namespaces, on the real kernel: so is taken over what others make."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.host.kernel import LinuxKernel
from carrick.host.kernel.netns import delete_netns
from carrick.model.errors import Conflict, NotFound
from carrick.model.steps import AddAddress, CreateNetns, CreateVeth, MoveLink, SetLink
from carrick.testing.kernel_suite import World
from carrick.testing.namespaces import namespaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with namespaces() as spaces:
        inhabitant = spaces.inhabit(spaces.new())
        kernel = inhabitant.call(LinuxKernel)

        def clean() -> None:
            for path in (tmp_path / "netns").glob("*"):
                delete_netns(path)
            kernel.close()

        spaces.defer(clean)
        made = World(kernel, inhabitant.run, lambda name: str(tmp_path / "netns" / name))
        for name in ("one", "two"):
            made.apply(CreateNetns(made.path(name)))
        made.apply(CreateVeth("left", "theirs", 1500, "", "right", made.path("one"), "02:00:00:00:00:09"))
        yield made


def test_there_and_back(world: World) -> None:
    one, two = world.path("one"), world.path("two")
    world.apply(SetLink("right", one, up=True), AddAddress("right", "10.0.0.1/24", one))
    out = MoveLink("right", "", "peer0", one)
    world.apply(out, out)
    assert "right" not in world.read(one).links
    link = world.link("peer0")
    assert (link.up, link.mac, link.addresses) == (False, "02:00:00:00:00:09", frozenset())
    home = MoveLink("peer0", two, "eth0")
    world.apply(home, home)
    assert "peer0" not in world.read().links
    assert world.link("eth0", two).mac == "02:00:00:00:00:09"
    between = MoveLink("eth0", one, "fake0", two)
    world.apply(between, between)
    assert set(world.read(one).links) == {"lo", "fake0"}


def test_what_cannot_be_moved(world: World) -> None:
    one = world.path("one")
    assert isinstance(world.refused(MoveLink("lost", one, "eth0")), NotFound)
    assert isinstance(world.refused(MoveLink("left", world.path("three"), "eth0")), NotFound)
    assert isinstance(world.refused(MoveLink("eth0", "", "x0", world.path("three"))), NotFound)
    # Its name is taken there.
    assert isinstance(world.refused(MoveLink("left", one, "right")), Conflict)
    assert "left" in world.read().links
    assert world.remove(MoveLink("lost", one, "eth0")) == []
