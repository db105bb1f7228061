"""Who has a port, read from a /proc of the test's own."""

from pathlib import Path

import pytest

from carrick.host.portholder.contract import HeldPort
from carrick.host.portholder.occupants import BoundSocket, choose_occupant, find_holder, parse_sockets

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(address: str, state: str, inode: int) -> str:
    zeros = "00000000:00000000 00:00000000 00000000     0        0"
    return f"   0: {address} 00000000:0000 {state} {zeros} {inode} 1\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        (tmp_path / "net" / name).write_text(HEAD)
    for pid, comm, inode in (("1", "init", 1), ("77", "nginx", 4242)):
        (tmp_path / pid / "fd").mkdir(parents=True)
        (tmp_path / pid / "comm").write_text(comm + "\n")
        (tmp_path / pid / "fd" / "3").symlink_to(f"socket:[{inode}]")
    (tmp_path / "99").mkdir()  # ended while we looked
    return tmp_path


def test_lines_are_parsed() -> None:
    text = (
        HEAD
        + line("0100007F:0050", "0A", 7)
        + line("00000000:0051", "0A", 8)
        + line("00000000000000000000000001000000:0050", "01", 9)
        + line("0000000000000000FFFF00000100007F:0050", "01", 10)
        + "garbage\n"
    )
    assert parse_sockets(text, 80) == [
        BoundSocket("127.0.0.1", 80, 0x0A, 7),
        BoundSocket("::1", 80, 0x01, 9),
        BoundSocket("127.0.0.1", 80, 0x01, 10),
    ]


def test_the_listener_is_named(proc: Path) -> None:
    (proc / "net" / "tcp").write_text(
        HEAD + line("0100007F:0050", "01", 1) + line("00000000:0050", "0A", 4242)
    )
    assert find_holder(HeldPort("tcp", "127.0.0.1", 80), proc) == "nginx (pid 77)"


def test_a_listener_for_both_families_is_named(proc: Path) -> None:
    (proc / "net" / "tcp6").write_text(HEAD + line("0" * 32 + ":0050", "0A", 4242))
    assert find_holder(HeldPort("tcp", "127.0.0.1", 80), proc) == "nginx (pid 77)"


def test_udp_is_looked_up_in_its_own_file(proc: Path) -> None:
    (proc / "net" / "udp").write_text(HEAD + line("00000000:0035", "07", 4242))
    assert find_holder(HeldPort("udp", "0.0.0.0", 53), proc) == "nginx (pid 77)"
    assert find_holder(HeldPort("tcp", "0.0.0.0", 53), proc) == ""


def test_what_cannot_be_seen_is_said(proc: Path) -> None:
    (proc / "net" / "tcp").write_text(HEAD + line("00000000:0050", "0A", 555))
    assert "cannot be seen" in find_holder(HeldPort("tcp", "0.0.0.0", 80), proc)
    (proc / "net" / "tcp").write_text(HEAD + line("0100007F:0050", "06", 0))
    assert "TIME_WAIT" in find_holder(HeldPort("tcp", "0.0.0.0", 80), proc)
    assert find_holder(HeldPort("sctp", "0.0.0.0", 80), proc) == ""


def test_other_addresses_are_not_in_the_way() -> None:
    held = HeldPort("tcp", "127.0.0.1", 80)
    assert (
        choose_occupant([BoundSocket("127.0.0.2", 80, 0x0A, 1), BoundSocket("::1", 80, 0x0A, 2)], held)
        is None
    )
