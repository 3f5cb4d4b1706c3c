"""Read the values of a table and of [defaults] into a draft: what was written, where, and what was wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field
from typing import Any

from fcgipm.config.option import Kind, Option, options
from fcgipm.config.problems import Report, Where
from fcgipm.config.schema import Application, Probe, Root
from fcgipm.config.tables import Entry, Table
from fcgipm.config.values import read

_MERGED = frozenset({Kind.ENVIRONMENT, Kind.LIMITS, Kind.EXTENSIONS})
"""Tables: those of [defaults] and of the application merge key by key."""

_EMPTY: Mapping[Kind, Any] = {Kind.COMMAND: (), Kind.PATH: "", Kind.REQUEST: ""}
"""What stands for a required value that was not written."""


@dataclass(slots=True)
class Draft:
    """One table on its way to a dataclass of the schema."""

    name: str
    where: Where
    values: dict[str, Any] = field(default_factory=dict)
    """By field: what was written, later also what defaults were found to be."""
    places: dict[str, Where] = field(default_factory=dict)
    """By field: where it was written; only written ones are here."""
    inherited: set[str] = field(default_factory=set)
    """Those of the written fields that were written in [defaults] only."""
    broken: set[str] = field(default_factory=set)
    """Fields whose value could not be read; what depends on them is not checked."""
    parts: list[Draft] = field(default_factory=list)
    """The roots of [dynamic]."""

    def at(self, name: str) -> Where:
        """Return the place that is to blame for the value of field *name*."""
        return self.places.get(name) or self.where.key(name.replace("_", "-"))

    def sound(self, *names: str) -> bool:
        """Whether none of the fields *names* is broken."""
        return self.broken.isdisjoint(names)

    def fill(self, name: str, value: Any) -> None:
        """Give field *name* its default *value*, unless it was written."""
        if self.values.get(name) is None:
            self.values[name] = value


class Reader:
    """Reads tables into drafts; *defaults* is the table [defaults], read once."""

    def __init__(self, defaults: Table, report: Report) -> None:
        self._report = report
        self._defaults = Draft("", defaults.where)
        self._read_table(self._defaults, defaults, Application)

    def draft(self, name: str, table: Table, kind: type, *, inherits: bool = True) -> Draft:
        """Return the draft of *table*, an instance of *kind* called *name*; bad values go to the report."""
        draft = Draft(name, table.where)
        self._read_table(draft, table, kind)
        for _key, option, item in options(kind):
            if inherits and option.inherits:
                self._inherit(draft, option, item.name)
            if _is_required(option, item) and item.name not in draft.values | dict.fromkeys(draft.broken):
                draft.broken.add(item.name)
                if not table.misspelt:  # else the misspelt key, a problem already, may be this one
                    self._report.problem(draft.at(item.name), "is required")
        _fill_plain_defaults(draft, kind)
        return draft

    def _inherit(self, draft: Draft, option: Option, name: str) -> None:
        if name in self._defaults.broken and name not in draft.values:
            draft.broken.add(name)
        if name not in self._defaults.values:
            return
        if option.kind in _MERGED and name not in draft.broken:
            draft.values[name] = {**self._defaults.values[name], **draft.values.get(name, {})}
            draft.places.setdefault(name, self._defaults.places[name])
        elif name not in draft.values and name not in draft.broken:
            draft.values[name] = self._defaults.values[name]
            draft.places[name] = self._defaults.places[name]
            draft.inherited.add(name)

    def _read_table(self, draft: Draft, table: Table, kind: type) -> None:
        for key, option, item in options(kind):
            entry = table.entries.get(key)
            if entry is not None:
                self._read_entry(draft, entry, option, item.name)

    def _read_entry(self, draft: Draft, entry: Entry, option: Option, name: str) -> None:
        if option.kind in _MERGED and isinstance(entry.value, dict):
            self._read_members(draft, entry, option, name)
            return
        if option.kind is Kind.ROOTS:
            draft.parts = [self.draft("", table, Root, inherits=False) for table in entry.tables]
        try:
            value = read(option, entry.value)
            draft.values[name] = self._probe(draft, entry) if option.kind is Kind.PROBE else value
            draft.places[name] = entry.where
        except ValueError as error:
            draft.broken.add(name)
            self._report.problem(entry.where, str(error))

    def _probe(self, draft: Draft, entry: Entry) -> Probe | None:
        (part,) = (self.draft("", table, Probe, inherits=False) for table in entry.tables)
        if part.broken:
            draft.broken.add("probe")
            return None
        return Probe(**part.values)

    def _read_members(self, draft: Draft, entry: Entry, option: Option, name: str) -> None:
        """Read a table one key at a time, so that each bad key is told with its own line."""
        members: dict[str, Any] = {}
        for key, value in entry.value.items():
            try:
                members |= read(option, {key: value})
            except ValueError as error:
                self._report.problem(entry.within.get(key, entry.where), str(error))
        draft.values[name] = members
        draft.places[name] = entry.where


def _is_required(option: Option, item: Field[Any]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING and option.kind in _EMPTY


def _fill_plain_defaults(draft: Draft, kind: type) -> None:
    for _key, option, item in options(kind):
        if item.default is not MISSING:
            draft.values.setdefault(item.name, item.default)
        elif item.default_factory is not MISSING:
            draft.values.setdefault(item.name, item.default_factory())
        elif option.kind in _EMPTY:
            draft.values.setdefault(item.name, _EMPTY[option.kind])
