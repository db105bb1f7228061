"""An assembler for eBPF: what is written instruction by instruction becomes the kernel's bytes. Pure.

The instruction set is RFC 9669's; mnemonics are its names in words. A program of ours is short enough to be
read this way, and neither a compiler nor its object files are needed where Carrick runs.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_INSTRUCTION = struct.Struct("<BBhi")
_PSEUDO_MAP_FD = 1
_WIDE_LOAD = 0x18


class Register(IntEnum):
    """R0 is what calls and programs return, R1 to R5 arguments that calls spoil, R10 the end of the stack."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


class Size(IntEnum):
    """How much is loaded or stored: its bits in the opcode."""

    WORD = 0x00
    HALF = 0x08
    BYTE = 0x10
    DOUBLE = 0x18


class Alu(IntEnum):
    """An operation on 64 bits: its bits in the opcode."""

    ADD = 0x00
    OR = 0x40
    AND = 0x50
    SHIFT_RIGHT = 0x70
    XOR = 0xA0
    MOVE = 0xB0


class Jump(IntEnum):
    """A comparison, unsigned, of 64 bits: its bits in the opcode."""

    EQUAL = 0x10
    GREATER = 0x20
    NOT_EQUAL = 0x50


@dataclass(frozen=True, slots=True)
class _Instruction:
    opcode: int
    target: int = 0
    source: int = 0
    offset: int = 0
    value: int = 0
    label: str = ""
    """Where to jump; `offset` is worked out from it."""
    name: str = ""
    """The map whose descriptor `value` is to be."""


class Assembler:
    """Collects instructions; `assemble` makes a program of them."""

    def __init__(self) -> None:
        self._instructions: list[_Instruction] = []
        self._labels: dict[str, int] = {}

    def label(self, name: str) -> None:
        """Name the place of the next instruction."""
        if name in self._labels:
            raise ValueError(f"label {name} is there twice")
        self._labels[name] = len(self._instructions)

    def move(self, target: Register, source: Register | int) -> None:
        self.alu(Alu.MOVE, target, source)

    def add(self, target: Register, source: Register | int) -> None:
        self.alu(Alu.ADD, target, source)

    def alu(self, operation: Alu, target: Register, source: Register | int) -> None:
        if isinstance(source, Register):
            self._add(0x07 | 0x08 | operation, target, source)
        else:
            self._add(0x07 | operation, target, value=source)

    def to_network_order(self, target: Register) -> None:
        """Swap the lower 16 bits where the host is little-endian, and clear all others."""
        self._add(0xDC, target, value=16)

    def load(self, size: Size, target: Register, base: Register, offset: int) -> None:
        self._add(0x61 | size, target, base, offset)

    def store(self, size: Size, base: Register, offset: int, source: Register | int) -> None:
        if isinstance(source, Register):
            self._add(0x63 | size, base, source, offset)
        else:
            self._add(0x62 | size, base, offset=offset, value=source)

    def load_wide(self, target: Register, value: int) -> None:
        """Load 64 bits."""
        self._add(_WIDE_LOAD, target, value=value & 0xFFFFFFFF)
        self._add(0, value=value >> 32)

    def load_map(self, target: Register, name: str) -> None:
        """Load the address of a map, whose descriptor `assemble` is given."""
        self._instructions.append(_Instruction(_WIDE_LOAD, target, _PSEUDO_MAP_FD, name=name))
        self._add(0)

    def jump_if(self, comparison: Jump, left: Register, right: Register | int, label: str) -> None:
        if isinstance(right, Register):
            self._instructions.append(_Instruction(0x05 | 0x08 | comparison, left, right, label=label))
        else:
            self._instructions.append(_Instruction(0x05 | comparison, left, value=right, label=label))

    def call(self, helper: int) -> None:
        """Call a helper function of the kernel, by its number."""
        self._add(0x85, value=helper)

    def exit(self) -> None:
        self._add(0x95)

    def assemble(self, maps: dict[str, int]) -> bytes:
        """Return the program, with these maps' descriptors in it. KeyError for a label or map not there."""
        return b"".join(
            self._render(place, instruction, maps) for place, instruction in enumerate(self._instructions)
        )

    def _add(self, opcode: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> None:
        self._instructions.append(_Instruction(opcode, target, source, offset, value))

    def _render(self, place: int, instruction: _Instruction, maps: dict[str, int]) -> bytes:
        offset = self._labels[instruction.label] - place - 1 if instruction.label else instruction.offset
        value = maps[instruction.name] if instruction.name else instruction.value
        signed = value - (1 << 32) if value >= 1 << 31 else value
        return _INSTRUCTION.pack(
            instruction.opcode, instruction.source << 4 | instruction.target, offset, signed
        )


INSTRUCTION_SIZE: Final = _INSTRUCTION.size
