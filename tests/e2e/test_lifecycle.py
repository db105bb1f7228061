"""Containers from create to rm, through the CLI, as its users know it from Docker."""

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import termios
import time
from datetime import datetime
from pathlib import Path

import pytest

from carrick.testing.daemon import Daemon, eventually
from carrick.testing.terminal import Terminal


class TestRunning:
    def test_run_prints_what_the_command_prints_and_ends_with_its_code(self, daemon: Daemon) -> None:
        result = daemon.cli("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
        assert (result.code, result.out, result.err) == (7, "out\n", "err\n")

    def test_a_detached_container_prints_its_full_id(self, daemon: Daemon) -> None:
        assert re.fullmatch(r"[0-9a-f]{64}", daemon.sleeper("one"))

    @pytest.mark.parametrize(
        ("command", "code", "message"),
        [
            (["busybox", "no-such-command"], 127, r"executable file not found in \$PATH"),
            (["busybox", "/etc/passwd"], 126, "permission denied"),
            (["busybox", "/etc"], 126, "is a directory|permission denied"),
            (["--no-such-flag", "busybox"], 125, "unknown flag: --no-such-flag"),
            (["--name", "_", "busybox"], 125, "Invalid container name"),
            (["--network", "nowhere", "busybox", "true"], 125, "network nowhere not found"),
            (["--restart", "sometimes", "busybox", "true"], 125, "invalid restart policy"),
        ],
    )
    def test_what_cannot_run_has_dockers_exit_codes(
        self, daemon: Daemon, command: list[str], code: int, message: str
    ) -> None:
        error = daemon.refused("run", *command, code=code)
        assert re.search(message, error), error

    def test_an_image_that_is_nowhere(self, daemon: Daemon) -> None:
        error = daemon.refused("run", "--pull", "never", "nosuchimage", code=125)
        assert "No such image: nosuchimage:latest" in error

    def test_signals_give_128_and_their_number(self, daemon: Daemon) -> None:
        assert daemon.cli("run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?").code == 137

    def test_standard_input_reaches_the_command(self, daemon: Daemon) -> None:
        text = "".join(f"line {number}\n" for number in range(20000))
        assert daemon.do("run", "--rm", "-i", "busybox", "cat", input=text) == text.rstrip("\n")

    def test_rm_leaves_nothing(self, daemon: Daemon) -> None:
        daemon.do("run", "--rm", "busybox", "true")
        eventually(lambda: daemon.do("ps", "-aq") == "", what="the container is gone")

    def test_options_of_the_process(self, daemon: Daemon) -> None:
        out = daemon.do(
            *("run", "--rm", "-e", "COLOUR=blue", "-e", "EMPTY=", "-w", "/srv/deep", "-u", "nobody"),
            *("--hostname", "inner", "--entrypoint", "sh", "busybox", "-c"),
            "pwd; id -un; hostname; echo $COLOUR-$EMPTY-; id -u",
        )
        assert out.split() == ["/srv/deep", "nobody", "inner", "blue--", "65534"]

    def test_env_file_and_label_file(self, daemon: Daemon, tmp_path: Path) -> None:
        (tmp_path / "env").write_text("# comment\nONE=1\nTWO=two words\n")
        out = daemon.do("run", "--rm", "--env-file", str(tmp_path / "env"), "busybox", "env")
        assert {"ONE=1", "TWO=two words"} <= set(out.splitlines())

    def test_read_only_and_tmpfs(self, daemon: Daemon) -> None:
        result = daemon.cli(
            *("run", "--rm", "--read-only", "--tmpfs", "/scratch:size=1m", "busybox"),
            *("sh", "-c", "touch /scratch/a && echo fine; touch /b"),
        )
        assert result.out == "fine\n"
        assert result.code == 1
        assert "Read-only file system" in result.err

    def test_limits_are_in_force(self, daemon: Daemon) -> None:
        daemon.sleeper("limited", "--memory", "32m", "--pids-limit", "17", "--cpus", "0.5")
        limits = daemon.container("limited")["HostConfig"]
        assert (limits["Memory"], limits["PidsLimit"], limits["NanoCpus"]) == (32 << 20, 17, 500_000_000)
        pids = next(path for path in daemon.cgroups() if "/pids/" in str(path) and path.name != daemon.name)
        assert (pids / "pids.max").read_text().strip() == "17"

    def test_privileges_are_dockers(self, daemon: Daemon) -> None:
        out = daemon.do("run", "--rm", "busybox", "grep", "-E", "CapEff|Seccomp:", "/proc/self/status")
        assert "00000000a80425fb" in out
        assert re.search(r"Seccomp:\s+2", out)
        assert daemon.cli("run", "--rm", "busybox", "mount", "-t", "tmpfs", "x", "/mnt").code != 0


class TestTerminals:
    def test_an_interactive_shell(self, daemon: Daemon) -> None:
        shell = Terminal.of(daemon, "run", "-it", "--name", "shell", "busybox")
        shell.expect("# ")
        shell.type("tty; echo done-$((6*7))\n")
        seen = shell.expect("done-42")
        assert "/dev/pts/0" in seen
        shell.type("exit 3\n")
        assert shell.end() == 3

    def test_detach_and_attach_again(self, daemon: Daemon) -> None:
        shell = Terminal.of(daemon, "run", "-it", "--name", "shell", "busybox")
        shell.expect("# ")
        shell.type("\x10\x11")
        assert shell.end() == 0
        assert daemon.is_up("shell")
        again = Terminal.of(daemon, "attach", "shell")
        time.sleep(0.3)
        again.type("echo back-$((1+1))\n")
        again.expect("back-2")
        again.type("exit 0\n")
        assert again.end() == 0

    def test_the_size_follows_the_window(self, daemon: Daemon) -> None:
        daemon.sleeper("sized")
        shell = Terminal.of(daemon, "exec", "-it", "sized", "sh")
        shell.expect("# ")
        fcntl.ioctl(shell.master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
        os.kill(shell.process.pid, signal.SIGWINCH)

        def size() -> bool:
            shell.type("stty size\n")
            return "33 111" in shell.expect("# ")

        eventually(size, what="stty says 33 111")
        shell.type("exit\n")
        assert shell.end() == 0

    def test_ctrl_c_ends_a_foreground_container(self, daemon: Daemon) -> None:
        process = subprocess.Popen(
            daemon.command(
                *("run", "--rm", "busybox"),
                *("sh", "-c", 'trap "exit 9" INT; echo up; while :; do sleep 0.1; done'),
            ),
            env={**os.environ, **daemon.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode == 9


class TestExec:
    def test_exit_codes(self, daemon: Daemon) -> None:
        daemon.sleeper("box")
        assert daemon.cli("exec", "box", "sh", "-c", "exit 5").code == 5
        assert daemon.cli("exec", "box", "no-such-command").code == 127
        assert daemon.cli("exec", "box", "/etc/passwd").code == 126
        assert "No such container: nobody" in daemon.refused("exec", "nobody", "true")

    def test_its_own_user_environment_and_directory(self, daemon: Daemon) -> None:
        daemon.sleeper("box", "-e", "BASE=kept")
        out = daemon.do(
            "exec",
            "-u",
            "nobody",
            "-e",
            "MORE=1",
            "-w",
            "/tmp",
            "box",
            "sh",
            "-c",
            "id -un; pwd; echo $BASE$MORE",
        )
        assert out.split() == ["nobody", "/tmp", "kept1"]

    def test_input_and_detached(self, daemon: Daemon) -> None:
        daemon.sleeper("box")
        assert daemon.do("exec", "-i", "box", "wc", "-c", input="12345") == "5"
        daemon.do("exec", "-d", "box", "sh", "-c", "echo made >/tmp/made")
        eventually(lambda: daemon.exec("box", "cat", "/tmp/made").out == "made\n")

    def test_needs_a_running_container(self, daemon: Daemon) -> None:
        daemon.sleeper("box")
        daemon.do("pause", "box")
        assert "is paused, unpause the container before exec" in daemon.refused("exec", "box", "true")
        daemon.do("unpause", "box")
        daemon.do("stop", "box")
        assert "is not running" in daemon.refused("exec", "box", "true")


class TestStates:
    def test_create_start_stop_start_rm(self, daemon: Daemon) -> None:
        daemon.do("create", "--name", "box", "--stop-signal", "KILL", "busybox", "sleep", "1d")
        assert daemon.container("box")["State"]["Status"] == "created"
        assert daemon.do("start", "box") == "box"
        assert daemon.do("ps", "--format", "{{.Names}} {{.State}}") == "box running"
        assert daemon.do("stop", "box") == "box"
        state = daemon.container("box")["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 137)
        daemon.do("start", "box")
        error = daemon.refused("rm", "box")
        assert "cannot remove container" in error
        assert "stop the container before removing or force remove" in error
        assert daemon.do("rm", "-f", "box") == "box"
        assert "No such container: box" in daemon.refused("inspect", "--type", "container", "box")

    def test_starting_twice_and_stopping_twice_is_no_error(self, daemon: Daemon) -> None:
        daemon.sleeper("box")
        daemon.do("start", "box")
        assert daemon.api.post("/containers/box/start").status == 304
        daemon.do("stop", "box")
        daemon.do("stop", "box")
        assert daemon.api.post("/containers/box/stop").status == 304

    def test_stop_asks_first(self, daemon: Daemon) -> None:
        daemon.do(
            *("run", "-d", "--name", "polite", "busybox"),
            *("sh", "-c", 'trap "echo bye; exit 4" TERM; echo up; while :; do sleep 0.05; done'),
        )
        eventually(lambda: daemon.do("logs", "polite") == "up")
        daemon.do("stop", "polite")
        assert daemon.container("polite")["State"]["ExitCode"] == 4
        assert daemon.do("logs", "polite").split() == ["up", "bye"]

    def test_stop_kills_after_the_grace(self, daemon: Daemon) -> None:
        daemon.do(
            "run", "-d", "--name", "deaf", "busybox", "sh", "-c", 'trap "" TERM; sleep 100 & wait; wait'
        )
        begun = time.monotonic()
        daemon.do("stop", "-t", "1", "deaf")
        assert 0.9 < time.monotonic() - begun < 8
        assert daemon.container("deaf")["State"]["ExitCode"] == 137

    def test_kill_with_a_signal(self, daemon: Daemon) -> None:
        daemon.do(
            "run",
            "-d",
            "--name",
            "box",
            "busybox",
            "sh",
            "-c",
            'trap "echo got" USR1; echo up; while :; do sleep 0.05; done',
        )
        eventually(lambda: daemon.do("logs", "box") == "up")
        daemon.do("kill", "-s", "USR1", "box")
        eventually(lambda: daemon.do("logs", "box").split() == ["up", "got"])
        assert "invalid signal: NOPE" in daemon.refused("kill", "-s", "NOPE", "box")
        daemon.do("kill", "box")
        assert "is not running" in daemon.refused("kill", "box")

    def test_pause_stops_time(self, daemon: Daemon) -> None:
        daemon.do(
            "run", "-d", "--name", "clock", "busybox", "sh", "-c", "while :; do echo tick; sleep 0.05; done"
        )
        eventually(lambda: "tick" in daemon.do("logs", "clock"))
        daemon.do("pause", "clock")
        assert daemon.do("ps", "--format", "{{.Status}}").endswith("(Paused)")
        before = ""

        def stands_still() -> bool:
            nonlocal before
            before = daemon.do("logs", "clock")
            time.sleep(0.3)
            return daemon.do("logs", "clock") == before

        # What it wrote before may yet be on its way to the log.
        eventually(stands_still)
        assert "already paused" in daemon.refused("pause", "clock")
        daemon.do("unpause", "clock")
        eventually(lambda: daemon.do("logs", "clock") != before)

    def test_wait_gives_the_code(self, daemon: Daemon) -> None:
        daemon.do("run", "-d", "--name", "brief", "busybox", "sh", "-c", "sleep 0.3; exit 6")
        assert daemon.do("wait", "brief") == "6"
        assert daemon.do("wait", "brief") == "6"

    def test_rename(self, daemon: Daemon) -> None:
        daemon.sleeper("old")
        daemon.sleeper("taken")
        daemon.do("rename", "old", "new")
        assert daemon.container("new")["Name"] == "/new"
        assert "is already in use" in daemon.refused("rename", "new", "taken")
        assert "No such container: old" in daemon.refused("rename", "old", "other")

    def test_a_name_is_taken_once(self, daemon: Daemon) -> None:
        daemon.sleeper("box")
        error = daemon.refused("run", "-d", "--name", "box", "busybox", code=125)
        assert 'Conflict. The container name "/box" is already in use by container "' in error

    def test_start_attached_and_interactive(self, daemon: Daemon) -> None:
        daemon.do("create", "--name", "cat", "-i", "busybox", "sh", "-c", "cat; exit 2")
        result = daemon.cli("start", "-ai", "cat", input="through\n")
        assert (result.out, result.code) == ("through\n", 2)

    def test_prefixes_of_ids(self, daemon: Daemon) -> None:
        identifier = daemon.sleeper("box")
        assert daemon.do("inspect", "-f", "{{.Name}}", identifier[:7]) == "/box"


class TestRestartPolicies:
    def test_always_restarts_and_counts(self, daemon: Daemon) -> None:
        daemon.do(
            "run", "-d", "--name", "box", "--restart", "always", "busybox", "sh", "-c", "sleep 0.1; exit 1"
        )
        eventually(lambda: daemon.container("box")["RestartCount"] >= 2)
        daemon.do("stop", "-t", "0", "box")
        time.sleep(0.5)
        assert not daemon.is_up("box")

    def test_on_failure_gives_up(self, daemon: Daemon) -> None:
        daemon.do("run", "-d", "--name", "box", "--restart", "on-failure:2", "busybox", "false")
        eventually(
            lambda: (
                (state := daemon.container("box"))["RestartCount"] == 2
                and state["State"]["Status"] == "exited"
            )
        )
        time.sleep(0.6)
        assert daemon.container("box")["RestartCount"] == 2

    def test_on_failure_leaves_success_alone(self, daemon: Daemon) -> None:
        daemon.do("run", "-d", "--name", "box", "--restart", "on-failure", "busybox", "true")
        daemon.do("wait", "box")
        time.sleep(0.3)
        assert daemon.container("box")["RestartCount"] == 0

    def test_killed_by_the_user_stays_down(self, daemon: Daemon) -> None:
        daemon.sleeper("box", "--restart", "unless-stopped")
        daemon.do("kill", "box")
        time.sleep(0.5)
        assert not daemon.is_up("box")

    def test_restart_gives_a_new_process(self, daemon: Daemon) -> None:
        daemon.sleeper("box")
        before = daemon.container("box")["State"]["Pid"]
        daemon.do("restart", "-t", "0", "box")
        assert daemon.container("box")["State"]["Pid"] not in {0, before}

    def test_update_the_policy(self, daemon: Daemon) -> None:
        daemon.sleeper("box")
        daemon.do("update", "--restart", "always", "--memory", "64m", "--memory-swap", "64m", "box")
        host = daemon.container("box")["HostConfig"]
        assert (host["RestartPolicy"]["Name"], host["Memory"]) == ("always", 64 << 20)


class TestFiles:
    def test_bind_mounts(self, daemon: Daemon, tmp_path: Path) -> None:
        (tmp_path / "given").write_text("from outside\n")
        tmp_path.chmod(0o755)
        daemon.sleeper("box", "-v", f"{tmp_path}:/data", "-v", f"{tmp_path}:/frozen:ro")
        assert daemon.sh("box", "cat /data/given; echo inside >/data/made") == "from outside"
        assert (tmp_path / "made").read_text() == "inside\n"
        assert "Read-only" in daemon.exec("box", "touch", "/frozen/x").err

    def test_volumes_outlive_containers(self, daemon: Daemon) -> None:
        daemon.do("volume", "create", "store")
        daemon.do("run", "--rm", "-v", "store:/data", "busybox", "sh", "-c", "echo kept >/data/file")
        assert daemon.do("run", "--rm", "-v", "store:/data", "busybox", "cat", "/data/file") == "kept"
        daemon.sleeper("user", "-v", "store:/data")
        assert "volume is in use" in daemon.refused("volume", "rm", "store")
        daemon.do("rm", "-f", "user")
        assert daemon.do("volume", "ls", "-q") == "store"
        assert daemon.do("volume", "rm", "store") == "store"

    def test_anonymous_volumes_go_with_rm_v(self, daemon: Daemon) -> None:
        daemon.sleeper("box", "-v", "/data")
        assert daemon.do("volume", "ls", "-q")
        daemon.do("rm", "-fv", "box")
        assert daemon.do("volume", "ls", "-q") == ""

    def test_cp_both_ways(self, daemon: Daemon, tmp_path: Path) -> None:
        daemon.sleeper("box")
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "leaf").write_text("green\n")
        daemon.do("cp", str(tmp_path / "tree"), "box:/tmp")
        assert daemon.sh("box", "cat /tmp/tree/leaf") == "green"
        daemon.do("cp", "box:/tmp/tree/leaf", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "green\n"
        daemon.do("stop", "box")
        daemon.do("cp", "box:/tmp/tree", str(tmp_path / "again"))
        assert (tmp_path / "again" / "leaf").read_text() == "green\n"
        assert "Could not find the file /nope" in daemon.refused("cp", "box:/nope", str(tmp_path))

    def test_changes_stay_over_a_restart(self, daemon: Daemon) -> None:
        daemon.sleeper("box")
        daemon.sh("box", "echo stays >/root/file")
        daemon.do("restart", "-t", "0", "box")
        assert daemon.sh("box", "cat /root/file") == "stays"
        assert "A /root/file" in daemon.do("diff", "box").splitlines()


class TestLooking:
    def test_logs_options(self, daemon: Daemon) -> None:
        daemon.do(
            "run",
            "--name",
            "box",
            "busybox",
            "sh",
            "-c",
            "for i in 1 2 3 4; do echo line $i; done; echo e >&2",
        )
        result = daemon.cli("logs", "box")
        assert (result.out.splitlines()[-1], result.err) == ("line 4", "e\n")
        assert daemon.cli("logs", "-n", "2", "box").out.splitlines()[0] == "line 4"
        stamped = daemon.cli("logs", "-t", "-n", "1", "box")
        first = (stamped.out + stamped.err).split()[0]
        assert datetime.fromisoformat(first.replace("Z", "+00:00")).year >= 2024
        assert daemon.cli("logs", "--since", "1h", "box").out.count("line") == 4
        assert daemon.cli("logs", "--until", "2020-01-01", "box").out == ""

    def test_logs_follow_to_the_end(self, daemon: Daemon) -> None:
        daemon.do(
            "run", "-d", "--name", "box", "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"
        )
        assert daemon.do("logs", "-f", "box").split() == ["1", "2", "3"]

    def test_attach_sees_the_output(self, daemon: Daemon) -> None:
        daemon.do("run", "-di", "--name", "box", "busybox", "sh", "-c", "read x; echo late $x; exit 3")
        with subprocess.Popen(
            daemon.command("attach", "box"),
            env={**os.environ, **daemon.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            # Its input stays open: the end of it would detach, as with Docker.
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(b"now\n")
            process.stdin.flush()
            assert process.stdout.read() == b"late now\n"
        assert process.returncode == 3

    def test_ps_filters_and_formats(self, daemon: Daemon) -> None:
        daemon.do("network", "create", "special")
        daemon.sleeper("one", "--label", "tier=front", "--network", "special")
        daemon.sleeper("two", "--label", "tier=back")
        daemon.cli("run", "--name", "three", "busybox", "sh", "-c", "exit 3")

        def names(*filters: str) -> set[str]:
            options = [word for item in filters for word in ("-f", item)]
            return set(daemon.do("ps", "-a", "--format", "{{.Names}}", *options).split())

        assert names() == {"one", "two", "three"}
        assert names("label=tier") == {"one", "two"}
        assert names("label=tier=back") == {"two"}
        assert names("name=t") == {"two", "three"}
        assert names("status=exited") == {"three"}
        assert names("exited=3") == {"three"}
        assert names("network=special") == {"one"}
        assert names("ancestor=busybox") == {"one", "two", "three"}
        assert "invalid filter 'colour'" in daemon.refused("ps", "-f", "colour=red")
        assert len(daemon.do("ps", "-q").split()) == 2
        assert len(daemon.do("ps", "-aq", "--no-trunc").split()[0]) == 64
        row = json.loads(daemon.do("ps", "--format", "json", "-f", "name=one"))
        assert (row["Names"], row["Image"], row["State"]) == ("one", "busybox", "running")

    def test_inspect(self, daemon: Daemon) -> None:
        daemon.sleeper("box", "--label", "a=b", "--memory", "32m", "-p", "127.0.0.1:8099:80")
        (found,) = json.loads(daemon.do("inspect", "box"))
        assert found["Name"] == "/box"
        assert found["Config"]["Labels"] == {"a": "b"}
        assert found["HostConfig"]["PortBindings"] == {
            "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8099"}]
        }
        assert found["NetworkSettings"]["Ports"] == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8099"}]}
        assert (
            daemon.do("inspect", "-f", '{{.State.Status}} {{index .Config.Labels "a"}}', "box") == "running b"
        )
        assert daemon.do(
            "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "box"
        ) == daemon.address("box")
        missing = daemon.cli("inspect", "box", "nothing")
        assert missing.code == 1
        assert json.loads(missing.out)[0]["Name"] == "/box"

    def test_top_and_stats(self, daemon: Daemon) -> None:
        daemon.sleeper("box")
        # For a moment after the start it is still runc that is about to become it.
        eventually(lambda: "sleep 1d" in daemon.do("top", "box"))
        assert "PID" in daemon.do("top", "box", "-o", "pid,comm").splitlines()[0]
        row = json.loads(daemon.do("stats", "--no-stream", "--format", "json", "box"))
        assert row["Name"] == "box"
        assert row["PIDs"] == "1"

    def test_port(self, daemon: Daemon) -> None:
        daemon.sleeper("box", "-p", "8081:80", "-p", "127.0.0.1:5300:53/udp")
        assert daemon.do("port", "box").splitlines() == [
            "53/udp -> 127.0.0.1:5300",
            "80/tcp -> 0.0.0.0:8081",
            "80/tcp -> [::]:8081",
        ]
        assert daemon.do("port", "box", "80").splitlines()[0] == "0.0.0.0:8081"
        assert "no public port '81/tcp' published for box" in daemon.refused("port", "box", "81").lower()

    def test_events(self, daemon: Daemon) -> None:
        since = str(time.time())
        daemon.do("network", "create", "watched")
        daemon.sleeper("box", "--network", "watched")
        daemon.do("rm", "-f", "box")
        daemon.do("network", "rm", "watched")
        until = str(time.time())
        lines = daemon.do("events", "--since", since, "--until", until, "--format", "{{.Type}} {{.Action}}")
        wanted = [
            "network create", "container create", "network connect", "container start", "container kill",
            "container die", "network disconnect", "container destroy", "network destroy",
        ]  # fmt: skip
        assert [line for line in lines.splitlines() if line in wanted] == wanted
        only = daemon.do(
            "events",
            "--since",
            since,
            "--until",
            until,
            "--filter",
            "event=die",
            "--format",
            "{{.Actor.Attributes.exitCode}}",
        )
        assert only == "137"

    def test_prune(self, daemon: Daemon) -> None:
        daemon.do("run", "--name", "done", "busybox", "true")
        daemon.sleeper("up")
        assert "Total reclaimed space" in daemon.do("container", "prune", "-f")
        assert daemon.do("ps", "-a", "--format", "{{.Names}}") == "up"

    def test_images(self, daemon: Daemon, tmp_path: Path) -> None:
        assert "busybox" in daemon.do("images", "--format", "{{.Repository}}").split()
        daemon.do("tag", "busybox", "mine:1")
        daemon.do("save", "-o", str(tmp_path / "saved.tar"), "mine:1")
        daemon.do("rmi", "mine:1")
        assert "No such image" in daemon.refused("image", "inspect", "mine:1")
        assert "Loaded image: mine:1" in daemon.do("load", "-i", str(tmp_path / "saved.tar"))
        daemon.sleeper("user", "--pull", "never")
        daemon.do("rmi", "mine:1")

    def test_info_and_version(self, daemon: Daemon) -> None:
        assert json.loads(daemon.do("info", "--format", "json"))["Driver"] == "overlay2"
        assert "Server" in daemon.do("version")
