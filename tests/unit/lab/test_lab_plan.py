"""The pure part of a lab: who is where, what is written down, what the faults are in nft's words."""

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from carrick.doors.cli.main import run
from carrick.lab import faults, images, programs
from carrick.lab.plan import Kind, LabSpec, check_name, hosts_file, plan_lab
from carrick.lab.processes import Process
from carrick.lab.record import Faults, LabDirectory, Phase, Record, decode, encode
from carrick.lab.underlay import node_commands, port_commands, router_commands
from carrick.model.errors import CarrickError, Failed, InvalidRequest, NotFound, Unsupported

RECORD = Record(
    "lab",
    "carrick-lab-lab-abc",
    Path("/var/lib/carrick-lab/lab"),
    LabSpec(hosts=3, segments=2, configuration='log_level = "debug"\n'),
    Phase.UP,
    {"router": Process(10, 1234), "host1": Process(12, 1240)},
    Faults(frozenset({("host1", "host2"), ("host2", "host1")}), 300, {"host3": "10mbit"}),
)


# --- the plan


def test_hosts_are_dealt_out_to_the_segments_in_turn() -> None:
    topology = plan_lab(LabSpec(hosts=3, segments=2, etcd=1))
    rows = [(node.name, str(node.ipv4), str(node.ipv6)) for node in topology.members]
    assert rows == [
        ("etcd", "10.99.1.2/24", "fd99:1::2/64"),
        ("host1", "10.99.1.11/24", "fd99:1::11/64"),
        ("host2", "10.99.2.12/24", "fd99:2::12/64"),
        ("host3", "10.99.1.13/24", "fd99:1::13/64"),
    ]
    assert [node.kind for node in topology.nodes] == [Kind.ROUTER, Kind.ETCD, *[Kind.HOST] * 3]
    assert topology.etcd_endpoints == ("http://10.99.1.2:2379",)


def test_the_largest_lab_has_no_address_mac_or_link_twice() -> None:
    topology = plan_lab(LabSpec(hosts=200, segments=64, etcd=3))
    for values in (
        [str(node.ipv4.ip) for node in topology.members] + [str(item.router4) for item in topology.segments],
        [str(node.ipv6.ip) for node in topology.members] + [str(item.router6) for item in topology.segments],
        [node.mac for node in topology.members] + [item.mac for item in topology.segments],
        [node.name for node in topology.members] + [item.link for item in topology.segments],
        [str(node.mark) for node in topology.nodes],
    ):
        assert len(set(values)) == len(values)
    assert max(len(node.name) for node in topology.nodes) <= 15
    assert [node.name for node in topology.etcd] == ["etcd1", "etcd2", "etcd3"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (LabSpec(hosts=0), "1 to 200 hosts"),
        (LabSpec(hosts=201), "1 to 200 hosts"),
        (LabSpec(segments=0), "1 to 64 segments"),
        (LabSpec(etcd=2), "no etcd, 1, or 3"),
        (LabSpec(mtu=1000), "MTU of 1000"),
        (LabSpec(underlay="10.99.0.0/23", segments=2), "too small for 2 segments"),
        (LabSpec(underlay="10.99.0.0/30"), "too small"),
        (LabSpec(underlay="10.99.0.1/16"), "host bits"),
        (LabSpec(underlay="fd00::/16"), "underlay 'fd00::/16'"),
        (LabSpec(underlay="here"), "underlay 'here'"),
    ],
)
def test_what_cannot_be_is_refused(spec: LabSpec, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        plan_lab(spec)


@pytest.mark.parametrize("name", ["", "-a", "A", "a/b", "..", "a" * 32, "a b", "ä"])
def test_names_that_cannot_be_parts_of_paths(name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be a lab's name"):
        check_name(name)


def test_unknown_nodes_are_refused_with_the_known_ones() -> None:
    topology = plan_lab(LabSpec(hosts=2))
    with pytest.raises(NotFound, match="no host host3") as caught:
        topology.node("host3")
    assert caught.value.remedy == "There are router, etcd, host1, host2."
    assert topology.node("router").kind is Kind.ROUTER
    with pytest.raises(InvalidRequest):
        topology.member("router")


def test_everyone_on_the_underlay_is_in_the_hosts_file() -> None:
    text = hosts_file(plan_lab(LabSpec(hosts=2, segments=2)), "host1")
    assert "10.99.2.12 host2\nfd99:2::12 host2\n" in text
    assert "127.0.1.1" not in text


def test_links_and_routes() -> None:
    topology = plan_lab(LabSpec(hosts=1, etcd=0))
    (host,) = topology.hosts
    lines = [
        *router_commands(topology.segments, 1400),
        *port_commands(host, 4711, 1400),
        *node_commands(host),
    ]
    assert lines == [
        "link set lo up",
        "link add seg1 address 02:99:01:00:00:01 mtu 1400 type bridge forward_delay 0 stp_state 0"
        " mcast_snooping 0",
        "address add 10.99.1.1/24 dev seg1",
        "address add fd99:1::1/64 dev seg1 nodad",
        "link set seg1 up",
        "link add host1 mtu 1400 type veth peer name eth0 address 02:99:01:00:01:0b mtu 1400 netns 4711",
        "link set host1 master seg1 up",
        "link set lo up",
        "address add 10.99.1.11/24 dev eth0",
        "address add fd99:1::11/64 dev eth0 nodad",
        "link set eth0 up",
        "route add default via 10.99.1.1",
        "route add ::/0 via fd99:1::1",
    ]


# --- faults


@pytest.mark.parametrize(
    ("text", "loss", "shown"),
    [
        ("3%", 300, "3%"),
        ("3", 300, "3%"),
        ("0.25%", 25, "0.25%"),
        ("0%", 0, "0%"),
        ("off", 0, "0%"),
        ("100%", 10_000, "100%"),
        ("10%", 1000, "10%"),
    ],
)
def test_loss(text: str, loss: int, shown: str) -> None:
    assert faults.parse_loss(text) == loss
    assert faults.render_loss(loss) == shown


@pytest.mark.parametrize("text", ["", "%", "-1%", "101%", "3%%", "nan", "inf", "0.001%", "three"])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(InvalidRequest, match="no share of packets"):
        faults.parse_loss(text)


@pytest.mark.parametrize("text", ["", "0mbit", "10", "10 mbit", "10mbps", "-1mbit", "1.5gbit", "1gbit; x"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no rate"):
        faults.parse_rate(text)


def test_a_rate_s_burst_has_room_for_the_largest_packet() -> None:
    assert faults.rate_command("host1", "512kbit")[-3:] == ["131072", "latency", "100ms"]
    assert faults.rate_command("host1", "10gbit")[-3] == "5000000"
    assert faults.rate_command("host1", faults.parse_rate("off"))[:3] == ["tc", "qdisc", "del"]


def test_cuts_are_ordered_pairs() -> None:
    topology = plan_lab(LabSpec(hosts=2, etcd=1))
    both = {("host1", "host2"), ("host2", "host1")}
    assert faults.pairs(topology, "host1", "host2") == both
    assert faults.pairs(topology, "host1", "host2", one_way=True) == {("host1", "host2")}
    assert faults.pairs(topology, "host1", "") == both | {("host1", "etcd"), ("etcd", "host1")}
    with pytest.raises(InvalidRequest, match="from itself"):
        faults.pairs(topology, "host1", "host1")


def test_the_table_is_replaced_in_one_step() -> None:
    topology = plan_lab(LabSpec(hosts=2, etcd=0))
    wanted = Faults(frozenset({("host1", "host2")}), 300)
    assert faults.render_table(topology, wanted) == (
        "table bridge lab\n"
        "delete table bridge lab\n"
        "table bridge lab {\n"
        "  set cut {\n"
        "    type mark . ifname\n"
        '    elements = { 1 . "host2" }\n'
        "  }\n"
        "  chain sources {\n"
        "    type filter hook prerouting priority -300\n"
        '    meta mark set iifname map { "host1" : 1, "host2" : 2 }\n'
        "  }\n"
        "  chain faults {\n"
        "    type filter hook postrouting priority 0\n"
        "    meta mark . oifname @cut drop\n"
        "    meta mark != 0 numgen random mod 10000 < 300 drop\n"
        "  }\n"
        "}\n"
    )
    assert "numgen" not in faults.render_table(topology, Faults())
    assert "elements" not in faults.render_table(topology, Faults())


# --- the record


def test_a_record_is_read_as_it_was_written() -> None:
    assert decode(encode(RECORD), "file") == RECORD


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", encode(RECORD).replace('"format": 1', '"format": 2'), '{"format": 1}']
)
def test_a_file_that_is_no_record(text: str) -> None:
    with pytest.raises(Failed, match=r"lab\.json is no record of a lab"):
        decode(text, "lab.json")


def test_a_process_is_put_in_and_taken_out() -> None:
    more = RECORD.with_process("host2", Process(13, 1250))
    assert set(more.processes) == {"router", "host1", "host2"}
    assert more.with_process("host2", None) == RECORD


def test_a_directory_goes_with_its_record(tmp_path: Path) -> None:
    base = tmp_path / "carrick-lab"
    directory = LabDirectory(base / "lab")
    assert directory.read() is None
    with directory.locked():
        directory.write(RECORD)
    assert directory.read() == RECORD
    with directory.locked():
        directory.write(replace(RECORD, phase=Phase.FALLING))
        directory.forget()
    assert not base.exists()


def test_processes_are_known_by_their_start_too() -> None:
    own = Process.of(os.getpid())
    assert own.is_alive()
    assert not Process(own.pid, own.started + 1).is_alive()
    Process(own.pid, own.started + 1).kill()  # somebody else's: nothing happens


# --- images and programs


def test_the_busybox_image_is_the_same_each_time() -> None:
    try:
        archive = images.busybox_archive()
    except Unsupported as error:
        pytest.skip(error.message)
    assert archive == images.busybox_archive()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.getmember("bin/sh").linkname == "busybox"
        assert tar.getmember("tmp").mode == 0o1777


def test_saved_images_are_told_from_root_file_systems(tmp_path: Path) -> None:
    for name, is_saved in (("./manifest.json", True), ("etc/passwd", False), ("index.json", True)):
        path = tmp_path / "archive.tar"
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo(name))
        assert images.is_saved_image(path) is is_saved


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unsupported, match=r"not installed here: .*etcd.*nft") as caught:
        programs.check_programs(LabSpec())
    assert "etcd-server" in str(caught.value.remedy) and "nftables" in str(caught.value.remedy)
    with pytest.raises(Unsupported) as caught:
        programs.check_programs(LabSpec(etcd=0))
    assert "etcd" not in caught.value.message


def test_a_state_directory_on_overlayfs_is_refused() -> None:
    mounts = (
        "overlay / overlay rw 0 0\n"
        "/dev/vdb /var/lib ext4 rw 0 0\n"
        "none /var/lib/my\\040disk overlay rw 0 0\n"
        "tmpfs /mnt overlay rw 0 0\n"
        "tmpfs /mnt tmpfs rw 0 0\n"
    )
    for good in ("/var/lib/carrick-lab/lab", "/mnt/lab"):
        programs.check_state_dir(Path(good), mounts)
    for bad in ("/srv/lab", "/var/library", "/var/lib/my disk/lab"):
        with pytest.raises(Unsupported, match="is on overlayfs"):
            programs.check_state_dir(Path(bad), mounts)


# --- the command line


def cli(*words: str) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    code = run(["lab", *words], stdin=io.StringIO(), out=out, err=err, environ={})
    return code, out.getvalue() + err.getvalue()


@pytest.mark.parametrize("words", [("up",), ("status",), ("exec", "host1", "true"), ("cut", "host1")])
def test_without_root_nothing_is_tried(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, text = cli(*words)
    assert code == 6
    assert "root" in text and "sudo" in text


def test_bad_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    where = ("--dir", str(tmp_path / "lab"))
    for words, expected, problem in (
        (("status", "--name", "../etc"), 2, "cannot be a lab's name"),
        (("up", "--etcd", "2", *where), 2, "none, 1 or 3"),
        (("up", "--config", str(tmp_path / "none"), *where), 2, "configuration file"),
        (("up", "--hosts", "0", *where), 2, "1 to 200 hosts"),
        (("status", *where), 3, "there is no lab in"),
        (("exec", *where, "host1", "true"), 3, "there is no lab in"),
        (("cut", *where, "host1"), 3, "there is no lab in"),
        (("loss", *where, "x"), 2, "no share of packets"),
        (("status", "--format", "xml", *where), 2, "'json'"),
    ):
        code, text = cli(*words)
        assert (code, problem in text) == (expected, True), (words, code, text)
    assert list(tmp_path.iterdir()) == []


def test_every_error_has_a_remedy_or_says_all() -> None:
    with pytest.raises(CarrickError) as caught:
        check_name("../x")
    assert caught.value.remedy
