"""What an importer has found: tables for apps.toml, and what is to be said about them.

A value gets into a table only if the reader of the configuration would take it; else it becomes a remark, as does
everything that has no counterpart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from fcgipm.config.option import Option, options
from fcgipm.config.problems import printable
from fcgipm.config.schema import LATER_KEYS, Application, Daemon, Dynamic, External, Root
from fcgipm.config.values import read

_ENVIRONMENT: Final = "initial-env"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written: a file, or what stands for one, and a line; 0 where there are no lines."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Unreadable(Exception):
    """The source cannot be understood, and nothing is printed; the text says where and why."""

    def __init__(self, place: Place, why: str) -> None:
        super().__init__(printable(f"{place}: {why}"))


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment: something that was *lost* on the way, or that whoever reads the file should know."""

    text: str
    lost: bool


@dataclass(slots=True, eq=False)
class Table:
    """One table of apps.toml on its way there."""

    kind: type
    keys: tuple[str, ...]
    """Its name: ``("app", "blog")``."""
    place: Place | None = None
    origin: str = ""
    """What was written there."""
    unusable: str = ""
    """Why it can only be a comment; empty where it is a table."""
    environment: dict[str, str] = field(default_factory=dict)
    _order: dict[str | Remark, None] = field(default_factory=dict)
    _values: dict[str, Any] = field(default_factory=dict)
    _lists: dict[str, dict[str, None]] = field(default_factory=dict)
    """Lists that grow item by item; an item is in each once."""

    @property
    def name(self) -> str:
        """The name of the application."""
        return self.keys[-1]

    def lines(self) -> Iterator[tuple[str, Any] | Remark]:
        """Yield keys with their values, as plain data, and remarks, in the order in which they came."""
        for item in self._order:
            if isinstance(item, Remark):
                yield item
            elif (value := self.get(item)) is not None:
                yield item, value

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Yield keys with their values."""
        return (line for line in self.lines() if not isinstance(line, Remark))

    def get(self, key: str) -> Any:
        """Return the value of *key*, None if there is none."""
        return list(self._lists[key]) if key in self._lists else self._values.get(key)

    def put(self, key: str, value: Any, said: str = "") -> bool:
        """Give *key* the *value*, instead of an earlier one; *said* is how the source has it, for a remark.

        Returns whether the value could be taken.
        """
        why = why_not(self.kind, key, value)
        if why is not None:
            self.lose(said or key, why)
        elif key == _ENVIRONMENT:
            self.environment |= value
        else:
            self._order.setdefault(key)
            self._values[key] = value
        return why is None

    def add(self, key: str, item: str, said: str = "") -> bool:
        """Put *item* at the end of the list that is the value of *key*, unless it is in it."""
        why = why_not(self.kind, key, [item])
        if why is not None:
            self.lose(said or key, why)
            return False
        self._order.setdefault(key)
        self._lists.setdefault(key, {}).setdefault(item)
        return True

    def drop(self, key: str) -> None:
        """Take *key* away again."""
        self._values.pop(key, None)
        self._lists.pop(key, None)

    def lose(self, what: str, why: str) -> None:
        """Say that *what* is not carried over, and *why*."""
        self._order.setdefault(Remark(f"{what}: {why}", lost=True))

    def note(self, text: str) -> None:
        """Say *text* to whoever reads the file."""
        self._order.setdefault(Remark(text, lost=False))

    def keep(self, remark: Remark) -> None:
        """Take over *remark* from elsewhere."""
        self._order.setdefault(remark)

    def remarks(self) -> Iterator[Remark]:
        """Yield what is said in this table and of it."""
        if self.unusable:
            yield Remark(self.unusable, lost=True)
        yield from (item for item in self._order if isinstance(item, Remark))


@dataclass(slots=True)
class Found:
    """Everything that a source says, and what there is to say about it that belongs to no table."""

    source: str
    daemon: Table = field(default_factory=lambda: Table(Daemon, ("fcgipm",)))
    applications: list[Table] = field(default_factory=list)
    dynamic: Table | None = None
    roots: list[Table] = field(default_factory=list)
    externals: list[Table] = field(default_factory=list)
    remarks: dict[Remark, None] = field(default_factory=dict)

    def lose(self, place: Place, what: str, why: str) -> None:
        """Say that *what*, written at *place*, is not carried over, and *why*."""
        self.remarks.setdefault(Remark(f"{place}: {what}: {why}", lost=True))

    def note(self, text: str) -> None:
        """Say *text* to whoever reads the file."""
        self.remarks.setdefault(Remark(text, lost=False))

    def tables(self) -> Iterator[Table]:
        """Yield every table, in the order of the file."""
        yield self.daemon
        yield from self.applications
        if self.dynamic is not None:
            yield self.dynamic
        yield from self.roots
        yield from self.externals

    def all_remarks(self) -> list[Remark]:
        """Return everything that is said, whatever it belongs to."""
        return [*self.remarks, *(remark for table in self.tables() for remark in table.remarks())]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing about FastCGI in the source."""
        known = self.daemon.get("runtime-dir") or self.daemon.get("wrapper")
        return not (self.applications or self.externals or self.dynamic or known)


def why_not(kind: type, key: str, value: Any) -> str | None:
    """Return why the table *kind* of apps.toml cannot have *key* with *value*; None if it can."""
    option = _OPTIONS[kind].get(key)
    if option is None and key in LATER_KEYS:
        return f"{key} is not in this version of fcgipm"
    if option is None:
        return f"there is no {key} in this table of apps.toml"
    if not _is_unicode(value):
        return "it is not UTF-8, which apps.toml is"
    try:
        read(option, value)
    except ValueError as error:
        return str(error)
    return None


def _is_unicode(value: Any) -> bool:
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, Mapping):
        return all(_is_unicode(item) for pair in value.items() for item in pair)
    return not isinstance(value, list) or all(_is_unicode(item) for item in value)


_OPTIONS: Final[Mapping[type, Mapping[str, Option]]] = MappingProxyType(
    {
        kind: {key: option for key, option, _field in options(kind)}
        for kind in (Daemon, Application, Dynamic, Root, External)
    }
)
