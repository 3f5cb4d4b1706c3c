"""What a new manager is told: the definitions without secrets, and the keeper's books."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Final

from fcgipm import wire
from fcgipm.codec import to_json
from fcgipm.config.definitions import to_definition
from fcgipm.config.schema import Application, Daemon, External
from fcgipm.keeper.rights import access_of

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded


def definitions_of(loaded: Loaded) -> wire.Definitions:
    """Return the configuration as the manager gets it.

    What has its default value is left out, which the manager fills in again: that makes it a tenth as large.
    """
    config = loaded.config
    return wire.Definitions(
        daemon=_sparse(config.daemon),
        applications=tuple(_sparse(app) for app in config.applications.values()),
        externals=tuple(_sparse(external) for external in config.externals.values()),
        access=access_of(config.daemon),
    )


def _sparse(table: Application | External | Daemon) -> dict[str, Any]:
    definition, defaults = to_definition(table), _DEFAULTS[type(table)]
    return {name: value for name, value in definition.items() if name not in defaults or defaults[name] != value}


def _defaults(kind: type[Any]) -> dict[str, Any]:
    """Return the defaults of a table's fields, as JSON."""
    found = {}
    for item in fields(kind):
        if item.default is not MISSING:
            found[item.name] = to_json(item.default)
        elif item.default_factory is not MISSING:
            found[item.name] = to_json(item.default_factory())
    return found


_DEFAULTS: Final[Mapping[type[Any], Mapping[str, Any]]] = {
    kind: _defaults(kind) for kind in (Application, Daemon, External)
}
