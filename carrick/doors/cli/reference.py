"""Write `docs/reference/cli.md` from the tree of commands.

    python -m carrick.doors.cli.reference > docs/reference/cli.md

A test compares the file with what this prints, so that the page cannot grow old.
"""

import sys
from collections.abc import Iterator

from carrick.doors.cli.app import DEFAULT_HOST
from carrick.doors.cli.command import Command, Group
from carrick.doors.cli.help import flag_rows
from carrick.doors.cli.main import root_group

_INTRODUCTION = f"""\
<!-- Written by `python -m carrick.doors.cli.reference`; change the commands, not this page. -->

# The `carrick` command line

`carrick` speaks to `carrickd` over its Unix socket and has no other way in. The socket is the one
that `--host` names, else `CARRICK_HOST`, else `{DEFAULT_HOST}`. Where Docker has
a command, the name, the flags, the output and the exit codes are Docker's.

## Exit codes

| code | meaning |
| --- | --- |
| 0 | done |
| 1 | the daemon refused, or there is no daemon; also a wrong number of arguments |
| 125 | `run`: the container could not be created or started; any command: a wrong flag |
| 126, 127 | `run`: the command cannot be executed, or is not there |
| 130 | interrupted |
| others | `run`, `start -a`, `attach`, `exec`: the container's own |

Carrick's own commands (`port add`, `port rm`, `doctor`, `system install`, `completion`) tell more:
2 wrong request, 3 not found, 4 conflict, 5 unavailable, 6 not allowed, 7 not supported, 8 refused
by the kernel. `doctor` ends in 1 if it found an error.

## `--format`

`table` and `table TEMPLATE` print columns with headers, `json` one JSON object per line, anything
else is a Go template: `{{{{.Names}}}}`, `{{{{json .}}}}`,
`{{{{range $k, $v := .Labels}}}}…{{{{else}}}}…{{{{end}}}}`,
`{{{{if eq .State "running"}}}}…{{{{end}}}}`, with `and or not eq ne lt le gt ge index slice len print printf
println html urlquery join split json lower upper title pad truncate`, variables, pipelines, comments,
`{{{{- -}}}}`, `break` and `continue`. `define`, `block` and `template` are not supported.

## Completion

`carrick completion bash|zsh|fish` prints the script to load; names of containers, images, networks
and volumes are asked of the daemon.
"""


def walk(group: Group, path: str) -> Iterator[tuple[str, Command]]:
    """Yield every command with its path, a group's default command with the group's."""
    if group.default:
        yield path, group.default_command()
    for name in group.names():
        found = group.get(name)
        if isinstance(found, Group):
            yield from walk(found, f"{path} {name}")
        elif found is not None:
            yield f"{path} {name}", found


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _section(path: str, command: Command, aliases: list[str]) -> str:
    lines = [f"## {path}", "", f"{command.summary}.", ""]
    lines += ["```", *(f"{path} {form}".rstrip() for form in command.usage.split("\n")), "```", ""]
    if aliases:
        lines += ["Also: " + ", ".join(f"`{alias}`" for alias in aliases), ""]
    if command.notes:
        lines += [command.notes, ""]
    rows = [row for row in flag_rows(command.flags) if not row[0].strip().startswith("--help")]
    if rows:
        lines += ["| flag | meaning |", "| --- | --- |"]
        lines += [f"| `{_cell(names.strip())}` | {_cell(text)} |" for names, text in rows]
        lines.append("")
    lines += ["```sh", *command.examples, "```", ""]
    return "\n".join(lines)


def render() -> str:
    """Return the page."""
    paths: dict[int, tuple[Command, list[str]]] = {}
    for path, command in walk(root_group(), "carrick"):
        paths.setdefault(id(command), (command, []))[1].append(path)
    sections = []
    for command, names in paths.values():
        shortest = min(names, key=lambda name: (name.count(" "), name))
        others = [name for name in names if name != shortest]
        sections.append((shortest, _section(shortest, command, others)))
    return _INTRODUCTION + "\n" + "\n".join(text for _, text in sorted(sections))


if __name__ == "__main__":
    sys.stdout.write(render())
