"""What a new manager is told: the definitions without secrets, and the keeper's books."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fcgipm import wire
from fcgipm.config.definitions import to_definition
from fcgipm.keeper.rights import access_of

if TYPE_CHECKING:
    from fcgipm.config.load import Loaded


def definitions_of(loaded: Loaded) -> wire.Definitions:
    """Return the configuration as the manager gets it."""
    config = loaded.config
    return wire.Definitions(
        daemon=to_definition(config.daemon),
        applications=tuple(to_definition(app) for app in config.applications.values()),
        externals=tuple(to_definition(external) for external in config.externals.values()),
        access=access_of(config.daemon),
    )
