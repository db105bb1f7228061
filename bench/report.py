"""Turn figures into a table (terminal, Markdown) and JSON. Pure but for `print_table`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from .metrics import Metric, RatioTarget
from .recorder import Failure
from .samples import Summary, paired, ratio, render_number, render_summary
from .verdicts import OURS, Figures, Judged, Verdict, judge_all


@dataclass(frozen=True, slots=True)
class Result:
    """All that a report says."""

    facts: Mapping[str, str]
    systems: Sequence[str]
    metrics: Sequence[Metric]
    figures: Figures
    samples: Mapping[str, Mapping[str, Sequence[float]]]
    failures: Sequence[Failure]

    def is_spoilt(self, key: str, system: str) -> bool:
        """Tell whether a failure cut this series short; its cell is marked with `!`."""
        return any(failure.spoils(key, system) for failure in self.failures)

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(system for system in self.systems if system != OURS)


@dataclass(frozen=True, slots=True)
class Row:
    """A printed line; `cells` in the order of `header`."""

    group: str
    cells: tuple[str, ...]
    verdicts: tuple[Verdict, ...]


def header(result: Result) -> tuple[str, ...]:
    """Return the columns' names."""
    ratios = tuple(f"÷ {peer.capitalize()}" for peer in result.peers) if OURS in result.systems else ()
    return ("measure", "unit", *(name.capitalize() for name in result.systems), *ratios, "target", "verdict")


def rows(result: Result, *, ranges: bool = True) -> Iterator[Row]:
    """Yield a row for every metric of which anything was measured; without `ranges`, medians alone."""
    render = render_summary if ranges else _render_median
    for metric in result.metrics:
        found = result.figures.get(metric.key, {})
        judged = judge_all(metric, result.figures, result.is_spoilt)
        if not found and not any(item.verdict is Verdict.SPOILT for item in judged):
            continue
        ratios: list[str] = []
        if OURS in result.systems:
            ratios = [_render_ratio(metric, found, peer) for peer in result.peers]
        yield Row(
            metric.group,
            (
                metric.title,
                metric.unit,
                *(
                    render(found.get(system)) + (" !" if result.is_spoilt(metric.key, system) else "")
                    for system in result.systems
                ),
                *ratios,
                _join_targets(judged),
                "; ".join(dict.fromkeys(item.verdict.value for item in judged)),
            ),
            tuple(item.verdict for item in judged),
        )


def _render_ratio(metric: Metric, found: Mapping[str, Summary], peer: str) -> str:
    """Render as its target takes it: a ratio of medians, or by rounds with its standard error."""
    ours, theirs = found.get(OURS), found.get(peer)
    by_round = any(isinstance(item, RatioTarget) and item.by_round for item in metric.targets)
    if by_round and (pairs := paired(ours, theirs)) is not None:
        return f"{pairs.value:.2f} ±{pairs.error:.2f}"
    value = ratio(ours, theirs)
    return "-" if value is None else f"{value:.2f}"


def render_markdown(result: Result) -> str:
    """Render the whole report."""
    parts = [
        "# Carrick beside its peers",
        "",
        *(f"- {name}: {value}" for name, value in result.facts.items()),
        "",
    ]
    parts += [
        "Cells are median (smallest-largest); `!` marks a series that a failure cut short.",
        "Ratios are of medians, Carrick over the peer; with `±` the mean of each round's, and its error.",
        "",
    ]
    columns = header(result)
    group = ""
    for row in rows(result):
        if row.group != group:
            group = row.group
            parts += ["", f"## {group}", "", _line(columns), _line(["---"] * len(columns))]
        parts.append(_line(row.cells))
    parts += ["", "## Targets", "", *summary_lines(result), ""]
    if result.failures:
        parts += ["## What failed", ""]
        parts += [f"- {item.system}, {item.what}: `{_one_line(item.problem)}`" for item in result.failures]
        parts.append("")
    return "\n".join(parts)


def summary_lines(result: Result) -> list[str]:
    """Count the targets by verdict, and name those that were not reached."""
    verdicts = [
        (metric, item)
        for metric in result.metrics
        for item in judge_all(metric, result.figures, result.is_spoilt)
    ]
    lines = [
        f"- {verdict}: {count}"
        for verdict in Verdict
        if (count := sum(i.verdict is verdict for _, i in verdicts))
    ]
    for metric, item in verdicts:
        if item.verdict in (Verdict.MISSED, Verdict.NEAR) and item.value is not None:
            error = "" if item.error is None else f" ±{item.error:.2f}"
            found = f"{item.value:.2f}{error} where {item.target} is wanted"
            lines.append(f"- {item.verdict}: {metric.group}: {metric.title}: {found}")
    return lines


def render_json(result: Result) -> str:
    """Render every sample, with the summaries and verdicts, for other programs."""
    document = {
        "facts": dict(result.facts),
        "systems": list(result.systems),
        "metrics": [
            {
                "key": metric.key,
                "group": metric.group,
                "title": metric.title,
                "unit": metric.unit,
                "better": metric.better.value,
                "samples": {
                    name: list(values) for name, values in result.samples.get(metric.key, {}).items()
                },
                "medians": {name: item.median for name, item in result.figures.get(metric.key, {}).items()},
                "targets": [_target(item) for item in judge_all(metric, result.figures, result.is_spoilt)],
            }
            for metric in result.metrics
        ],
        "failures": [
            {"system": item.system, "what": item.what, "problem": item.problem} for item in result.failures
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _target(item: Judged) -> dict[str, object]:
    shown: dict[str, object] = {"target": item.target, "value": item.value, "verdict": item.verdict.value}
    return shown if item.error is None else {**shown, "standard_error": item.error}


_COLOURS = {
    Verdict.REACHED: "green",
    Verdict.NEAR: "yellow",
    Verdict.MISSED: "red",
    Verdict.UNKNOWN: "dim",
    Verdict.SPOILT: "red",
}


def print_table(result: Result, console: Console) -> None:
    """Print the table, a section per group, coloured where the console is.

    A console too narrow for it gets medians without their ranges; the Markdown has them.
    """
    table = _build_table(result, ranges=True)
    if Measurement.get(console, console.options.update(width=1000), table).maximum > console.width:
        table = _build_table(result, ranges=False)
    console.print(table)
    for line in summary_lines(result):
        console.print(line, highlight=False, markup=False)
    for item in result.failures:
        console.print(
            f"failed: {item.system}, {item.what}: {_one_line(item.problem)}", style="red", markup=False
        )


def _build_table(result: Result, *, ranges: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    columns = header(result)
    for number, name in enumerate(columns):
        is_text = number < 2 or number >= len(columns) - 2
        table.add_column(name, justify="left" if is_text else "right", no_wrap=ranges)
    group = ""
    for row in rows(result, ranges=ranges):
        if row.group != group:
            group = row.group
            table.add_section()
            table.add_row(f"[bold]{group}[/]")
        worst = max(row.verdicts, key=list(Verdict).index, default=Verdict.UNKNOWN)
        table.add_row(*row.cells[:-1], f"[{_COLOURS[worst]}]{row.cells[-1]}[/]")
    return table


def _render_median(summary: Summary | None) -> str:
    return "-" if summary is None else render_number(summary.median)


def _join_targets(judged: Sequence[Judged]) -> str:
    """Join targets that differ in their peer alone: `≤ 0.6 × Docker, Podman`."""
    text = ""
    for item in judged:
        start, _, peer = item.target.rpartition(" ")
        text += f", {peer}" if text.startswith(start) else f"{'; ' if text else ''}{item.target}"
    return text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")[:600]
