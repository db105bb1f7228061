"""The OCI specification: golden files for whole ones, and the rules one by one.

`CARRICK_UPDATE_GOLDEN=1` writes the golden files anew; read the difference before it is committed.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from carrick.host.runtime.api import FileMount, LaunchRequest
from carrick.host.runtime.capabilities import (
    ALL_CAPABILITIES,
    DEFAULT_CAPABILITIES,
    capabilities_of_mask,
    plan_capabilities,
)
from carrick.host.runtime.hostfacts import Device, HostFacts
from carrick.host.runtime.identity import Identity, resolve_identity
from carrick.host.runtime.seccomp import convert_profile
from carrick.host.runtime.spec import (
    SpecInput,
    build_env,
    build_exec_process,
    build_spec,
    merge_env,
    parse_security_options,
)
from carrick.model.containers import (
    ContainerConfig,
    HostConfig,
    MountPoint,
    MountType,
    Resources,
    Ulimit,
)
from carrick.model.errors import Denied, InvalidRequest, Unsupported
from carrick.model.ids import ContainerId, ImageId

GOLDEN = Path(__file__).parent / "golden"

PROFILE = json.dumps(
    {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "archMap": [
            {
                "architecture": "SCMP_ARCH_X86_64",
                "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            },
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}},
            {"names": ["openat"], "action": "SCMP_ACT_ALLOW"},
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
            },
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {
                "names": ["mount"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 1,
                "excludes": {"caps": ["CAP_SYS_ADMIN"]},
            },
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["future"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
        ],
    }
).encode()

FACTS = HostFacts(
    machine="x86_64",
    kernel=(6, 1),
    capabilities=frozenset(ALL_CAPABILITIES) - {"CAP_SYS_RESOURCE"},
    limits={"nofile": (1024, 20000), "core": (0, -1)},
    has_swap_accounting=True,
    seccomp_profile=PROFILE,
    absent_architectures=frozenset({"SCMP_ARCH_X32"}),
    init_program=Path("/usr/bin/tini-static"),
    devices=(Device("/dev/kvm", "c", 10, 232, 0o660, 0, 0),),
)

REQUEST = LaunchRequest(
    container_id=ContainerId("c1"),
    image_id=ImageId("sha256:00"),
    config=ContainerConfig(cmd=("sleep", "1")),
    host_config=HostConfig(),
    hostname="box",
    netns=Path("/run/netns/box"),
    files=(
        FileMount(Path("/s/resolv.conf"), "/etc/resolv.conf"),
        FileMount(Path("/s/hosts"), "/etc/hosts"),
    ),
)


def given(
    *, request: LaunchRequest = REQUEST, host: HostConfig | None = None, **options: object
) -> SpecInput:
    if host is not None:
        request = replace(request, host_config=host)
    base = SpecInput(request, Path("/s/root"), "/carrick/c1", Identity(), FACTS)
    return replace(base, **options)  # type: ignore[arg-type]


CASES = {
    "plain": given(),
    "everything": given(
        request=replace(
            REQUEST,
            config=ContainerConfig(
                cmd=("-l",),
                entrypoint=("/bin/sh",),
                env=("A=1", "PATH=/bin", "GONE"),
                tty=True,
                working_dir="/work",
                domainname="example.org",
            ),
            extra_env=("GONE=1", "LINK=2"),
            mounts=(
                MountPoint(MountType.BIND, "/a/b", source="/host/b", read_write=False),
                MountPoint(MountType.VOLUME, "/a", source="/vol/a", propagation="rshared"),
                MountPoint(MountType.TMPFS, "/t", mode="size=1m,exec"),
                MountPoint(MountType.BIND, "/etc/hosts", source="/host/hosts"),
            ),
        ),
        host=HostConfig(
            cap_add=("NET_ADMIN",),
            cap_drop=("chown", "CAP_MKNOD"),
            security_opt=("no-new-privileges", "seccomp=unconfined"),
            read_only=True,
            init=True,
            resources=Resources(memory=1 << 20, nano_cpus=1_500_000_000, pids_limit=9, cpuset_cpus="0-1"),
            ulimits=(Ulimit("nofile", 64, 128),),
            device_cgroup_rules=("c 1:* rw",),
            shm_size=1 << 20,
            console_size=(24, 80),
            sysctls={"net.core.somaxconn": "5"},
            oom_score_adj=100,
            masked_paths=(),
        ),
        identity=Identity(uid=1000, gid=1000, groups=(1000, 7), home="/home"),
        devices=(Device("/dev/fuse", "c", 10, 229, 0o666, 0, 0, "rw"),),
    ),
    "privileged": given(host=HostConfig(privileged=True)),
    "shared": given(
        request=replace(REQUEST, netns=None),
        host=HostConfig(uts_mode="host", pid_mode="host", ipc_mode="container:x", cgroupns_mode="private"),
        ipc_namespace_of=77,
        shm=Path("/s/shm"),
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_whole_specification(name: str) -> None:
    built = json.loads(msgspec.json.encode(build_spec(CASES[name]).json))
    file = GOLDEN / f"{name}.json"
    if os.environ.get("CARRICK_UPDATE_GOLDEN"):
        file.write_text(json.dumps(built, indent=1) + "\n")
    assert built == json.loads(file.read_text())


def test_limits_above_the_daemons_own_are_cut_with_a_warning() -> None:
    built = build_spec(given(host=HostConfig(ulimits=(Ulimit("nofile", -1, -1), Ulimit("core", 1, -1)))))
    assert json.loads(msgspec.json.encode(built.json))["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 20000, "hard": 20000},
        {"type": "RLIMIT_CORE", "soft": 1, "hard": 2**64 - 1},
    ]
    assert built.warnings == ("ulimit nofile: 20000 instead of -1, the daemon's own hard limit",)


@pytest.mark.parametrize(
    ("host", "error", "words"),
    [
        (HostConfig(cap_add=("NOPE",)), InvalidRequest, 'invalid CapAdd: unknown capability: "CAP_NOPE"'),
        (HostConfig(cap_add=("SYS_RESOURCE",)), Denied, "CAP_SYS_RESOURCE"),
        (HostConfig(ulimits=(Ulimit("x", 1, 1),)), InvalidRequest, "invalid ulimit type: x"),
        (HostConfig(ulimits=(Ulimit("core", 2, 1),)), InvalidRequest, "soft limit must be less"),
        (HostConfig(oom_score_adj=2000), InvalidRequest, "range for oom score adj"),
        (HostConfig(device_cgroup_rules=("x",)), InvalidRequest, "invalid device cgroup rule"),
        (HostConfig(security_opt=("x",)), InvalidRequest, 'invalid --security-opt 2: "x"'),
        (HostConfig(security_opt=("seccomp={",)), InvalidRequest, "decoding seccomp profile"),
        (
            HostConfig(resources=Resources(memory=2, memory_swap=1)),
            InvalidRequest,
            "Minimum memoryswap limit",
        ),
        (
            HostConfig(resources=Resources(memory_swap=1)),
            InvalidRequest,
            "always set the Memory limit",
        ),
        (
            HostConfig(resources=Resources(nano_cpus=1, cpu_quota=1)),
            InvalidRequest,
            "Nano CPUs and CPU Period/Quota",
        ),
    ],
)
def test_what_is_refused(host: HostConfig, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        build_spec(given(host=host))


def test_what_depends_on_the_host() -> None:
    with pytest.raises(Unsupported, match="--init"):
        build_spec(given(host=HostConfig(init=True), facts=replace(FACTS, init_program=None)))
    built = build_spec(given(facts=replace(FACTS, seccomp_profile=None)))
    assert "no seccomp profile" in built.warnings[0]
    built = build_spec(given(host=HostConfig(security_opt=("apparmor=mine",))))
    assert "AppArmor is not enabled" in built.warnings[0]
    with pytest.raises(InvalidRequest, match="not allowed in host network namespace"):
        build_spec(given(request=replace(REQUEST, netns=None), host=HostConfig(sysctls={"net.ipv4.x": "1"})))


def test_relative_working_directory_and_no_command() -> None:
    with pytest.raises(InvalidRequest, match="needs to be an absolute path"):
        build_spec(given(request=replace(REQUEST, config=ContainerConfig(cmd=("x",), working_dir="rel"))))
    with pytest.raises(InvalidRequest, match="No command specified"):
        build_spec(given(request=replace(REQUEST, config=ContainerConfig())))


def test_environment() -> None:
    env = build_env(CASES["everything"].request)
    assert env == ("PATH=/bin", "HOSTNAME=box", "TERM=xterm", "LINK=2", "A=1")
    assert merge_env(["A=1", "B=2"], ["B=", "A", "C=3"]) == ("B=", "C=3")


def test_security_options() -> None:
    options = parse_security_options(
        ("no-new-privileges:true", "seccomp=builtin", "apparmor=unconfined", "label=disable")
    )
    assert options.no_new_privileges and options.seccomp == "" and options.apparmor == "unconfined"


def test_seccomp_conditions() -> None:
    plain = convert_profile(PROFILE, machine="x86_64", capabilities=(), kernel=(6, 1))
    assert plain["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    rules = plain["syscalls"]
    assert isinstance(rules, list)
    assert rules[0] == {
        "names": ["read", "write", "openat", "arch_prctl", "ptrace"],
        "action": "SCMP_ACT_ALLOW",
    }
    assert {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1} in rules
    admin = convert_profile(PROFILE, machine="aarch64", capabilities=("CAP_SYS_ADMIN",), kernel=(4, 4))
    assert admin["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    rules = admin["syscalls"]
    assert isinstance(rules, list)
    assert rules[0]["names"] == ["read", "write", "openat", "mount"]
    with pytest.raises(InvalidRequest, match="decoding seccomp profile failed"):
        convert_profile(b"[]", machine="x86_64", capabilities=(), kernel=(6, 1))


def test_capabilities() -> None:
    everything = frozenset(ALL_CAPABILITIES)

    def plan(add: tuple[str, ...] = (), drop: tuple[str, ...] = ()) -> set[str]:
        return set(plan_capabilities(add=add, drop=drop, privileged=False, available=everything).names)

    assert plan() == set(DEFAULT_CAPABILITIES)
    assert plan(("net_admin",), ("CAP_CHOWN",)) == set(DEFAULT_CAPABILITIES) - {"CAP_CHOWN"} | {
        "CAP_NET_ADMIN"
    }
    assert plan(("ALL",), ("CHOWN",)) == everything - {"CAP_CHOWN"}
    assert plan(("CHOWN",), ("all",)) == {"CAP_CHOWN"}
    assert capabilities_of_mask(0b101) == {"CAP_CHOWN", "CAP_DAC_READ_SEARCH"}
    limited = plan_capabilities(add=("ALL",), drop=(), privileged=False, available=("CAP_CHOWN",))
    assert limited.names == ("CAP_CHOWN",) and "CAP_SYS_ADMIN" in limited.withheld


PASSWD = "root:x:0:0:root:/root:/bin/sh\n# note\nbroken\nann:x:1000:1001::/home/ann:/bin/sh\n"
GROUP = "root:x:0:\nstaff:x:50:ann,bob\nann:x:1001:\n"


@pytest.mark.parametrize(
    ("spec", "extra", "expected"),
    [
        ("", (), Identity(0, 0, (0,), "/root")),
        ("ann", (), Identity(1000, 1001, (1001, 50), "/home/ann")),
        ("1000", (), Identity(1000, 1001, (1001, 50), "/home/ann")),
        ("ann:staff", (), Identity(1000, 50, (50,), "/home/ann")),
        ("ann:7", ("staff", "9"), Identity(1000, 7, (7, 50, 9), "/home/ann")),
        ("5000", (), Identity(5000, 0, (0,), "/")),
        ("5000:6000", (), Identity(5000, 6000, (6000,), "/")),
    ],
)
def test_identity(spec: str, extra: tuple[str, ...], expected: Identity) -> None:
    assert resolve_identity(spec, PASSWD, GROUP, extra) == expected


@pytest.mark.parametrize(
    ("spec", "extra", "words"),
    [
        ("zoe", (), "unable to find user zoe: no matching entries in passwd file"),
        ("ann:zoo", (), "unable to find group zoo: no matching entries in group file"),
        ("ann", ("zoo",), "Unable to find group zoo"),
        ("4000000000", (), "uids and gids must be in range 0-2147483647"),
    ],
)
def test_identity_that_is_not_there(spec: str, extra: tuple[str, ...], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        resolve_identity(spec, PASSWD, GROUP, extra)


def test_exec_process() -> None:
    container = build_spec(CASES["everything"]).json["process"]
    assert isinstance(container, dict)

    def build(**options: object) -> dict[str, object]:
        defaults: dict[str, object] = {
            "args": ("id",),
            "tty": False,
            "env": (),
            "working_dir": "",
            "identity": None,
            "privileged": False,
            "facts": FACTS,
        }
        return build_exec_process(container, **(defaults | options))  # type: ignore[arg-type]

    process = build(env=("A=2", "B=3"), working_dir="/x")
    assert process["args"] == ["id"] and process["cwd"] == "/x"
    assert process["terminal"] is False and "consoleSize" not in process
    assert process["user"] == container["user"]
    assert process["env"] == ["PATH=/bin", "HOSTNAME=box", "TERM=xterm", "LINK=2", "A=2", "B=3"]
    capabilities = build(identity=Identity(), privileged=True)["capabilities"]
    assert isinstance(capabilities, dict)
    assert "CAP_SYS_ADMIN" in capabilities["effective"]
    with pytest.raises(InvalidRequest, match="No exec command specified"):
        build(args=())
