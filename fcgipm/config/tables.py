"""Sort the keys of the files into tables of known options, whatever their spelling.

Keys of the schema may be written in any case, with ``-`` or ``_`` or neither; names of applications, variables and
limits are literal.  What is unknown, written twice, or of a later version becomes a problem here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fcgipm.config.lines import KeyPath
from fcgipm.config.option import Kind, options
from fcgipm.config.problems import Report, Where
from fcgipm.config.quantities import shown
from fcgipm.config.schema import LATER_KEYS, RESERVED_NAMES, Application, Daemon, Dynamic, External, Probe, Root
from fcgipm.config.sources import Source
from fcgipm.config.values import APP_NAMES, may_be_named

NOT_YET = "not in this version"

_TOP = ("fcgipm", "defaults", "app", "external", "dynamic", "include")
_HISTORIC = {"singlethreshhold": "single-threshold", "multithreshhold": "multi-threshold"}
"""The misspelling that was in mod_fastcgi's documentation for years."""

_TABLES = {"fcgipm": Daemon, "defaults": Application, "dynamic": Dynamic}
_NAMED = {"app": Application, "external": External}
_TITLES = {Daemon: "[fcgipm]", Application: "[app.NAME]", Dynamic: "[dynamic]", External: "[external.NAME]"}

_INNER = {Kind.ROOTS: Root, Kind.PROBE: Probe}
"""Options whose value is a table, or a list of them, with options of its own."""

_ONE_SOCKET = "each script has a Unix socket of its own, below runtime-dir"
_NOT_DYNAMIC = {
    "address": _ONE_SOCKET,
    "allowed-clients": _ONE_SOCKET,
    "autostart": "a script is started when somebody comes",
    "command": "a script is its own program; roots say where scripts lie",
    "directory": "a script is started in its own directory",
    "on-failure": "a script that nobody declared does not end the daemon",
    "port": _ONE_SOCKET,
    "probe": "no request is answered by all scripts alike",
    "processes": "max-class-processes says how many instances a script may have, max-processes how many all together",
    "socket": _ONE_SOCKET,
    "uri": "each of the roots has its own",
}
"""What [app.NAME] has and [dynamic] has not, and why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One written value: what TOML made of it, where it is, the places of a table's own keys, the tables of a list."""

    value: Any
    where: Where
    within: Mapping[str, Where] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()


@dataclass(slots=True)
class Table:
    """One table of the files: its place and its entries by the option's key."""

    where: Where
    entries: dict[str, Entry] = field(default_factory=dict)
    misspelt: bool = False
    """Whether it has keys that nobody knows, one of which may be a required one."""


@dataclass(slots=True)
class Tables:
    """Everything that the files say."""

    daemon: Table
    defaults: Table
    dynamic: Table | None = None
    applications: dict[str, Table] = field(default_factory=dict)
    externals: dict[str, Table] = field(default_factory=dict)


def gather(sources: Sequence[Source], report: Report) -> Tables:
    """Return the tables of all *sources*; what is wrong with their keys goes to *report*."""
    return _Gatherer(report).gather(sources)


def is_usable_name(name: str) -> bool:
    """Whether an application may be called *name*."""
    return may_be_named(name) and name not in RESERVED_NAMES


def keys_of(table: type) -> dict[str, str]:
    """Return the keys of *table*'s options by their squashed spelling."""
    keys = {squashed(key): key for key, _option, _field in options(table)}
    return keys | {historic: key for historic, key in _HISTORIC.items() if squashed(key) in keys}


def squashed(key: str) -> str:
    """Return *key* without what does not matter in it."""
    return key.lower().replace("-", "").replace("_", "")


def nearest(key: str, known: Iterable[str]) -> str:
    """Return a hint at the one of *known* that *key* may have meant, or an empty text."""
    import difflib  # noqa: PLC0415  # only where something is wrong, so that the keeper stays small

    by_spelling = {squashed(item): item for item in known}
    found = difflib.get_close_matches(squashed(key), list(by_spelling), n=1, cutoff=0.6)
    return f"; did you mean {by_spelling[found[0]]!r}?" if found else ""


class _Gatherer:
    def __init__(self, report: Report) -> None:
        self.report = report
        self.tables = Tables(Table(Where("", None, "fcgipm")), Table(Where("", None, "defaults")))
        self.seen: dict[str, Where] = {}

    def gather(self, sources: Sequence[Source]) -> Tables:
        for source in sources:
            self._file(source)
        for table in (self.tables.daemon, self.tables.defaults):
            if not table.where.file and sources:
                table.where = Where(sources[0].file, None, table.where.path)
        return self.tables

    def _file(self, source: Source) -> None:
        spelt: dict[str, str] = {}
        for key, value in source.content.items():
            where, name = source.where(key), key.lower()
            if name in spelt:
                self.report.problem(where, f"is written twice, as {spelt[name]!r} and as {key!r}")
            elif name not in _TOP:
                self._stray(key, where)
            elif name != "include" and not isinstance(value, dict):
                self.report.problem(where, f"{shown(value)} is not a table")
            else:
                self._top(name, source, key, value)
            spelt[name] = key

    def _stray(self, key: str, where: Where) -> None:
        hint = nearest(key, _TOP)
        known = keys_of(Application) | keys_of(Dynamic) | keys_of(Daemon)
        if not hint and squashed(key) in known:
            hint = f"; {known[squashed(key)]!r} belongs into a table such as [app.NAME], [defaults] or [fcgipm]"
        self.report.problem(where, f"unknown table or key{hint}")

    def _top(self, name: str, source: Source, key: str, value: Any) -> None:
        if name in _TABLES:
            where = source.where(key)
            if self._first(name, where):
                table = self._table(source, (key,), value, _TABLES[name])
                self._keep(name, table)
        elif name in _NAMED:
            target = self.tables.applications if name == "app" else self.tables.externals
            for item, content in value.items():
                table_of_item = self._named(source, (key, item), content, _NAMED[name])
                if table_of_item is not None:
                    target[item] = table_of_item

    def _keep(self, name: str, table: Table) -> None:
        if name == "fcgipm":
            self.tables.daemon = table
        elif name == "defaults":
            self.tables.defaults = self._inheritable(table)
        else:
            self.tables.dynamic = table

    def _named(self, source: Source, keys: tuple[str, str], content: Any, kind: type) -> Table | None:
        where, name = source.where(*keys), keys[1]
        if not isinstance(content, dict):
            hint = f"; a key belongs into a table [{keys[0]}.NAME]"
            self.report.problem(where, f"{shown(content)} is not a table{hint}")
            return None
        if not may_be_named(name):
            self.report.problem(where, f"{shown(name)} cannot name an application; allowed: {APP_NAMES}")
        elif name in RESERVED_NAMES:
            self.report.problem(where, f"{name!r} is reserved for fcgipm itself; call it something else")
        if not self._first(name, where, other_kind=True):
            return None
        return self._table(source, keys, content, kind)

    def _first(self, name: str, where: Where, *, other_kind: bool = False) -> bool:
        """Whether nothing was called *name* before; else it is a problem."""
        label = f"application {name}" if other_kind else name
        first = self.seen.setdefault(label, where)
        if first is where:
            return True
        place = first.file if first.line is None else f"{first.file}:{first.line}"
        self.report.problem(where, f"is defined twice: here and as {first.path} in {place}")
        return False

    def _inheritable(self, table: Table) -> Table:
        inherits = {key: option.inherits for key, option, _field in options(Application)}
        for key in [key for key in table.entries if not inherits[key]]:
            entry = table.entries.pop(key)
            self.report.problem(entry.where, "[defaults] cannot give this; it belongs into each [app.NAME]")
        return table

    def _table(self, source: Source, keys: KeyPath, content: Mapping[str, Any], kind: type) -> Table:
        table = Table(source.where(*keys))
        known = keys_of(kind)
        inner = {key: _INNER[option.kind] for key, option, _field in options(kind) if option.kind in _INNER}
        for place, value in _flattened(content):
            spelling = ".".join(place)
            where = source.where(*keys, *place)
            key = known.get(squashed(spelling))
            if key is None:
                table.misspelt = True
                self.report.problem(where, _unknown(spelling, kind, known.values()))
            elif key in table.entries:
                self.report.problem(where, f"is written twice: also as {table.entries[key].where.path}")
            else:
                here = (*keys, *place)
                within = self._tables_in(source, here, value, inner[key]) if key in inner else ()
                table.entries[key] = Entry(value, where, _places(source, here, value), within)
        return table

    def _tables_in(self, source: Source, keys: KeyPath, value: Any, kind: type) -> tuple[Table, ...]:
        if kind is Probe:
            return (self._table(source, keys, value, kind),) if isinstance(value, dict) else ()
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            return ()  # which is told when the value is read
        return tuple(self._table(source, (*keys, index), item, kind) for index, item in enumerate(value))


def _places(source: Source, keys: KeyPath, value: Any) -> dict[str, Where]:
    return {name: source.where(*keys, name) for name in value} if isinstance(value, dict) else {}


def _flattened(content: Mapping[str, Any]) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Yield key paths and values; ``fastcgi.debug`` is one key of lighttpd's, though TOML makes a table of it."""
    for key, value in content.items():
        if squashed(key) == "fastcgi" and isinstance(value, dict):
            for inner, item in value.items():
                yield (key, inner), item
        else:
            yield (key,), value


def _unknown(spelling: str, kind: type, known: Iterable[str]) -> str:
    plain = squashed(spelling)
    if plain in {squashed(key) for key in LATER_KEYS}:
        return NOT_YET
    if kind is Dynamic:
        why = next((why for key, why in _NOT_DYNAMIC.items() if squashed(key) == plain), None)
        if why is not None:
            return f"cannot be given here: {why}"
        if plain in keys_of(Root):
            return "unknown key here; it belongs into one of the roots: roots = [{ path = … }]"
    if kind is Probe:
        return f"unknown key here{nearest(spelling, known)}; allowed: {', '.join(sorted(known))}"
    for other, title in _TITLES.items():
        if other is not kind and plain in keys_of(other):
            return f"unknown key here; it belongs into {title}"
    return f"unknown key{nearest(spelling, known)}"
