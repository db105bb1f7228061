"""`carrick lab` as people use it: one lab, put up, broken and taken down by commands."""

import json
import os
import pty
import secrets
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.lab.record import LabDirectory
from carrick.testing.lab import settle, trace_of
from carrick.testing.machine import Result


class CliLab:
    """A lab that only the command line knows of."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.environment = {
            **os.environ,
            "CARRICK_LAB": f"ck-{secrets.token_hex(3)}",
            "CARRICK_HOST": "unix:///nowhere",
        }

    def command(self, *words: str) -> list[str]:
        name, *rest = words
        group = [name, rest.pop(0)] if name == "etcd" else [name]
        return [sys.executable, "-m", "carrick", "lab", *group, "--dir", str(self.place / "lab"), *rest]

    def run(self, *words: str, input: str = "", cwd: Path = Path("/")) -> Result:
        done = subprocess.run(
            self.command(*words),
            input=input,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            cwd=cwd,
            timeout=120,
        )
        return Result(words, done.returncode, done.stdout, done.stderr)

    def do(self, *words: str, input: str = "") -> str:
        result = self.run(*words, input=input)
        assert result.code == 0, str(result)
        return result.out


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliLab]:
    lab = CliLab(tmp_path_factory.mktemp("cli"))
    lab.place.chmod(0o711)
    try:
        out = lab.do("up", "--hosts", "2", "--segments", "2", "--state-dir", str(lab.place / "state"))
        words = [line.split()[0] for line in out.splitlines()[:-1]]
        assert words == ["router", "etcd", "host1", "host2", "nodes"]
        assert "Now try: carrick lab exec" in out.splitlines()[-1]
        yield lab
    finally:
        record = LabDirectory(lab.place / "lab").read()
        trace = trace_of(record, lab.place / "lab") if record else None
        lab.do("down")
        assert trace is None or settle(trace) == []


def test_exec_keeps_exit_code_input_and_directory(cli: CliLab) -> None:
    assert cli.run("exec", "host1", "--", "sh", "-c", "exit 7").code == 7
    assert cli.run("exec", "host1", "sh", "-c", "kill -9 $$").code == 137
    assert cli.do("exec", "host1", "--", "cat", input="through\n") == "through\n"
    assert cli.run("exec", "host2", "pwd", cwd=Path("/usr/share")).out == "/usr/share\n"
    # There is no such directory on the host.
    assert cli.run("exec", "host2", "pwd", cwd=Path("/proc/self/task")).code == 0
    assert cli.do("exec", "host2", "hostname") == "host2\n"
    missing = cli.run("exec", "host1", "no-such-program")
    assert (missing.code, missing.err) == (127, "carrick: no-such-program: not found on host1\n")
    assert cli.run("exec", "host1", "/etc/hosts").code == 126


def test_exec_takes_the_terminal_along(cli: CliLab) -> None:
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (31, 117))
    # The size comes a moment after the start, as with Docker.
    wait = "until stty size 2>/dev/null | grep 1; do sleep 0.1; done"
    script = f"carrick run -it --rm busybox sh -c 'tty; {wait}'"
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *cli.command("exec", "host1", "--", "sh", "-c", script)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=cli.environment,
    )
    os.close(follower)
    said = b""
    while True:
        try:
            data = os.read(leader, 4096)
        except OSError:
            break  # the last one who had it open is gone
        if not data:
            break
        said += data
    os.close(leader)
    assert process.wait(30) == 0, said
    assert b"/dev/pts/0" in said and b"31 117" in said


def test_the_usual_clients_work_there_without_flags(cli: CliLab) -> None:
    assert cli.do("exec", "host1", "--", "carrick", "run", "--rm", "busybox", "echo", "hello") == "hello\n"
    assert "busybox" in cli.do("exec", "host2", "--", "carrick", "images")
    environment = cli.do("exec", "host1", "env")
    assert "DOCKER_HOST=unix:///run/carrick/carrick.sock\n" in environment
    assert "CARRICK_HOST" not in environment


def test_status_tells_what_is_broken(cli: CliLab) -> None:
    cli.do("cut", "host1", "host2")
    cli.do("loss", "2.5%")
    cli.do("rate", "100mbit", "etcd")
    try:
        lines = cli.do("status").splitlines()
        assert [line.split() for line in lines] == [
            ["HOST", "SEGMENT", "ADDRESS", "STATE", "SERVICE", "CONTAINERS", "CUT", "FROM", "RATE"],
            ["etcd", "1", "10.99.1.2", "running", "etcd", "ready", "-", "-", "100mbit"],
            ["host1", "1", "10.99.1.11", "running", "carrickd", "ready", "0/0", "host2", "-"],
            ["host2", "2", "10.99.2.12", "running", "carrickd", "ready", "0/0", "host1", "-"],
            "2.5% of the packets between them are lost".split(),
        ]
        status = json.loads(cli.do("status", "--format", "json"))
        assert status["loss"] == "2.5%" and status["etcd_endpoints"] == ["http://10.99.1.2:2379"]
        assert [node["cut_from"] for node in status["nodes"]] == [[], ["host2"], ["host1"]]
    finally:
        cli.do("heal")
        cli.do("loss", "0%")
        cli.do("rate", "off")
    assert "lost" not in cli.do("status")


def test_switching_off_and_on(cli: CliLab) -> None:
    assert cli.do("stop", "host2", "etcd") == "host2\netcd\n"
    refused = cli.run("exec", "host2", "true")
    assert (refused.code, refused.err) == (
        5,
        "host2 is off. 'carrick lab start host2' switches it on.\n",
    )
    assert [line.split()[3] for line in cli.do("status").splitlines()[1:]] == ["off", "running", "off"]
    assert cli.do("start", "host2", "etcd") == "host2\netcd\n"
    assert cli.do("kill", "--daemon", "host1") == "host1\n"
    assert cli.run("exec", "host1", "carrick", "ps").code == 1
    assert cli.do("start", "host1") == "host1\n"
    assert cli.do("exec", "host1", "carrick", "ps", "-q") == ""


def test_etcd_commands(cli: CliLab) -> None:
    assert cli.do("etcd", "stop") == "etcd\n"
    assert "etcd stopped" in cli.do("status")
    assert cli.do("etcd", "start", "etcd") == "etcd\n"
    assert cli.do("etcd", "compact").startswith("compacted: ")
    assert cli.run("etcd", "move-leader").code == 2
    assert cli.run("etcd", "stop", "host1").code == 2


def test_logs(cli: CliLab) -> None:
    assert "ready: carrickd" in cli.do("logs", "host1")
    assert len(cli.do("logs", "--tail", "1", "host1").splitlines()) == 1
    assert cli.run("logs", "--tail", "x", "host1").code == 2
    assert cli.run("logs", "host7").code == 3


def test_refusals(cli: CliLab) -> None:
    again = cli.run("up", "--state-dir", str(cli.place / "state"))
    assert again.code == 4 and "is up already" in again.err
    assert cli.run("stop", "router").code == 2
    assert cli.run("cut", "host1", "host1").code == 2
    unknown = cli.run("cut", "host1", "host3")
    assert unknown.code == 3 and "etcd, host1, host2" in unknown.err
