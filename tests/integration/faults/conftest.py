"""Fixtures of the faults: a daemon with an application that visitors come to, and one that nobody does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.scene import Scene
from harness.daemon import Daemon

LONG = os.environ.get("CHAOS") == "full"
"""Whether faults last as long as they may."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests time: they wait for what happens seconds after a fault."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture
def scene(start_daemon: Callable[..., Daemon], place: Path) -> Iterator[Callable[..., Scene]]:
    """Give a function (kind, tcp=False, **keys of the table) that starts a daemon with the application "app"."""
    started: list[Scene] = []

    def start(*words: Any, **keys: Any) -> Scene:
        started.append(Scene(start_daemon, place, *words, **keys))
        return started[-1]

    yield start
    for each in started:
        each.end()
