"""Columns of text: pure, so that every layout can be tested."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeAlias

from fcgipm.cli.words import printable

GAP: Final = "  "
LAST_AT_LEAST: Final = 20
"""Characters of the last column that a layout must leave room for."""

Row: TypeAlias = Mapping[str, str]
"""A row's cells by the titles of their columns."""
Paint: TypeAlias = Callable[[str, str, Row], str]
"""Takes a column's title, its cell, padded, and the row; returns the cell, perhaps with colours."""


def layout(
    layouts: Sequence[Sequence[str]],
    rows: Sequence[Row],
    *,
    width: int | None,
    right: Collection[str] = (),
    paint: Paint | None = None,
) -> list[str]:
    """Return the lines of a table, the first one its titles.

    Each of *layouts* is a list of titles, the widest first.  The first one that fits into *width* is taken, with at
    least `LAST_AT_LEAST` characters of its last column; that column is then cut with an ellipsis, and in the
    narrowest layout the first one, too.  Without a *width* nothing is left out and nothing is cut.  The columns in
    *right* are numbers.
    """
    safe = [{title: printable(cell) for title, cell in row.items()} for row in rows]
    titles = next((each for each in layouts if width is None or _least(each, safe) <= width), layouts[-1])
    widths = _widths(titles, safe)
    if width is not None:
        _shrink(widths, width)
    lines = [_line(titles, {title: title for title in titles}, widths, right, None)]
    lines += [_line(titles, row, widths, right, paint) for row in safe]
    return lines


def cut(text: str, width: int) -> str:
    """Return *text* in at most *width* characters."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _widths(titles: Sequence[str], rows: Sequence[Row]) -> list[int]:
    return [max([len(title), *(len(row[title]) for row in rows)]) for title in titles]


def _least(titles: Sequence[str], rows: Sequence[Row]) -> int:
    *others, last = _widths(titles, rows)
    return sum(others) + len(GAP) * len(others) + min(last, LAST_AT_LEAST)


def _shrink(widths: list[int], width: int) -> None:
    """Make the last column narrower, then the first, until the line fits or both are as narrow as makes sense."""
    for index, least in ((-1, LAST_AT_LEAST), (0, 8), (-1, 1)):
        excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
        if excess > 0:
            widths[index] = max(min(least, widths[index]), widths[index] - excess)


def _line(titles: Sequence[str], row: Row, widths: Sequence[int], right: Collection[str], paint: Paint | None) -> str:
    parts = []
    for title, width in zip(titles, widths, strict=True):
        text = cut(row[title], width)
        text = text.rjust(width) if title in right else text.ljust(width)
        parts.append(paint(title, text, row) if paint else text)
    return GAP.join(parts).rstrip()
