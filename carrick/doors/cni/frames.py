"""What goes over the daemon's CNI socket: one request, one answer. Pure.

    carrick-cni/1 LENGTH-OF-ENVIRONMENT LENGTH-OF-INPUT\\n  NAME=VALUE\\0 …  input
    carrick-cni/1 EXIT-CODE LENGTH-OF-OUTPUT\\n             output

Lengths are decimal. Bytes go as they are, so that the executable need not know JSON. It leaves its side open
while it waits: that it is gone is how the daemon knows that nobody listens any more.
"""

import re
from collections.abc import Mapping

from .errors import CniError, Code

MAX_HEADER = 64
MAX_ENVIRONMENT = 64 * 1024
MAX_INPUT = 4 * 1024 * 1024
"""Of standard input: the configuration with the attachments of a whole host (GC)."""

_HEADER = re.compile(rb"carrick-cni/1 ([0-9]{1,9}) ([0-9]{1,9})\n", re.ASCII)


def parse_header(line: bytes) -> tuple[int, int]:
    """Return the lengths of environment and input. CniError 5 if they are none, or too large."""
    found = _HEADER.fullmatch(line)
    if found is None:
        raise CniError(
            Code.IO_FAILURE,
            "the CNI executable and the daemon do not understand each other",
            "write the executable anew with 'carrick cni install'",
        )
    environment, data = int(found[1]), int(found[2])
    if environment > MAX_ENVIRONMENT:
        raise CniError(Code.INVALID_ENVIRONMENT, f"the CNI_ variables take more than {MAX_ENVIRONMENT} bytes")
    if data > MAX_INPUT:
        raise CniError(
            Code.IO_FAILURE, f"the configuration on standard input has more than {MAX_INPUT} bytes"
        )
    return environment, data


def parse_environment(data: bytes) -> dict[str, str]:
    """Return the variables. CniError 4 if they are not text."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CniError(Code.INVALID_ENVIRONMENT, "the CNI_ variables are not UTF-8") from error
    return {name: value for name, _, value in (item.partition("=") for item in text.split("\0")) if name}


def render_request(environment: Mapping[str, str], data: bytes) -> bytes:
    block = b"".join(f"{name}={value}\0".encode() for name, value in environment.items())
    return b"carrick-cni/1 %d %d\n%b%b" % (len(block), len(data), block, data)


def render_answer(exit_code: int, output: bytes) -> bytes:
    return b"carrick-cni/1 %d %d\n%b" % (exit_code, len(output), output)


def split_request(frame: bytes) -> tuple[dict[str, str], bytes]:
    """Take a whole request apart. CniError if it is not whole."""
    line, newline, rest = frame.partition(b"\n")
    environment, data = parse_header(line[:MAX_HEADER] + newline)
    if len(rest) != environment + data:
        raise CniError(Code.IO_FAILURE, "a request is cut short")
    return parse_environment(rest[:environment]), rest[environment:]
