"""A keeper whose manager is the test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.keeper import Rig


@pytest.fixture
def rig(place: Path) -> Iterator[Callable[..., Rig]]:
    """Give a function that starts a keeper (see `Rig`), which ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(apps: str, *, directory: Path = place, **more: str) -> Rig:
            started = Rig(directory, apps, **more)
            stack.callback(started.stop)
            return started

        yield start
