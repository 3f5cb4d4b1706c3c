"""Numbers with their nouns, for every message."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Return *number* with its noun: ``1 problem``, ``0 requests``; *many* where that is not *one* with an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"
