"""Help texts, laid out as Docker lays them out, and with examples."""

import textwrap
from collections.abc import Iterable
from shutil import get_terminal_size

from carrick.doors.cli.command import Command, Group
from carrick.doors.cli.flags import BOOL, DURATION, Flag
from carrick.doors.cli.units import go_duration


def _width() -> int:
    return max(60, min(get_terminal_size((80, 24)).columns, 100))


def _names(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    return f"{short}--{flag.name} {flag.kind.word}".rstrip()


def flag_rows(flags: Iterable[Flag]) -> list[tuple[str, str]]:
    """Return each listed flag's names with the word for its value, and its text with default."""
    rows = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        if flag.hidden:
            continue
        text = flag.help
        if flag.aliases:
            text += f" (also {', '.join(f'--{alias}' for alias in flag.aliases)})"
        if flag.kind is BOOL:
            text += " (default true)" if flag.default else ""
        elif flag.default and flag.default != flag.kind.default:
            shown = f'"{flag.default}"' if isinstance(flag.default, str) else flag.default
            shown = go_duration(flag.default) if flag.kind is DURATION else shown
            text += f" (default {shown})"
        rows.append((_names(flag), text))
    return rows


def _table(rows: list[tuple[str, str]], width: int) -> list[str]:
    indent = max((len(left) for left, _ in rows), default=0) + 3
    lines = []
    for left, right in rows:
        wrapped = textwrap.wrap(right, max(24, width - indent - 2)) or [""]
        lines.append(f"  {left.ljust(indent)}{wrapped[0]}".rstrip())
        lines.extend(f"  {' ' * indent}{line}" for line in wrapped[1:])
    return lines


def command_help(command: Command, path: str) -> str:
    """Return a command's help text."""
    lines = ["", command.usage_text(path), "", command.summary]
    if command.notes:
        for paragraph in command.notes.split("\n\n"):
            lines += ["", *textwrap.wrap(paragraph, _width())]
    lines += ["", "Options:", *_table(flag_rows(command.flags), _width())]
    if command.examples:
        lines += ["", "Examples:", *(f"  {example}" for example in command.examples)]
    return "\n".join(lines).lstrip("\n") + "\n"


def group_help(group: Group, path: str) -> str:
    """Return a group's help text: groups of commands, then commands, then the group's own flags."""
    commands: list[tuple[str, str]] = []
    groups: list[tuple[str, str]] = []
    for name in group.names():
        found = group.get(name)
        assert found is not None
        kind = groups if isinstance(found, Group) else commands
        kind.append((name, found.summary))
    lines = [group.usage_text(path), "", group.summary]
    default = group.default_command() if group.default else None
    if default is not None:
        lines += ["", f"{default.summary}.", "", *textwrap.wrap(default.notes, _width())]
    for title, rows in (("Management Commands:", groups), ("Commands:", commands)):
        if rows:
            lines += ["", title, *_table(rows, 10_000)]
    lines += ["", "Global Options:", *_table([(_names(flag), flag.help) for flag in group.flags], _width())]
    if default is not None and default.examples:
        lines += ["", "Examples:", *(f"  {example}" for example in default.examples)]
    lines += ["", f"Run '{path} COMMAND --help' for more information on a command."]
    return "\n".join(lines) + "\n"
