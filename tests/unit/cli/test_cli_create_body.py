"""From the flags of run and create to the API's body."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.cli.commands.running import CREATE, RUN
from carrick.doors.cli.commands.updating import UPDATE, update_body
from carrick.doors.cli.flags import FlagError, parse_flags
from carrick.doors.cli.specs import images
from carrick.doors.cli.specs.create_body import Surroundings, build_body
from carrick.doors.cli.specs.images import parse_image

FILES = {
    "env": b"\xef\xbb\xbf# comment\nA=1\n  B=two words\nHOME\nUNSET\n\n",
    "labels": b"x=y\nlone\n",
    "seccomp.json": b'{"defaultAction": "SCMP_ACT_ALLOW"}',
    "bad.json": b"{",
}


def read_file(path: str) -> bytes:
    if path not in FILES:
        raise ValueError(f"open {path}: no such file or directory")
    return FILES[path]


AROUND = Surroundings({"HOME": "/root", "PATH": "/bin"}, read_file, lambda path: f"/cwd/{path}")


def body(line: str | list[str]) -> dict[str, object]:
    words = [word.replace("~", " ") for word in line.split()] if isinstance(line, str) else line
    values, rest = parse_flags(RUN.flags, words, interspersed=False)
    return build_body(values, rest[0], rest[1:], AROUND)


def test_the_least() -> None:
    assert body("busybox") == {
        "Image": "busybox",
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": False,
        "StdinOnce": False,
        "Tty": False,
        "Env": [],
        "Labels": {},
        "ExposedPorts": {},
        "HostConfig": {
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "NetworkMode": "default",
        },
        "NetworkingConfig": {"EndpointsConfig": {}},
    }


GOLDEN = Path(__file__).parent / "golden_create_body.json"
FULL = (
    "-it --rm --name web --network front --ip 10.0.0.2 --ip6 fd00::2 --link-local-ip 169.254.1.1"
    " --network-alias www --net-alias w2 --mac-address 02:00:00:00:00:01 --link db:database"
    " -p 8080:80 -p 127.0.0.1::53/udp --expose 90-91 -P --dns 1.1.1.1 --dns-search example.org"
    " --dns-opt ndots:1 --add-host a:1.2.3.4 --add-host b=[fd00::9] --add-host h:host-gateway"
    " -h host --domainname example.org --sysctl net.ipv4.ip_forward=1 -e X=1 -e HOME -e NONE"
    " --env-file env -l a=b -l c --label-file labels -v /src:/dst:ro -v data:/data -v /anon"
    " -v ./here:/there --mount type=bind,src=/s,dst=/d,ro,bind-propagation=rshared"
    " --mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777"
    " --mount dst=/v,volume-nocopy,volume-label=k=v,volume-driver=local,volume-opt=o=1"
    " --tmpfs /run:size=1m --tmpfs /tmp --volumes-from other -w /work -u 1:2 --entrypoint /init"
    " --stop-signal INT --stop-timeout 3 --privileged --cap-add NET_ADMIN --cap-drop ALL"
    " --security-opt no-new-privileges --security-opt seccomp=seccomp.json"
    " --security-opt systempaths=unconfined --read-only --init -m 64m --memory-swap -1"
    " --memory-reservation 32m --memory-swappiness 10 --cpus 1.5 -c 512 --cpu-period 1000"
    " --cpu-quota 500 --cpuset-cpus 0-1 --cpuset-mems 0 --pids-limit 99 --ulimit nofile=10:20"
    " --ulimit core=-1 --device /dev/null --device /dev/zero:/z:rw --device /dev/tty:r"
    " --device-cgroup-rule c~1:3~rwm --group-add audio --pid host --ipc host --uts host --userns host"
    " --cgroupns host --shm-size 1g --log-driver json-file --log-opt max-size=1m"
    " --health-cmd true --health-interval 5s --health-timeout 1s --health-retries 2"
    " --health-start-period 1m --health-start-interval 2s --oom-kill-disable --oom-score-adj 5"
    " --cgroup-parent /p --blkio-weight 100 --storage-opt size=1g --runtime runc"
    " --annotation k=v --cidfile cid --volume-driver local busybox sh -c true"
)


def test_everything_at_once() -> None:
    # `body` of this line was compared with what Docker's own command line sends.
    assert body(FULL) == json.loads(GOLDEN.read_text())


def test_streams() -> None:
    assert body("-i x")["StdinOnce"] is True
    some = body("-a stdout x")
    assert (some["AttachStdin"], some["AttachStdout"], some["AttachStderr"]) == (False, True, False)
    some = body("-i -a stdin -a STDERR x")
    assert (some["AttachStdin"], some["AttachStdout"], some["AttachStderr"]) == (True, False, True)


def test_values_that_mean_nothing_given() -> None:
    assert body("--entrypoint= x")["Entrypoint"] == [""]
    assert body("--no-healthcheck x")["Healthcheck"] == {"Test": ["NONE"]}
    assert body("--restart on-failure:3 x")["HostConfig"]["RestartPolicy"] == {
        "Name": "on-failure",
        "MaximumRetryCount": 3,
    }
    assert body("--init=false x")["HostConfig"]["Init"] is False


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--restart always --rm x", "conflicting options: cannot specify both --restart and --rm"),
        ("--restart :3 x", "invalid restart policy format: no policy provided before colon"),
        (
            "--restart on-failure:x x",
            "invalid restart policy format: maximum retry count must be an integer",
        ),
        ("--device x i", "x is not an absolute path"),
        ("--device /a:/b:x i", "bad mode specified: x"),
        ("-v /a:/b:/c:/d i", "invalid spec: /a:/b:/c:/d: too many colons"),
        ("-v /a: i", "invalid spec: /a:: empty section between colons"),
        ("--env-file nope i", "open nope: no such file or directory"),
        ("--health-cmd x --no-healthcheck i", "--no-healthcheck conflicts with --health-* options"),
        ("--pid foo i", "--pid: invalid PID mode"),
        ("--uts foo i", "--uts: invalid UTS mode"),
        ("--userns foo i", "--userns: invalid USER mode"),
        ("--security-opt foo i", 'Invalid --security-opt: "foo"'),
        ("--storage-opt foo i", "invalid storage option"),
        ("--mac-address xx i", "xx is not a valid mac address"),
        ("--log-driver none --log-opt a=b i", "invalid logging opts for driver none"),
        ("--memory-swappiness 101 i", "invalid value: 101. Valid memory swappiness range is 0-100"),
        ("-p foo i", "invalid containerPort: foo"),
    ],
)
def test_refusals(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        body(line)
    assert str(caught.value) == message


def test_a_broken_seccomp_profile() -> None:
    with pytest.raises(ValueError, match=r"compacting json for seccomp profile \(bad.json\) failed"):
        body("--security-opt seccomp=bad.json i")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-e =x", 'invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x'),
        ("-l =x", 'invalid argument "=x" for "-l, --label" flag: invalid label \'=x\': empty name'),
        (
            "--dns foo",
            'invalid argument "foo" for "--dns" flag: IP address is not correctly formatted: foo',
        ),
        (
            "--add-host foo",
            'invalid argument "foo" for "--add-host" flag: bad format for add-host: "foo"',
        ),
        (
            "--add-host foo:bar",
            'invalid argument "foo:bar" for "--add-host" flag: invalid IP address in add-host: "bar"',
        ),
        ("--ulimit x", 'invalid argument "x" for "--ulimit" flag: invalid ulimit argument: x'),
        (
            "--ulimit nofile=1:2:3",
            'invalid argument "nofile=1:2:3" for "--ulimit" flag: too many limit value arguments -'
            " 1:2:3, can only have up to two, `soft[:hard]`",
        ),
        (
            "--ulimit nofile=2:1",
            'invalid argument "nofile=2:1" for "--ulimit" flag: ulimit soft limit must be less than'
            " or equal to hard limit: 2 > 1",
        ),
        ("--sysctl x", 'invalid argument "x" for "--sysctl" flag: sysctl \'x\' is not allowed'),
        (
            "--mount x",
            'invalid argument "x" for "--mount" flag: invalid field \'x\' must be a key=value pair',
        ),
        (
            "--mount type=bind,src=/tmp",
            'invalid argument "type=bind,src=/tmp" for "--mount" flag: target is required',
        ),
        (
            "--mount type=bind,dst=/x,foo=bar",
            'invalid argument "type=bind,dst=/x,foo=bar" for "--mount" flag:'
            " unexpected key 'foo' in 'foo=bar'",
        ),
        (
            "--mount type=bind,dst=/x,tmpfs-size=1",
            'invalid argument "type=bind,dst=/x,tmpfs-size=1" for "--mount" flag:'
            " cannot mix 'tmpfs-*' options with mount type 'bind'",
        ),
        (
            "-a foo",
            'invalid argument "foo" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR',
        ),
        (
            "--link foo:bar:baz",
            'invalid argument "foo:bar:baz" for "--link" flag: bad format for links: foo:bar:baz',
        ),
    ],
)
def test_flags_refused(line: str, message: str) -> None:
    with pytest.raises(FlagError) as caught:
        body([*line.split(" ", 1), "i"])
    assert str(caught.value) == message


@given(st.sampled_from([flag.name for flag in CREATE.flags if flag.kind.word]), st.text(max_size=20))
def test_any_value_of_any_flag_is_a_body_or_a_value_error(name: str, value: str) -> None:
    try:
        json.dumps(body([f"--{name}={value}", "image"]))
    except ValueError as error:  # FlagError is one
        assert str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"=x", "invalid env file (f): no variable name on line '=x'"),
        (b"a b=c", "invalid env file (f): variable 'a b' contains whitespaces"),
        (b"ok=1\n\xff=1", "invalid env file (f): invalid utf8 bytes at line 2"),
    ],
)
def test_env_files_refused(monkeypatch: pytest.MonkeyPatch, content: bytes, message: str) -> None:
    monkeypatch.setitem(FILES, "f", content)
    with pytest.raises(ValueError, match=re.escape(message)):
        body("--env-file f i")


def test_update() -> None:
    values, _ = parse_flags(UPDATE.flags, "-m 64m --cpus 2 --restart always --pids-limit -1".split())
    assert update_body(values) == {
        "NanoCpus": 2_000_000_000,
        "Memory": 64 << 20,
        "PidsLimit": -1,
        "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
    }


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "busybox:latest"),
        ("busybox:1.36", "busybox:1.36"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
        ("reg.example/x@sha256:" + "a" * 64, "reg.example/x@sha256:" + "a" * 64),
        ("a/b:t@sha256:" + "a" * 64, "a/b:t@sha256:" + "a" * 64),
    ],
)
def test_image_names(text: str, full: str) -> None:
    assert parse_image(text).with_default_tag() == full


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("BAD", "invalid reference format: repository name (library/BAD) must be lowercase"),
        ("BAD/Image", "invalid reference format: repository name (Image) must be lowercase"),
        ("a:b:c", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("x@sha256:zz", "invalid reference format"),
        ("-x", "invalid reference format"),
        (
            "a" * 64,
            f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings",
        ),
    ],
)
def test_image_names_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_image(text)
    assert str(caught.value) == message


DOMAIN = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
)
COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
TAG = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"


@given(st.text(st.sampled_from("abZ09.-_:[]/@ é\n"), max_size=12))
def test_the_grammar_of_image_names(text: str) -> None:
    """What we check letter by letter is what the distribution project's expressions say."""
    assert images._is_domain(text) == bool(re.fullmatch(DOMAIN, text))
    assert images._is_path(text) == bool(re.fullmatch(f"{COMPONENT}(?:/{COMPONENT})*", text))
    assert images._is_tag(text) == bool(re.fullmatch(TAG, text))


@given(st.text(max_size=30))
def test_any_text_is_an_image_name_or_a_value_error(text: str) -> None:
    try:
        assert parse_image(text).full_repository()
    except ValueError as error:
        assert str(error)


def test_both_commands_share_their_flags() -> None:
    assert {flag.name for flag in RUN.flags} - {flag.name for flag in CREATE.flags} == {
        "detach",
        "detach-keys",
        "sig-proxy",
    }
