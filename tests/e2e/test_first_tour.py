"""What the container-networking tutorials do, command by command, with `carrick` and with `docker`.

The same commands are given to our own command line and to the real Docker client pointed at our socket.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.testing.daemon import HOST4, OUTSIDE, Daemon
from carrick.testing.inventory import settle
from carrick.testing.terminal import Terminal

_SLEEP = ("busybox", "sleep", "1d")


class User:
    """Somebody at a shell, with one of the two programs."""

    def __init__(self, daemon: Daemon, command: list[str]) -> None:
        self.daemon = daemon
        self.command = command

    def __call__(self, line: str, *more: str) -> str:
        """Give a command, as it stands in a tutorial; return what it prints."""
        words = [*self.command, *line.split(), *more]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **self.daemon.environment},
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()


@pytest.fixture(params=["carrick", "docker"])
def user(request: pytest.FixtureRequest, images: Path) -> Iterator[User]:
    with Daemon(images=images, outside=True) as daemon:
        command = daemon.command()
        if request.param == "docker":
            path = shutil.which("docker")
            if path is None:
                pytest.skip("no docker client is installed")
            command = [path]
        yield User(daemon, command)
        assert not daemon.tracebacks()


def test_the_tour(user: User) -> None:
    daemon = user.daemon
    # The networks that are there.
    rows = [line.split() for line in user("network ls").splitlines()]
    assert rows[0] == ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]
    assert [row[1] for row in rows[1:]] == ["bridge", "host", "none"]

    # A container on the default one, looked at from inside and from outside.
    shell = Terminal([*user.command, "run", "-it", "--name", "bbox01", "busybox"], daemon.environment)
    shell.expect("# ")
    shell.type("ip addr\n")
    seen = shell.expect("global eth0")
    address = re.search(r"inet (172\.17\.\d+\.\d+)/16", seen)
    assert address
    shell.type("\x10\x11")
    assert shell.end() == 0
    (inspected,) = json.loads(user("inspect bbox01"))
    assert inspected["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == address[1]
    assert inspected["NetworkSettings"]["Networks"]["bridge"]["Gateway"] == "172.17.0.1"
    (bridge,) = json.loads(user("network inspect bridge"))
    assert bridge["Containers"][inspected["Id"]]["Name"] == "bbox01"
    assert bridge["Options"]["com.docker.network.bridge.name"] == "carrick0"

    # The other modes.
    assert "uplink" in user("run --rm --net host --name bbox02 busybox ip addr")
    out = user("run --rm --net none --name bbox03 busybox ip -o link")
    assert re.findall(r"^\d+: (\w+)", out, re.M) == ["lo"]
    user("run -d --net container:bbox01 --name bbox04", *_SLEEP)
    assert address[1] in user("exec bbox04 ip addr")
    user("restart -t 0 bbox01")
    assert address[1] in user("exec bbox04 ip addr"), "also after bbox01 restarted"
    assert user("exec bbox04 ip addr show eth0") == user("exec bbox01 ip addr show eth0")

    # A network of one's own: by address, and by name.
    assert re.fullmatch(r"[0-9a-f]{64}", user("network create custom_network"))
    user("run -d --net custom_network --name bbox07", *_SLEEP)
    user("run -d --net custom_network --name bbox08", *_SLEEP)
    address08 = user("inspect -f {{.NetworkSettings.Networks.custom_network.IPAddress}} bbox08")
    assert "1 packets received" in user(f"exec bbox07 ping -c 1 {address08}")
    assert "1 packets received" in user("exec bbox07 ping -c 1 bbox08")
    assert "1 packets received" in user("exec bbox08 ping -c 1 bbox07")

    # Connect, disconnect, remove.
    user("network connect bridge bbox08")
    assert re.findall(r"^\d+: (eth\d)", user("exec bbox08 ip -o link"), re.M) == ["eth0", "eth1"]
    user("network disconnect custom_network bbox08")
    assert re.findall(r"^\d+: (eth\d)", user("exec bbox08 ip -o link"), re.M) == ["eth1"]
    user("network disconnect custom_network bbox07")
    assert user("network rm custom_network") == "custom_network"

    # A web server, published.
    user(
        "run -d --name web -p 8080:80 busybox",
        *("sh", "-c", "echo 'It works!' >/var/www/index.html; exec httpd -f -h /var/www"),
    )
    assert daemon.fetch("http://127.0.0.1:8080/") == "It works!"
    assert daemon.fetch(f"http://{HOST4}:8080/", netns=OUTSIDE) == "It works!"
    assert user("port web") == "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080"
    assert user(f"run --rm busybox wget -qO- http://{HOST4}:8080/") == "It works!"
    assert user("run --rm --link web busybox wget -qO- http://web/") == "It works!"
    assert user("run --rm --net container:web busybox wget -qO- http://localhost/") == "It works!"

    # And away with it.
    user("rm -f bbox01 bbox04 bbox07 bbox08 web")
    assert user("ps -aq") == ""
    assert not settle(daemon)
