"""Collect figures, and go on when one system fails at one thing."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from .errors import BenchError
from .samples import Summary, summarise

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a system could not do. Its figures whose keys begin with `keys` are of an unfinished series."""

    system: str
    what: str
    problem: str
    keys: tuple[str, ...] = ()

    def spoils(self, key: str, system: str) -> bool:
        """Tell whether a figure may not be trusted, or compared."""
        return system == self.system and key.startswith(self.keys)


@dataclass(slots=True)
class Recorder:
    """All samples of a run, by metric key and system. `say` receives progress, a line at a time."""

    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)
    samples: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    failures: list[Failure] = field(default_factory=list)
    _start: float = field(default_factory=time.monotonic)

    def add(self, key: str, system: str, value: float) -> None:
        """Take one repetition's figure."""
        self.samples[key][system].append(value)

    def note(self, text: str) -> None:
        """Say what is being done, with the time since the start."""
        self.say(f"[{time.monotonic() - self._start:5.0f} s] {text}")

    @contextmanager
    def timed(self, key: str, system: str, *, keep: bool = True) -> Iterator[None]:
        """Take the time of the body in milliseconds; nothing if it fails, or if it only warms up."""
        start = time.perf_counter()
        yield
        if keep:
            self.add(key, system, (time.perf_counter() - start) * 1000)

    @contextmanager
    def attempt(self, system: str, what: str, *keys: str) -> Iterator[None]:
        """Turn a BenchError of the body into a Failure that spoils `keys`, the first of each kind."""
        try:
            yield
        except BenchError as error:
            if not self.has_failed(system, what):
                self.failures.append(Failure(system, what, str(error), keys))
                self.note(f"{system}: {what} failed: {error}")

    def has_failed(self, system: str, what: str) -> bool:
        """Tell whether an attempt of this name has failed before."""
        return any(failure.system == system and failure.what == what for failure in self.failures)

    def figures(self) -> Mapping[str, Mapping[str, Summary]]:
        """Summarise everything."""
        return {
            key: {system: summary for system, values in row.items() if (summary := summarise(values))}
            for key, row in self.samples.items()
        }


def interleaved(items: Sequence[T], number: int) -> Sequence[T]:
    """Return the order of round `number`: each starts with another one, every second one goes backwards.

    What drifts during a run (heat, neighbours, filled tables) then meets every system alike.
    """
    if not items:
        return items
    start = number // 2 % len(items)
    turned = [*items[start:], *items[:start]]
    return turned[::-1] if number % 2 else turned
