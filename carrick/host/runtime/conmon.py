"""Start conmon, which keeps a container's terminal, log and exit code while the daemon may come and go.

conmon forks itself away into a session of its own before it starts runc; what it has to say comes
as a line of JSON on a pipe (`_OCI_SYNCPIPE`). For an attached exec it waits twice on another one
(`_OCI_STARTPIPE`), so that we are connected before the process runs. runc's own words stand in a
log file beside.
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ...model.errors import CarrickError, Failed
from .api import CannotStart
from .processes import readable, reap, spawn

_LAUNCH_TIMEOUT_S = 60.0
_CONTROL_RESIZE = 1
_CONTROL_REOPEN_LOG = 2


@dataclass(frozen=True, slots=True)
class Conmon:
    """The programs, and the state directory that runc keeps."""

    program: str
    runc: str
    runc_root: Path


@dataclass(frozen=True, slots=True)
class ConmonLaunch:
    """One conmon: for a container, or for an exec session if `exec_process` is given.

    `directory` is the bundle, or the session's directory; attach socket and pid files come there.
    """

    container_id: str
    unique_id: str
    directory: Path
    exit_dir: Path
    terminal: bool = False
    stdin: bool = False
    leave_stdin_open: bool = False
    log: Path | None = None
    exec_process: Path | None = None


class _Message(msgspec.Struct):
    pid: int | None = None
    exit_code: int | None = None
    data: int | None = None
    message: str = ""


class _RuncLog(msgspec.Struct):
    level: str = ""
    msg: str = ""


async def launch(
    conmon: Conmon,
    wanted: ConmonLaunch,
    before_start: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Start conmon and return the process's number once runc has made it.

    `before_start` is for an exec: called when the attach socket is there and nothing runs yet.
    Raises CannotStart if the command cannot be executed, Failed for everything else.
    """
    environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")}
    argv = _arguments(conmon, wanted, is_attached=before_start is not None)
    with contextlib.ExitStack() as ours:
        theirs = contextlib.ExitStack()
        with theirs:
            sync, sync_end = _pipe(ours, theirs)
            environment["_OCI_SYNCPIPE"] = str(sync_end)
            passed = [sync_end]
            start = attached = -1
            if before_start is not None:
                start_end, start = os.pipe()
                ours.callback(os.close, start)
                theirs.callback(os.close, start_end)
                attached, attached_end = _pipe(ours, theirs)
                environment["_OCI_STARTPIPE"] = str(start_end)
                environment["_OCI_ATTACHPIPE"] = str(attached_end)
                passed += [start_end, attached_end]
            with open(wanted.directory / "conmon.log", "ab") as log:
                process = spawn(
                    argv,
                    env=environment,
                    cwd=str(wanted.directory),
                    pass_fds=passed,
                    stdout=log.fileno(),
                    stderr=log.fileno(),
                )
        try:
            async with asyncio.timeout(_LAUNCH_TIMEOUT_S):
                if before_start is not None:
                    os.write(start, b"0")
                    if await _read_message(attached) is not None:
                        await before_start()
                        with contextlib.suppress(BrokenPipeError):
                            os.write(start, b"0")
                message = await _read_message(sync)
        except TimeoutError as error:
            raise Failed(
                f"conmon did not start {wanted.container_id} within {_LAUNCH_TIMEOUT_S:.0f} s"
            ) from error
        finally:
            await _reap_quietly(process)
    pid = -1 if message is None else _first(message.pid, message.data, message.exit_code)
    if pid > 0:
        return pid
    raise explain_failure(_last_words(wanted.directory, message), is_exec=bool(wanted.exec_process))


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    ours.callback(os.close, reading)
    theirs.callback(os.close, writing)
    return reading, writing


async def _reap_quietly(process: "subprocess.Popen[bytes]") -> None:
    """Take the exit of conmon's first process, which ends as soon as it has forked."""
    await asyncio.shield(reap(process))


async def _read_message(descriptor: int) -> _Message | None:
    """Read one line of JSON, or None if the other side closed without a word.

    What comes after it (for an exec, its exit code) is left aside: that stands in a file too.
    """
    text = (await _read_line(descriptor)).partition(b"\n")[0]
    if not text.strip():
        return None
    try:
        return msgspec.json.decode(text, type=_Message)
    except msgspec.MsgspecError as error:
        raise Failed(f"conmon said {text!r}, which we do not understand") from error


async def _read_line(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    text = b""
    while b"\n" not in text:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            await readable(descriptor)
            continue
        if not data:
            break
        text += data
    return text


def _first(*numbers: int | None) -> int:
    return next((number for number in numbers if number is not None), -1)


def _arguments(conmon: Conmon, wanted: ConmonLaunch, *, is_attached: bool) -> list[str]:
    runc_log = wanted.directory / "runc.log"
    argv = [
        conmon.program,
        "--full-attach",  # the attach socket in the bundle, not below /var/run
        "--no-sync-log",  # an fsync at each exit costs more than the last lines after a power cut
        "--log-level", "warning",
        "--cid", wanted.container_id,
        "--cuuid", wanted.unique_id,
        "--name", wanted.container_id,
        "--runtime", conmon.runc,
        "--bundle", str(wanted.directory),
        "--exit-dir", str(wanted.exit_dir),
        "--persist-dir", str(wanted.directory),
        "--conmon-pidfile", str(wanted.directory / "conmon.pid"),
        "--container-pidfile", str(wanted.directory / "pid"),
        "--log-path", "none:" if wanted.log is None else f"k8s-file:{wanted.log}",
    ]  # fmt: skip
    for argument in (
        "--root", str(conmon.runc_root), "--log", str(runc_log), "--log-format", "json",
    ):  # fmt: skip
        argv += ["--runtime-arg", argument]
    if wanted.terminal:
        argv.append("--terminal")
    if wanted.stdin:
        argv.append("--stdin")
    if wanted.leave_stdin_open:
        argv.append("--leave-stdin-open")
    if wanted.exec_process is not None:
        argv += ["--exec", "--exec-process-spec", str(wanted.exec_process)]
        if is_attached:
            argv += ["--exec-attach", "--api-version", "1"]
    return argv


def _last_words(directory: Path, message: _Message | None) -> str:
    """Return why it failed: runc's last error, or else what conmon said."""
    try:
        lines = (directory / "runc.log").read_bytes().splitlines()
    except FileNotFoundError:
        lines = []
    for line in reversed(lines):
        with contextlib.suppress(msgspec.MsgspecError):
            entry = msgspec.json.decode(line, type=_RuncLog)
            if entry.level in ("error", "fatal") and entry.msg:
                return entry.msg
    if message is not None and message.message:
        return message.message.strip()
    try:
        return (directory / "conmon.log").read_text(errors="replace").strip()[-500:]
    except FileNotFoundError:
        return "conmon ended without a word"


def explain_failure(text: str, *, is_exec: bool) -> CarrickError:
    """Return the error for runc's words, told apart as Docker's daemon does it."""
    if is_exec:
        message = f"OCI runtime exec failed: {text}: unknown"
    else:
        message = (
            "failed to create task for container: failed to create shim task: "
            f"OCI runtime create failed: {text}: unknown"
        )
    is_about_command = "exec: " in text or "chdir to cwd" in text
    if "executable file not found" in text or (is_about_command and "no such file or directory" in text):
        return CannotStart(message, exit_code=127)
    if is_about_command and ("permission denied" in text or "directory" in text):
        return CannotStart(message, exit_code=126)
    if "not a directory" in text:
        return CannotStart(
            f"{message}: Are you trying to mount a directory onto a file (or vice-versa)? Check "
            "if the specified host path exists and is the expected type",
            exit_code=127,
        )
    return Failed(message)


# --- the control pipe -----------------------------------------------------------------------------


def resize_terminal(directory: Path, rows: int, columns: int) -> bool:
    """Set a terminal's size; False if conmon is not there."""
    return _control(directory, f"{_CONTROL_RESIZE} {rows} {columns}\n")


def reopen_log(directory: Path) -> bool:
    """Let conmon make a new log file at its path; False if conmon is not there."""
    return _control(directory, f"{_CONTROL_REOPEN_LOG} 0 0\n")


def _control(directory: Path, command: str) -> bool:
    try:
        # Non-blocking: without conmon at the other end this is ENXIO instead of a wait for ever.
        descriptor = os.open(directory / "ctl", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        os.write(descriptor, command.encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
