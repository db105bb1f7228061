"""Do the same to each of several objects, as Docker does: go on after an error, then exit 1."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.errors import describe, exit_code
from carrick.doors.client.errors import DaemonUnreachable
from carrick.model.errors import CarrickError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_AT_ONCE = 16


def for_each(
    app: App,
    names: Sequence[str],
    act: Callable[[str], str | None],
    *,
    forgive: Callable[[CarrickError], bool] = lambda _: False,
) -> int:
    """Call `act` for each name and print what it returns, in order; return the exit code.

    Several are done at once: stopping ten containers takes as long as the slowest. `forgive` says
    which errors are told but do not count.
    """
    if len(names) == 1:
        return _settle(app, lambda: act(names[0]), forgive)
    from concurrent.futures import ThreadPoolExecutor

    code = 0
    with ThreadPoolExecutor(min(len(names), _AT_ONCE)) as pool:
        for future in [pool.submit(act, name) for name in names]:
            code = max(code, _settle(app, future.result, forgive))
    return code


def _settle(app: App, result: Callable[[], str | None], forgive: Callable[[CarrickError], bool]) -> int:
    try:
        text = result()
    except DaemonUnreachable:
        raise
    except CarrickError as error:
        app.complain(describe(error))
        return 0 if forgive(error) else exit_code(error)
    if text is not None:
        app.print(text)
        app.out.flush()
    return 0
