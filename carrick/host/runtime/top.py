"""`top`: the host's `ps`, narrowed to a container's processes."""

from collections.abc import Collection

from ...model.errors import InvalidRequest
from .api import ProcessTable
from .processes import run


async def process_table(pids: Collection[int], ps_args: str) -> ProcessTable:
    """Run `ps` and keep the rows of `pids`, as Docker does: any arguments, if PID is shown."""
    completed = await run(["ps", *ps_args.split()])
    if completed.returncode != 0:
        # The first line says why; the rest is how to use it.
        raise InvalidRequest(f"ps: {completed.error_text.partition(chr(10))[0]}")
    return parse_table(completed.stdout.decode(errors="replace"), pids)


def parse_table(text: str, pids: Collection[int]) -> ProcessTable:
    """Read `ps`'s output: columns by white space, the last one with all that is left."""
    lines = text.splitlines()
    titles = tuple(lines[0].split()) if lines else ()
    if "PID" not in titles:
        raise InvalidRequest("Couldn't find PID field in ps output")
    position = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    rows = []
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) > position and fields[position] in wanted:
            rows.append(tuple(fields))
    return ProcessTable(titles, tuple(rows))
