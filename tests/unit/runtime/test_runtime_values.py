"""The values of containers, and the smaller parsers of the runtime."""

from pathlib import Path

import msgspec
import pytest

from carrick.host.runtime import stats
from carrick.host.runtime.api import CannotStart
from carrick.host.runtime.conmon import explain_failure
from carrick.host.runtime.files import clean_path, go_file_mode
from carrick.host.runtime.layout import Layout
from carrick.host.runtime.processes import handle_of, read_stat, run
from carrick.host.runtime.rootfs import tree_size
from carrick.host.runtime.top import parse_table
from carrick.host.runtime.volumes import LocalVolumeStore
from carrick.model.containers import (
    ContainerConfig,
    ContainerState,
    ContainerStatus,
    Health,
    Healthcheck,
    HostConfig,
    ImageConfig,
    Mount,
    MountType,
    PortBinding,
    RestartPolicy,
    RestartPolicyName,
)
from carrick.model.errors import Conflict, Failed, InvalidRequest, NotFound, Unsupported
from carrick.model.ids import ContainerId

IMAGE = ImageConfig(
    env=("A=image", "PATH=/x"),
    cmd=("serve",),
    entrypoint=("run",),
    user="ann",
    working_dir="/srv",
    exposed_ports=("80/tcp",),
    labels={"a": "image", "b": "image"},
    stop_signal="SIGINT",
    healthcheck=Healthcheck(("CMD", "x"), interval_s=5, retries=2),
)


@pytest.mark.parametrize(
    ("config", "command"),
    [
        (ContainerConfig(), ("run", "serve")),
        (ContainerConfig(cmd=("other",)), ("run", "other")),
        (ContainerConfig(entrypoint=("sh",)), ("sh",)),
        (ContainerConfig(entrypoint=("sh",), cmd=("-c",)), ("sh", "-c")),
        (ContainerConfig(entrypoint=("",), cmd=("ls",)), ("ls",)),
    ],
)
def test_command_with_the_images(config: ContainerConfig, command: tuple[str, ...]) -> None:
    assert config.with_image(IMAGE).command == command


def test_the_containers_own_wins() -> None:
    own = ContainerConfig(
        env=("A=own",),
        user="bob",
        labels={"a": "own"},
        exposed_ports=("53/udp",),
        healthcheck=Healthcheck(interval_s=1),
    ).with_image(IMAGE)
    assert own.env == ("PATH=/x", "A=own")
    assert (own.user, own.working_dir, own.stop_signal) == ("bob", "/srv", "SIGINT")
    assert own.labels == {"a": "own", "b": "image"}
    assert own.exposed_ports == ("53/udp", "80/tcp")
    assert own.healthcheck == Healthcheck(("CMD", "x"), interval_s=1, retries=2)


def test_values_survive_the_store() -> None:
    host = HostConfig(
        mounts=(Mount(MountType.TMPFS, "/t"),),
        port_bindings=(PortBinding(80, host_port="8080"),),
        restart_policy=RestartPolicy(RestartPolicyName.ON_FAILURE, 3),
    )
    state = ContainerState(ContainerStatus.RUNNING, pid=5, health=Health())
    for value in (host, state, ContainerConfig(cmd=("x",)).with_image(IMAGE)):
        assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value
    assert state.is_running and not ContainerState().is_running


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ('exec: "/x": stat /x: no such file or directory', 127),
        ('exec: "/etc": permission denied', 126),
        ("mount x: not a directory", 127),
    ],
)
def test_failures_that_have_an_exit_code(text: str, code: int) -> None:
    error = explain_failure(text, is_exec=False)
    assert isinstance(error, CannotStart) and error.exit_code == code
    assert error.message.startswith("failed to create task for container: ")
    assert isinstance(explain_failure("something else", is_exec=True), Failed)


def test_layout_refuses_ids_that_are_paths(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state", tmp_path / "run")
    for bad in ("", "..", "a/b", "-x", ".x", "x" * 200):
        with pytest.raises(InvalidRequest, match="invalid container id"):
            layout.of(ContainerId(bad))
    assert layout.known_ids() == ()
    layout.of(ContainerId("one")).state.mkdir(parents=True)
    layout.exits.mkdir(parents=True)
    layout.of(ContainerId("two")).exit_file.write_text("0")
    (layout.exits / ".two.X1").write_text("half")
    assert layout.known_ids() == ("one", "two")


def test_ps_tables() -> None:
    text = "UID PID COMMAND\nroot 1 init\nann 22 sleep 100 200\nann 220 x\n"
    table = parse_table(text, (22,))
    assert table.titles == ("UID", "PID", "COMMAND")
    assert table.processes == (("ann", "22", "sleep 100 200"),)
    with pytest.raises(InvalidRequest, match="Couldn't find PID field"):
        parse_table("A B\n", (1,))


def test_go_modes_and_paths() -> None:
    assert go_file_mode(0o100644) == 0o644
    assert go_file_mode(0o040755) == 1 << 31 | 0o755
    assert go_file_mode(0o120777) == 1 << 27 | 0o777
    assert go_file_mode(0o104755) == 1 << 23 | 0o755
    assert go_file_mode(0o041777) == 1 << 31 | 1 << 20 | 0o777
    assert go_file_mode(0o020666) == 1 << 26 | 1 << 21 | 0o666
    assert clean_path("a/../../b/") == ("/b", False)
    assert clean_path("/a/.") == ("/a", True)


def test_statistics_of_both_cgroup_versions(tmp_path: Path) -> None:
    one = tmp_path / "v1"
    for name, text in {
        "cpuacct/c/cpuacct.usage": "1000",
        "cpuacct/c/cpuacct.usage_percpu": "400 600",
        "cpuacct/c/cpuacct.stat": "user 3\nsystem 4\n",
        "memory/c/memory.usage_in_bytes": "4096",
        "memory/c/memory.limit_in_bytes": "9223372036854771712",
        "memory/c/memory.stat": "cache 5\ntotal_inactive_file 6\n",
        "pids/c/pids.current": "3",
        "pids/c/pids.max": "max",
        "blkio/c/blkio.throttle.io_service_bytes": "8:0 Read 10\n8:0 Write 20\nTotal 30\n",
    }.items():
        (one / name).parent.mkdir(parents=True, exist_ok=True)
        (one / name).write_text(text)
    sample = stats.read_stats("/c", 0, one)
    assert (sample.cpu_total_ns, sample.cpu_per_core_ns) == (1000, (400, 600))
    assert sample.memory_limit == stats.memory_total()
    assert (sample.pids_current, sample.pids_limit) == (3, 0)
    assert [(c.operation, c.value) for c in sample.block_bytes] == [("Read", 10), ("Write", 20)]
    assert sample.memory_stats["total_inactive_file"] == 6

    two = tmp_path / "v2"
    for name, text in {
        "cgroup.controllers": "cpu",
        "c/cpu.stat": "usage_usec 7\nuser_usec 5\nsystem_usec 2\nthrottled_usec 1\n",
        "c/memory.current": "8192",
        "c/memory.max": "16384",
        "c/pids.current": "2",
        "c/pids.max": "9",
        "c/io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n",
    }.items():
        (two / name).parent.mkdir(parents=True, exist_ok=True)
        (two / name).write_text(text)
    sample = stats.read_stats("/c", 0, two)
    assert (sample.cpu_total_ns, sample.throttled_ns) == (7000, 1000)
    assert (sample.memory_usage, sample.memory_limit) == (8192, 16384)
    assert [c.value for c in sample.block_bytes + sample.block_operations] == [1, 2, 3, 4]


def test_interface_counters() -> None:
    text = (
        "Inter-| Receive | Transmit\n face |bytes ...\n"
        "    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
        "  eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n"
    )
    (counters,) = stats.parse_net_dev(text)
    assert (counters.interface, counters.rx_bytes, counters.rx_dropped) == ("eth0", 10, 4)
    assert (counters.tx_bytes, counters.tx_dropped) == (50, 8)


async def test_programs_and_handles() -> None:
    lines: list[str] = []
    done = await run(["sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in\nput", on_line=lines.append)
    assert (done.returncode, done.stdout, done.error_text) == (3, b"in\nput", "err")
    assert sorted(lines) == ["err", "in", "put"]
    with pytest.raises(Unsupported, match="is not installed"):
        await run(["/absent/program"])
    own = handle_of(1)
    assert own is not None and own.is_alive()
    assert handle_of(0) is None and read_stat(2**22 + 1) is None


async def test_volumes(tmp_path: Path) -> None:
    store = LocalVolumeStore(tmp_path / "volumes")
    assert await store.list() == ()
    one = await store.create("data", labels={"a": "b"})
    assert one.mountpoint.is_dir() and await store.create("data") == one
    anonymous = await store.create()
    assert anonymous.anonymous and len(anonymous.name) == 64
    assert "com.docker.volume.anonymous" in anonymous.labels
    (one.mountpoint / "f").write_bytes(b"12345")
    assert await store.size("data") == tree_size(one.mountpoint) == 5
    assert await store.activate("data") == one.mountpoint
    with pytest.raises(InvalidRequest, match="includes invalid characters for a local volume"):
        await store.create("../x")
    with pytest.raises(InvalidRequest, match="invalid option"):
        await store.create("y1", options={"colour": "red"})
    with pytest.raises(NotFound, match="error looking up volume plugin nfs"):
        await store.create("y1", driver="nfs")
    with pytest.raises(Conflict, match=r"remove data: volume is in use - \[c1\]"):
        await store.remove("data", users=[ContainerId("c1")])
    with pytest.raises(NotFound, match="get absent: no such volume"):
        await store.remove("absent")
    await store.remove("absent", force=True)
    # A volume whose making was cut short is none, and can be made.
    (tmp_path / "volumes" / "half" / "_data").mkdir(parents=True)
    assert "half" not in [volume.name for volume in await store.list()]
    await store.create("half")
    assert "half" in [volume.name for volume in await store.list()]
