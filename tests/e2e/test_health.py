"""Health checks in real containers, from the first probe to a daemon killed in the middle of one."""

import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from carrick.testing.daemon import Daemon, eventually
from carrick.testing.inventory import settle

QUICK = ("--health-interval", "200ms", "--health-timeout", "20s")


def health(daemon: Daemon, name: str) -> Any:
    return daemon.container(name)["State"].get("Health")


def status(daemon: Daemon, name: str) -> str:
    return str(health(daemon, name)["Status"])


def becomes(daemon: Daemon, name: str, wanted: str) -> None:
    eventually(lambda: status(daemon, name) == wanted, 30, f"{name} is {wanted}")


def processes(daemon: Daemon, pattern: str) -> list[str]:
    lines = daemon.machine.do("ps", "-wweo", "stat,args").splitlines()
    return [line for line in lines if re.search(rf"^\S+\s+{pattern}$", line)]


def test_from_starting_to_healthy_to_unhealthy_and_back(daemon: Daemon) -> None:
    daemon.sleeper("web", *QUICK, "--health-retries", "2", "--health-cmd", "cat /ready")
    assert status(daemon, "web") in {"starting", "unhealthy"}
    becomes(daemon, "web", "unhealthy")
    assert "(unhealthy)" in daemon.do("ps", "--format", "{{.Status}}")
    found = health(daemon, "web")
    assert found["FailingStreak"] >= 2
    assert found["Log"][-1]["ExitCode"] == 1
    assert "No such file" in found["Log"][-1]["Output"]
    daemon.sh("web", "echo it works >/ready")
    becomes(daemon, "web", "healthy")
    assert "(healthy)" in daemon.do("ps", "--format", "{{.Status}}")
    assert daemon.do("ps", "-q", "--filter", "health=healthy")
    assert not daemon.do("ps", "-q", "--filter", "health=unhealthy")
    found = health(daemon, "web")
    assert (found["FailingStreak"], found["Log"][-1]["Output"]) == (0, "it works\n")
    eventually(lambda: len(health(daemon, "web")["Log"]) == 5)
    daemon.sh("web", "rm /ready")
    becomes(daemon, "web", "unhealthy")


def test_a_container_is_starting_until_its_first_probe(daemon: Daemon) -> None:
    daemon.sleeper("web", "--health-cmd", "true")
    assert health(daemon, "web") == {"Status": "starting", "FailingStreak": 0, "Log": []}
    assert "(health: starting)" in daemon.do("ps", "--format", "{{.Status}}")


def test_the_start_period_forgives_and_looks_more_often(daemon: Daemon) -> None:
    daemon.sleeper(
        "web",
        *("--health-cmd", "test -e /ready", "--health-interval", "1h", "--health-retries", "1"),
        *("--health-start-period", "1h", "--health-start-interval", "100ms"),
    )
    eventually(lambda: len(health(daemon, "web")["Log"]) == 5, 30)
    assert (status(daemon, "web"), health(daemon, "web")["FailingStreak"]) == ("starting", 0)
    daemon.sh("web", "touch /ready")
    becomes(daemon, "web", "healthy")


def test_what_takes_too_long_is_killed_with_its_children(daemon: Daemon) -> None:
    check = "echo begun; sleep 98765; true"
    daemon.sleeper("web", "--health-cmd", check, "--health-interval", "100ms", "--health-timeout", "1s")
    eventually(lambda: health(daemon, "web")["Log"], 30)
    entry = health(daemon, "web")["Log"][0]
    assert (entry["ExitCode"], entry["Output"]) == (-1, "Health check exceeded timeout (1s): begun\n")
    daemon.do("pause", "web")
    eventually(lambda: not processes(daemon, "sleep 98765"))


def test_a_probe_runs_as_the_containers_user_in_its_directory_with_its_environment(daemon: Daemon) -> None:
    check = "id -u; pwd; echo $COLOUR; echo oops >&2"
    daemon.sleeper("web", *QUICK, "-u", "1234", "-w", "/tmp", "-e", "COLOUR=blue", "--health-cmd", check)
    becomes(daemon, "web", "healthy")
    lines = health(daemon, "web")["Log"][0]["Output"].split("\n")
    assert sorted(lines) == sorted(["1234", "/tmp", "blue", "oops", ""])


def test_much_output_is_cut(daemon: Daemon) -> None:
    daemon.sleeper("web", *QUICK, "--health-cmd", "yes | head -c 100000")
    becomes(daemon, "web", "healthy")
    output = health(daemon, "web")["Log"][0]["Output"]
    assert output == ("y\n" * 2048) + "..."


def test_a_child_that_holds_the_output_open_delays_nothing_for_ever(daemon: Daemon) -> None:
    daemon.sleeper("web", *QUICK, "--health-cmd", "sleep 87654 & echo done")
    becomes(daemon, "web", "healthy")
    assert health(daemon, "web")["Log"][0]["Output"] == "done\n"


def test_a_command_that_is_not_there(daemon: Daemon) -> None:
    created = daemon.api.post(
        "/containers/create?name=web",
        {
            "Image": "busybox",
            "Cmd": ["sleep", "1d"],
            "Healthcheck": {"Test": ["CMD", "no-such-command"], "Interval": 100_000_000, "Retries": 1},
        },
    )
    assert created.status == 201
    daemon.do("start", "web")
    becomes(daemon, "web", "unhealthy")
    entry = health(daemon, "web")["Log"][0]
    assert entry["ExitCode"] == -1
    assert "executable file not found in $PATH" in entry["Output"]


def test_a_paused_container_is_not_probed(daemon: Daemon) -> None:
    daemon.sleeper("web", *QUICK, "--health-cmd", "true")
    becomes(daemon, "web", "healthy")
    daemon.do("pause", "web")
    assert status(daemon, "web") == "unhealthy"  # as Docker has it: nobody looks
    assert "(Paused)" in daemon.do("ps", "--format", "{{.Status}}")
    log = health(daemon, "web")["Log"]
    daemon.do("unpause", "web")
    becomes(daemon, "web", "healthy")
    assert health(daemon, "web")["Log"][0] in log or len(health(daemon, "web")["Log"]) == 5


def test_a_stop_ends_the_checks_and_a_start_begins_them(daemon: Daemon) -> None:
    daemon.sleeper("web", "--health-cmd", "true", "--health-interval", "1s")
    becomes(daemon, "web", "healthy")
    daemon.do("stop", "-t", "0", "web")
    assert status(daemon, "web") == "unhealthy"
    daemon.do("start", "web")
    assert status(daemon, "web") == "starting"
    becomes(daemon, "web", "healthy")


def test_events(daemon: Daemon) -> None:
    daemon.sleeper("web", *QUICK, "--health-cmd", "test -e /ready")
    daemon.sh("web", "touch /ready")
    becomes(daemon, "web", "healthy")
    container_id = daemon.container("web")["Id"]
    now = str(int(daemon.machine.do("date", "+%s")) + 1)
    lines = daemon.do(
        *("events", "--since", "1h", "--until", now, "--format", "{{json .}}"),
        *("--filter", f"container={container_id}"),
    )
    events = [json.loads(line) for line in lines.splitlines()]
    actions = [event.get("Action") or event["status"] for event in events]
    probe = "/bin/sh -c test -e /ready"
    assert {f"exec_create: {probe}", f"exec_start: {probe}", "exec_die"} <= set(actions)
    assert actions.count("health_status: healthy") == 1


def test_an_images_check_is_inherited_field_by_field(daemon: Daemon, busybox_tar: Path) -> None:
    check = "HEALTHCHECK --interval=200ms --timeout=9s --retries=7 CMD test -e /etc"
    daemon.do("import", "-c", check, "-c", 'CMD ["sleep", "1d"]', str(busybox_tar), "checked")
    daemon.do("run", "-d", "--name", "as-it-is", "checked")
    daemon.do("run", "-d", "--name", "other", "--health-retries", "2", "--health-cmd", "false", "checked")
    daemon.do("run", "-d", "--name", "without", "--no-healthcheck", "checked")
    becomes(daemon, "as-it-is", "healthy")
    becomes(daemon, "other", "unhealthy")
    assert daemon.container("other")["Config"]["Healthcheck"] == {
        "Test": ["CMD-SHELL", "false"],
        "Interval": 200_000_000,
        "Timeout": 9_000_000_000,
        "Retries": 2,
    }
    assert health(daemon, "without") is None
    # A commit carries it on.
    daemon.do("commit", "other", "committed")
    daemon.do("run", "-d", "--name", "of-the-commit", "committed")
    becomes(daemon, "of-the-commit", "unhealthy")
    error = daemon.refused("commit", "-c", "HEALTHCHECK RUN true", "other", "refused")
    assert 'Unknown type "RUN" in HEALTHCHECK (try CMD)' in error


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "stopped"])
def test_a_restart_of_the_daemon_leaves_health_as_it_is_and_no_probe_behind(
    daemon: Daemon, is_killed: bool
) -> None:
    daemon.sleeper("web", *QUICK, "--health-cmd", "true")
    daemon.sleeper("slow", "--health-cmd", "sleep 76543; true", "--health-interval", "100ms")
    daemon.do("exec", "-d", "slow", "sleep", "65432")
    becomes(daemon, "web", "healthy")
    eventually(lambda: processes(daemon, "sleep 76543"))
    if is_killed:
        daemon.kill9()
    else:
        daemon.stop()
    daemon.start()
    assert status(daemon, "web") == "healthy"
    count = len(health(daemon, "web")["Log"])
    eventually(lambda: len(health(daemon, "web")["Log"]) > count or count == 5)
    # The old probe is gone, a new one comes; what a user has started there goes on.
    eventually(lambda: len(processes(daemon, "sleep 76543")) == 1)
    assert len(processes(daemon, "sleep 65432")) == 1
    daemon.do("rm", "-f", "slow")
    eventually(lambda: not processes(daemon, "sleep (76543|65432)"))
    assert settle(daemon) == []


def test_probes_under_way_do_not_hold_up_the_end(daemon: Daemon) -> None:
    for name in ("one", "two"):
        daemon.sleeper(name, "--health-cmd", "sleep 54321", "--health-interval", "50ms")
    eventually(lambda: len(processes(daemon, "sleep 54321")) == 2)
    daemon.do("stop", "-t", "0", "one")
    daemon.do("rm", "-f", "two")
    assert health(daemon, "one")["Log"] == []
    assert not processes(daemon, "sleep 54321")
    assert settle(daemon) == []


def test_starts_stops_and_pauses_in_the_middle_of_probes_leave_nothing(daemon: Daemon) -> None:
    names = [f"busy{number}" for number in range(3)]
    for name in names:
        daemon.sleeper(name, "--health-cmd", "sleep 0.05", "--health-interval", "10ms")

    def trouble(name: str) -> None:
        for _ in range(3):
            for command in (("pause",), ("unpause",), ("restart", "-t", "0")):
                daemon.cli(*command, name)

    threads = [threading.Thread(target=trouble, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        becomes(daemon, name, "healthy")
    for name in names:
        daemon.do("stop", "-t", "0", name)
    assert not processes(daemon, "sleep 0.05")
    assert not list((daemon.run_dir / "runtime" / "execs").glob("*/*"))
    assert settle(daemon) == []


def test_compose_waits_for_a_healthy_service(daemon: Daemon, tmp_path: Path) -> None:
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    (tmp_path / "docker-compose.yml").write_text(
        """
version: "2.4"
services:
  db:
    image: busybox
    command: sh -c "sleep 1; touch /ready; sleep 1d"
    healthcheck: {test: [CMD, test, -e, /ready], interval: 200ms, retries: 100}
  app:
    image: busybox
    command: sleep 1d
    depends_on: {db: {condition: service_healthy}}
"""
    )
    environment = dict(os.environ) | daemon.environment
    compose = ["docker-compose", "--project-directory", str(tmp_path), "-p", "health"]
    compose += ["-f", str(tmp_path / "docker-compose.yml")]
    done = subprocess.run(
        [*compose, "up", "-d"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    database, app = daemon.container("health_db_1"), daemon.container("health_app_1")
    assert database["State"]["Health"]["Status"] == "healthy"
    succeeded = [entry["End"] for entry in database["State"]["Health"]["Log"] if entry["ExitCode"] == 0]
    assert succeeded
    assert app["State"]["StartedAt"] > succeeded[0] or len(succeeded) == 5
