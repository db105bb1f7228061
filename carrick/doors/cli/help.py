"""Help texts, laid out as Docker lays them out, and with examples."""

import textwrap
from collections.abc import Iterable
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

from carrick.doors.cli.flags import BOOL, Flag

if TYPE_CHECKING:
    from carrick.doors.cli.command import Command, Group


def _width() -> int:
    return max(60, min(get_terminal_size((80, 24)).columns, 100))


def flag_rows(flags: Iterable[Flag]) -> list[tuple[str, str]]:
    """Return each listed flag's names with the word for its value, and its text with default."""
    rows = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        if flag.hidden:
            continue
        short = f"-{flag.short}, " if flag.short else "    "
        names = f"{short}--{flag.name} {flag.kind.word}".rstrip()
        text = flag.help
        if flag.aliases:
            text += f" (also {', '.join(f'--{alias}' for alias in flag.aliases)})"
        if flag.kind is BOOL:
            text += " (default true)" if flag.default else ""
        elif flag.default and flag.default != flag.kind.default:
            shown = f'"{flag.default}"' if isinstance(flag.default, str) else flag.default
            text += f" (default {shown})"
        rows.append((names, text))
    return rows


def _table(rows: list[tuple[str, str]], width: int) -> list[str]:
    indent = max((len(left) for left, _ in rows), default=0) + 3
    lines = []
    for left, right in rows:
        wrapped = textwrap.wrap(right, max(24, width - indent - 2)) or [""]
        lines.append(f"  {left.ljust(indent)}{wrapped[0]}".rstrip())
        lines.extend(f"  {' ' * indent}{line}" for line in wrapped[1:])
    return lines


def command_help(command: "Command", path: str) -> str:
    """Return a command's help text."""
    lines = ["", command.usage_text(path), "", command.summary]
    if command.notes:
        for paragraph in command.notes.split("\n\n"):
            lines += ["", *textwrap.wrap(paragraph, _width())]
    lines += ["", "Options:", *_table(flag_rows(command.flags), _width())]
    if command.examples:
        lines += ["", "Examples:", *(f"  {example}" for example in command.examples)]
    return "\n".join(lines).lstrip("\n") + "\n"


def group_help(group: "Group", ctx: click.Context) -> str:
    """Return a group's help text: commands of its own, then groups of commands."""
    commands: list[tuple[str, str]] = []
    groups: list[tuple[str, str]] = []
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        assert found is not None
        kind = groups if isinstance(found, click.Group) else commands
        kind.append((name, (found.short_help or "").split("\n", maxsplit=1)[0]))
    path = ctx.command_path
    lines = [group.usage_text(path), "", group.summary]
    default = group.default_command(ctx) if group.default else None
    examples: tuple[str, ...] = ()
    if default is not None:
        notes, examples = getattr(default, "notes", ""), getattr(default, "examples", ())
        lines += ["", f"{default.short_help}.", "", *textwrap.wrap(notes, _width())]
    for title, rows in (("Management Commands:", groups), ("Commands:", commands)):
        if rows:
            lines += ["", title, *_table(rows, 10_000)]
    options = [option for option in group.params if isinstance(option, click.Option)]
    if options:
        rows = []
        for option in options:
            short = next((o for o in option.opts if not o.startswith("--")), "")
            long = next(o for o in option.opts if o.startswith("--"))
            value = "" if option.is_flag else " string"
            rows.append((f"{short + ', ' if short else '    '}{long}{value}", option.help or ""))
        lines += ["", "Global Options:", *_table(rows, _width())]
    if examples:
        lines += ["", "Examples:", *(f"  {example}" for example in examples)]
    lines += ["", f"Run '{path} COMMAND --help' for more information on a command."]
    return "\n".join(lines) + "\n"
