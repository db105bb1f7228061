"""Aligned columns without boxes, with the widths that Docker's tables have. Pure.

A cell ends at a tab. A column is a run of lines that all have a cell there, and is as wide as its
widest cell and three spaces, ten at least; what follows the last tab of a line belongs to none.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


_MIN_WIDTH = 10
_PADDING = 3


def align(text: str, *, min_width: int = _MIN_WIDTH, padding: int = _PADDING) -> str:
    """Return `text`, lines of tab-terminated cells, with the cells set into columns."""
    lines = [line.split("\t") for line in text.split("\n")]
    widths: list[list[int]] = [[0] * (len(cells) - 1) for cells in lines]
    deepest = max(len(cells) for cells in lines) - 1
    for column in range(deepest):
        start = 0
        while start < len(lines):
            if len(lines[start]) - 1 <= column:
                start += 1
                continue
            end = start
            while end < len(lines) and len(lines[end]) - 1 > column:
                end += 1
            width = max(len(lines[row][column]) for row in range(start, end)) + padding
            for row in range(start, end):
                widths[row][column] = max(width, min_width)
            start = end
    return "\n".join(
        "".join(cell.ljust(size) for cell, size in zip(cells, sizes, strict=False)) + cells[-1]
        for cells, sizes in zip(lines, widths, strict=True)
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as an aligned table, a newline after each."""
    return align("".join("\t".join(row) + "\n" for row in rows))
