"""Judge figures against targets. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from .metrics import Better, FlatTarget, Metric, RatioTarget, Target, ValueTarget
from .samples import Paired, Summary, paired, ratio, render_number

#: Summaries by metric key, then by system.
Figures = Mapping[str, Mapping[str, Summary]]
#: Tells of a key and a system whether a failure cut the series short.
Spoilt = Callable[[str, str], bool]
OURS = "carrick"


class Verdict(StrEnum):
    """What came of a target.

    NEAR is a miss of at most 10 % while the spreads of the two overlap; of a ratio by rounds, one of at most
    two standard errors.
    """

    REACHED = "reached"
    NEAR = "not reached, within the spread"
    MISSED = "not reached"
    UNKNOWN = "not measured"
    SPOILT = "failed part-way"


@dataclass(frozen=True, slots=True)
class Judged:
    """One target with the figure that decides it."""

    target: str
    value: float | None
    verdict: Verdict
    error: float | None = None


def judge(
    metric: Metric, target: Target, figures: Figures, spoilt: Spoilt = lambda key, system: False
) -> Judged:
    """Compare one target with what was measured. What failed part-way reaches nothing."""
    peer = target.peer if isinstance(target, RatioTarget) else OURS
    if spoilt(metric.key, OURS) or spoilt(metric.key, peer):
        return replace(judge(metric, target, figures), verdict=Verdict.SPOILT)
    ours = figures.get(metric.key, {}).get(OURS)
    match target:
        case RatioTarget(peer, limit, by_round):
            sign = "≤" if metric.better is Better.LOWER else "≥"
            theirs = figures.get(metric.key, {}).get(peer)
            text = f"{sign} {limit:g} × {peer.capitalize()}"
            if by_round and (pairs := paired(ours, theirs)) is not None:
                return _judge_pairs(text, pairs, limit, lower=metric.better is Better.LOWER)
        case FlatTarget(baseline, limit):
            theirs = figures.get(baseline, {}).get(OURS)
            text = f"≤ {limit:g} × that at {baseline.rpartition('.')[2]}"
        case ValueTarget(limit):
            text = f"< {render_number(limit)} {metric.unit}"
            if ours is None:
                return Judged(text, None, Verdict.UNKNOWN)
            return Judged(text, ours.median, Verdict.REACHED if ours.median < limit else Verdict.MISSED)
    value = ratio(ours, theirs)
    if value is None or ours is None or theirs is None:
        return Judged(text, None, Verdict.UNKNOWN)
    lower = metric.better is Better.LOWER
    if value <= limit if lower else value >= limit:
        return Judged(text, value, Verdict.REACHED)
    miss = value / limit if lower else limit / value
    wanted = Summary(theirs.median * limit, theirs.low * limit, theirs.high * limit, theirs.count)
    near = miss <= 1.1 and ours.overlaps(wanted)
    return Judged(text, value, Verdict.NEAR if near else Verdict.MISSED)


def _judge_pairs(text: str, pairs: Paired, limit: float, *, lower: bool) -> Judged:
    miss = pairs.value - limit if lower else limit - pairs.value
    short = Verdict.NEAR if miss <= 2 * pairs.error else Verdict.MISSED
    verdict = Verdict.REACHED if miss <= 0 else short
    return Judged(text, pairs.value, verdict, pairs.error)


def judge_all(metric: Metric, figures: Figures, spoilt: Spoilt) -> tuple[Judged, ...]:
    """Judge every target of a metric."""
    return tuple(judge(metric, target, figures, spoilt) for target in metric.targets)
