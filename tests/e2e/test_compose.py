"""docker-compose 1.29 with a project of three services: up to down, as its users have it.

`db` keeps its starts on a named volume, is known as `database` on an internal network, and is healthy
once its web server answers; `app` waits for that, and is on both networks; `web` has a published port.
"""

import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.testing.daemon import HOST4, OUTSIDE, Daemon, eventually
from carrick.testing.inventory import settle
from carrick.testing.machine import Result

_COMPOSE = shutil.which("docker-compose", path="/usr/bin:/usr/local/bin")
_FILE = """\
version: "2.4"
services:
  db:
    image: busybox
    command: sh -c 'echo start >>/data/starts; cp /data/starts /var/www/; exec httpd -f -p 5000 -h /var/www'
    volumes: ["data:/data"]
    networks:
      back: {aliases: [database]}
    healthcheck:
      test: ["CMD", "wget", "-qO", "/dev/null", "http://127.0.0.1:5000/starts"]
      interval: 1s
      timeout: 10s
      retries: 60
    stop_signal: SIGKILL
  app:
    image: busybox
    command: sh -c 'cd /var/www && wget -qO seen http://database:5000/starts && echo ready; exec httpd -f'
    environment: {COLOUR: red}
    depends_on:
      db: {condition: service_healthy}
    networks: [front, back]
    stop_signal: SIGKILL
  web:
    image: busybox
    command: sh -c 'echo "It works!" >/var/www/index.html; exec httpd -f -h /var/www'
    ports: ["8080:80"]
    networks: [front]
    labels: {role: front}
    stop_signal: SIGKILL
networks:
  front:
  back: {internal: true}
volumes:
  data:
"""


class Project:
    def __init__(self, daemon: Daemon, directory: Path) -> None:
        self.daemon = daemon
        self.directory = directory
        self.file = directory / "docker-compose.yml"
        self.file.write_text(_FILE)

    def run(self, line: str, *more: str) -> Result:
        assert _COMPOSE is not None, "docker-compose is not installed: apt-get install docker-compose"
        words = [_COMPOSE, "--no-ansi", *line.split(), *more]
        done = subprocess.run(
            words,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={
                **self.daemon.environment,
                "PATH": "/usr/bin:/bin",
                "HOME": str(self.directory),
                "COLUMNS": "200",
                "COMPOSE_PROJECT_NAME": "shop",
            },
        )
        return Result(tuple(words), done.returncode, done.stdout.rstrip("\n"), done.stderr.rstrip("\n"))

    def __call__(self, line: str, *more: str) -> str:
        result = self.run(line, *more)
        assert result.code == 0, f"{result}\n--- log:\n{self.daemon.log_text()[-3000:]}"
        return result.out

    def sh(self, service: str, script: str) -> str:
        return self(f"exec -T {service} sh -c", script)

    def ids(self) -> dict[str, str]:
        """Return the id of each service's first container."""
        return {name: self(f"ps -q {name}").split("\n")[0] for name in ("db", "app", "web")}


@pytest.fixture
def shop(daemon: Daemon, tmp_path: Path) -> Iterator[Project]:
    project = Project(daemon, tmp_path)
    yield project
    project.run("down -v -t 0")


def test_the_whole_day(shop: Project) -> None:
    daemon = shop.daemon
    assert sorted(shop("config --services").split()) == ["app", "db", "web"]

    # Up: networks, volume, and containers in their order.
    told = shop.run("up -d")
    assert told.code == 0, told
    for what in (
        'network "shop_front"',
        'network "shop_back"',
        'volume "shop_data"',
        "shop_db_1",
        "shop_app_1",
    ):
        assert f"Creating {what}" in told.err
    db = daemon.container("shop_db_1")
    assert db["State"]["Health"]["Status"] == "healthy", "app has waited for that"
    assert daemon.container("shop_app_1")["State"]["StartedAt"] > db["State"]["Health"]["Log"][0]["Start"]
    rows = shop("ps").splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["shop_app_1", "shop_db_1", "shop_web_1"]
    assert "Up (healthy)" in rows[1] and "0.0.0.0:8080->80/tcp" in rows[2]

    # Names and networks.
    eventually(lambda: "ready" in shop("logs app"))
    assert shop.sh("app", "cat /var/www/seen; ip -o -4 addr | grep -c eth") == "start\n2"
    assert shop.sh("web", "wget -qO- http://app/seen") == "start"
    assert "bad address" in shop.run("exec -T web wget -qO- http://db:5000/starts").err, "on another network"
    assert daemon.network("shop_back")["Internal"]
    assert daemon.fetch(f"http://{HOST4}:8080/", netns=OUTSIDE) == "It works!"
    assert shop("port web 80") == "0.0.0.0:8080"
    assert "httpd -f -h /var/www" in shop("top web")
    assert shop("images -q") == db["Image"].removeprefix("sha256:")

    # One more, for once.
    assert shop("run -T --rm --no-deps -e EXTRA=1 app sh -c", "echo $COLOUR $EXTRA") == "red 1"
    assert shop("run -T --rm app wget -qO- http://database:5000/starts") == "start"
    assert shop.run("run -T --rm --no-deps app sh -c", "exit 6").code == 6
    assert shop.run("exec -T app sh -c", "exit 7").code == 7

    # Up again changes nothing, unless something has changed.
    before = shop.ids()
    shop("up -d")
    assert shop.ids() == before
    shop.file.write_text(_FILE.replace("COLOUR: red", "COLOUR: blue"))
    shop("up -d")
    after = shop.ids()
    assert after == before | {"app": after["app"]} and after["app"] != before["app"]
    assert shop.sh("app", "echo $COLOUR") == "blue"

    # The named volume outlives its container.
    shop("up -d --force-recreate --no-deps db")
    assert daemon.container("shop_db_1")["Id"] != before["db"]
    eventually(lambda: shop.run("exec -T db cat /var/www/starts").out == "start\nstart")

    shop("up -d --scale app=2 --no-recreate")
    assert len(shop("ps -q app").split()) == 2
    shop("up -d --scale app=1 --no-recreate")
    assert len(shop("ps -q app").split()) == 1

    # Stop, start and the like.
    shop("restart -t 0 web")
    assert daemon.container("shop_web_1")["Id"] == before["web"]
    shop("pause web")
    assert "Paused" in shop("ps web")
    shop("unpause web")
    shop("stop -t 0")
    assert "Up" not in shop("ps")
    shop("start")
    eventually(lambda: daemon.answers("http://127.0.0.1:8080/"))
    shop("kill web")
    assert "Exit 137" in shop("ps web")
    assert "Going to remove shop_web_1" in shop("rm -f web")
    shop("up --no-start web")
    assert daemon.container("shop_web_1")["State"]["Status"] == "created"
    shop("up -d web")

    # Down: nothing of it stays.
    shop("down -t 0")
    assert [volume["Name"] for volume in daemon.api.get("/volumes").json["Volumes"]] == ["shop_data"]
    shop("down -v")
    assert daemon.api.get("/containers/json?all=1").json == []
    assert {item["Name"] for item in daemon.api.get("/networks").json} == {"bridge", "host", "none"}
    assert not daemon.api.get("/volumes").json["Volumes"]
    assert not settle(daemon)


def test_events_are_followed(shop: Project) -> None:
    shop("up -d --no-deps web")
    assert _COMPOSE is not None
    watching = subprocess.Popen(
        [_COMPOSE, "-p", "shop", "events", "--json"],
        cwd=shop.directory,
        stdout=subprocess.PIPE,
        env={**shop.daemon.environment, "PATH": "/usr/bin:/bin", "HOME": str(shop.directory)},
    )
    try:
        assert watching.stdout is not None
        text = b""
        while b'"start"' not in text:
            # It may not be listening yet the first time.
            shop("restart -t 0 web")
            while b'"start"' not in text and select.select([watching.stdout], [], [], 3)[0]:
                piece = os.read(watching.stdout.fileno(), 65536)
                assert piece, "docker-compose events has ended"
                text += piece
        events = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
        assert events and {event["service"] for event in events} == {"web"}
    finally:
        watching.kill()
        watching.wait()
        if watching.stdout is not None:
            watching.stdout.close()


def test_building_is_refused(shop: Project) -> None:
    shop.file.write_text('version: "2.4"\nservices:\n  own:\n    build: .\n')
    (shop.directory / "Dockerfile").write_text("FROM busybox\n")
    told = shop.run("build")
    assert told.code != 0 and "use buildah or docker buildx" in told.err


def test_a_health_that_never_comes(shop: Project) -> None:
    text = _FILE.replace("http://127.0.0.1:5000/starts", "http://127.0.0.1:1/").replace(
        "retries: 60", "retries: 1"
    )
    shop.file.write_text(text)
    told = shop.run("up -d app")
    assert told.code != 0 and "is unhealthy" in told.err
    assert shop("ps -q app") == ""
