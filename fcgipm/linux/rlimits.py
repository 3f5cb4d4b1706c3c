"""The limits of setrlimit(2) that this system has."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

LIMIT_NUMBERS: Final[Mapping[str, int]] = MappingProxyType(
    {
        name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
        for name in sorted(dir(resource))
        if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"  # BSD's name of nofile
    }
)
"""By the names that the configuration uses, their numbers for `resource.setrlimit`."""
