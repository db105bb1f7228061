"""Statistics, their text, and the judgement of targets."""

import pytest

from bench.metrics import Better, FlatTarget, Metric, RatioTarget, ValueTarget
from bench.samples import Summary, paired, ratio, render_number, render_summary, summarise
from bench.verdicts import Verdict, judge

LOWER = Metric("a.connect", "A", "connect", "ms")
HIGHER = Metric("a.rate", "A", "rate", "1/s", Better.HIGHER)


def exactly(value: float) -> Summary:
    return Summary(value, value, value, 1)


def test_summary_is_median_and_range() -> None:
    assert summarise([3.0, 1.0, 2.0, 10.0]) == Summary(2.5, 1.0, 10.0, 4, (3.0, 1.0, 2.0, 10.0))


def test_nothing_has_no_summary() -> None:
    assert summarise([]) is None
    assert render_summary(None) == "-"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.423, "0.42"),
        (7.256, "7.26"),
        (13.52, "13.5"),
        (135.4, "135"),
        (9999, "9999"),
        (34567, "34600"),
    ],
)
def test_numbers_keep_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert render_number(value) == text


def test_a_summary_of_several_shows_its_range() -> None:
    assert render_summary(Summary(40, 30.5, 120, 5)) == "40.0 (30.5-120)"
    assert render_summary(exactly(40)) == "40.0"


def test_ratio_is_of_medians_and_absent_without_a_peer() -> None:
    assert ratio(Summary(10, 1, 99, 3), Summary(40, 1, 99, 3)) == 0.25
    assert ratio(exactly(1), None) is None
    assert ratio(None, exactly(1)) is None
    assert ratio(exactly(1), exactly(0)) is None


@pytest.mark.parametrize(
    ("metric", "ours", "verdict"),
    [
        (LOWER, 40, Verdict.REACHED),
        (LOWER, 41, Verdict.MISSED),
        (HIGHER, 40, Verdict.REACHED),
        (HIGHER, 39, Verdict.MISSED),
    ],
)
def test_a_ratio_target_is_met_at_its_limit(metric: Metric, ours: float, verdict: Verdict) -> None:
    figures = {metric.key: {"carrick": exactly(ours), "docker": exactly(100)}}
    assert judge(metric, RatioTarget("docker", 0.4), figures).verdict is verdict


def test_a_small_miss_inside_the_spread_says_so_and_is_still_a_miss() -> None:
    figures = {"a.rate": {"carrick": Summary(95, 90, 104, 5), "docker": Summary(100, 92, 108, 5)}}
    found = judge(HIGHER, RatioTarget("docker", 1.0), figures)
    assert found.verdict is Verdict.NEAR
    assert found.verdict.value.startswith("not reached")


def test_a_large_miss_is_no_near_one_however_wide_the_spread() -> None:
    figures = {"a.rate": {"carrick": Summary(80, 10, 200, 5), "docker": Summary(100, 10, 200, 5)}}
    assert judge(HIGHER, RatioTarget("docker", 1.0), figures).verdict is Verdict.MISSED


def test_without_the_peer_nothing_is_claimed() -> None:
    found = judge(LOWER, RatioTarget("docker", 0.4), {"a.connect": {"carrick": exactly(1)}})
    assert (found.value, found.verdict) == (None, Verdict.UNKNOWN)
    assert judge(LOWER, ValueTarget(120), {}).verdict is Verdict.UNKNOWN


def test_pairs_leave_out_what_a_round_has_in_common() -> None:
    # Every second round is three times as slow for both; neither gains by that one is better as often.
    found = paired(summarise([80, 30, 125, 30]), summarise([100, 30, 100, 30]))
    assert found is not None
    assert found.value == pytest.approx(1) and found.error == pytest.approx(0.091, abs=0.001)


@pytest.mark.parametrize(
    ("ours", "theirs"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([], []), ([1.0, 0.0], [1.0, 2.0])]
)
def test_without_two_pairs_of_figures_there_are_none(ours: list[float], theirs: list[float]) -> None:
    assert paired(summarise(ours), summarise(theirs)) is None


@pytest.mark.parametrize(
    ("metric", "limit", "verdict"),
    [
        (HIGHER, 0.95, Verdict.REACHED),
        (HIGHER, 1.1, Verdict.NEAR),
        (HIGHER, 1.3, Verdict.MISSED),
        (LOWER, 1.05, Verdict.REACHED),
        (LOWER, 0.9, Verdict.NEAR),
        (LOWER, 0.7, Verdict.MISSED),
    ],
)
def test_by_rounds_a_miss_is_near_within_two_standard_errors(
    metric: Metric, limit: float, verdict: Verdict
) -> None:
    figures = {metric.key: {"carrick": summarise([80, 30, 125, 30]), "static": summarise([100, 30, 100, 30])}}
    known = {key: {name: item for name, item in row.items() if item} for key, row in figures.items()}
    assert judge(metric, RatioTarget("static", limit, by_round=True), known).verdict is verdict


def test_by_rounds_without_pairs_it_is_a_ratio_of_medians() -> None:
    figures = {"a.rate": {"carrick": exactly(94), "static": exactly(100)}}
    found = judge(HIGHER, RatioTarget("static", 0.95, by_round=True), figures)
    assert (found.value, found.error) == (0.94, None)


def test_a_value_target_is_a_limit_not_to_touch() -> None:
    metric = Metric("m", "M", "memory", "MiB")
    assert judge(metric, ValueTarget(120), {"m": {"carrick": exactly(119.9)}}).verdict is Verdict.REACHED
    assert judge(metric, ValueTarget(120), {"m": {"carrick": exactly(120)}}).verdict is Verdict.MISSED


def test_flat_compares_with_our_own_baseline() -> None:
    metric = Metric("growth.run.250", "G", "run", "ms")
    figures = {
        "growth.run.0": {"carrick": exactly(100), "docker": exactly(1)},
        "growth.run.250": {"carrick": exactly(130), "docker": exactly(1)},
    }
    found = judge(metric, FlatTarget("growth.run.0", 1.25), figures)
    assert (found.value, found.verdict) == (1.3, Verdict.MISSED)
    assert found.target == "≤ 1.25 × that at 0"
