"""Fixtures of the tests against the real kernel and real programs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.daemon import Daemon
from harness.systemd import Systemd

from fcgipm.linux import procfs


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Be the parent of orphans, as the keeper is: then a look at an instance costs little."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(36, 1, 0, 0, 0) == 0
    yield
    assert libc.prctl(36, 0, 0, 0, 0) == 0
    for pid in procfs.children(os.getpid()):
        os.waitpid(pid, 0)  # all were killed


@pytest.fixture
def systemd(start_daemon: Callable[..., Daemon], place: Path) -> Iterator[Systemd]:
    """Give somebody in systemd's place, for one service; see `Systemd`."""
    manager = Systemd(place, start_daemon)
    yield manager
    manager.close()
