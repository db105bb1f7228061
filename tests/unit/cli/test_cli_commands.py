"""Whole command lines against a fake daemon: requests, output, exit codes."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import Runner
from fake_daemon import Reply

from carrick.doors.cli import reference
from carrick.doors.cli.command import Command, Group
from carrick.doors.cli.errors import CliError, Quit, UsageProblem, exit_code
from carrick.doors.cli.main import root_group
from carrick.doors.client.errors import ApiNotFound
from carrick.doors.client.frames import STDERR, STDOUT, SYSTEM_ERROR, encode_frame
from carrick.model import errors

ID = "0123456789abcdef" * 4
REPOSITORY = Path(__file__).parents[3]


def refuse(status: int, message: str) -> Reply:
    return Reply(status, {"message": message})


# --- the tree


def every_command() -> list[tuple[str, Command]]:
    return list(reference.walk(root_group(), "carrick"))


@pytest.mark.parametrize(("path", "command"), every_command(), ids=str)
def test_every_command_has_help_with_an_example(cli: Runner, path: str, command: Command) -> None:
    words = path.split()[1:]
    result = cli(*words, "--help")
    assert result.code == 0 and result.err == ""
    assert result.out.startswith(f"Usage:  {path}")
    assert command.summary in result.out
    assert "\nExamples:\n" in result.out
    assert command.examples and all(example.strip() for example in command.examples)
    names = [flag.name for flag in command.flags]
    shorts = [flag.short for flag in command.flags if flag.short]
    assert len(set(names)) == len(names) and len(set(shorts)) == len(shorts)


def test_groups_list_their_commands(cli: Runner) -> None:
    for words in ((), ("network",), ("network", "--help"), ("--help",), ("port", "--help")):
        result = cli(*words)
        assert result.code == 0 and "Commands:" in result.out


def test_the_reference_page_is_up_to_date() -> None:
    page = REPOSITORY / "docs" / "reference" / "cli.md"
    assert page.read_text() == reference.render(), (
        "run: python -m carrick.doors.cli.reference > docs/reference/cli.md"
    )


# --- wrong command lines


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        (["ps", "--foo"], 125, "unknown flag: --foo\n\nUsage:  carrick ps [OPTIONS]\n"),
        (["--foo"], 125, "unknown flag: --foo\n\nRun 'carrick --help' for more information\n"),
        (["--host"], 125, "flag needs an argument: --host\n\nRun 'carrick --help'"),
        (["network", "-x"], 125, "unknown shorthand flag: 'x' in -x\n\nRun 'carrick network --help'"),
        (["port", "-x"], 125, "unknown shorthand flag: 'x' in -x\n\nUsage:  carrick port CONTAINER"),
        (["container", "list", "x"], 1, "carrick: 'carrick container list' accepts no arguments\n"),
        (["ps", "x"], 1, "carrick: 'carrick ps' accepts no arguments\n"),
        (["rm"], 1, "carrick: 'carrick rm' requires at least 1 argument\n"),
        (["rename", "a"], 1, "carrick: 'carrick rename' requires 2 arguments\n"),
        (["tag", "a", "b", "c"], 1, "carrick: 'carrick tag' requires 2 arguments\n"),
        (["images", "a", "b"], 1, "carrick: 'carrick images' requires at most 1 argument\n"),
        (["network", "create"], 1, "carrick: 'carrick network create' requires 1 argument\n"),
        (
            ["import", "a", "b", "c"],
            1,
            "carrick: 'carrick import' requires at least 1 and at most 2 arguments\n",
        ),
        (["rnu"], 1, "carrick: unknown command: carrick rnu\n\nDid you mean: carrick run\n"),
        (
            ["network", "lss"],
            1,
            "carrick: unknown command: carrick network lss\n\nDid you mean: carrick network ls\n",
        ),
        (["xyzzy"], 1, "carrick: unknown command: carrick xyzzy\n\nRun 'carrick --help'"),
        (["run", "-p", "foo", "x"], 125, "carrick: invalid containerPort: foo\n\nRun 'carrick run"),
        (["run", "BAD"], 125, "carrick: invalid reference format: repository name (library/BAD)"),
        (["run", "--pull", "x", "i"], 125, "carrick: invalid pull option: 'x': must be one of"),
        (
            ["run", "-d", "-a", "stdin", "i"],
            1,
            "conflicting options: cannot specify both --attach and --detach\n",
        ),
        (["run", "-it", "i"], 1, "the input device is not a TTY\n"),
        (["exec", "-it", "c", "sh"], 1, "the input device is not a TTY\n"),
        (
            ["run", "-t", "--detach-keys", "foo", "i"],
            1,
            "invalid detach keys (foo): unknown key 'foo'",
        ),
        (["update", "c"], 1, "you must provide one or more flags when using this command\n"),
        (["cp", "a", "b"], 1, "must specify at least one container source\n"),
        (["cp", "a:/x", "b:/y"], 1, "copying between containers is not supported\n"),
        (["start", "-a", "x", "y"], 1, "you cannot start and attach multiple containers at once\n"),
        (["ps", "--format", "{{.ID"], 1, "template parsing error: template: :1: unclosed action\n"),
        (
            ["inspect", "-f", "{{.ID", "x"],
            64,
            "template parsing error: template: :1: unclosed action\n",
        ),
        (["inspect", "--type", "x", "y"], 1, 'unknown type: "x": must be one of "container",'),
        (["logs", "--since", "x", "c"], 1, 'invalid value for "since": failed to parse value'),
        (["pull", "BAD"], 1, "invalid reference format: repository name (library/BAD)"),
        (["load", "-i", "/nope/x"], 1, "open /nope/x: no such file or directory\n"),
        (["port", "add", "c", "-p", "x"], 2, "invalid containerPort: x\n"),
        (["port", "add", "c"], 2, "name the ports to publish: carrick port add CONTAINER -p"),
        (["completion", "tcsh"], 2, "unknown shell 'tcsh': must be one of bash, zsh, fish\n"),
        (["network", "create", "--gateway", "1.2.3.4", "n"], 1, "every ip-range or gateway must"),
    ],
)
def test_refusals(cli: Runner, words: list[str], code: int, err: str) -> None:
    cli.daemon.on("GET /containers/json", [])
    cli.daemon.on("GET /containers/c/json", {"Config": {}})
    cli.daemon.on("POST /containers/create", {"Id": ID})
    result = cli(*words)
    assert result.err.startswith(err)
    assert result.code == code


def test_global_flags_stand_before_the_command(cli: Runner, tmp_path: Path) -> None:
    cli.daemon.on("GET /containers/json", [])
    elsewhere = {"CARRICK_HOST": f"unix://{tmp_path}/none.sock"}
    for words in (["-H", cli.daemon.address], [f"-H{cli.daemon.address}"], [f"--host={cli.daemon.address}"]):
        assert cli(*words, "ps", environ=elsewhere).code == 0
    assert cli("-D", "--", "ps").code == 0
    for words in (["-v"], ["--version"], ["-Dv"], ["-v", "ps"]):
        assert cli(*words).out.startswith("Carrick version ")
    assert cli("--version", "--help").out.startswith("Usage:  carrick COMMAND\n")
    assert cli("-D").out.startswith("Usage:  carrick COMMAND\n")
    cli.daemon.on("GET /containers/json", {"not": "a list"})
    with pytest.raises(AttributeError):
        cli("--debug", "ps")


def test_a_remedy_stands_on_its_own_line(cli: Runner) -> None:
    body = {"message": "no free port", "remedy": "widen the range in the configuration"}
    cli.daemon.on("DELETE /containers/web", Reply(409, body))
    result = cli("rm", "web")
    assert result.code == 1
    assert result.err == "Error response from daemon: no free port\nwiden the range in the configuration\n"


def test_the_daemon_is_not_there(cli: Runner, tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/none.sock"
    result = cli("ps", environ={"CARRICK_HOST": address})
    assert result.code == 1
    assert result.err.startswith(
        f"Cannot connect to the Carrick daemon at {address}. Is carrickd running? Start it with"
    )
    assert cli("--host", address, "run", "x").code == 125
    assert cli("doctor", environ={"CARRICK_HOST": address}).code == 5
    result = cli("-H", "tcp://1.2.3.4:5", "ps")
    assert result.code == 1 and "unix:///path/to/socket" in result.err
    result = cli("version", environ={"CARRICK_HOST": address})
    assert result.code == 1 and result.out.startswith("Client:\n Version:")


def test_what_is_no_daemon(cli: Runner) -> None:
    cli.daemon.on("GET /containers/json", {"not": "a list"})
    result = cli("ps")
    assert result.code == 1 and result.err.startswith("carrick: unexpected")
    cli.daemon.on("GET /containers/json", Reply(raw=b"junk\r\n\r\n"))
    assert cli("ps").err.startswith("not an HTTP answer")


def walk(kind: type[errors.CarrickError]) -> list[type[errors.CarrickError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in walk(child))]


def test_every_error_has_an_exit_code() -> None:
    own = {}
    for kind in walk(errors.CarrickError):
        if issubclass(kind, CliError | UsageProblem | Quit) or kind.__module__ != errors.__name__:
            continue
        assert exit_code(kind("x")) == 1
        own[kind.__name__] = exit_code(kind("x"), own=True)
    assert own == {
        "CarrickError": 1,
        "InvalidRequest": 2,
        "NotFound": 3,
        "Conflict": 4,
        "NotModified": 4,
        "Unavailable": 5,
        "Denied": 6,
        "Unsupported": 7,
        "KernelRefused": 8,
        "Failed": 1,
    }
    assert exit_code(CliError("x", 64)) == 64
    assert exit_code(ApiNotFound(404, "x"), own=True) == 3


# --- lists


def test_ps(cli: Runner) -> None:
    cli.daemon.on(
        "GET /containers/json",
        [{"Id": ID, "Names": ["/web"], "Image": "busybox", "Command": "sh", "Status": "Created"}],
    )
    assert cli("ps", "-a", "-f", "name=w", "-n", "3").out == (
        "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
        '0123456789ab   busybox   "sh"      N/A       Created             web\n'
    )
    assert cli.daemon.requests[0].query == {"all": "1", "limit": "3", "filters": '{"name":["w"]}'}
    assert cli("ps", "-q").out == "0123456789ab\n"
    assert cli("ps", "-q", "--no-trunc").out == ID + "\n"
    assert cli("ps", "--format", "table {{.Names}}\\t{{upper .Image}}").out == (
        "NAMES     IMAGE\nweb       BUSYBOX\n"
    )
    assert json.loads(cli("container", "ls", "--format", "json").out)["Names"] == "web"
    result = cli("ps", "--format", "{{.Foo}}")
    assert result.code == 1 and result.err == (
        'failed to execute template: template: :1:2: executing "" at <.Foo>:'
        " can't evaluate field Foo in type *formatter.ContainerContext\n"
    )


def test_networks_are_sorted_naturally(cli: Runner) -> None:
    names = ("net10", "net9", "bridge")
    cli.daemon.on("GET /networks", [{"Id": ID, "Name": name, "Driver": "b"} for name in names])
    assert cli("network", "ls", "--format", "{{.Name}}").out == "bridge\nnet9\nnet10\n"


def test_inspect(cli: Runner) -> None:
    cli.daemon.on("GET /containers/web/json", {"Id": ID, "Config": {"Env": ["A=ü"]}})
    cli.daemon.on("GET /networks/front", {"Name": "front"})
    assert json.loads(cli("inspect", "web", "front").out) == [
        {"Id": ID, "Config": {"Env": ["A=ü"]}},
        {"Name": "front"},
    ]
    assert cli("inspect", "-f", "{{.Id}}", "web").out == ID + "\n"
    assert "ü" in cli("inspect", "-f", "json", "web").out
    result = cli("inspect", "web", "nope", "-f", "{{.ID}}")
    assert (result.code, result.out, result.err) == (
        1,
        ID + "\n",
        "Error: No such object: nope\n",
    )
    result = cli("network", "inspect", "nope")
    assert (result.code, result.out) == (1, "[]\n")
    result = cli("inspect", "-f", "{{.Foo}}", "web")
    assert (result.code, result.out) == (1, "\n")
    assert result.err.startswith("template parsing error: template: :1:2: executing")


# --- one request each


def test_several_targets(cli: Runner) -> None:
    cli.daemon.on("POST /containers/a/stop", Reply(204))
    cli.daemon.on("POST /containers/b/stop", Reply(304))
    cli.daemon.on("POST /containers/c/stop", refuse(404, "No such container: c"))
    result = cli("stop", "-t", "3", "-s", "INT", "a", "c", "b")
    assert (result.code, result.out) == (1, "a\nb\n")
    assert result.err == "Error response from daemon: No such container: c\n"
    assert cli.daemon.requests[0].query == {"signal": "INT", "t": "3"}


def test_rm_forced_forgives_what_is_not_there(cli: Runner) -> None:
    cli.daemon.on("DELETE /containers/x", refuse(404, "No such container: x"))
    assert cli("rm", "-f", "x").code == 0
    assert cli("rm", "-v", "x").code == 1
    assert cli.daemon.requests[1].query == {"v": "1"}


def test_network_rm_goes_on(cli: Runner) -> None:
    cli.daemon.on("DELETE /networks/a", refuse(403, "a is a pre-defined network and cannot be removed"))
    cli.daemon.on("DELETE /networks/b", Reply(204))
    result = cli("network", "rm", "a", "b")
    assert (result.code, result.out) == (1, "b\n")
    assert result.err.endswith("cannot be removed\nexit status 1\n")


def test_a_name_with_odd_characters_stays_one_name(cli: Runner) -> None:
    cli("network", "rm", "a/b?c")
    assert cli.daemon.requests[0].target == "/networks/a%2Fb%3Fc"


def test_dry_run(cli: Runner) -> None:
    plan = {"steps": [{"description": "create bridge br-1"}], "notes": ["avoided 10.0.0.0/8: VPN"]}
    cli.daemon.on("POST /carrick/v1/networks/plan", plan)
    result = cli("network", "create", "--dry-run", "--subnet", "10.9.0.0/24", "n")
    assert result.out == (
        "Plan for network n (nothing was changed):\n  1. create bridge br-1\n"
        "Notes:\n  - avoided 10.0.0.0/8: VPN\n"
    )
    assert cli.daemon.requests[0].json["IPAM"]["Config"] == [{"Subnet": "10.9.0.0/24"}]
    assert json.loads(cli("network", "create", "--dry-run", "--format", "json", "n").out) == plan


def test_ports_are_sorted_as_people_count(cli: Runner) -> None:
    places = [
        {"HostIp": "::", "HostPort": "8080"},
        {"HostIp": "0.0.0.0", "HostPort": "10080"},
        {"HostIp": "0.0.0.0", "HostPort": "8080"},
    ]
    ports = {"443/tcp": places[:1], "80/tcp": places}
    cli.daemon.on("GET /containers/web/json", {"NetworkSettings": {"Ports": ports}})
    own = ["0.0.0.0:8080", "0.0.0.0:10080", "[::]:8080"]
    assert cli("port", "web").out.splitlines() == [*(f"80/tcp -> {place}" for place in own), (
        "443/tcp -> [::]:8080"
    )]  # fmt: skip
    assert cli("port", "web", "80").out.splitlines() == own


def test_ports(cli: Runner) -> None:
    ports = {"80/tcp": [{"HostIp": "::", "HostPort": "8080"}], "9/udp": None, "443/tcp": []}
    cli.daemon.on("GET /containers/web/json", {"NetworkSettings": {"Ports": ports}})
    assert cli("port", "web").out == "80/tcp -> [::]:8080\n"
    assert cli("port", "web", "80").out == "[::]:8080\n"
    result = cli("port", "web", "81")
    assert (result.code, result.err) == (1, "Error: No public port '81/tcp' published for web\n")
    cli.daemon.on("POST /carrick/v1/containers/web/ports", Reply(204))
    cli.daemon.on("POST /carrick/v1/containers/web/ports/remove", refuse(409, "not published"))
    assert cli("port", "add", "web", "-p", "8080:80").code == 0
    assert cli.daemon.requests[-1].json == {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}
    result = cli("port", "rm", "web", "8080:80")
    assert (result.code, result.err) == (4, "Error response from daemon: not published\n")


def test_doctor(cli: Runner) -> None:
    findings = [
        {"level": "error", "subject": "nft", "problem": "FORWARD drops", "remedy": "do this"},
        {"level": "ok", "subject": "forwarding", "problem": "", "remedy": ""},
    ]
    cli.daemon.on("GET /carrick/v1/doctor", {"findings": findings})
    cli.daemon.on("POST /carrick/v1/doctor/fix", {"findings": findings[1:]})
    result = cli("doctor")
    assert result.code == 1
    assert result.out == (
        "ok       forwarding\nerror    nft: FORWARD drops\n         remedy: do this\n"
        "1 error, 0 warnings, 1 ok\n"
    )
    assert cli("doctor", "--fix").code == 0


def test_prune_asks_first(cli: Runner) -> None:
    cli.daemon.on("POST /networks/prune", {"NetworksDeleted": ["front"]})
    assert cli("network", "prune", stdin=b"n\n").code == 1
    assert cli.daemon.requests == []
    result = cli("network", "prune", stdin=b"y\n")
    assert result.code == 0 and result.out.endswith("[y/N] Deleted Networks:\nfront\n\n")
    assert cli("network", "prune", "-f").out == "Deleted Networks:\nfront\n\n"


def test_logs_are_split(cli: Runner) -> None:
    cli.daemon.on("GET /containers/web/json", {"Config": {"Tty": False}})
    wire = encode_frame(STDOUT, b"out\n") + encode_frame(STDERR, b"err\n")
    cli.daemon.on("GET /containers/web/logs", Reply(chunks=[wire[:5], wire[5:]]))
    result = cli("logs", "--tail", "5", "web")
    assert (result.out, result.err) == ("out\n", "err\n")
    assert cli.daemon.requests[1].query == {"stdout": "1", "stderr": "1", "tail": "5"}


def test_an_error_in_the_logs_is_an_error(cli: Runner) -> None:
    cli.daemon.on("GET /containers/web/json", {"Config": {"Tty": False}})
    wire = encode_frame(STDOUT, b"out\n") + encode_frame(SYSTEM_ERROR, b"Error grabbing logs: gone\n")
    cli.daemon.on("GET /containers/web/logs", Reply(chunks=[wire[:-8], wire[-8:]]))
    result = cli("logs", "web")
    assert (result.code, result.out) == (1, "out\n")
    assert result.err == "error from daemon in stream: Error grabbing logs: gone\n"


def test_an_error_of_an_exec_is_an_error(cli: Runner) -> None:
    def output(connection: socket.socket) -> None:
        wire = encode_frame(STDOUT, b"hi\n") + encode_frame(SYSTEM_ERROR, b"the runtime is gone\r\n")
        connection.sendall(wire[:-5])
        connection.sendall(wire[-5:])

    cli.daemon.on("POST /containers/web/exec", {"Id": "e1"})
    cli.daemon.on("POST /exec/e1/start", Reply(takeover=output))
    result = cli("exec", "web", "ls")
    assert (result.code, result.out) == (1, "hi\n")
    assert result.err == "error from daemon in stream: the runtime is gone\n"


def test_events(cli: Runner) -> None:
    event = {
        "Type": "network",
        "Action": "connect",
        "Actor": {"ID": "n1", "Attributes": {"name": "front", "container": "c"}},
        "timeNano": 1_700_000_000_123_456_789,
    }
    cli.daemon.on("GET /events", Reply(chunks=[json.dumps(event).encode() + b"\n"]))
    line = cli("events").out
    assert line.endswith(" network connect n1 (container=c, name=front)\n")
    assert ".123456789" in line
    assert cli("events", "--format", "{{.Type}}").out == "network\n"


def test_pull(cli: Runner) -> None:
    messages = [
        {"status": "Pulling from library/busybox", "id": "latest"},
        {"status": "Downloading", "id": "a1", "progressDetail": {"current": 1, "total": 2}},
        {"status": "Pull complete", "id": "a1", "progressDetail": {}},
    ]
    lines = [json.dumps(message).encode() + b"\r\n" for message in messages]
    cli.daemon.on("POST /images/create", Reply(chunks=lines))
    result = cli("pull", "busybox")
    assert result.out == (
        "Using default tag: latest\nlatest: Pulling from library/busybox\na1: Pull complete\n"
        "docker.io/library/busybox:latest\n"
    )
    assert cli.daemon.requests[0].query == {"fromImage": "busybox", "tag": "latest"}
    failure = {"errorDetail": {"message": "manifest unknown"}, "error": "manifest unknown"}
    cli.daemon.on("POST /images/create", Reply(chunks=[json.dumps(failure).encode()]))
    result = cli("pull", "-q", "busybox:x")
    assert (result.code, result.out, result.err) == (1, "", "manifest unknown\n")


def test_save_and_load(cli: Runner, tmp_path: Path) -> None:
    cli.daemon.on("GET /images/get", Reply(body=b"tar bytes"))
    assert cli("save", "-o", str(tmp_path / "x.tar"), "a", "b").code == 0
    assert (tmp_path / "x.tar").read_bytes() == b"tar bytes"
    assert cli.daemon.requests[0].target == "/images/get?names=a&names=b"
    assert cli("save", "a").raw == b"tar bytes"
    stream = [b'{"stream":"Loaded image: a:latest\\n"}\n']
    cli.daemon.on("POST /images/load", Reply(chunks=stream))
    assert cli("load", "-i", str(tmp_path / "x.tar")).out == "Loaded image: a:latest\n"
    assert cli.daemon.requests[-1].body == b"tar bytes"
    assert cli("load", stdin=b"from stdin").code == 0
    assert cli.daemon.requests[-1].body == b"from stdin"


def test_a_save_cut_short_leaves_nothing(cli: Runner, tmp_path: Path) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
    cli.daemon.on("GET /images/get", Reply(raw=raw))
    assert cli("save", "-o", str(tmp_path / "x.tar"), "a").code == 1
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".tar", ".part")]


def test_cp_out(cli: Runner, tmp_path: Path) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo("hosts")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    stat = base64.b64encode(json.dumps({"name": "hosts", "mode": 0o644}).encode()).decode()
    headers = {"X-Docker-Container-Path-Stat": stat}
    cli.daemon.on("GET /containers/web/archive", Reply(body=raw.getvalue(), headers=headers))
    assert cli("cp", "web:/etc/hosts", str(tmp_path)).code == 0
    assert (tmp_path / "hosts").read_text() == "abc"
    assert cli("cp", "web:etc/hosts", str(tmp_path / "renamed")).code == 0
    assert (tmp_path / "renamed").read_text() == "abc"
    assert cli.daemon.requests[1].query == {"path": "/etc/hosts"}
    assert cli("cp", "web:/etc/hosts", "-").raw == raw.getvalue()


def test_cp_in(cli: Runner, tmp_path: Path) -> None:
    stat = base64.b64encode(json.dumps({"name": "tmp", "mode": 1 << 31}).encode()).decode()
    headers = {"X-Docker-Container-Path-Stat": stat}
    cli.daemon.on("HEAD /containers/web/archive", Reply(200, headers=headers))
    cli.daemon.on("PUT /containers/web/archive", Reply(200))
    (tmp_path / "f").write_text("abc")
    assert cli("cp", str(tmp_path / "f"), "web:/tmp").code == 0
    put = cli.daemon.requests[-1]
    assert put.query == {"path": "/tmp", "noOverwriteDirNonDir": "1"}
    with tarfile.open(fileobj=io.BytesIO(put.body)) as tar:
        assert tar.getnames() == ["f"]


# --- run


@pytest.fixture
def runnable(cli: Runner) -> Runner:
    def attach(connection: socket.socket) -> None:
        connection.sendall(encode_frame(STDOUT, b"out\n") + encode_frame(STDERR, b"err\n"))

    cli.daemon.on("POST /containers/create", {"Id": ID, "Warnings": ["careful"]})
    cli.daemon.on(f"POST /containers/{ID}/attach", Reply(takeover=attach))
    cli.daemon.on(f"POST /containers/{ID}/wait", {"StatusCode": 7})
    cli.daemon.on(f"POST /containers/{ID}/start", Reply(204))
    return cli


def test_run_detached(runnable: Runner) -> None:
    result = runnable("run", "-d", "--name", "web", "busybox", "sleep", "9")
    assert (result.code, result.out, result.err) == (0, ID + "\n", "WARNING: careful\n")
    assert runnable.daemon.seen() == [
        "POST /containers/create",
        f"POST /containers/{ID}/start",
    ]
    created = runnable.daemon.requests[0]
    assert created.query == {"name": "web"}
    assert created.json["Cmd"] == ["sleep", "9"] and created.json["AttachStdout"] is False


def test_run_attached(runnable: Runner) -> None:
    result = runnable("run", "--rm", "busybox", "true")
    assert (result.code, result.out) == (7, "out\n")
    assert result.err == "WARNING: careful\nerr\n"
    assert runnable.daemon.seen() == [
        "POST /containers/create",
        f"POST /containers/{ID}/attach",
        f"POST /containers/{ID}/wait",
        f"POST /containers/{ID}/start",
    ]
    attach, wait = runnable.daemon.requests[1:3]
    assert attach.query == {"stream": "1", "stdout": "1", "stderr": "1"}
    assert wait.query == {"condition": "removed"}


def test_run_with_stdin(runnable: Runner, tmp_path: Path) -> None:
    def attach(connection: socket.socket) -> None:
        received = b""
        while data := connection.recv(1000):
            received += data
        connection.sendall(encode_frame(STDOUT, received.upper()))

    runnable.daemon.on(f"POST /containers/{ID}/attach", Reply(takeover=attach))
    (tmp_path / "in").write_bytes(b"typed")
    descriptor = os.open(tmp_path / "in", os.O_RDONLY)
    try:
        result = runnable("run", "-i", "busybox", "cat", stdin_fd=descriptor)
    finally:
        os.close(descriptor)
    assert (result.code, result.out) == (7, "TYPED")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "nope": executable file not found in $PATH: unknown', 127),
        ('exec: "/x": stat /x: no such file or directory: unknown', 127),
        ('exec: "/etc/passwd": permission denied: unknown', 126),
        ("driver failed programming external connectivity", 125),
    ],
)
@pytest.mark.parametrize("flag", ["-d", "--rm"])
def test_run_exit_codes(runnable: Runner, message: str, code: int, flag: str) -> None:
    runnable.daemon.on(f"POST /containers/{ID}/start", refuse(500, message))
    runnable.daemon.on(f"POST /containers/{ID}/attach", Reply(takeover=lambda _: None))
    result = runnable("run", flag, "busybox", "x")
    assert result.code == code
    assert f"carrick: Error response from daemon: {message}\n" in result.err
    assert result.err.endswith("\n\nRun 'carrick run --help' for more information\n")
    assert result.out == (f"{ID}\n" if flag == "-d" else "")


def test_run_refused_by_the_daemon(runnable: Runner) -> None:
    runnable.daemon.on("POST /containers/create", refuse(409, "Conflict. The name is in use"))
    assert runnable("run", "busybox").code == 125
    result = runnable("create", "busybox")
    assert (result.code, result.err) == (1, "Error response from daemon: Conflict. The name is in use\n")


def test_run_pulls_what_is_missing(runnable: Runner) -> None:
    def create(request: object) -> Reply:
        pulled = "POST /images/create" in runnable.daemon.seen()
        return Reply(201, {"Id": ID}) if pulled else refuse(404, "No such image: busybox:latest")

    runnable.daemon.on("POST /containers/create", create)
    runnable.daemon.on("POST /images/create", Reply(chunks=[b'{"status":"Pulling"}\n']))
    result = runnable("run", "-d", "busybox")
    assert (result.code, result.out) == (0, ID + "\n")
    assert result.err == "Unable to find image 'busybox:latest' locally\nPulling\n"
    runnable.daemon.requests.clear()
    result = runnable("run", "-d", "--pull", "never", "busybox")
    assert result.code == 125 and "POST /images/create" not in runnable.daemon.seen()
    runnable.daemon.requests.clear()
    result = runnable("run", "-dq", "--pull", "always", "busybox")
    assert runnable.daemon.seen()[:2] == ["POST /images/create", "POST /containers/create"]
    assert result.err == ""


def test_run_pulls_for_another_platform(runnable: Runner) -> None:
    def create(request: object) -> Reply:
        pulled = "POST /images/create" in runnable.daemon.seen()
        message = "image with reference busybox was found but does not provide the specified platform (x/y)"
        return Reply(201, {"Id": ID}) if pulled else refuse(404, message)

    runnable.daemon.on("POST /containers/create", create)
    runnable.daemon.on("POST /images/create", Reply(chunks=[b'{"status":"Pulling"}\n']))
    assert runnable("run", "-d", "--platform", "x/y", "busybox").code == 0


def test_cidfile(runnable: Runner, tmp_path: Path) -> None:
    path = tmp_path / "cid"
    assert runnable("create", "--cidfile", str(path), "busybox").code == 0
    assert path.read_text() == ID
    result = runnable("run", "-d", "--cidfile", str(path), "busybox")
    assert result.code == 125 and "container ID file found" in result.err


def test_a_daemon_that_dies_while_we_wait(runnable: Runner) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"
    runnable.daemon.on(f"POST /containers/{ID}/wait", Reply(raw=raw))
    result = runnable("run", "busybox")
    assert result.code == 125 and "closed the connection" in result.err


def test_exec(cli: Runner) -> None:
    def output(connection: socket.socket) -> None:
        connection.sendall(encode_frame(STDOUT, b"hi"))

    cli.daemon.on("POST /containers/web/exec", {"Id": "e1"})
    cli.daemon.on("POST /exec/e1/start", Reply(takeover=output))
    cli.daemon.on("GET /exec/e1/json", {"ExitCode": 9})
    result = cli("exec", "-e", "A=1", "-u", "0", "-w", "/x", "web", "ls", "-l")
    assert (result.code, result.out) == (9, "hi")
    assert cli.daemon.requests[0].json == {
        "User": "0",
        "Privileged": False,
        "Tty": False,
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "Env": ["A=1"],
        "WorkingDir": "/x",
        "Cmd": ["ls", "-l"],
    }
    cli.daemon.on("POST /exec/e1/start", Reply(200))
    assert cli("exec", "-d", "web", "ls").code == 0
    assert cli.daemon.requests[-1].json == {"Detach": True, "Tty": False}


def test_start_attach_and_plain(runnable: Runner) -> None:
    details = {"Id": ID, "Config": {"Tty": False}, "HostConfig": {}, "State": {"Running": False}}
    runnable.daemon.on("GET /containers/web/json", details)
    assert runnable("start", "-a", "web").code == 7
    result = runnable("attach", "web")
    assert result.err == "You cannot attach to a stopped container, start it first\n"
    result = runnable("start", "nope")
    assert result.code == 1 and result.err.endswith("Error: failed to start containers: nope\n")


# --- completion


def complete(cli: Runner, line: str) -> list[str]:
    words = line.split(" ")
    environ = {
        **os.environ,
        "_CARRICK_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "CARRICK_HOST": cli.daemon.address,
    }
    done = subprocess.run(
        [sys.executable, "-m", "carrick"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.stderr == ""
    return [item.split(",", 1)[1] for item in done.stdout.split()]


def test_completion(cli: Runner) -> None:
    cli.daemon.on("GET /containers/json", [{"Names": ["/web"]}, {"Names": ["/work"]}])
    cli.daemon.on("GET /networks", [{"Name": "front"}])
    assert complete(cli, "carrick netw") == ["network"]
    assert complete(cli, "carrick run --net") == ["--network", "--network-alias"]
    assert complete(cli, "carrick stop we") == ["web"]
    assert complete(cli, "carrick network connect f") == ["front"]
    assert complete(cli, "carrick network connect front w") == ["web", "work"]
    assert complete(cli, "carrick port w") == ["web", "work"]
    assert complete(cli, "carrick rmi x") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(cli: Runner, shell: str) -> None:
    result = cli("completion", shell)
    assert result.code == 0 and "_CARRICK_COMPLETE" in result.out


def test_groups_resolve_every_entry() -> None:
    for name in ("container", "image", "network", "volume", "system", "port"):
        group = root_group().get(name)
        assert isinstance(group, Group)
        for alias in group.aliases:
            assert group.get(alias) is not None
