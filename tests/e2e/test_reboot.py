"""A reboot: the state directory stays, everything else is gone. And a daemon that was told to stop."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.testing.daemon import HOST4, OUTSIDE, Daemon, eventually
from carrick.testing.inventory import settle
from carrick.testing.watching import Watch


@pytest.fixture
def host(images: Path) -> Iterator[Daemon]:
    """A daemon for each test: nothing else would be as it was."""
    with Daemon(images=images, outside=True) as daemon:
        yield daemon
        assert not daemon.tracebacks()


def test_everything_comes_back_by_its_policy(host: Daemon) -> None:
    host.do("network", "create", "--ipv6", "--subnet", "10.73.0.0/24", "--subnet", "fd00:73::/64", "net")
    host.do("network", "create", "second")
    host.web("always", "--network", "net", "-p", "8000:80", "--restart", "always")
    host.web("kept", "--network", "net", "--network", "second", "--restart", "unless-stopped")
    host.sleeper("stopped", "--network", "net", "--restart", "unless-stopped")
    host.sleeper("alwaysstopped", "--network", "net", "--restart", "always")
    host.sleeper("onfailure", "--network", "net", "--restart", "on-failure")
    host.sleeper("never", "--network", "net", "--ip", "10.73.0.77")
    host.do(
        "create", "--name", "created", "--network", "net", "--restart", "always", "busybox", "sleep", "1d"
    )
    host.do("stop", "stopped", "alwaysstopped")
    host.do("run", "--rm", "-d", "--name", "passing", "busybox", "sleep", "1d")
    host.do("volume", "create", "data")
    host.sh("kept", "echo precious >/root/file")
    before = {name: host.address(name, "net") for name in ("always", "kept", "never")}
    second = host.address("kept", "second")
    networks = {item["Name"]: item["Id"] for item in host.api.get("/networks").json}

    host.reboot()

    eventually(lambda: host.is_up("always") and host.is_up("kept"))
    time.sleep(0.3)
    up = set(host.do("ps", "--format", "{{.Names}}").split())
    # `always` means also after a stop by the user, once the daemon starts anew.
    assert {"always", "kept", "alwaysstopped", "onfailure"} <= up
    assert not up & {"stopped", "never", "created", "passing"}
    assert {item["Name"]: item["Id"] for item in host.api.get("/networks").json} == networks
    assert host.address("always", "net") == before["always"]
    assert host.address("kept", "net") == before["kept"]
    assert host.address("kept", "second") == second
    assert host.sh("kept", "cat /root/file") == "precious"
    assert host.do("volume", "ls", "-q") == "data"
    assert host.exec("kept", "ping", "-c1", "-W5", "always").code == 0
    assert host.exec("kept", "ping", "-6", "-c1", "-W5", "always").code == 0
    assert host.fetch("http://127.0.0.1:8000/")
    assert host.fetch(f"http://{HOST4}:8000/", netns=OUTSIDE)
    state = host.container("never")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 255)
    host.do("start", "never")
    assert host.address("never", "net") == "10.73.0.77"
    assert not settle(host)


def test_a_container_that_was_to_be_removed_is(host: Daemon) -> None:
    host.do("run", "--rm", "-d", "--name", "passing", "busybox", "sleep", "1d")
    host.reboot()
    eventually(lambda: host.do("ps", "-aq") == "", what="--rm is kept after a reboot")
    assert not settle(host)


def test_companions_after_a_reboot(host: Daemon) -> None:
    host.web("target", "--restart", "always")
    host.sleeper("mate", "--network", "container:target", "--restart", "always")
    host.reboot()
    eventually(lambda: host.is_up("target") and host.is_up("mate"), 15)
    assert host.sh("mate", "wget -qO- http://localhost/")


def test_twice(host: Daemon) -> None:
    host.sleeper("box", "--restart", "always", "-p", "8000:80")
    address = host.address("box")
    for _ in range(2):
        host.reboot()
        eventually(lambda: host.is_up("box"))
        assert host.address("box") == address
    assert not settle(host)


def test_stop_leaves_containers_running(host: Daemon) -> None:
    host.do("network", "create", "net")
    host.web("web", "--network", "net", "-p", "8000:80")
    host.sleeper("box", "--network", "net")
    pid = host.container("web")["State"]["Pid"]
    netns, address = host.netns("box"), host.address("web")
    watch = Watch(host.machine).fetch("published port", "127.0.0.1", 8000)
    watch.fetch("page", address, 80, netns=netns).resolve("name", "web", address, netns=netns)
    with watch:
        assert host.stop() == 0
        time.sleep(0.3)
        host.start()
    assert not watch.failures
    assert host.container("web")["State"]["Pid"] == pid
    assert not settle(host)


def test_what_ended_meanwhile_is_known(host: Daemon) -> None:
    host.do("run", "-d", "--name", "brief", "busybox", "sh", "-c", "sleep 1; echo last words; exit 9")
    host.do(
        "run", "-d", "--name", "again", "--restart", "on-failure", "busybox", "sh", "-c", "sleep 1; exit 1"
    )
    host.do("run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "1")
    host.kill9()
    time.sleep(1.5)
    host.start()
    eventually(lambda: host.container("brief")["State"]["Status"] == "exited")
    state = host.container("brief")["State"]
    assert state["ExitCode"] == 9
    assert host.do("logs", "brief") == "last words"
    eventually(lambda: host.container("again")["RestartCount"] >= 1)
    eventually(lambda: host.api.get("/containers/gone/json").status == 404)


def test_killed_at_any_moment(host: Daemon) -> None:
    """Not at chosen points but at any: whenever it comes, nothing is interrupted and nothing is left."""
    host.do("network", "create", "net")
    host.web("web", "--network", "net", "-p", "8000:80")
    with Watch(host.machine).fetch("published port", "127.0.0.1", 8000) as watch:
        for number in range(6):
            # Killed while it starts, too.
            host.kill9()
            host.spawn()
            time.sleep(0.08 * number)
        host.restart()
    assert not watch.failures
    assert not settle(host)


def test_two_daemons_do_not_share_a_state_directory(host: Daemon) -> None:
    second = host.machine.run(
        *("python3", "-c", "import os,sys; os.execv(sys.argv[1], sys.argv[1:])"),
        *(host.command()[0], "-m", "carrick.daemon", "--state-dir", str(host.state_dir)),
        *("--run-dir", str(host.directory / "other"), "--name", "other"),
    )
    assert second.code != 0
    assert "Traceback" not in second.err
    assert str(host.state_dir) in second.err
    assert host.is_ready()
