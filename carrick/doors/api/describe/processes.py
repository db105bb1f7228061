"""Attach and exec: connections that become a process's terminal or pipes."""

from .kinds import FLAG, ID, INTEGER, TEXT, TEXTS, Array, Null, Object, Plain, asked, maybe
from .operations import (
    CREATED,
    Answer,
    Operation,
    Operations,
    Parameter,
    document,
    done,
    flag,
    json,
    number,
    output,
    word,
)

EXEC_CONFIG = Object(
    "ExecConfig",
    {
        "User": asked(TEXT),
        "Privileged": asked(FLAG),
        "Tty": asked(FLAG),
        "ConsoleSize": asked(Array(INTEGER)),
        "AttachStdin": asked(FLAG),
        "AttachStdout": asked(FLAG),
        "AttachStderr": asked(FLAG),
        "DetachKeys": asked(TEXT),
        "Env": asked(TEXTS),
        "WorkingDir": asked(TEXT),
        "Cmd": asked(TEXTS),
        "Detach": asked(FLAG),
    },
)
EXEC_START = Object(
    "ExecStart",
    {
        "Detach": asked(FLAG),
        "Tty": asked(FLAG),
        # Anything but two numbers means nothing; so it does in Docker's clients.
        "ConsoleSize": asked(Plain({})),
    },
)
_PROCESS = Object(
    "ExecProcess",
    {"tty": FLAG, "entrypoint": TEXT, "arguments": TEXTS, "privileged": FLAG, "user": maybe(TEXT)},
)
EXEC = Object(
    "Exec",
    {
        "ID": ID,
        "Running": FLAG,
        "ExitCode": Null(INTEGER),
        "ProcessConfig": _PROCESS,
        "OpenStdin": FLAG,
        "OpenStderr": FLAG,
        "OpenStdout": FLAG,
        "CanRemove": FLAG,
        "ContainerID": ID,
        "DetachKeys": TEXT,
        "Pid": INTEGER,
    },
)
_UPGRADED = Answer("The connection is the process's: with `Upgrade: tcp`")
_DETACH_KEYS = word("detachKeys", "The keys that leave a terminal: `ctrl-p,ctrl-q` without")
_ATTACH: tuple[Parameter, ...] = (
    _DETACH_KEYS,
    flag("logs", "Begin with what has been written"),
    flag("stream", "Go on with what is written from now on"),
    flag("stdin", "Pass input on"),
    flag("stdout", "Pass standard output on"),
    flag("stderr", "Pass standard error on"),
)

OPERATIONS: Operations = {
    "POST /containers/{id}/attach": Operation(
        "Attach to a container",
        {101: _UPGRADED, 200: output("The same, without an upgrade")},
        errors=(404, 409, 501),
        parameters=_ATTACH,
    ),
    "GET /containers/{id}/attach/ws": Operation(
        "Attach to a container over a WebSocket",
        {101: Answer("Binary frames, without Docker's framing")},
        errors=(404, 409, 501),
        parameters=_ATTACH,
    ),
    "POST /containers/{id}/exec": Operation(
        "Prepare a process in a container that runs",
        {201: json(CREATED, "Prepared")},
        errors=(404, 409),
        body=document(EXEC_CONFIG),
    ),
    "POST /exec/{id}/start": Operation(
        "Start a prepared process",
        {101: _UPGRADED, 200: output("The same, without an upgrade; with `Detach`, empty")},
        errors=(404, 409),
        body=document(EXEC_START, required=False),
    ),
    "POST /exec/{id}/resize": Operation(
        "Resize the terminal of a process",
        {200: done("Resized")},
        errors=(404, 409),
        parameters=(number("h", "Rows"), number("w", "Columns")),
    ),
    "GET /exec/{id}/json": Operation("Inspect a process", {200: json(EXEC)}, errors=(404,)),
}
