"""The static policy: as many instances as configured, or as an operator said."""

from __future__ import annotations

from fcgipm.config.schema import Application


def wanted(definition: Application, scale: int | None) -> int:
    """Return how many instances a running application has; *scale* is the operator's word, None for no word."""
    return definition.least if scale is None else scale
