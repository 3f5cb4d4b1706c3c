"""Equal values as one object: applications are much alike, and the daemon keeps each of them for its whole life."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


class Once:
    """Returns for each value the first one that was equal to it: 1.2 of the 2.0 KB of a plain application go.

    Values are hashable, or tuples of values, or dicts of values that nobody changes any more.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def __call__(self, value: Any) -> Any:
        """Return *value*, or what is equal to it and of the same type."""
        key: Hashable
        if isinstance(value, tuple):
            value = tuple(map(self, value))
            key = (tuple, *map(id, value))  # each part is known by now, and so has an id that stays its own
        elif isinstance(value, dict):
            value = {self(name): self(item) for name, item in value.items()}
            key = (dict, *map(id, value), *map(id, value.values()))
        else:
            key = (type(value), value)
        return self._known.setdefault(key, value)
