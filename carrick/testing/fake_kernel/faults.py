"""Where a test has the kernel refuse a step, or the daemon die."""

import errno
from collections.abc import Callable

from ...model.errors import KernelRefused
from ...model.steps import Step


class Killed(BaseException):
    """The daemon was killed here. Not an `Exception`: nothing may catch it and go on."""


class Faults:
    """Knows which steps are refused, and counts those that the daemon still lives to see."""

    def __init__(self) -> None:
        self._failures: list[tuple[Callable[[Step], bool], Exception]] = []
        self._steps_to_live: int | None = None

    def fail_at(self, predicate: Callable[[Step], bool], error: Exception | None) -> None:
        self._failures.append((predicate, error or KernelRefused("the test says no", errno=errno.EIO)))

    def killed_at(self, steps_to_live: int) -> None:
        self._steps_to_live = steps_to_live

    def heal(self) -> None:
        self._failures.clear()
        self._steps_to_live = None

    def check_alive(self) -> None:
        """Raise `Killed` once the daemon is dead."""
        if self._steps_to_live == 0:
            raise Killed

    def check(self, step: Step) -> None:
        """Raise what the test has in store for a step."""
        self.check_alive()
        for predicate, error in self._failures:
            if predicate(step):
                raise error

    def count(self) -> None:
        """Count a step that was carried out."""
        if self._steps_to_live is not None:
            self._steps_to_live -= 1
