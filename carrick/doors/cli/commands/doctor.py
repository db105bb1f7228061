"""`carrick doctor`: what is wrong with this host, and what to do about it."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import STRING, Flag, Values
from carrick.doors.cli.template.values import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_MARKS = {"ok": ("ok", "32"), "warning": ("warning", "33"), "error": ("error", "31")}


def report(findings: Sequence[dict[str, Any]], *, colour: bool) -> list[str]:
    """Return the lines of a report, what is worst last, where a terminal shows it."""
    order = {"ok": 0, "warning": 1, "error": 2}
    lines = []
    for finding in sorted(findings, key=lambda item: order.get(str(item.get("level")), 1)):
        mark, code = _MARKS.get(str(finding.get("level")), (str(finding.get("level")), "33"))
        shown = f"\x1b[{code}m{mark:<7}\x1b[0m" if colour else f"{mark:<7}"
        text = str(finding.get("problem") or "").strip()
        subject = str(finding.get("subject") or "")
        lines.append(f"{shown}  {subject}: {text}" if text else f"{shown}  {subject}")
        if remedy := str(finding.get("remedy") or "").strip():
            lines += [
                f"         {'remedy: ' if not n else '        '}{line}"
                for n, line in enumerate(remedy.splitlines())
            ]
    return lines


_COUNTED = (("error", "error"), ("warning", "warning"), ("ok", ""))


def _counted(count: int, word: str) -> str:
    if not word:
        return f"{count} ok"
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _doctor(app: App, values: Values, words: list[str]) -> int:
    if values.text("format") not in ("", "json"):
        raise CliError("--format can only be 'json' here", 2)
    if values.on("fix"):
        answer = app.client.post("/carrick/v1/doctor/fix")
    else:
        answer = app.client.get("/carrick/v1/doctor")
    findings = (answer or {}).get("findings") or []
    if values.text("format") == "json":
        app.print(to_json(answer))
    else:
        for line in report(findings, colour=app.colours(app.out)):
            app.print(line)
        counts = {level: sum(f.get("level") == level for f in findings) for level in _MARKS}
        app.print(", ".join(_counted(counts[level], word) for level, word in _COUNTED))
    return 1 if any(finding.get("level") == "error" for finding in findings) else 0


DOCTOR = Command(
    "doctor",
    _doctor,
    summary="Check this host for what keeps containers from talking",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag("fix", "Apply the remedies that are safe to apply"),
        Flag("format", "Format the output: 'json'", kind=STRING),
    ),
    own=True,
    examples=("carrick doctor", "carrick doctor --fix"),
)
