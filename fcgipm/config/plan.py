"""Say what has to change between two configurations, for `apply`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fcgipm.config.loaded import Loaded
from fcgipm.config.option import options
from fcgipm.config.schema import Application, Change, Daemon, Dynamic, External, InstanceOptions

Table: TypeAlias = Application | Dynamic | External
Effect: TypeAlias = Change | Literal["added", "removed"]

_ENVIRONMENT = frozenset({"initial-env", "pass-env", "env-file", "allowed-clients"})
_IDENTITY = frozenset({"user", "group", "groups"})


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One difference: the application (None: the daemon), the key ("" for all of it), what it takes to apply it.

    The table [dynamic] is called "dynamic", as no application can be; what its changes do to a script that is known
    already shows when that script's definition is made again.
    """

    app: str | None
    key: str
    effect: Effect


def compare(old: Loaded, new: Loaded) -> tuple[KeyChange, ...]:
    """Return all differences: of the daemon first, then of applications by name, keys in the order of the schema.

    Also found are differences that no key shows: another content of env-file, another value of a passed variable,
    another membership in the user database.
    """
    changes = [KeyChange(None, key, effect) for key, effect in _differing(old.config.daemon, new.config.daemon)]
    told = {change.key for change in changes}
    changes += [
        KeyChange(None, key, option.change)
        for key, option, item in options(Daemon)
        if item.name in new.pending and key not in told
    ]
    for name in sorted(old.config.applications.keys() | new.config.applications.keys()):
        before, after = old.config.applications.get(name), new.config.applications.get(name)
        found = _of_table(name, before, after)
        if before is not None and after is not None:
            found += _unseen(name, old, new, {change.key for change in found})
        changes += found
    changes += _of_dynamic(old, new)
    return (*changes, *_of_externals(old.config.externals, new.config.externals))


def _of_dynamic(old: Loaded, new: Loaded) -> list[KeyChange]:
    before, after = old.config.dynamic, new.config.dynamic
    found = _of_table("dynamic", before, after)
    if before is not None and after is not None:
        told = {change.key for change in found}
        found += _environment("dynamic", after, (old.dynamic_environment, new.dynamic_environment), told)
    return found


def _of_externals(old: Mapping[str, External], new: Mapping[str, External]) -> list[KeyChange]:
    names = sorted(old.keys() | new.keys())
    return [change for name in names for change in _of_table(name, old.get(name), new.get(name))]


def _of_table(name: str, old: Table | None, new: Table | None) -> list[KeyChange]:
    if old is None or new is None:
        return [] if old is new else [KeyChange(name, "", "added" if old is None else "removed")]
    return [KeyChange(name, key, effect) for key, effect in _differing(old, new)]


def _unseen(name: str, old: Loaded, new: Loaded, told: set[str]) -> list[KeyChange]:
    environments = old.environments[name], new.environments[name]
    found = _environment(name, new.config.applications[name], environments, told)
    if old.identities[name] != new.identities[name] and told.isdisjoint(_IDENTITY):
        found.append(KeyChange(name, "user", Change.GENERATION))
    return found


def _environment(
    name: str, table: InstanceOptions, environments: tuple[Mapping[str, str], Mapping[str, str]], told: set[str]
) -> list[KeyChange]:
    if environments[0] == environments[1] or not told.isdisjoint(_ENVIRONMENT):
        return []
    return [KeyChange(name, "pass-env" if table.env_file is None else "env-file", Change.GENERATION)]


def _differing(old: object, new: object) -> Iterator[tuple[str, Change]]:
    for key, option, item in options(type(new)):
        if getattr(old, item.name) != getattr(new, item.name):
            yield key, option.change
