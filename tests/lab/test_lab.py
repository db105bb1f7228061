"""The lab itself: what its hosts are, what its faults do, and that nothing is left of it."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from carrick.lab.images import busybox_archive
from carrick.lab.lab import Lab
from carrick.lab.plan import LabSpec
from carrick.model.errors import Conflict, InvalidRequest, NotFound, Unavailable
from carrick.testing.daemon import eventually
from carrick.testing.lab import TempLab, find_leaks, settle, trace_of

# --- hosts


def test_hosts_reach_each_other_by_name_and_by_both_families(lab: TempLab) -> None:
    for source in lab.hosts:
        for target in [*lab.hosts, lab["etcd"]]:
            if target.name != source.name:
                assert source.reaches(target.name), f"{source.name} to {target.name}"
                assert source.reaches(target.ipv4)
                assert source.reaches(target.ipv6)


def test_segments_are_subnets_with_a_router_between(lab: TempLab) -> None:
    first, second, third = lab.hosts
    assert first.node.segment == third.node.segment != second.node.segment
    assert "ttl=63" in first.do("busybox", "ping", "-c", "1", second.ipv4)
    assert "ttl=64" in first.do("busybox", "ping", "-c", "1", third.ipv4)


def test_nothing_leads_out(lab: TempLab) -> None:
    links = lab["router"].do("ip", "-o", "link").splitlines()
    names = {line.split(":")[1].strip().partition("@")[0] for line in links}
    assert names == {"lo", "seg1", "seg2", "etcd", "host1", "host2", "host3"}
    assert "unreachable" in lab["router"].run("ip", "route", "get", "192.0.2.1").err
    assert "unreachable" in lab["router"].run("ip", "route", "get", "2001:db8::1").err


def test_a_host_is_a_machine_of_its_own(lab: TempLab) -> None:
    host = lab["host1"]
    assert host.do("hostname") == host.do("cat", "/etc/hostname") == "host1"
    assert host.do("cat", "/proc/1/comm").startswith("python")
    assert set(host.do("ls", "/sys/class/net").split()) >= {"lo", "eth0"}
    assert "memory" in host.do("ls", "/sys/fs/cgroup")
    host.do("touch", "/run/mine", "/var/lib/mine", "/etc/mine", "/etc/carrick/mine")
    assert lab["host2"].run("ls", "/run/mine", "/var/lib/mine", "/etc/mine", "/etc/carrick/mine").out == ""
    assert not Path("/etc/mine").exists() and not Path("/var/lib/mine").exists()
    # What it has of the machine's, it cannot change.
    assert host.run("sh", "-c", "echo x >>/etc/passwd").code != 0
    assert "PRETTY_NAME" in host.do("cat", "/etc/os-release")


def test_the_clients_find_their_own_host_s_daemon(lab: TempLab) -> None:
    for host in lab.hosts:
        host.sleeper(f"on-{host.name}")
    for host in lab.hosts:
        assert host.carrick("ps", "--format", "{{.Names}}") == f"on-{host.name}"
        assert host.api.get("/info").json["Name"] == host.name
    assert [node.containers for node in lab.status().nodes] == [None, (1, 1), (1, 1), (1, 1)]


def test_containers_use_cgroups_of_their_host_s(lab: TempLab) -> None:
    host = lab["host2"]
    identifier = host.sleeper("limited", "--memory", "32m")
    places = host.do("cat", f"/proc/{host.container('limited')['State']['Pid']}/cgroup").splitlines()
    assert f"/{lab.record().cgroup}/host2/{identifier}" in {line.split(":")[2] for line in places}


def test_a_published_port_is_reached_from_another_segment(lab: TempLab) -> None:
    script = "echo here >/index.html; exec httpd -f -h /"
    lab["host2"].carrick("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", script)
    fetch = ("busybox", "wget", "-q", "-O-", "http://host2:8080/")
    eventually(lambda: lab["host1"].run(*fetch).out == "here\n")


# --- faults


@pytest.mark.parametrize(("first", "second"), [("host1", "host3"), ("host1", "host2")])
def test_a_cut_takes_everything_between_two_and_nothing_else(lab: TempLab, first: str, second: str) -> None:
    one, other, etcd = lab[first], lab[second], lab["etcd"]
    lab.cut(first, second)
    for target in (other.ipv4, other.ipv6):
        assert one.ping(target) == 0
    assert other.ping(one.ipv4) == 0
    assert one.ping(etcd.ipv4) == other.ping(etcd.ipv4) == 3
    lab.heal(first, second)
    # A neighbour that did not answer is asked again only once the kernel has given it up.
    eventually(lambda: one.reaches(other.ipv4) and one.reaches(other.ipv6))
    assert one.ping(other.ipv4) == one.ping(other.ipv6) == 3


def test_a_cut_does_not_ask_for_addresses(lab: TempLab) -> None:
    one, other = lab["host1"], lab["host3"]
    one.do("ip", "address", "add", "10.200.0.1/24", "dev", "eth0")
    other.do("ip", "address", "add", "10.200.0.3/24", "dev", "eth0")
    try:
        assert one.reaches("10.200.0.3")
        lab.cut("host1", "host3")
        assert not one.reaches("10.200.0.3")
    finally:
        one.do("ip", "address", "del", "10.200.0.1/24", "dev", "eth0")
        other.do("ip", "address", "del", "10.200.0.3/24", "dev", "eth0")


def test_one_host_cut_from_all(lab: TempLab) -> None:
    lab.cut("host2")
    for name in ("host1", "host3", "etcd"):
        assert lab["host2"].ping(name) == lab[name].ping("host2") == 0
    assert lab["host1"].ping("host3") == 3
    assert {node.name: node.cut_from for node in lab.status().nodes}["host2"] == ("etcd", "host1", "host3")
    lab.heal("host2", "host1")
    assert lab["host2"].ping("host1") == 3
    assert lab["host2"].ping("etcd") == 0
    lab.heal()
    assert lab["host2"].ping("etcd") == 3


def test_a_cut_one_way(lab: TempLab) -> None:
    lab.cut("host1", "host2", one_way=True)
    assert lab["host1"].ping("host2") == 0
    assert [node.cut_from for node in lab.status().nodes] == [(), (), ("host1",), ()]
    listener = lab["host1"].socket(2, 2)
    listener.bind(("", 4000))
    listener.settimeout(10)
    with listener, lab["host2"].socket(2, 2) as sender:
        sender.sendto(b"still comes", (lab["host1"].ipv4, 4000))
        assert listener.recv(100) == b"still comes"


def test_loss(lab: TempLab) -> None:
    lab.loss("50%")
    # Of 200 there and back a quarter comes through: 20 to 90 is some five deviations to each side.
    assert 20 < lab["host1"].ping("host2", count=200, interval_s=0.005) < 90
    assert 20 < lab["host1"].ping("host3", count=200, interval_s=0.005) < 90
    assert lab.status().loss == "50%"
    lab.loss("0%")
    assert lab["host1"].ping("host2", count=50, interval_s=0.005) == 50


def test_a_rate_holds_what_goes_to_a_host_and_outlives_a_power_cut(lab: TempLab) -> None:
    lab.rate("10mbit", ["host2"])
    lab.kill("host2")
    lab.start("host2")
    assert "rate 10Mbit" in lab["router"].do("tc", "qdisc", "show", "dev", "host2")
    assert lab["host1"].reaches("host2")
    lab.rate("off")
    assert "tbf" not in lab["router"].do("tc", "qdisc")


# --- off and on


def test_a_host_stopped_and_started_keeps_its_disk_and_its_address(lab: TempLab) -> None:
    host = lab["host2"]
    host.carrick("volume", "create", "kept")
    host.do("touch", "/run/lost")
    lab.stop("host2")
    assert not lab["host1"].reaches("host2")
    with pytest.raises(Unavailable, match="host2 is off"):
        host.do("true")
    assert [node.state for node in lab.status().nodes] == ["running", "running", "off", "running"]
    lab.start("host2")
    assert lab["host1"].reaches(host.ipv4)
    assert "kept" in host.carrick("volume", "ls", "-q")
    assert host.run("ls", "/run/lost").code != 0
    host.carrick("volume", "rm", "kept")


def test_a_power_cut_ends_everything_at_once_and_the_host_comes_back(lab: TempLab) -> None:
    host = lab["host3"]
    host.sleeper("again", "--restart", "always")
    host.sleeper("once")
    lab.kill("host3")
    lab.start("host3")
    eventually(lambda: host.container("again")["State"]["Running"], timeout_s=30)
    assert not host.container("once")["State"]["Running"]


def test_a_daemon_ends_and_containers_go_on(lab: TempLab) -> None:
    host = lab["host1"]
    host.sleeper("going-on")
    pid = host.container("going-on")["State"]["Pid"]
    for end in (lab.stop, lab.kill):
        end("host1", daemon_only=True)
        assert {node.name: node.service for node in lab.status().nodes}["host1"] == "stopped"
        assert host.do("cat", f"/proc/{pid}/comm") == "sleep"
        lab.start("host1")
        assert host.container("going-on")["State"]["Pid"] == pid


def test_what_is_as_asked_for_stays_so(lab: TempLab) -> None:
    before = lab["host1"].process
    lab.start("host1")
    assert lab["host1"].process == before
    lab.stop("host2")
    lab.stop("host2")
    lab.kill("host2")


def test_unknown_hosts_are_refused_with_those_there_are(lab: TempLab) -> None:
    with pytest.raises(NotFound) as caught:
        lab.cut("host1", "host9")
    assert "host1, host2, host3" in str(caught.value.remedy)


# --- etcd


def test_etcd_is_reached_from_hosts_and_keeps_its_data(lab: TempLab) -> None:
    endpoint = lab.plan.etcd_endpoints[0]

    def etcdctl(*words: str) -> str:
        command = ("env", "ETCDCTL_API=3", "etcdctl", "--endpoints", endpoint, *words)
        return lab["host2"].do(*command)

    etcdctl("put", "key", "one")
    etcdctl("put", "key", "two")
    revision = lab.compact_etcd()
    assert revision >= 3
    assert (
        "compacted"
        in lab["host2"]
        .run(*("env", "ETCDCTL_API=3", "etcdctl", "--endpoints", endpoint, "get", "key", "--rev", "2"))
        .err
    )
    lab.kill("etcd", daemon_only=True)
    lab.start("etcd")
    assert etcdctl("get", "key", "--print-value-only") == "two"
    lab.kill("etcd")
    lab.start("etcd")
    assert etcdctl("get", "key", "--print-value-only") == "two"


def test_three_etcd_hand_over_and_bear_the_loss_of_one() -> None:
    with TempLab(hosts=1, etcd=3, busybox=False) as lab:
        old, new = lab.move_etcd_leader()
        eventually(lambda: [node.name for node in lab.status().nodes if node.is_leader] == [new])
        lab.kill(new)
        eventually(lambda: [n.name for n in lab.status().nodes if n.is_leader] not in ([], [new]), 30)
        assert lab.compact_etcd() >= 1
        lab.stop(old)
        lab.start(old, new)
        assert [node.service for node in lab.status().nodes] == ["ready"] * 4


# --- up and down


def test_archives_become_images_on_every_host(lab: TempLab, tmp_path: Path) -> None:
    saved, root = tmp_path / "saved.tar", tmp_path / "Tools.v1.tar"
    lab["host1"].carrick("tag", "busybox", "other:1.0")
    lab["host1"].carrick("save", "-o", str(saved), "other:1.0")
    lab["host1"].carrick("rmi", "other:1.0")
    root.write_bytes(busybox_archive())
    with TempLab(hosts=2, etcd=0, archives=[saved, root], busybox=False) as more:
        for host in more.hosts:
            listed = host.carrick("images", "--format", "{{.Repository}}:{{.Tag}}").split()
            assert sorted(listed) == ["other:1.0", "tools:latest"]
            assert host.carrick("run", "--rm", "tools", "echo", "works") == "works"


def test_what_is_no_archive_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no archive")
    lab = Lab(tmp_path / "lab")
    for name, problem in (("text.tar", "is no tar archive"), ("none.tar", "No such file")):
        with pytest.raises(InvalidRequest, match=problem):
            lab.up(LabSpec(), state_dir=tmp_path / "state", archives=[tmp_path / name])
    assert [path.name for path in tmp_path.iterdir()] == ["text.tar"]


def test_nothing_is_left_of_a_lab() -> None:
    with TempLab(hosts=2, segments=2) as lab:
        for host in lab.hosts:
            host.sleeper("still-running", "-p", "8080:80")
        lab.kill("host2")
        trace = trace_of(lab.record(), lab.place / "lab")
        assert len(trace.namespaces) > 12
        assert find_leaks(trace)
        assert lab.down()
        assert settle(trace) == []
        assert not lab.down()
        assert list(lab.place.iterdir()) == []


def test_a_second_lab_of_the_name_is_refused_and_the_first_unharmed(lab: TempLab) -> None:
    before = lab.record()
    with pytest.raises(Conflict, match="is up already"):
        Lab(lab.place / "lab").up(LabSpec(hosts=1), state_dir=lab.place / "state", name=lab.name)
    assert lab.record() == before
    assert lab["host1"].reaches("host2")


def test_a_directory_with_someone_else_s_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/precious").touch()
    lab = Lab(tmp_path / "lab")
    with pytest.raises(Conflict, match="not a lab's"):
        lab.up(LabSpec(hosts=1, etcd=0), state_dir=tmp_path / "state")
    assert [path.name for path in tmp_path.rglob("*")] == ["state", "precious"]


def test_a_lab_that_fails_to_come_up_leaves_nothing(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    with pytest.raises(Exception, match="unknown setting no_such"):
        lab.up(
            LabSpec(hosts=2, etcd=0, configuration="no_such = 1\n"),
            state_dir=tmp_path / "state",
            busybox=False,
        )
    assert list(tmp_path.iterdir()) == []


_UP = """
import sys
from pathlib import Path
from carrick.lab.images import busybox_archive
from carrick.lab.lab import Lab
from carrick.lab.plan import LabSpec
place = Path(sys.argv[1])
Lab(place / "lab").up(LabSpec(hosts=2), state_dir=place / "state", name="crashing", say=lambda line: print(line, flush=True))
"""  # noqa: E501


@pytest.mark.parametrize("after_lines", [0, 1, 2, 3])
def test_after_a_kill_in_the_middle_of_up(tmp_path: Path, after_lines: int) -> None:
    lab = Lab(tmp_path / "lab")
    process = subprocess.Popen([sys.executable, "-c", _UP, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        if after_lines == 0:
            eventually((tmp_path / "lab" / "lab.json").exists, 30)
        for _ in range(after_lines):
            process.stdout.readline()
        process.kill()
        process.wait()
    with pytest.raises(Conflict, match="is rising"):
        lab.record()
    if after_lines % 2:
        lab.up(LabSpec(hosts=1, etcd=0), state_dir=tmp_path / "state", name="anew", busybox=False)
        assert lab.record().name == "anew"
        trace = trace_of(lab.record(), tmp_path / "lab")
        assert lab.down()
        assert settle(trace) == []
    else:
        assert lab.down()
    eventually(lambda: not _processes_of(tmp_path), what="no process of the lab")
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_make_one_lab(tmp_path: Path) -> None:
    results: list[str] = []

    def put_up() -> None:
        try:
            Lab(tmp_path / "lab").up(
                LabSpec(hosts=1, etcd=0), state_dir=tmp_path / "state", name="both", busybox=False
            )
            results.append("up")
        except Conflict as error:
            results.append(error.message)

    threads = [threading.Thread(target=put_up) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == ["lab both is up already", "up"]
    finally:
        Lab(tmp_path / "lab").down()


def test_a_lab_whose_first_process_was_killed_is_cleared_away(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    spec = LabSpec(hosts=1, etcd=0)
    try:
        lab.up(spec, state_dir=tmp_path / "state", name="killed", busybox=False)
        lab.process("router").kill()
        with pytest.raises(Unavailable):
            lab.process("host1")
        with pytest.raises(Unavailable, match="has ended"):
            lab.cut("host1")
        lab.up(spec, state_dir=tmp_path / "state", name="killed", busybox=False)
        assert lab.process("host1").is_alive()
    finally:
        lab.down()
    assert list(tmp_path.iterdir()) == []


def _processes_of(place: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if str(place).encode() in text:
            found.append(text.replace(b"\0", b" ").decode())
    return found
