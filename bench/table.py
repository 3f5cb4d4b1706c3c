"""The table that `make bench` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured quantity; *ratio* is ours to the peer's where there is one."""

    what: str
    ours: float
    unit: str = ""
    bound: float | None = None
    sense: Literal["≥", "≤"] = "≤"
    of_ratio: bool = False
    """Whether *bound* is one of *ratio* rather than of *ours*."""
    peer: str = ""
    theirs: float | None = None
    ratios: tuple[float, ...] = ()
    """Ours to theirs round by round, where both were measured in turns: a drift of the machine cancels out."""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to theirs."""
        if self.ratios:
            return median(self.ratios)
        return self.ours / self.theirs if self.theirs else None

    @property
    def spread(self) -> str:
        """Where the middle half of the rounds' ratios lies: what differs by less cannot be told from noise."""
        if len(self.ratios) < 4:
            return ""
        low, _, high = quantiles(self.ratios, n=4)
        return f"(half of the rounds: {low:.2f} to {high:.2f})"

    @property
    def verdict(self) -> str:
        """``ok``, ``MISSED``, or nothing where no bound is set."""
        value = self.ratio if self.of_ratio else self.ours
        if self.bound is None or value is None:
            return ""
        met = value >= self.bound if self.sense == "≥" else value <= self.bound
        return "ok" if met else "MISSED"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A quantity that could not be measured here, and why."""

    what: str
    why: str


def number(value: float | None, unit: str = "") -> str:
    """Return *value* with three digits that matter."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{' ' + unit if unit else ''}"


def rendered(lines: Sequence[Row | Skipped]) -> str:
    """Return all lines as a table of text."""
    head = ("what", "fcgipm", "peer", "ratio", "must", "")
    rows = [head]
    for line in lines:
        if isinstance(line, Skipped):
            rows.append((line.what, "–", f"skipped: {line.why}", "", "", ""))
            continue
        peer = f"{line.peer} {number(line.theirs, line.unit)}" if line.peer else ""
        must = "" if line.bound is None else f"{line.sense} {number(line.bound, '' if line.of_ratio else line.unit)}"
        ratio = "" if line.ratio is None else f"{line.ratio:.3f}"
        remarks = " ".join(filter(None, (line.verdict, line.spread, line.note)))
        rows.append((line.what, number(line.ours, line.unit), peer, ratio, must, remarks))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([text[0], "  ".join("─" * width for width in widths), *text[1:]])
