"""`carrick logs` and `carrick top`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import STRING, Flag, Values
from carrick.doors.cli.paths import container_path
from carrick.doors.cli.tables import align
from carrick.doors.cli.units import parse_since
from carrick.doors.client.frames import STDERR, SYSTEM_ERROR, FrameDecoder, error_text


def since(text: str, flag: str) -> str | None:
    """Return `--since` or `--until` as the API takes it. Raises CliError."""
    if not text:
        return None
    from datetime import UTC, datetime

    try:
        return parse_since(text, datetime.now(UTC))
    except ValueError as error:
        raise CliError(f'invalid value for "{flag}": {error}') from None


def _logs(app: App, values: Values, words: list[str]) -> None:
    path = container_path(words[0])
    tty = bool(app.client.get(f"{path}/json")["Config"].get("Tty"))
    query = {
        "stdout": True,
        "stderr": True,
        "follow": values.on("follow"),
        "since": since(values.text("since"), "since"),
        "until": since(values.text("until"), "until"),
        "timestamps": values.on("timestamps"),
        "tail": values.text("tail"),
        "details": values.on("details"),
    }
    out, err = app.raw_out(), app.raw_err()
    decoder = FrameDecoder()
    with app.client.request("GET", f"{path}/logs", query=query) as response:
        for chunk in response.chunks():
            if tty:
                out.write(chunk)
            else:
                for stream, payload in decoder.feed(chunk):
                    if stream == SYSTEM_ERROR:
                        raise CliError(error_text(payload))
                    target = err if stream == STDERR else out
                    # In order, should both be the same terminal.
                    (out if target is err else err).flush()
                    target.write(payload)
            out.flush()
            err.flush()


def _top(app: App, values: Values, words: list[str]) -> None:
    arguments = " ".join(words[1:]) or None
    answer = app.client.get(f"{container_path(words[0])}/top", {"ps_args": arguments})
    rows = [answer.get("Titles") or [], *(answer.get("Processes") or [])]
    text = "".join("\t".join(row) + "\n" for row in rows)
    app.out.write(align(text, min_width=20, padding=3))


LOGS = Command(
    "logs",
    _logs,
    summary="Fetch the logs of a container",
    usage="[OPTIONS] CONTAINER",
    arity=Arity(1, 1, "container"),
    flags=(
        Flag("details", "Show extra details provided to logs"),
        Flag("follow", "Follow log output", short="f"),
        Flag("since", "Show logs since a time (2026-01-02T13:23:37Z) or a while (42m)", kind=STRING),
        Flag(
            "tail",
            "Number of lines to show from the end of the logs",
            kind=STRING,
            short="n",
            default="all",
        ),
        Flag("timestamps", "Show timestamps", short="t"),
        Flag("until", "Show logs before a time or a while ago", kind=STRING),
    ),
    examples=("carrick logs web", "carrick logs -f --since 10m --tail 100 web"),
)
TOP = Command(
    "top",
    _top,
    summary="Display the running processes of a container",
    usage="CONTAINER [ps OPTIONS]",
    arity=Arity(1, None, "container", ""),
    passthrough=True,
    examples=("carrick top web", "carrick top web -o pid,comm"),
)
