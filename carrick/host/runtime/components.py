"""Which programs the runtime drives, and their versions in their own words."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from .api import Component
from .processes import run

_VERSION = re.compile(r"\bversion:? v?(\d\S*)")
_COMMIT = re.compile(r"^commit: (\S+)$|\bgit\.([0-9a-f]+)", re.MULTILINE)


def parse_version(name: str, program: str, text: str) -> Component:
    """Read what `--version` prints: `runc version 1.1.5`, `tini version 0.19.0 - git.de40ad0`."""
    version, commit = _VERSION.search(text), _COMMIT.search(text)
    found = "" if commit is None else commit[1] or commit[2]
    return Component(
        name, program, "" if version is None else version[1], "" if found == "unknown" else found
    )


async def read_components(programs: Sequence[tuple[str, str]]) -> tuple[Component, ...]:
    """Ask each program (by name and path) for its version; leave out those that are not there."""
    found = await asyncio.gather(*(_read_one(name, program) for name, program in programs))
    return tuple(item for item in found if item is not None)


async def _read_one(name: str, program: str) -> Component | None:
    try:
        completed = await run([program, "--version"])
    except OSError:
        return None
    return parse_version(name, Path(program).name, completed.stdout.decode(errors="replace"))
