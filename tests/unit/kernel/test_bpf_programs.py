"""The assembler and what the maps hold, without a kernel. What the programs do is tried in tests/netns."""

import struct

import pytest

from carrick.host.kernel.bpf.assembler import Alu, Assembler, Jump, Register, Size
from carrick.host.kernel.bpf.programs import (
    LOCAL,
    REMOTE,
    SENT,
    build_receive,
    build_send,
    name_of,
    pack_mac,
    pack_remote,
)

R0, R1, R2, R10 = Register.R0, Register.R1, Register.R2, Register.R10
MAPS = {REMOTE: 3, LOCAL: 4, SENT: 5}


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


def test_a_program_is_known_by_its_name() -> None:
    names = {name_of(build(), "ck_x_", MAPS) for build in (build_send, build_receive)}
    assert len(names) == 2 and all(len(name) == 15 for name in names)
    # Whatever the maps' descriptors are.
    assert name_of(build_send(), "ck_x_", dict.fromkeys(MAPS, 77)) in names
