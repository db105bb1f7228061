"""The assembler and what the maps hold, without a kernel. What the programs do is tried in tests/netns."""

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.host.kernel.bpf.assembler import Alu, Assembler, Jump, Register, Size
from carrick.host.kernel.bpf.programs import (
    build_receive,
    build_routed_receive,
    build_routed_send,
    build_send,
    name_of,
)
from carrick.host.kernel.bpf.rows import (
    LINK_SIZE,
    LOCAL,
    REMOTE,
    ROUTER,
    ROUTER_SIZE,
    SENT,
    pack_address,
    pack_link,
    pack_mac,
    pack_remote,
    pack_router,
    unpack_link,
    unpack_router,
)

R0, R1, R2, R10 = Register.R0, Register.R1, Register.R2, Register.R10
MAPS = {REMOTE: 3, LOCAL: 4, SENT: 5, ROUTER: 6}


def assembled(write: object) -> str:
    code = Assembler()
    write(code)  # type: ignore[operator]
    return code.assemble(MAPS).hex()


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        # By RFC 9669: opcode, source and target register, offset, value.
        (lambda code: code.move(R0, 1), "b700000001000000"),
        (lambda code: code.move(R0, -1), "b7000000ffffffff"),
        (lambda code: code.move(R1, R2), "bf21000000000000"),
        (lambda code: code.add(R2, -8), "07020000f8ffffff"),
        (lambda code: code.alu(Alu.AND, R1, 0xFFFF), "57010000ffff0000"),
        (lambda code: code.alu(Alu.SHIFT_RIGHT, R1, 16), "7701000010000000"),
        (lambda code: code.alu(Alu.XOR, R1, R2), "af21000000000000"),
        (lambda code: code.to_network_order(R2), "dc02000010000000"),
        (lambda code: code.load(Size.WORD, R1, R2, 4), "6121040000000000"),
        (lambda code: code.load(Size.HALF, R1, R2, 4), "6921040000000000"),
        (lambda code: code.load(Size.BYTE, R1, R2, 4), "7121040000000000"),
        (lambda code: code.load(Size.DOUBLE, R1, R2, 4), "7921040000000000"),
        (lambda code: code.store(Size.WORD, R10, -8, R1), "631af8ff00000000"),
        (lambda code: code.store(Size.HALF, R10, -8, 7), "6a0af8ff07000000"),
        (lambda code: code.store(Size.DOUBLE, R10, -8, 0), "7a0af8ff00000000"),
        (lambda code: code.load_wide(R1, 0x8000000100000002), "18010000020000000000000001000080"),
        (lambda code: code.load_map(R1, LOCAL), "18110000040000000000000000000000"),
        (lambda code: code.call(1), "8500000001000000"),
        (lambda code: code.exit(), "9500000000000000"),
    ],
)
def test_each_instruction_is_the_rfcs(write: object, expected: str) -> None:
    assert assembled(write) == expected


def test_jumps_count_instructions_from_the_next_one() -> None:
    code = Assembler()
    code.jump_if(Jump.EQUAL, R1, 0, "end")
    code.jump_if(Jump.GREATER, R1, R2, "end")
    code.load_wide(R0, 0)
    code.label("end")
    code.jump_if(Jump.NOT_EQUAL, R1, 0, "end")
    assert code.assemble({}).hex() == (
        "15010300000000002d21020000000000180000000000000000000000000000005501ffff00000000"
    )


def test_what_is_not_there_is_an_error() -> None:
    code = Assembler()
    code.jump_if(Jump.EQUAL, R1, 0, "nowhere")
    with pytest.raises(KeyError, match="nowhere"):
        code.assemble({})
    code = Assembler()
    code.load_map(R1, "no map")
    with pytest.raises(KeyError, match="no map"):
        code.assemble({})
    code.label("twice")
    with pytest.raises(ValueError, match="twice"):
        code.label("twice")


def test_rows() -> None:
    assert pack_mac("02:00:5e:10:00:0F") == bytes.fromhex("02005e10000f0000")
    row = pack_remote("192.0.2.7", "192.0.2.1", 0x123456)
    assert row[:12] == bytes([192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x34, 0x56, 0])
    # The header's checksum from it: as RFC 1071 has it, of a header whose other words are nothing.
    (partial,) = struct.unpack("=I", row[12:])
    header = bytes([0, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 7])
    assert partial == sum(struct.unpack("=10H", header))


def test_rows_of_routed_networks() -> None:
    assert pack_address(IPv4Address("10.1.2.3")) == bytes([10, 1, 2, 3, 0, 0, 0, 1])
    link = pack_link(7, "02:00:5e:10:00:0f")
    assert len(link) == LINK_SIZE and unpack_link(link) == 7
    assert link[4:] == pack_mac("02:00:5e:10:00:0f")
    row = pack_router(IPv4Network("10.1.0.0/20"), 5, 6, "02:00:5e:10:00:0f")
    assert len(row) == ROUTER_SIZE and row[:8] == bytes([10, 1, 0, 0, 255, 255, 240, 0])
    assert unpack_router(row) == (IPv4Network("10.1.0.0/20"), 5)


@given(st.binary(min_size=6, max_size=6), st.ip_addresses(v=4))
def test_no_address_is_taken_for_a_mac_address(mac: bytes, address: IPv4Address) -> None:
    assert pack_mac(mac.hex(":")) != pack_address(address)


def test_a_program_is_known_by_its_name() -> None:
    builds = (build_send, build_receive, build_routed_send, build_routed_receive)
    layouts = dict.fromkeys(MAPS, "8, 12")
    names = {name_of(build(), "ck_x_", layouts) for build in builds}
    assert len(names) == 4 and all(len(name) == 15 for name in names)
    # The same instructions read something else in rows of another layout.
    assert name_of(build_send(), "ck_x_", {**layouts, LOCAL: "8, 16"}) not in names
