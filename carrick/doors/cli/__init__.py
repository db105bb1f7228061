"""The `carrick` command line: Docker's commands, flags, output and exit codes, over the socket.

`main` walks the tree of commands in `registry` and maps errors to exit codes; a command's module
is imported when that command runs, and not before. Everything that decides something is a pure
module of its own (flags, ports, networks, templates, tables), so that the tests need no daemon.

Starting Python takes longer than most requests, so what a plain command imports is kept small, by
three habits that a test watches over (`tests/unit/cli/test_cli_imports.py` has the list):

- Annotations are not evaluated (`from __future__ import annotations`), and what only they need is
  imported under `TYPE_CHECKING`: a constant of the module's own, as `typing` is half the price.
- A module of the standard library that only some words of a command line need (`re`, `ipaddress`,
  `json`, `datetime`, `pathlib`) is imported in the function that needs it.
- Values on the way of every command are plain classes: `dataclasses` brings `inspect` along.

Click is imported for completion, where its protocol is of use, and for nothing else.
"""
