"""The report: its table, its Markdown and its JSON."""

import json
from dataclasses import replace

from rich.console import Console

from bench.metrics import Better, Metric, RatioTarget
from bench.recorder import Failure
from bench.report import Result, header, print_table, render_json, render_markdown, rows
from bench.samples import summarise
from bench.verdicts import Verdict

SAMPLES = {
    "c.connect": {"carrick": [4.0, 5.0, 6.0], "docker": [40.0, 50.0, 60.0]},
    "t.rate": {"carrick": [90.0], "docker": [100.0], "podman": [50.0]},
}
METRICS = (
    Metric(
        "c.connect",
        "Control",
        "connect",
        "ms",
        targets=(RatioTarget("docker", 0.4), RatioTarget("podman", 0.4)),
    ),
    Metric("t.rate", "Traffic", "new | old", "1/s", Better.HIGHER, (RatioTarget("docker", 1.0),)),
    Metric("t.none", "Traffic", "never measured", "1/s"),
)


def result(systems: tuple[str, ...] = ("carrick", "docker", "podman")) -> Result:
    return Result(
        facts={"kernel": "6.1"},
        systems=systems,
        metrics=METRICS,
        figures={
            key: {name: summary for name, values in row.items() if (summary := summarise(values))}
            for key, row in SAMPLES.items()
        },
        samples=SAMPLES,
        failures=[Failure("podman", "names", "no `names`\nat all")],
    )


def test_a_row_has_medians_ratios_target_and_verdict() -> None:
    first, second = rows(result())
    assert first.cells == (
        "connect", "ms", "5.00 (4.00-6.00)", "50.0 (40.0-60.0)", "-", "0.10", "-",
        "≤ 0.4 × Docker, Podman", "reached; not measured",
    )  # fmt: skip
    assert second.cells[2:] == ("90.0", "100", "50.0", "0.90", "1.80", "≥ 1 × Docker", "not reached")
    assert len(header(result())) == len(first.cells)


def test_a_ratio_by_rounds_comes_with_its_error() -> None:
    metric = Metric("r", "Across", "rate", "1/s", Better.HIGHER, (RatioTarget("docker", 1.2, by_round=True),))
    both = {name: summarise(values) for name, values in (("carrick", [8.0, 10]), ("docker", [10.0, 8]))}
    known = {name: item for name, item in both.items() if item}
    made = replace(result(("carrick", "docker")), metrics=(metric,), figures={"r": known}, samples={})
    (row,) = rows(made)
    assert row.cells[4:] == ("1.00 ±0.22", "≥ 1.2 × Docker", "not reached, within the spread")
    assert "rate: 1.00 ±0.22 where ≥ 1.2 × Docker is wanted" in render_markdown(made)
    (shown,) = json.loads(render_json(made))["metrics"]
    assert 0.22 < shown["targets"][0]["standard_error"] < 0.23


def test_what_failed_part_way_reaches_nothing() -> None:
    whole = result()
    cut = replace(whole, failures=[Failure("carrick", "control, api", "gone", ("c.",))])
    first, second = rows(cut)
    assert first.cells[2] == "5.00 (4.00-6.00) !"
    assert set(first.verdicts) == {Verdict.SPOILT}
    assert second.verdicts == (Verdict.MISSED,)
    assert "- failed part-way: 2" in render_markdown(cut)


def test_without_carrick_there_are_no_ratios() -> None:
    assert not any("÷" in name for name in header(result(("docker", "podman"))))


def test_markdown_has_facts_tables_targets_and_failures() -> None:
    text = render_markdown(result())
    assert "- kernel: 6.1" in text
    assert "## Control" in text
    assert "new \\| old" in text
    assert "never measured" not in text
    assert "- not reached: Traffic: new | old: 0.90 where ≥ 1 × Docker is wanted" in text
    assert "- podman, names: `no 'names' at all`" in text


def test_json_keeps_every_sample() -> None:
    document = json.loads(render_json(result()))
    connect = document["metrics"][0]
    assert connect["samples"] == SAMPLES["c.connect"]
    assert connect["medians"] == {"carrick": 5.0, "docker": 50.0}
    assert connect["targets"][0] == {"target": "≤ 0.4 × Docker", "value": 0.1, "verdict": "reached"}
    assert document["failures"][0]["system"] == "podman"


def test_a_narrow_terminal_shows_medians_alone() -> None:
    console = Console(width=100, force_terminal=False)
    with console.capture() as captured:
        print_table(result(), console)
    assert "5.00" in captured.get()
    assert "4.00-6.00" not in captured.get()


def test_the_terminal_shows_the_same() -> None:
    console = Console(width=200, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        print_table(result(), console)
    text = captured.get()
    assert "connect" in text
    assert "0.10" in text
    assert "failed: podman, names: no 'names' at all" in text
