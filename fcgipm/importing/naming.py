"""Names for applications that had none: from a program's or a request's name, valid, and each only once."""

from __future__ import annotations

import re
from typing import Final

from fcgipm.config.schema import RESERVED_NAMES

_FOREIGN: Final = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_ENDING: Final = re.compile(r"\.(?:fcgi?|fpl|cgi|pl|py|php|sh|exe)$", re.ASCII | re.IGNORECASE)
_LONGEST: Final = 40
"""Less than is allowed: the name is a part of the socket's path, which is short."""


class Names:
    """Names that have been given."""

    def __init__(self) -> None:
        self._given: set[str] = set(RESERVED_NAMES)
        self._next: dict[str, int] = {}

    def give(self, wish: str) -> str:
        """Return a name like the last component of the path *wish* that nothing else has."""
        last = _FOREIGN.sub("-", wish.rstrip("/").rpartition("/")[2]).lstrip("._-")
        plain = _ENDING.sub("", last)[:_LONGEST].rstrip(".-") or "app"
        name, number = plain, self._next.get(plain, 2)
        while name in self._given:
            name = f"{plain}-{number}"
            number += 1
        self._next[plain] = number
        self._given.add(name)
        return name
