"""A keeper that is killed, and another one in its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness.daemon import Daemon


@pytest.fixture
def start_again(start_daemon: Callable[..., Daemon]) -> Callable[..., Daemon]:
    """Give a function that starts another daemon over what a killed one has left; it waits, as `start_daemon` does.

    ``start_again(daemon, apps=None, ...)``: with *apps* the configuration is another one.
    """

    def start(daemon: Daemon, apps: str | None = None, **more: object) -> Daemon:
        return start_daemon(daemon.apps if apps is None else apps, directory=daemon.directory, **more)

    return start
