"""The table of what the faults have shown: ``python -m chaos.table FILE``, from the lines of CHAOS_TABLE."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

HEAD: Final = ("fault", "who", "application", "times", "requests", "refused", "cut or wrong", "longest wait", "")
_KNOWN: Final = frozenset({"fault", "who", "what", "times", "sent", "answered", "refused", "broken", "longest"})


def merged(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add up the lines that are about the same, and sort them: ours first, then by fault."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for line in lines:
        key = (line["fault"], line["who"], line["what"])
        if key not in found:
            found[key] = dict(line)
            continue
        one = found[key]
        for column in ("times", "sent", "answered", "refused", "broken"):
            one[column] += line[column]
        one["longest"] = max(one["longest"], line["longest"])
    return sorted(found.values(), key=lambda line: (line["who"] != "fcgipm", line["who"], line["fault"], line["what"]))


def row(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of one line."""
    more = [_said(name, value) for name, value in line.items() if name not in _KNOWN]
    return (
        line["fault"], line["who"], line["what"], f"{line['times']:,}", f"{line['sent']:,}", f"{line['refused']:,}",
        f"{line['broken']:,}", f"{line['longest']:.2f} s", ", ".join(more),
    )  # fmt: skip


def _said(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    return (
        f"{name.replace('_', ' ')} {value:.3g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value:,}"
    )


def group(line: Mapping[str, Any]) -> str:
    """Return which table a line belongs to."""
    who = line["who"]
    return (
        "fcgipm" if who == "fcgipm" else "naive variants" if who.startswith(("abrupt", "blind", "naive")) else "others"
    )


def rendered(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return a table that is read as text and as Markdown."""
    rows = [HEAD, *(row(line) for line in merged(lines))]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEAD))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |" for cells in rows
    )


if __name__ == "__main__":
    everything = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    for name in ("fcgipm", "naive variants", "others"):
        if found := [line for line in everything if group(line) == name]:
            print(f"\n{name}\n\n{rendered(found)}")
