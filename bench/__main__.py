"""`python -m bench`: once outside, to confine and clean up; once inside, to measure."""

import sys
from collections.abc import Callable
from pathlib import Path

from .confine import become_init, run_confined
from .errors import BenchError
from .options import parse_options
from .programs import is_root
from .session import check_tools, run_session


def main(arguments: list[str]) -> int:
    """Return the exit code: 0, 1 if something failed, 2 for a bad command line or a missing tool."""
    if arguments[:1] == ["--inside"]:
        workspace, options = Path(arguments[1]), parse_options(arguments[2:])
        return become_init(lambda: _report_errors(lambda: run_session(options, workspace)))
    options = parse_options(arguments)
    if not is_root():
        print("bench: it must run as root (namespaces, mounts)", file=sys.stderr)
        return 2
    try:
        check_tools()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return run_confined(arguments, keep=options.keep)


def _report_errors(work: Callable[[], int]) -> int:
    try:
        return work()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
