"""Write what an importer has found as apps.toml: every table with its source, every remark at its place."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final

from fcgipm.config.problems import printable
from fcgipm.config.rendering import key_text, value_text
from fcgipm.config.schema import Root
from fcgipm.counting import counted
from fcgipm.importing.found import Found, Remark, Table

LOST: Final = "NOT CARRIED OVER"
NOTE: Final = "NOTE"

_WIDTH: Final = 118
_LONGEST: Final = 2000
"""Of one remark; what is longer was never meant to be read."""

_DOTTED: Final = frozenset({"fastcgi.map-extensions", "fastcgi.debug"})
"""Keys that keep their dots, as lighttpd has them."""


def render(found: Found) -> Iterator[str]:
    """Yield the lines of apps.toml."""
    yield from _comment(f"Made by fcgipm import from {found.source}.")
    if found.all_remarks():
        yield from _comment(f'What needs a look begins with "{LOST}" or "{NOTE}".')
    for remark in found.remarks:
        yield from _remark(remark)
    for table in found.tables():
        if table is not found.daemon or any(table.lines()):
            yield ""
            yield from _table(table)


def summary(found: Found) -> str:
    """Return how much was found, in one line."""
    remarks = found.all_remarks()
    lost = sum(1 for remark in remarks if remark.lost)
    parts = [counted(_usable(found.applications), "application")]
    if found.externals:
        parts.append(counted(_usable(found.externals), "external application"))
    if found.dynamic is not None:
        parts.append(f"[dynamic] with {counted(_usable(found.roots), 'root')}")
    told = counted(len(remarks), "remark")
    if remarks:
        told += f", written as {'comments' if len(remarks) > 1 else 'a comment'}"
    if lost:
        told += f"; {counted(lost, 'thing')} not carried over"
    return f"{found.source}: {', '.join(parts)}; {told}"


def _usable(tables: list[Table]) -> int:
    return sum(1 for table in tables if not table.unusable)


def _table(table: Table) -> Iterator[str]:
    if table.place is not None:
        origin = " ".join(table.origin.split())
        yield from _comment(f"{table.place}: {origin}" if origin else str(table.place))
    if table.unusable:
        yield from _remark(Remark(table.unusable, lost=True))
    mark = "#" if table.unusable else ""
    dotted = ".".join(key_text(key) for key in table.keys)
    yield f"{mark}[[{dotted}]]" if table.kind is Root else f"{mark}[{dotted}]"
    for line in table.lines():
        if isinstance(line, Remark):
            yield from _remark(line)
        else:
            yield f"{mark}{_pair(*line)}"
    if table.environment:
        yield f"{mark}[{dotted}.initial-env]"
        yield from (f"{mark}{key_text(name)} = {value_text(text)}" for name, text in table.environment.items())


def _pair(key: str, value: Any) -> str:
    return f"{key if key in _DOTTED else key_text(key)} = {value_text(value)}"


def _remark(remark: Remark) -> Iterable[str]:
    return _comment(f"{LOST if remark.lost else NOTE}: {remark.text}")


def _comment(text: str) -> list[str]:
    """Return *text* as lines of comment; what could not stand in a file of UTF-8 is escaped."""
    plain = printable(text).encode(errors="backslashreplace").decode()
    if len(plain) > _LONGEST:
        plain = f"{plain[:_LONGEST]}…"
    lines = textwrap.wrap(plain, _WIDTH, break_long_words=False, break_on_hyphens=False, subsequent_indent="  ")
    return [f"# {line}" for line in lines or [""]]
