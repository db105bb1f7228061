"""bpf(2): maps and programs by their descriptors. The layouts are those of `union bpf_attr`, linux/bpf.h.

Errors are OSError; of a program that is not let in
the verifier's last words are in its message.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from pathlib import Path

from .assembler import INSTRUCTION_SIZE

# Little-endian machines: the programs are written for these.
_CALL_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361}
_ATTRIBUTES = 152
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT = 0, 1, 2, 3, 4
_PROG_LOAD = 5
_PROG_BY_ID, _MAP_BY_ID, _INFO = 13, 14, 15
_SCHED_CLS = 3
_NO_PREALLOC = 1 << 0
_MOST_MAPS = 16
_LOG_BYTES = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


class MapKind(IntEnum):
    """Kinds of maps (`enum bpf_map_type`)."""

    HASH = 1
    ARRAY = 2
    PER_CPU_HASH = 5


def create_map(kind: MapKind, name: str, key_size: int, value_size: int, most: int) -> int:
    """Make a map that takes memory for the rows it has alone, an array apart; return its descriptor."""
    flags = 0 if kind is MapKind.ARRAY else _NO_PREALLOC
    return _call(
        _MAP_CREATE, struct.pack("=7I16s", kind, key_size, value_size, most, flags, 0, 0, name.encode())
    )


def look_up(descriptor: int, key: bytes, value_size: int) -> bytes | None:
    value = ctypes.create_string_buffer(value_size)
    try:
        _map_call(_MAP_LOOKUP, descriptor, key, value)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


def update(descriptor: int, key: bytes, value: bytes) -> None:
    _map_call(_MAP_UPDATE, descriptor, key, ctypes.create_string_buffer(value, len(value)))


def delete(descriptor: int, key: bytes) -> None:
    """Delete a row; none is as good."""
    try:
        _map_call(_MAP_DELETE, descriptor, key, None)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def keys(descriptor: int, key_size: int) -> Iterator[bytes]:
    """Yield the keys of a map. Who deletes rows meanwhile takes a list of them first."""
    key: bytes | None = None
    while True:
        following = ctypes.create_string_buffer(key_size)
        try:
            _map_call(_MAP_NEXT, descriptor, key, following)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        key = following.raw
        yield key


def load(program: bytes, name: str) -> int:
    """Load a classifier of tc; return its descriptor."""
    # Asked for only after a refusal: the verifier is quicker when it need not write.
    try:
        return _load(program, name, log_bytes=0)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EINVAL}:
            raise
        return _load(program, name, log_bytes=_LOG_BYTES)


def _load(program: bytes, name: str, log_bytes: int) -> int:
    code = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(max(log_bytes, 1))
    attributes = struct.pack(
        "=IIQQIIQII16s",
        _SCHED_CLS,
        len(program) // INSTRUCTION_SIZE,
        ctypes.addressof(code),
        # What the kernel asks for before it lets a program use its helpers; the program is ours.
        ctypes.addressof(licence),
        1 if log_bytes else 0,
        log_bytes,
        ctypes.addressof(log) if log_bytes else 0,
        0,
        0,
        name.encode(),
    )
    try:
        return _call(_PROG_LOAD, attributes)
    except OSError as error:
        words = log.value.decode(errors="replace").strip().splitlines()
        raise OSError(error.errno, " / ".join([error.strerror or "refused", *words[-3:]])) from None


def open_program(number: int) -> int:
    return _call(_PROG_BY_ID, struct.pack("=3I", number, 0, 0))


def open_map(number: int) -> int:
    return _call(_MAP_BY_ID, struct.pack("=3I", number, 0, 0))


def program_maps(descriptor: int) -> list[int]:
    """Return the ids of a program's maps."""
    maps = (ctypes.c_uint32 * _MOST_MAPS)()
    info = ctypes.create_string_buffer(128)
    struct.pack_into("=IQ", info, 52, _MOST_MAPS, ctypes.addressof(maps))
    _info(descriptor, info)
    (count,) = struct.unpack_from("=I", info, 52)
    return list(maps[:count])


def map_name(descriptor: int) -> str:
    info = ctypes.create_string_buffer(64)
    _info(descriptor, info)
    return _text(info.raw[24:40])


def map_number(descriptor: int) -> int:
    """Return the id of a map."""
    info = ctypes.create_string_buffer(64)
    _info(descriptor, info)
    return int(struct.unpack_from("=I", info, 4)[0])


@cache
def possible_cpus() -> int:
    """Return how many values a row of a per-CPU map has."""
    last = Path("/sys/devices/system/cpu/possible").read_text().strip().rpartition(",")[2]
    return int(last.rpartition("-")[2]) + 1


def _info(descriptor: int, info: "ctypes.Array[ctypes.c_char]") -> None:
    _call(_INFO, struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(info)))


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="replace")


def _map_call(
    command: int, descriptor: int, key: bytes | None, value: "ctypes.Array[ctypes.c_char] | None"
) -> None:
    held = ctypes.create_string_buffer(key, len(key)) if key is not None else None
    _call(
        command,
        struct.pack(
            "=IxxxxQQQ",
            descriptor,
            ctypes.addressof(held) if held is not None else 0,
            ctypes.addressof(value) if value is not None else 0,
            0,
        ),
    )


def _buffer(attributes: bytes) -> "ctypes.Array[ctypes.c_char]":
    return ctypes.create_string_buffer(attributes, _ATTRIBUTES)


def _call(command: int, attributes: bytes) -> int:
    return _call_with(command, _buffer(attributes))


def _call_with(command: int, buffer: "ctypes.Array[ctypes.c_char]") -> int:
    number = _CALL_NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"the number of bpf(2) on {platform.machine()} is not known")
    result = int(_libc.syscall(number, command, buffer, _ATTRIBUTES))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
