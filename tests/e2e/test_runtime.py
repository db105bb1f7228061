"""The container runtime on a real kernel: runc, conmon, overlayfs, skopeo and umoci.

Everything is made below a temporary directory and a cgroup of the test's own; the fixture checks at the
end that nothing of it is left.
"""

import asyncio
import io
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from carrick.host.runtime import (
    CannotStart,
    ChangeKind,
    CommitRequest,
    ConsoleSession,
    ConsoleSize,
    ExecRequest,
    ImageUser,
    LaunchRequest,
    Layout,
    LocalImageStore,
    LocalRuntime,
    LocalVolumeStore,
    LogQuery,
    ProcessStatus,
    Progress,
    Stream,
)
from carrick.model.containers import (
    ContainerConfig,
    HostConfig,
    Image,
    ImageConfig,
    LogConfig,
    MountPoint,
    MountType,
    Resources,
    Ulimit,
)
from carrick.model.errors import Conflict, Failed, InvalidRequest, NotFound
from carrick.model.ids import ContainerId, ImageId
from carrick.testing.waiting import until

_CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""cap_net_bind_service, effective and permitted (linux/capability.h)."""
_MISSING = [name for name in ("runc", "conmon", "skopeo", "umoci") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts and makes cgroups"),
    pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}"),
    pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="not installed: busybox-static"),
]


def root_archive() -> bytes:
    """Return a small root file system with busybox's commands."""
    busybox = Path("/bin/busybox").read_bytes()
    names = subprocess.run(
        ["/bin/busybox", "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for directory in ("bin", "etc", "tmp", "root", "var", "var/data", "home"):
            member = tarfile.TarInfo(directory)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        files = {
            "bin/busybox": (busybox, 0o755),
            "etc/passwd": (b"root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home:/bin/sh\n", 0o644),
            "etc/group": (b"root:x:0:\nann:x:1000:\nextra:x:2000:ann\n", 0o644),
            "var/data/seed": (b"seeded\n", 0o600),
        }
        for name, (data, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            archive.addfile(member, io.BytesIO(data))
        for name in names:
            if name != "busybox":
                member = tarfile.TarInfo(f"bin/{name}")
                member.type, member.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(member)
    return out.getvalue()


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


@dataclass
class Host:
    """A runtime in a directory of its own, and shortcuts."""

    base: Path
    cgroup: str
    images: LocalImageStore
    volumes: LocalVolumeStore
    runtime: LocalRuntime
    image: ImageId = field(default=ImageId(""))

    @classmethod
    def make(cls, base: Path, cgroup: str) -> "Host":
        images = LocalImageStore(base / "images")
        runtime = LocalRuntime(Layout(base / "state", base / "run"), images.lower_dir, cgroup_parent=cgroup)
        return cls(base, cgroup, images, LocalVolumeStore(base / "volumes"), runtime)

    async def open(self) -> None:
        await self.images.open()
        await self.runtime.open()

    async def restart(self) -> None:
        """Do what a restart of the daemon does."""
        await self.runtime.close()
        fresh = Host.make(self.base, self.cgroup)
        self.images, self.runtime = fresh.images, fresh.runtime
        await self.open()

    def request(
        self,
        container_id: str,
        *command: str,
        host: HostConfig | None = None,
        **options: object,
    ) -> LaunchRequest:
        config = replace(ContainerConfig(cmd=command), **options)  # type: ignore[arg-type]
        return LaunchRequest(
            ContainerId(container_id), self.image, config, host or HostConfig(), hostname="box"
        )

    async def start(self, container_id: str, *command: str, **options: object) -> ContainerId:
        request = self.request(container_id, *command, **options)  # type: ignore[arg-type]
        await self.runtime.create(request)
        await self.runtime.start(request.container_id)
        return request.container_id

    async def output(self, container_id: str, *command: str, **options: object) -> bytes:
        """Run a command to its end and return all it wrote."""
        session = await self.runtime.attach(ContainerId(container_id))
        known = await self.start(container_id, *command, **options)
        text = await collect(session)
        await self.runtime.wait_exit(known)
        await self.runtime.remove(known)
        return text


async def collect(session: ConsoleSession) -> bytes:
    async with asyncio.timeout(20):
        text = b"".join([output.data async for output in session.output()])
    await session.close()
    return text


def leftovers(base: Path, cgroup: str) -> list[str]:
    """Return what is left on the machine of a runtime in `base`."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if str(base) in line]
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*{cgroup}/*") if path.is_dir()]
    processes = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(base).encode() in words:
                processes.append(f"{entry.name}: {words!r}")
    files = [
        str(path)
        for place in ("state/containers", "run/bundles", "run/execs", "run/exits", "run/runc")
        if (base / place).is_dir()
        for path in (base / place).iterdir()
    ]
    return mounts + cgroups + processes + files


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    base = Path(tempfile.mkdtemp(prefix="carrick-rt-"))
    machine = Host.make(base, f"/carrick-rt-{secrets.token_hex(4)}")
    try:
        await machine.open()
        machine.image = await machine.images.import_tar(stream(root_archive()), "busybox")
        yield machine
        for record in await machine.runtime.scan():
            await machine.runtime.remove(record.container_id)
        assert leftovers(base, machine.cgroup) == []
    finally:
        await machine.runtime.close()
        shutil.rmtree(base, ignore_errors=True)
    assert not list(Path("/sys/fs/cgroup").glob(f"*{machine.cgroup}"))


# --- running --------------------------------------------------------------------------------------


async def test_output_exit_code_and_events(host: Host) -> None:
    session = await host.runtime.attach(ContainerId("c1"))
    await host.start("c1", "sh", "-c", "echo hi; printf part; echo err >&2; exit 7")
    outputs = [output async for output in session.output()]
    await session.close()
    assert b"".join(o.data for o in outputs if o.stream is Stream.STDOUT) == b"hi\npart"
    assert b"".join(o.data for o in outputs if o.stream is Stream.STDERR) == b"err\n"
    exits = host.runtime.exits()
    event = await anext(exits)
    assert (event.container_id, event.exit_code, event.oom_killed) == ("c1", 7, False)
    assert (await host.runtime.state(ContainerId("c1"))).status is ProcessStatus.EXITED
    await host.runtime.release(ContainerId("c1"))
    record = await host.runtime.state(ContainerId("c1"))
    assert (record.status, record.is_mounted) == (ProcessStatus.NONE, False)


async def test_life_with_signals_pause_and_restart(host: Host) -> None:
    script = "trap 'echo got; exit 3' TERM; echo up; while :; do sleep 0.05; done"
    one = await host.start("c1", "sh", "-c", script)
    record = await host.runtime.state(one)
    assert record.status is ProcessStatus.RUNNING
    assert record.started_at is not None and record.is_mounted and record.conmon_pid

    await host.runtime.pause(one)
    assert (await host.runtime.state(one)).status is ProcessStatus.PAUSED
    with pytest.raises(Conflict, match="is paused, unpause"):
        await host.runtime.exec(ExecRequest("e", one, ("true",)))
    await host.runtime.resume(one)
    assert (await host.runtime.state(one)).status is ProcessStatus.RUNNING

    await until(lambda: has_logged(host, one, b"up\n"))
    await host.runtime.kill(one, signal.SIGTERM)
    assert (await host.runtime.wait_exit(one)).exit_code == 3
    with pytest.raises(Conflict):
        await host.runtime.kill(one, signal.SIGTERM)

    # Created anew without a release in between: the earlier run is released first.
    await host.start("c1", "sh", "-c", "echo again")
    assert (await host.runtime.wait_exit(one)).exit_code == 0
    assert await log_text(host, one) == b"up\ngot\nagain\n"


async def test_kill_ends_a_paused_container(host: Host) -> None:
    one = await host.start("c1", "sleep", "100")
    await host.runtime.pause(one)
    await host.runtime.kill(one, signal.SIGKILL)
    assert (await host.runtime.wait_exit(one)).exit_code == 137


async def test_commands_that_cannot_start(host: Host) -> None:
    for command, code, words in (
        ("nonexistent", 127, "executable file not found in $PATH"),
        ("/nonexistent", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, ""),
    ):
        session = await host.runtime.attach(ContainerId("c1"))
        with pytest.raises(CannotStart) as caught:
            await host.runtime.create(host.request("c1", command))
        assert caught.value.exit_code == code
        assert words in caught.value.message
        assert await collect(session) == b""
        assert (await host.runtime.state(ContainerId("c1"))).status is ProcessStatus.NONE
    with pytest.raises(InvalidRequest, match="No command specified"):
        await host.runtime.create(host.request("c1"))
    with pytest.raises(InvalidRequest, match="unable to find user nobody"):
        await host.runtime.create(host.request("c1", "true", user="nobody"))


async def test_what_the_process_sees(host: Host) -> None:
    text = await host.output(
        "c1",
        "sh",
        "-c",
        "id; hostname; pwd; echo $HOME $FOO $PATH; "
        "grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status; ulimit -n; "
        "cat /proc/sys/kernel/domainname; mount -t tmpfs x /tmp 2>&1",
        host=HostConfig(
            cap_drop=("ALL",),
            cap_add=("NET_RAW",),
            group_add=("2000",),
            security_opt=("no-new-privileges",),
            ulimits=(Ulimit("nofile", 1024, 1 << 30),),
            tmpfs={"/tmp/m": "size=1m"},
        ),
        user="ann",
        working_dir="/var/x",
        env=("FOO=bar",),
        domainname="example.org",
    )
    lines = text.decode().splitlines()
    assert lines[0] == "uid=1000(ann) gid=1000(ann) groups=1000(ann),2000(extra)"
    assert lines[1:3] == ["box", "/var/x"]
    assert lines[3].startswith("/home bar /usr/local/sbin:")
    assert lines[4].split() == ["CapEff:", "0" * 16]
    assert lines[5].split() == ["CapBnd:", f"{1 << 13:016x}"]
    assert lines[6].split() == ["NoNewPrivs:", "1"]
    assert lines[7].split() == ["Seccomp:", "2"]
    assert lines[8] == "1024"
    assert lines[9] == "example.org"
    assert "denied" in lines[10]


async def test_seccomp_profile_of_ones_own_or_none(host: Host) -> None:
    command = ("sh", "-c", "mkdir /x 2>&1; grep Seccomp: /proc/self/status")
    profile = (
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": '
        '[{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    file = host.base / "profile.json"
    file.write_text(profile)
    for option in (profile, str(file)):
        denied = HostConfig(security_opt=(f"seccomp={option}",))
        text = await host.output("c1", *command, host=denied)
        assert b"not permitted" in text and b"Seccomp:\t2" in text
    free = HostConfig(security_opt=("seccomp=unconfined",))
    assert await host.output("c2", *command, host=free) == b"Seccomp:\t0\n"
    with pytest.raises(InvalidRequest, match="seccomp profile"):
        await host.output("c3", *command, host=HostConfig(security_opt=("seccomp=/absent",)))


async def test_privileged_sees_devices_and_may_mount(host: Host) -> None:
    text = await host.output(
        "c1", "sh", "-c", "mkdir -p /mnt; mount -t tmpfs x /mnt && echo ok; ls /dev/mem /dev/fuse",
        host=HostConfig(privileged=True),
    )  # fmt: skip
    assert text.startswith(b"ok\n")


async def test_read_only_root_and_init(host: Host) -> None:
    text = await host.output("c1", "touch", "/x", host=HostConfig(read_only=True))
    assert b"Read-only file system" in text
    if shutil.which("tini-static") is None:
        pytest.skip("not installed: tini")
    text = await host.output("c2", "sh", "-c", "cat /proc/1/cmdline", host=HostConfig(init=True))
    assert text.startswith(b"/sbin/docker-init")


async def test_limits_and_stats(host: Host) -> None:
    limits = Resources(memory=64 << 20, pids_limit=50, nano_cpus=500_000_000)
    one = await host.start("c1", "sh", "-c", "sleep 100 & sleep 100; :", host=HostConfig(resources=limits))
    await until(lambda: process_count(host, one, 3))
    sample = await host.runtime.stats(one)
    assert sample.memory_limit == 64 << 20
    assert sample.pids_limit == 50
    assert sample.pids_current == 3
    assert sample.cpu_total_ns > 0 and sample.system_cpu_ns > 0
    assert 0 < sample.memory_usage < 64 << 20
    table = await host.runtime.top(one)
    assert len(table.processes) == 3
    assert table.titles[1] == "PID"
    with pytest.raises(InvalidRequest, match="Couldn't find PID field"):
        await host.runtime.top(one, "-o comm")


async def test_out_of_memory_is_told(host: Host) -> None:
    limits = Resources(memory=8 << 20, memory_swap=8 << 20)
    one = await host.start(
        "c1", "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=60",
        host=HostConfig(resources=limits, shm_size=100 << 20),
    )  # fmt: skip
    event = await host.runtime.wait_exit(one)
    assert event.exit_code == 137
    assert event.oom_killed


# --- streams --------------------------------------------------------------------------------------


async def log_text(host: Host, container_id: ContainerId, query: LogQuery | None = None) -> bytes:
    entries = host.runtime.logs(container_id, query or LogQuery())
    return b"".join([entry.data async for entry in entries])


async def has_logged(host: Host, container_id: ContainerId, text: bytes) -> bool:
    return text in await log_text(host, container_id)


async def process_count(host: Host, container_id: ContainerId, wanted: int) -> bool:
    return len(await host.runtime.processes(container_id)) == wanted


async def test_standard_input_and_half_close(host: Host) -> None:
    data = secrets.token_bytes(300_000)
    session = await host.runtime.attach(ContainerId("c1"), stdin=True)
    reader = asyncio.create_task(collect(session))
    one = await host.start("c1", "cat", open_stdin=True, stdin_once=True)
    await session.write(data)
    await session.close_stdin()
    assert await reader == data
    assert (await host.runtime.wait_exit(one)).exit_code == 0


async def test_standard_input_stays_open_for_the_next_client(host: Host) -> None:
    one = await host.start("c1", "cat", open_stdin=True)
    for number in range(3):
        session = await host.runtime.attach(one, stdin=True)
        await session.write(f"line {number}\n".encode())
        await session.close_stdin()
        await until(lambda number=number: has_logged(host, one, f"line {number}\n".encode()))
        await session.close()
    assert (await host.runtime.state(one)).status is ProcessStatus.RUNNING


async def test_terminal_with_sizes(host: Host) -> None:
    session = await host.runtime.attach(ContainerId("c1"), stdin=True)
    one = await host.start(
        "c1", "sh", "-c", "stty size; read x; stty size; echo $TERM; tty",
        tty=True, open_stdin=True, host=HostConfig(console_size=(33, 44)),
    )  # fmt: skip
    await until(lambda: has_logged(host, one, b"33 44"))
    await host.runtime.resize(one, ConsoleSize(20, 90))
    await asyncio.sleep(0.05)
    await session.write(b"go\n")
    text = await collect(session)
    assert text == b"33 44\r\ngo\r\n20 90\r\nxterm\r\n/dev/pts/0\r\n"


async def test_a_client_that_does_not_read_delays_nobody(host: Host) -> None:
    lazy = await host.runtime.attach(ContainerId("c1"), stdin=True)
    keen = await host.runtime.attach(ContainerId("c1"))
    size = 3_000_000
    command = f"head -c {size} /dev/zero | tr '\\0' x; echo; echo done"
    one = await host.start("c1", "sh", "-c", command, open_stdin=True)
    assert (await host.runtime.wait_exit(one)).exit_code == 0
    expected = b"x" * size + b"\ndone\n"
    assert await collect(keen) == expected
    assert await collect(lazy) == expected


async def test_logs_select_follow_and_time(host: Host) -> None:
    script = "for i in 1 2 3 4 5; do echo out$i; echo err$i >&2; sleep 0.02; done; read x; echo end"
    one = await host.start("c1", "sh", "-c", script, open_stdin=True)
    await until(lambda: has_logged(host, one, b"err5\n"))
    assert await log_text(host, one, LogQuery(stderr=False)) == b"out1\nout2\nout3\nout4\nout5\n"
    assert await log_text(host, one, LogQuery(stderr=False, tail=2)) == b"out4\nout5\n"
    assert await log_text(host, one, LogQuery(stdout=False, tail=1)) == b"err5\n"
    assert await log_text(host, one, LogQuery(tail=0)) == b""
    entries = [entry async for entry in host.runtime.logs(one, LogQuery(stderr=False))]
    assert all(abs(entry.time_ns / 1e9 - time.time()) < 60 for entry in entries)
    middle = entries[2].time_ns
    assert await log_text(host, one, LogQuery(stderr=False, since_ns=middle)) == b"out3\nout4\nout5\n"
    assert await log_text(host, one, LogQuery(stderr=False, until_ns=middle)) == b"out1\nout2\nout3\n"

    follower = asyncio.create_task(log_text(host, one, LogQuery(stderr=False, tail=1, follow=True)))
    session = await host.runtime.attach(one, stdin=True, logs=True)
    await asyncio.sleep(0.05)
    await session.write(b"x\n")
    assert await follower == b"out5\nend\n"
    assert (await collect(session)).endswith(b"end\n")


async def test_logs_rotate_and_a_follower_misses_nothing(host: Host) -> None:
    config = HostConfig(log_config=LogConfig(max_size=20_000, max_files=3))
    session = await host.runtime.attach(ContainerId("c1"))
    script = (
        "i=0; while [ $i -lt 3000 ]; do echo line number $i; i=$((i+1)); "
        "[ $((i % 50)) = 0 ] && sleep 0.005; done"
    )
    reader = asyncio.create_task(collect(session))
    one = await host.start("c1", "sh", "-c", script, host=config)
    await host.runtime.wait_exit(one)
    expected = b"".join(b"line number %d\n" % i for i in range(3000))
    assert await reader == expected
    files = sorted(path.name for path in (host.base / "state/containers/c1").glob("log*"))
    # A container that ends while its log is rotated has no newest file: conmon ended before it opened one.
    assert [name for name in files if name != "log"] == ["log.1", "log.2"]
    kept = await log_text(host, one)
    assert expected.endswith(kept) and len(kept) > 20_000 // 3
    assert await log_text(host, one, LogQuery(tail=600)) == b"".join(expected.splitlines(True)[-600:])


async def test_exec(host: Host) -> None:
    one = await host.start("c1", "sleep", "100", env=("A=1",), user="ann")

    async def run(*args: str, **options: object) -> tuple[int, bytes]:
        request = ExecRequest(secrets.token_hex(8), one, args, **options)  # type: ignore[arg-type]
        session = await host.runtime.exec(request)
        text = await collect(session)
        return await session.wait(), text

    assert await run("sh", "-c", "echo $A $B; id -un; pwd; exit 5", env=("B=2",)) == (
        5, b"1 2\nann\n/\n",
    )  # fmt: skip
    assert await run("sh", "-c", "id -u; pwd", user="root", working_dir="/tmp") == (0, b"0\n/tmp\n")
    code, text = await run("sh", "-c", "grep CapEff /proc/self/status", user="0", privileged=True)
    assert code == 0 and int(text.split()[1], 16) > 1 << 30
    code, text = await run("tty", tty=True)
    assert (code, text) == (0, b"/dev/pts/0\r\n")
    size = ConsoleSize(11, 22)
    assert await run("stty", "size", tty=True, console_size=size) == (0, b"11 22\r\n")
    for args, wanted in ((("nonexistent",), 127), (("/etc/passwd",), 126)):
        with pytest.raises(CannotStart) as caught:
            await run(*args)
        assert caught.value.exit_code == wanted
        assert caught.value.message.startswith("OCI runtime exec failed: ")
    with pytest.raises(InvalidRequest, match="unable to find user zoe"):
        await run("true", user="zoe")

    data = secrets.token_bytes(200_000)
    session = await host.runtime.exec(ExecRequest("cat", one, ("cat",), stdin=True))
    reader = asyncio.create_task(collect(session))
    await session.write(data)
    await session.close_stdin()
    assert await reader == data
    assert await session.wait() == 0

    detached = await host.runtime.exec(ExecRequest("bg", one, ("sh", "-c", "sleep 0.1; exit 9")))
    await detached.close()
    assert await detached.wait() == 9
    await until(lambda: process_count(host, one, 1))
    with pytest.raises(NotFound):
        await host.runtime.exec(ExecRequest("x", ContainerId("absent"), ("true",)))


async def test_an_exec_nobody_reads_can_be_left(host: Host) -> None:
    one = await host.start("c1", "sleep", "100")
    session = await host.runtime.exec(ExecRequest("yes", one, ("yes",)))
    await asyncio.sleep(0.05)
    await session.close()
    assert (await host.runtime.state(one)).status is ProcessStatus.RUNNING
    await host.runtime.kill(one, signal.SIGKILL)
    assert await session.wait() != 0


# --- files ----------------------------------------------------------------------------------------


def unpack(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {}
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            found[member.name] = b"" if file is None else file.read()
        return found


async def get_archive(host: Host, container_id: ContainerId, path: str) -> dict[str, bytes]:
    _, archive = await host.runtime.get_archive(container_id, path)
    return unpack(b"".join([chunk async for chunk in archive]))


def pack(entries: dict[str, bytes | str | None]) -> bytes:
    """Make an archive: bytes are a file, text is a link's target, None a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o640
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o750
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


@pytest.mark.parametrize("running", [True, False])
async def test_cp_both_ways(host: Host, running: bool) -> None:
    one = ContainerId("c1")
    if running:
        await host.start("c1", "sleep", "100")
    else:
        await host.runtime.provision(one, host.image)
    files = {"d": None, "d/a": b"alpha", "d/link": "/etc/passwd", "b": b"beta"}
    await host.runtime.put_archive(one, "/tmp", stream(pack(files)))
    found = await host.runtime.stat_path(one, "/tmp/d/a")
    assert (found.name, found.size, found.mode) == ("a", 5, 0o640)
    assert (await host.runtime.stat_path(one, "/tmp/d")).mode == 1 << 31 | 0o750
    link = await host.runtime.stat_path(one, "/tmp/d/link")
    assert link.mode & 1 << 27 and link.link_target == "/etc/passwd"
    assert await get_archive(host, one, "/tmp/d") == {"d": b"", "d/a": b"alpha", "d/link": b""}
    assert await get_archive(host, one, "/tmp/b") == {"b": b"beta"}
    assert set(await get_archive(host, one, "/tmp/d/.")) == {".", "./a", "./link"}
    with pytest.raises(NotFound, match="Could not find the file /nope in container c1"):
        await host.runtime.stat_path(one, "/nope")
    with pytest.raises(InvalidRequest, match="extraction point is not a directory"):
        await host.runtime.put_archive(one, "/tmp/b", stream(pack({"x": b""})))
    with pytest.raises(InvalidRequest, match="cannot overwrite directory"):
        await host.runtime.put_archive(
            one, "/tmp", stream(pack({"d": b"file"})), no_overwrite_dir_non_dir=True
        )
    changes = await host.runtime.changes(one)
    assert [(change.kind, change.path) for change in changes] == [
        (ChangeKind.MODIFIED, "/tmp"),
        (ChangeKind.ADDED, "/tmp/b"),
        (ChangeKind.ADDED, "/tmp/d"),
        (ChangeKind.ADDED, "/tmp/d/a"),
        (ChangeKind.ADDED, "/tmp/d/link"),
    ]
    size = await host.runtime.size(one)
    assert size.writable == len("alphabeta") + len("/etc/passwd") and size.root > 1_000_000
    assert (await host.runtime.state(one)).is_mounted is running


async def test_cp_never_leaves_the_container(host: Host) -> None:
    outside = host.base / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    one = await host.start("c1", "sleep", "100")
    up = "../" * 20
    await host.runtime.put_archive(one, "/tmp", stream(pack({"abs": str(outside), "rel": f"{up}{outside}"})))
    for name in ("abs", "rel"):
        with pytest.raises(NotFound):
            await host.runtime.stat_path(one, f"/tmp/{name}/secret")
        # An entry below a link goes where the link leads inside the container: here, nowhere.
        with pytest.raises(Failed, match="cannot unpack"):
            await host.runtime.put_archive(one, "/tmp", stream(pack({f"{name}/new": b"n"})))
    await host.runtime.put_archive(one, "/", stream(pack({f"{up}{outside}/evil": b"e"})))
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


async def test_cp_to_a_user_that_there_is_not_leaves_no_mount(host: Host) -> None:
    one = await host.start("c1", "true", user="ann")
    await host.runtime.wait_exit(one)
    await host.runtime.release(one)
    await host.runtime.put_archive(one, "/tmp", stream(pack({"a": b"1"})), copy_uid_gid=True)
    await host.runtime.put_archive(one, "/etc", stream(pack({"passwd": b"root:x:0:0::/root:/bin/sh\n"})))
    with pytest.raises(InvalidRequest, match="unable to find user ann"):
        await host.runtime.put_archive(one, "/tmp", stream(pack({"b": b"2"})), copy_uid_gid=True)
    assert not [path for path in leftovers(host.base, host.cgroup) if path.endswith("/root")]


async def test_cp_reaches_volumes_of_a_stopped_container(host: Host) -> None:
    volume = await host.volumes.create("data")
    point = MountPoint(MountType.VOLUME, "/var/data", source=str(volume.mountpoint), name="data")
    one = ContainerId("c1")
    await host.runtime.provision(one, host.image, (point,))
    await host.runtime.put_archive(one, "/var/data", stream(pack({"x": b"1"})))
    assert (volume.mountpoint / "x").read_bytes() == b"1"
    assert await get_archive(host, one, "/var/data/x") == {"x": b"1"}


async def test_export(host: Host) -> None:
    one = await host.start("c1", "sh", "-c", "echo new > /tmp/new; rm /var/data/seed; sleep 100")
    await until(lambda: changed(host, one, "/var/data/seed"))
    files = unpack(b"".join([chunk async for chunk in host.runtime.export(one)]))
    assert files["tmp/new"] == b"new\n"
    assert "etc/passwd" in files and "var/data/seed" not in files


async def changed(host: Host, container_id: ContainerId, path: str) -> bool:
    return any(change.path == path for change in await host.runtime.changes(container_id))


async def test_binds_volumes_and_tmpfs(host: Host) -> None:
    source = host.base / "given"
    source.mkdir()
    named, anonymous = await host.volumes.create("named"), await host.volumes.create()
    await host.volumes.copy_up("named", await host.images.lower_dir(host.image), "/var/data")
    points = (
        MountPoint(MountType.BIND, "/mnt/bind", source=str(source), propagation="rslave"),
        MountPoint(MountType.BIND, "/mnt/ro", source=str(source), read_write=False),
        MountPoint(MountType.VOLUME, "/var/data", source=str(named.mountpoint), name="named"),
        MountPoint(MountType.VOLUME, "/anon", source=str(anonymous.mountpoint)),
        MountPoint(MountType.TMPFS, "/scratch", mode="size=64k,mode=1777"),
        MountPoint(MountType.TMPFS, "/scratch2", mode="size=1048576"),
    )
    script = (
        "cat /var/data/seed; stat -c %a /var/data/seed; echo b > /mnt/bind/b; touch /mnt/ro/x;"
        "echo v > /var/data/v; df -k /scratch /scratch2 | awk '{print $2}'; ls -d /anon; stat -c %a /scratch"
    )
    request = replace(host.request("c1", "sh", "-c", script), mounts=points)
    session = await host.runtime.attach(request.container_id)
    await host.runtime.create(request)
    await host.runtime.start(request.container_id)
    text = await collect(session)
    lines = text.decode().splitlines()
    assert "seeded" in lines and "600" in lines and "64" in lines and "1024" in lines
    assert "/anon" in lines and "1777" in lines
    assert any("Read-only" in line for line in lines)
    assert (source / "b").read_text() == "b\n"
    assert ((await host.volumes.get("named")).mountpoint / "v").read_text() == "v\n"
    names = [volume.name for volume in await host.volumes.list()]
    assert len(names) == 2
    with pytest.raises(Conflict, match=r"volume is in use - \[c1\]"):
        await host.volumes.remove("named", users=[ContainerId("c1")])
    await host.volumes.remove("named")
    with pytest.raises(NotFound, match="get named: no such volume"):
        await host.volumes.get("named")


async def test_shared_namespaces(host: Host) -> None:
    donor = await host.start("donor", "sleep", "100", host=HostConfig(ipc_mode="shareable"))
    script = "ps | grep -c 'sleep 100'; echo hello > /dev/shm/note"
    request = replace(
        host.request("guest", "sh", "-c", script, host=HostConfig(ipc_mode="container:donor")),
        pid_of=donor,
        ipc_of=donor,
    )
    session = await host.runtime.attach(request.container_id)
    await host.runtime.create(request)
    await host.runtime.start(request.container_id)
    assert int(await collect(session)) >= 1
    session_ = await host.runtime.exec(ExecRequest("e", donor, ("cat", "/dev/shm/note")))
    assert await collect(session_) == b"hello\n"
    private = await host.start("private", "sleep", "100")
    with pytest.raises(InvalidRequest, match="non-shareable IPC"):
        await host.runtime.create(replace(request, ipc_of=private))


# --- surviving ------------------------------------------------------------------------------------


async def test_a_new_daemon_adopts_what_runs_and_learns_what_ended(host: Host) -> None:
    stays = await host.start("stays", "sh", "-c", "echo one; read x; echo two; exit 4", open_stdin=True)
    ends = await host.start("ends", "sh", "-c", "sleep 0.2; exit 6")
    made = ContainerId("made")
    await host.runtime.create(host.request("made", "sh", "-c", "echo made"))
    await host.runtime.close()
    await asyncio.sleep(0.5)
    await host.restart()
    records = {record.container_id: record for record in await host.runtime.scan()}
    assert records[stays].status is ProcessStatus.RUNNING
    assert records[ends].status is ProcessStatus.EXITED
    assert records[made].status is ProcessStatus.CREATED
    exits = host.runtime.exits()
    event = await anext(exits)
    assert (event.container_id, event.exit_code) == (ends, 6)
    await host.runtime.release(ends)

    session = await host.runtime.attach(stays, stdin=True, logs=True)
    await session.write(b"x\n")
    assert await collect(session) == b"one\ntwo\n"
    assert (await anext(exits)).exit_code == 4
    await host.runtime.start(made)
    assert (await anext(exits)).container_id == made
    assert await log_text(host, made) == b"made\n"

    # Not released: told again.
    await host.restart()
    exits = host.runtime.exits()
    told = {(await anext(exits)).container_id, (await anext(exits)).container_id}
    assert told == {stays, made}


async def test_a_rotation_that_a_daemon_could_not_finish_is_finished(host: Host) -> None:
    config = HostConfig(log_config=LogConfig(max_size=100_000, max_files=3))
    one = await host.start("c1", "sh", "-c", "echo one; read x; echo two", open_stdin=True, host=config)
    log = host.base / "state/containers/c1/log"

    async def says_one() -> bool:
        return await log_text(host, one) == b"one\n"

    async def is_there() -> bool:
        return log.exists()

    await until(says_one)
    await host.runtime.close()
    log.rename(log.with_name("log.1"))  # and then it was killed
    await host.restart()
    await until(is_there)
    session = await host.runtime.attach(one, stdin=True)
    await session.write(b"x\n")
    await host.runtime.wait_exit(one)
    await session.close()
    assert (b"one" in log.with_name("log.1").read_bytes(), b"two" in log.read_bytes()) == (True, True)
    assert await log_text(host, one) == b"one\ntwo\n"


async def test_without_conmon_the_end_is_still_told(host: Host) -> None:
    one = await host.start("c1", "sleep", "100")
    record = await host.runtime.state(one)
    os.kill(record.conmon_pid, signal.SIGKILL)
    await host.runtime.kill(one, signal.SIGKILL)
    assert (await host.runtime.wait_exit(one)).exit_code == 255


DRIVER = """
import asyncio, os, signal, sys
from pathlib import Path
from carrick.host.runtime import LaunchRequest, Layout, LocalImageStore, LocalRuntime, conmon, local
from carrick.host.runtime import rootfs, runc, teardown
from carrick.model.containers import ContainerConfig, HostConfig

base, cgroup, image, point, delay = sys.argv[1:]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dies_after(module, name):
    real = getattr(module, name)
    if asyncio.iscoroutinefunction(real):
        async def replacement(*args, **options):
            result = await real(*args, **options)
            die()
    else:
        def replacement(*args, **options):
            result = real(*args, **options)
            die()
    setattr(module, name, replacement)

points = {
    "mounted": (rootfs, "mount_root"), "spec": (local, "build_spec"),
    "spawned": (conmon, "spawn"), "launched": (conmon, "launch"), "started": (runc, "start"),
    "processes": (teardown, "_end_processes"), "deleted": (runc, "delete"),
    "cgroups": (runc, "remove_cgroups"), "unmounted": (teardown, "unmount_root"),
}
if point in points:
    dies_after(*points[point])

async def main():
    images = LocalImageStore(Path(base) / "images")
    await images.open()
    runtime = LocalRuntime(
        Layout(Path(base) / "state", Path(base) / "run"), images.lower_dir, cgroup_parent=cgroup
    )
    await runtime.open()
    config = ContainerConfig(cmd=("sh", "-c", "sleep 100 & sleep 100"))
    if delay != "0":
        asyncio.get_running_loop().call_later(float(delay), die)
    await runtime.create(LaunchRequest("c1", image, config, HostConfig(), hostname="x"))
    await runtime.start("c1")
    await runtime.kill("c1", 9)
    await runtime.wait_exit("c1")
    await runtime.remove("c1")

asyncio.run(main())
"""

_POINTS = (
    "mounted", "spec", "spawned", "launched", "started", "processes", "deleted", "cgroups",
    "unmounted",
)  # fmt: skip


@pytest.mark.parametrize(
    ("point", "delay"),
    [(point, 0.0) for point in _POINTS]
    + [("later", delay) for delay in (0.003, 0.008, 0.015, 0.022, 0.03, 0.04, 0.05, 0.06)],
)
async def test_a_daemon_killed_at_any_step_leaves_nothing(host: Host, point: str, delay: float) -> None:
    driver = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DRIVER, str(host.base), host.cgroup, host.image, point, f"{delay:g}",
    )  # fmt: skip
    code = await driver.wait()
    assert code == -signal.SIGKILL or (point == "later" and code == 0)
    await host.restart()
    await host.runtime.remove(ContainerId("c1"))
    await host.runtime.remove(ContainerId("c1"))
    assert leftovers(host.base, host.cgroup) == []
    # And the same id can be used again.
    assert await host.output("c1", "echo", "fine") == b"fine\n"


async def test_a_directory_conmon_cannot_log_to_is_refused(host: Host) -> None:
    odd = Host.make(host.base / "with:colon", host.cgroup)
    with pytest.raises(InvalidRequest, match="with a colon"):
        await odd.runtime.open()


async def test_long_and_odd_paths(host: Host) -> None:
    odd = Host.make(host.base / ("x" * 100) / "a,b\\c", host.cgroup)
    await odd.open()
    odd.image = await odd.images.import_tar(stream(root_archive()))
    session = await odd.runtime.attach(ContainerId("c1"), stdin=True)
    await odd.start("c1", "cat", open_stdin=True, stdin_once=True)
    await session.write(b"hello")
    await session.close_stdin()
    assert await collect(session) == b"hello"
    await odd.runtime.remove(ContainerId("c1"))
    await odd.runtime.close()


async def test_after_a_reboot_what_ran_is_told_as_ended(host: Host) -> None:
    one = await host.start("c1", "sh", "-c", "echo x > /tmp/x; sleep 100")
    await until(lambda: changed(host, one, "/tmp/x"))
    record = await host.runtime.state(one)
    await host.runtime.close()
    # As a reboot would: no processes, no mounts, no cgroups; the files are still there.
    for pid in (record.conmon_pid, record.pid):
        os.kill(pid, signal.SIGKILL)
    await until(lambda: is_gone(record.pid))
    root = str(host.base / "state/containers/c1/root")
    assert await (await asyncio.create_subprocess_exec("umount", root)).wait() == 0
    await host.restart()
    event = await anext(host.runtime.exits())
    assert (event.container_id, event.exit_code) == (one, 255)
    assert await host.output("c1", "cat", "/tmp/x") == b"x\n"


async def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


# --- images ---------------------------------------------------------------------------------------


async def test_images_import_tag_save_load_remove(host: Host) -> None:
    images = host.images
    changes = ('CMD ["sh", "-c", "echo $WHO"]', "ENV WHO=me", "EXPOSE 80", "LABEL a=b", "USER ann")
    made = await images.import_tar(stream(root_archive()), "demo:1", changes)
    image = await images.get("demo:1")
    assert image.id == made and image.config.cmd == ("sh", "-c", "echo $WHO")
    assert image.config.exposed_ports == ("80/tcp",) and image.config.labels == {"a": "b"}
    assert (image.config.user, image.config.env) == ("ann", ("WHO=me",))
    assert image.size > 1_000_000
    await images.tag("demo:1", "registry.example:5000/other/demo")
    archive = b"".join([c async for c in images.save(("demo:1", "registry.example:5000/other/demo"))])

    other = LocalImageStore(host.base / "images2")
    await other.open()
    names = await other.load(stream(archive))
    assert names == ("demo:1", "registry.example:5000/other/demo:latest")
    assert (await other.get(made)).config == image.config
    assert (await other.get(made[7:19])).repo_tags == names
    with pytest.raises(NotFound, match="No such image: absent:latest"):
        await other.get("absent")
    users = [ImageUser(ContainerId("c" * 64), made, is_running=True)]
    removed = await other.remove("demo:1", users=users)
    assert [entry.untagged for entry in removed] == ["demo:1"]
    with pytest.raises(Conflict, match="is using its referenced image"):
        await other.remove("registry.example:5000/other/demo", users=users)
    with pytest.raises(Conflict, match="cannot be forced"):
        await other.remove(made, force=True, users=users)
    lower = await other.lower_dir(made)
    assert any(entry.deleted == made for entry in await other.remove(made, force=True))
    assert not lower.exists()
    assert not list((host.base / "images2/blobs/sha256").iterdir())
    # It is as it was for whoever reads the index afresh.
    fresh = LocalImageStore(host.base / "images2")
    await fresh.open()
    assert await fresh.list() == ()


async def test_a_commit_is_a_layer_over_its_image(host: Host) -> None:
    """What the container deleted, hid and added is so in the image; layers are kept and shared."""
    script = (
        "rm /etc/group; rm -r /var/data; mkdir /var/data; echo new >/var/data/new; echo x >/added; "
        "ln /added /hard; ln -s added /soft; mkfifo /pipe; chown ann /added; rm -r /home; echo y >/home"
    )
    container_id = await host.start("c1", "sh", "-c", script)
    await host.runtime.wait_exit(container_id)
    os.setxattr(host.base / "state/containers/c1/diff/added", "security.capability", _CAPABILITY)
    base = await host.images.get(host.image)

    async def commit(reference: str, *, of: str = "c1") -> Image:
        request = CommitRequest(
            base=host.image,
            container_id=ContainerId(of),
            config=ImageConfig(cmd=("ls",)),
            container_config=ImageConfig(cmd=("sh", "-c", "it")),
            reference=reference,
            author="me",
        )
        return await host.images.get(await host.images.commit(host.runtime.layer(ContainerId(of)), request))

    made = await commit("made")
    assert made.layers[:-1] == base.layers and len(made.layers) == len(base.layers) + 1
    assert [step.created_by for step in made.history] == ["", "sh -c it"]
    assert (made.parent, made.author, made.container) == (host.image, "me", "c1")
    files = await host.images.lower_dir(made.id)
    assert not (files / "etc/group").exists() and (files / "etc/passwd").exists()
    assert [path.name for path in (files / "var/data").iterdir()] == ["new"]
    assert (files / "added").read_text() == "x\n" and (files / "added").stat().st_uid == 1000
    assert (files / "hard").stat().st_ino == (files / "added").stat().st_ino
    assert (files / "soft").readlink() == Path("added") and (files / "pipe").is_fifo()
    assert (files / "home").read_text() == "y\n"
    assert os.getxattr(files / "added", "security.capability") == _CAPABILITY
    assert not [path for path in files.rglob("*") if path.name.startswith(".wh.")]

    await host.runtime.provision(ContainerId("c2"), host.image)
    same = await commit("same", of="c2")
    assert same.layers == base.layers and same.history[-1].empty_layer and same.id != base.id

    # The layers of the base are in the archive once, and what reads it finds them for all three.
    archive = b"".join([c async for c in host.images.save(("busybox", "made", "same"))])
    other = LocalImageStore(host.base / "images2")
    await other.open()
    said: list[Progress] = []
    assert set(await other.load(stream(archive), said.append)) == {
        "busybox:latest", "made:latest", "same:latest",
    }  # fmt: skip
    assert (await other.get("made")).id == made.id
    assert [line.status for line in said if line.id] == ["Loading layer"] * len(made.layers)
    said.clear()
    await other.load(stream(archive), said.append)
    assert [line.stream for line in said] == [
        f"Loaded image: {name}:latest\n" for name in ("busybox", "made", "same")
    ]
    # The image below may go: its layers stay with those that were made of it.
    await host.images.remove("busybox", force=True)
    shutil.rmtree(files)
    assert (await host.images.lower_dir(made.id) / "bin/busybox").exists()
    for name in ("c1", "c2"):
        await host.runtime.remove(ContainerId(name))


async def test_what_is_no_archive_is_refused(host: Host) -> None:
    for junk in (b"", b"junk" * 1000, pack({"x": b"1"})):
        with pytest.raises(InvalidRequest):
            await host.images.load(stream(junk))
    with pytest.raises(InvalidRequest):
        await host.images.import_tar(stream(b"junk" * 1000))
    assert [image.repo_tags for image in await host.images.list()] == [("busybox:latest",)]


async def test_two_unpack_at_the_same_time_and_a_lost_directory_comes_back(host: Host) -> None:
    lower = await host.images.lower_dir(host.image)
    shutil.rmtree(lower)
    both = await asyncio.gather(*(host.images.lower_dir(host.image) for _ in range(4)))
    assert set(both) == {lower}
    assert (lower / "bin/busybox").exists()
    assert not list((host.base / "images/work").iterdir())


async def test_pull_from_a_registry_on_loopback(host: Host) -> None:
    if shutil.which("docker-registry") is None:
        pytest.skip("not installed: docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = host.base / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: 127.0.0.1:{port}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {host.base}/registry}}}}\n"
    )
    archive = host.base / "busybox.tar"
    archive.write_bytes(b"".join([chunk async for chunk in host.images.save(("busybox",))]))
    registry = await asyncio.create_subprocess_exec(
        "docker-registry", "serve", str(config),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:

        async def answers() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await until(answers)
        name = f"127.0.0.1:{port}/team/box:v1"
        push = await asyncio.create_subprocess_exec(
            "skopeo", "copy", "--quiet", "--dest-tls-verify=false",
            f"docker-archive:{archive}:docker.io/library/busybox:latest", f"docker://{name}",
        )  # fmt: skip
        assert await push.wait() == 0
        other = LocalImageStore(host.base / "images2")
        await other.open()
        said = []
        image = await other.pull(name, said.append)
        assert image.id == host.image
        assert image.repo_tags == (name,)
        assert image.repo_digests[0].startswith(f"127.0.0.1:{port}/team/box@sha256:")
        assert said[0].status == "Pulling from team/box"
        assert said[-1].status == f"Status: Downloaded newer image for {name}"
        await other.pull(name, said.append)
        assert said[-1].status == f"Status: Image is up to date for {name}"
        with pytest.raises(NotFound, match="manifest unknown"):
            await other.pull(name.replace(":v1", ":v2"))
        by_digest = await other.pull(image.repo_digests[0])
        assert by_digest.id == image.id
    finally:
        registry.terminate()
        await registry.wait()
