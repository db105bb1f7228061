"""Wait, in tests, for what another task brings about without telling."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(
    condition: Callable[[], object | Awaitable[object]], what: str = "", timeout_s: float = 60.0
) -> None:
    """Return when `condition`, which may be a coroutine function, says yes; AssertionError if it never does.

    Nobody waits so long for what is well: the time is for machines that do much else.
    """
    end = asyncio.get_running_loop().time() + timeout_s
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"it did not happen within {timeout_s:.0f} s: {what or condition}")
        await asyncio.sleep(0.005)
