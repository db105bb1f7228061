"""Figures made of repetitions: median, spread and ratio. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """The median of `count` repetitions, the smallest and the largest; `values` in their order, if kept."""

    median: float
    low: float
    high: float
    count: int
    values: tuple[float, ...] = ()

    def overlaps(self, other: "Summary") -> bool:
        """Tell whether the two spreads have a value in common."""
        return self.low <= other.high and other.low <= self.high


def summarise(values: Sequence[float]) -> Summary | None:
    """Summarise the repetitions; None if there are none."""
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values), len(values), tuple(values))


@dataclass(frozen=True, slots=True)
class Paired:
    """The mean of the ratios of rounds that were taken together, and its standard error."""

    value: float
    error: float


def paired(ours: Summary | None, theirs: Summary | None) -> Paired | None:
    """Return the geometric mean of our figures over theirs, round by round; None without pairs.

    What a round has in common (a busy neighbour, a warm machine) is not in it, unlike in a ratio of medians.
    Of logarithms, so that neither side gains by the spread: 2 and 0.5 make 1.
    """
    if ours is None or theirs is None or len(ours.values) != len(theirs.values) or len(ours.values) < 2:
        return None
    if any(value <= 0 for value in (*ours.values, *theirs.values)):
        return None
    logs = [math.log(mine / other) for mine, other in zip(ours.values, theirs.values, strict=True)]
    value = math.exp(statistics.fmean(logs))
    return Paired(value, value * statistics.stdev(logs) / math.sqrt(len(logs)))


def ratio(ours: Summary | None, theirs: Summary | None) -> float | None:
    """Return our median over theirs; None where one is missing or theirs is zero."""
    if ours is None or theirs is None or theirs.median == 0:
        return None
    return ours.median / theirs.median


def render_number(value: float) -> str:
    """Render with about three significant digits, never in exponent form: 0.42, 7.3, 135, 10400."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 10000:
        return str(round(value / 100) * 100)
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def render_summary(summary: Summary | None) -> str:
    """Render as `median (low-high)`; a single repetition as its value, nothing as a dash."""
    if summary is None:
        return "-"
    if summary.count == 1:
        return render_number(summary.median)
    return f"{render_number(summary.median)} ({render_number(summary.low)}-{render_number(summary.high)})"
