"""Numbers and texts for people: spans of time, sizes, states in colour, text that is safe on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, TextIO

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_COLOURS: Final = {
    "running": "32", "reachable": "32", "ready": "32", "starting": "33", "retiring": "33", "backoff": "31",
    "failed": "31", "unreachable": "31", "stopped": "2", "idle": "2",
}  # fmt: skip


def span(seconds: float | None) -> str:
    """Return a span of time in two units: ``3d 04h``, ``12m 07s``, ``8s``; ``-`` where it is not known."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    for (size, unit), (smaller, next_unit) in pairwise(_UNITS):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller:02}{next_unit}"
    return f"{whole}s"


def moment(seconds: float | None) -> str:
    """Return a span of time that may be short: ``0.4s``, ``12s``, ``2m 05s``; ``-`` where there is none."""
    return f"{max(0.0, seconds):.1f}s" if seconds is not None and seconds < 9.95 else span(seconds)


def size(count: int | None) -> str:
    """Return a number of bytes: ``512``, ``1.5K``, ``118M``; ``-`` where it is not known."""
    if count is None:
        return "-"
    value, units = float(count), iter("KMGT")
    unit = ""
    while value >= 1024 and (larger := next(units, "")):
        value, unit = value / 1024, larger
    return f"{value:.1f}{unit}" if unit and value < 9.95 else f"{value:.0f}{unit}"


def number(value: object) -> str:
    """Return *value* as text; ``-`` where it is not known."""
    return "-" if value is None else str(value)


def printable(text: str) -> str:
    """Return *text* without anything that a terminal would obey; tabs and line ends are escaped, too."""
    return text if text.isprintable() else "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def coloured(state: str, text: str) -> str:
    """Return *text* in the colour of *state*."""
    colour = _COLOURS.get(state)
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether *stream* is a terminal, and nobody asked for no colour."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
