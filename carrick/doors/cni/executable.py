#!/usr/bin/python3 -ISE
"""Carrick's CNI plugin, written by `carrick cni install`: it carries its environment and standard input to
the daemon and the answer back, and knows no more. What is imported is built in, for the start's sake.

(The same in Perl, which starts six times as fast, is executable.pl; frames.py describes what goes over the
socket.)
"""

import _socket
import posix
import sys

SOCKET = b"/run/carrick/cni.sock"
PATIENCE_S = 120.0
VERSIONS = (b"0.3.0", b"0.3.1", b"0.4.0", b"1.0.0", b"1.1.0")
MOST = 4194304
Reply = tuple[int, bytes]


def read_input() -> bytes:
    parts = []
    size = 0
    while size <= MOST and (part := posix.read(0, 65536)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def text_of(config: bytes, key: bytes) -> bytes:
    """Return the text of a field, as far as it is plain; b"" without it."""
    _, found, rest = config.partition(b'"' + key + b'"')
    rest = rest.lstrip()
    if not found or not rest.startswith(b":"):
        return b""
    rest = rest[1:].lstrip()
    value, end, _ = rest[1:].partition(b'"')
    return value if rest.startswith(b'"') and end and b"\\" not in value else b""


def ask(socket: bytes, request: bytes) -> Reply | str:
    """Send the request; return the exit code and the output, or why there are none."""
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    link.settimeout(PATIENCE_S)
    try:
        link.connect(socket)
        link.sendall(request)
        answer = b""
        while part := link.recv(65536):
            answer += part
            line, newline, rest = answer.partition(b"\n")
            if newline:
                _, code, length = line.split(b" ")
                if len(rest) >= int(length):
                    return int(code), rest[: int(length)]
    except TimeoutError:
        return f"no answer within {PATIENCE_S:.0f} seconds"
    except OSError as error:
        return error.strerror or "it failed"
    except ValueError:
        return "its answer makes no sense"
    finally:
        link.close()
    return "it went away"


def keep(socket: bytes, request: bytes) -> bytes | None:
    """Leave a removal for the daemon to find; return its file, b"" if there is no need, None if it failed.

    Without the daemon's directory there has been no daemon since the machine started, and so there is
    nothing to remove.
    """
    directory = socket + b".deleted"
    try:
        posix.stat(directory)
    except OSError:
        return b""
    name = directory + b"/%d-%d" % (posix.stat("/proc/self").st_ctime_ns, posix.getpid())
    try:
        file = posix.open(
            name + b".new", posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600
        )
        try:
            rest = request
            while rest:
                rest = rest[posix.write(file, rest) :]
        finally:
            posix.close(file)
        posix.rename(name + b".new", name)
    except OSError:
        return None
    return name


def run() -> Reply:
    """Return the exit code and what to write."""
    variables = posix.environ  # bytes
    command = variables.get(b"CNI_COMMAND", b"")
    config = read_input()
    version = text_of(config, b"cniVersion")
    if version not in VERSIONS:
        version = VERSIONS[-1]
    given = text_of(config, b"daemonSocket")
    socket = given if given.startswith(b"/") and len(given) < 108 else SOCKET
    if command == b"VERSION":
        known = b",".join(b'"%b"' % item for item in VERSIONS)
        return 0, b'{"cniVersion":"%b","supportedVersions":[%b]}' % (version, known)
    block = b"".join(b"%b=%b\0" % item for item in sorted(variables.items()) if item[0].startswith(b"CNI_"))
    request = b"carrick-cni/1 %d %d\n%b%b" % (len(block), len(config), block, config)
    answer = ask(socket, request)
    if not isinstance(answer, str):
        return answer
    if command == b"DEL" and (kept := keep(socket, request)) is not None:
        # The daemon may have come up just before it could see what we keep.
        again = ask(socket, request) if not answer.startswith("no answer") else ""
        if isinstance(again, str):
            return 0, b""
        if kept:
            posix.unlink(kept)
        return again
    reason = "".join(item for item in answer if " " <= item <= "~" and item not in '"\\').encode()
    return 1, (
        b'{"cniVersion":"%b","code":%d,"msg":"carrickd does not answer on %b: %b",'
        b'"details":"start it: systemctl start carrickd"}'
        % (version, 50 if command == b"STATUS" else 11, socket, reason)
    )


def main() -> int:
    code, output = run()
    while output:
        output = output[posix.write(1, output) :]
    return code


if __name__ == "__main__":
    sys.exit(main())
