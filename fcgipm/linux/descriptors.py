"""Several descriptors at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

LAST_STANDARD: Final = 2
"""Standard error: above it is what a process has opened itself."""


def copies(numbers: Iterable[int]) -> tuple[int, ...]:
    """Return a copy (close-on-exec) of each descriptor; raise OSError where one cannot be made, with none left."""
    made: list[int] = []
    try:
        made.extend(os.dup(number) for number in numbers)
    except OSError:
        close_all(made)
        raise
    return tuple(made)


def close_all(numbers: Iterable[int]) -> None:
    """Close each of *numbers*."""
    for number in numbers:
        os.close(number)
