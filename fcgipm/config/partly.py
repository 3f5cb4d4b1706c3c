"""Take over a part of a new configuration: the definitions of some applications, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from fcgipm.config.loaded import Loaded
from fcgipm.config.schema import Application


def partly(old: Loaded, new: Loaded, apps: Collection[str], *, without: Collection[str] = ()) -> Loaded:
    """Return *old* with the definitions that *apps* have in *new*; those that are not there are removed.

    Applications of *old* that are among *without* are left out, too.  See `why_not_partly`.
    """

    def mixed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, value in before.items():
            if name not in apps and name not in without:
                found[name] = value
            elif name in apps and name in after:
                found[name] = after[name]
        return found | {name: after[name] for name in apps if name in after}

    config = replace(old.config, applications=mixed(old.config.applications, new.config.applications))
    return replace(
        old,
        config=config,
        identities=mixed(old.identities, new.identities),
        environments=mixed(old.environments, new.environments),
        warnings=new.warnings,
    )


def unknown_among(old: Loaded, new: Loaded, apps: Collection[str]) -> list[str]:
    """Return those of *apps* that nobody defines: neither what holds nor what the file says by now."""
    known = [*old.config.applications, *new.config.applications, *new.config.externals]
    return [name for name in apps if name not in known]


def why_not_partly(old: Loaded, new: Loaded, apps: Collection[str]) -> list[str]:
    """Return why the definitions of *apps* in *new* cannot be beside those that others have in *old*."""
    problems = []
    for name in apps:
        before, after = old.config.applications.get(name), new.config.applications.get(name)
        if before is None and after is None:
            where = "is external, managed elsewhere" if name in new.config.externals else f"is not in {new.path}"
            problems.append(f"app.{name}: there is no such application to reload: it {where}")
        elif after is not None:
            problems += [
                f"app.{name}: {_place(after)} is still that of {other.name}, which has another in the file; "
                f"name {other.name}, too"
                for other in old.config.applications.values()
                if other.name not in apps and _place(other) == _place(after)
            ]
    return problems


def _place(app: Application) -> str:
    return str(app.socket) if app.port is None else f"{app.address} port {app.port}"
