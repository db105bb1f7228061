"""`kill -9` at every step of every operation: nothing is interrupted, nothing is left, all can be repeated.

The daemon here kills itself at a point that the test names (carrick.testing.crashing). For each operation
the test goes through the points, one after the other, until the operation comes through: so many it has.
After each death the daemon is started again; then nothing may be on the machine that is not in the records,
the container is as before or as after, and the same operation again succeeds. All the while a bystander
serves its page, its published port and its name.

By default each sweep takes every sixth point; CARRICK_FULL=1 takes them all.
"""

import http.client
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from carrick.testing.crashing import FILE_VARIABLE
from carrick.testing.daemon import HOST4, OUTSIDE, Daemon, Reply, eventually
from carrick.testing.inventory import settle
from carrick.testing.watching import Watch

STRIDE = 1 if os.environ.get("CARRICK_FULL") else 6
MOST_POINTS = 400


class World:
    """A daemon that can be armed, two networks, and a bystander with a client."""

    def __init__(self, daemon: Daemon, fuse: Path) -> None:
        self.daemon = daemon
        self.fuse = fuse
        daemon.do("network", "create", "net")
        daemon.do("network", "create", "side")
        daemon.web("bystander", "--network", "net", "-p", "8000:80")
        daemon.sleeper("client", "--network", "net")

    def watch(self) -> Watch:
        """Watch the bystander."""
        watch = Watch(self.daemon.machine)
        address = self.daemon.address("bystander")
        inside = self.daemon.netns("client")
        watch.fetch("page", address, 80, netns=inside)
        watch.resolve("name", "bystander", address, netns=inside)
        watch.fetch("published port", "127.0.0.1", 8000)
        return watch.fetch("published port from outside", HOST4, 8000, netns=OUTSIDE)

    def arm(self, point: int) -> None:
        new = self.fuse.with_suffix(".new")
        new.write_text(str(point))
        new.replace(self.fuse)

    def disarm(self) -> None:
        self.fuse.unlink(missing_ok=True)

    def place_of_death(self) -> str:
        return self.fuse.with_suffix(".log").read_text().splitlines()[-1]

    # The victim ------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = None) -> Reply:
        return self.daemon.api.call(method, path, body)

    def remove_victim(self) -> None:
        assert self.call("DELETE", "/containers/victim?force=1").status in {204, 404}

    def create_victim(self) -> Reply:
        return self.call(
            "POST",
            "/containers/create?name=victim",
            {
                "Image": "busybox",
                "Cmd": ["sleep", "1d"],
                "StopSignal": "KILL",
                "HostConfig": {"NetworkMode": "net", "PortBindings": {"80/tcp": [{"HostPort": "8001"}]}},
                "NetworkingConfig": {"EndpointsConfig": {"net": {"Aliases": ["prey"]}}},
            },
        )

    def created_victim(self) -> None:
        self.remove_victim()
        assert self.create_victim().status == 201

    def running_victim(self) -> None:
        self.created_victim()
        assert self.call("POST", "/containers/victim/start").status == 204

    def connected_victim(self) -> None:
        self.running_victim()
        assert self.connect().status == 200

    def connect(self) -> Reply:
        return self.call("POST", "/networks/side/connect", {"Container": "victim"})

    def disconnect(self) -> Reply:
        return self.call("POST", "/networks/side/disconnect", {"Container": "victim"})

    # What is seen of it ----------------------------------------------------------------------

    def is_there(self) -> bool:
        return self.call("GET", "/containers/victim/json").status == 200

    def is_running(self) -> bool:
        if not self.is_there() or not self.daemon.is_up("victim"):
            return False
        # Running is running with everything: the process, the network, the names.
        assert self.daemon.dig("client", "prey") == [self.daemon.address("victim", "net")]
        assert "default via" in self.daemon.machine.do("ip", "route", netns=self.daemon.netns("victim"))
        return True

    def is_connected(self) -> bool:
        networks = self.daemon.container("victim")["NetworkSettings"]["Networks"]
        links = self.daemon.machine.links(self.daemon.netns("victim"))
        assert ("eth1" in links) == ("side" in networks), (links, list(networks))
        return "side" in networks

    def has_network(self) -> bool:
        return self.call("GET", "/networks/extra").status == 200

    def has_port(self) -> bool:
        return "90/tcp" in self.daemon.container("victim")["NetworkSettings"]["Ports"]


@dataclass(frozen=True)
class Operation:
    """What is done, from which state, how a repetition of the finished operation is answered."""

    prepare: Callable[[World], None]
    do: Callable[[World], Reply]
    status: int
    again: int
    is_done: Callable[[World], bool]
    wanted: bool = True


def _remove_extra(world: World) -> None:
    assert world.call("DELETE", "/networks/extra").status in {204, 404}


def _create_extra(world: World) -> Reply:
    return world.call("POST", "/networks/create", {"Name": "extra", "Options": {}})


def _have_extra(world: World) -> None:
    assert _create_extra(world).status in {201, 409}


OPERATIONS = {
    "create": Operation(World.remove_victim, World.create_victim, 201, 409, World.is_there),
    "start": Operation(
        World.created_victim,
        lambda world: world.call("POST", "/containers/victim/start"),
        204,
        304,
        World.is_running,
    ),
    "connect": Operation(World.running_victim, World.connect, 200, 403, World.is_connected),
    "disconnect": Operation(
        World.connected_victim, World.disconnect, 200, 500, World.is_connected, wanted=False
    ),
    "stop": Operation(
        World.running_victim,
        lambda world: world.call("POST", "/containers/victim/stop?t=5"),
        204,
        304,
        World.is_running,
        wanted=False,
    ),
    "rm": Operation(
        World.connected_victim,
        lambda world: world.call("DELETE", "/containers/victim?force=1"),
        204,
        404,
        World.is_there,
        wanted=False,
    ),
    "network-create": Operation(_remove_extra, _create_extra, 201, 409, World.has_network),
    "network-rm": Operation(
        _have_extra,
        lambda world: world.call("DELETE", "/networks/extra"),
        204,
        404,
        World.has_network,
        wanted=False,
    ),
}


@pytest.fixture(scope="module")
def world(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    fuse = tmp_path_factory.mktemp("fuse") / "fuse"
    with Daemon(
        images=images,
        outside=True,
        module="carrick.testing.crashing",
        environment={FILE_VARIABLE: str(fuse)},
    ) as daemon:
        yield World(daemon, fuse)
        assert not daemon.tracebacks()


def attempt(do: Callable[[World], Reply], world: World) -> Reply | None:
    """Return the answer, or None if the daemon died of it."""
    try:
        return do(world)
    except (OSError, http.client.HTTPException):
        return None


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_step(world: World, name: str) -> None:
    operation, daemon = OPERATIONS[name], world.daemon
    deaths = 0
    with world.watch() as watch:
        for point in range(1, MOST_POINTS, STRIDE):
            operation.prepare(world)
            world.arm(point)
            reply = attempt(operation.do, world)
            world.disarm()
            if reply is not None:
                assert reply.status == operation.status, reply
                break
            assert daemon.wait_end() == -9
            deaths += 1
            where = f"{name} killed at {world.place_of_death()}"
            daemon.start()
            leaks = settle(daemon)
            assert not leaks, f"{where}: {leaks}\n{daemon.log_text()[-3000:]}"
            was_done = operation.is_done(world) == operation.wanted
            again = operation.do(world)
            assert again.status == (operation.again if was_done else operation.status), f"{where}: {again}"
            assert operation.is_done(world) == operation.wanted, where
            leaks = settle(daemon)
            assert not leaks, f"{where}, and again: {leaks}\n{daemon.log_text()[-3000:]}"
        else:
            pytest.fail(f"{name} never came through")
    assert deaths, "it never died: nothing was tested"
    assert not watch.failures
    print(f"\n{name}: {point} points, {deaths} deaths")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "first_death"), [("start", 25), ("rm", 14)])
def test_killed_again_while_it_recovers(world: World, name: str, first_death: int) -> None:
    operation, daemon = OPERATIONS[name], world.daemon
    with world.watch() as watch:
        for point in range(1, MOST_POINTS, 2 * STRIDE):
            operation.prepare(world)
            world.arm(first_death)
            assert attempt(operation.do, world) is None, "it was to die"
            assert daemon.wait_end() == -9
            world.arm(point)
            daemon.spawn()
            recovered = eventually(lambda: daemon.is_ready() or not daemon.is_running(), 30)
            world.disarm()
            is_last = daemon.is_running() and recovered
            if not is_last:
                assert daemon.wait_end() == -9
                daemon.start()
            where = f"{name} killed in its recovery at {world.place_of_death()}"
            leaks = settle(daemon)
            assert not leaks, f"{where}: {leaks}\n{daemon.log_text()[-3000:]}"
            assert operation.do(world).status in {operation.status, operation.again}, where
            assert operation.is_done(world) == operation.wanted, where
            if is_last:
                break
    assert not watch.failures
    print(f"\n{name}: {point} points of recovery")
