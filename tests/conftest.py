"""Fixtures that all tests share; what they are made of is in `harness`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import psutil
import pytest
from harness.components import need
from harness.daemon import Daemon
from harness.leftovers import bound_sockets, end_all, holders
from harness.waiting import until

hypothesis.settings.register_profile("ci", derandomize=True, database=None, deadline=None, print_blob=True)
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers that are read below."""
    config.addinivalue_line("markers", "needs(*components): needs these components of the system (harness.components)")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here, with the reason; in CI a missing component is a failure."""
    if os.geteuid() != 0 and item.get_closest_marker("root"):
        pytest.skip("needs root by nature, and this is an ordinary user")
    for marker in item.iter_markers("needs"):
        for component in marker.args:
            need(component)


@pytest.fixture(scope="session")
def territory() -> Iterator[Path]:
    """Give the directory of all files and sockets of this process's tests, and prove at the end that nobody is there.

    The path is short, because that of a socket may have 107 bytes, and everybody may go through it, because managers
    and applications run as other users.
    """
    path = Path(tempfile.mkdtemp(prefix="f.", dir="/tmp"))  # not $TMPDIR: that may be long or private
    path.chmod(0o755)
    yield path
    left, sockets = holders(str(path)), bound_sockets(str(path))
    end_all(left)
    shutil.rmtree(path)
    assert not left, f"processes left behind: {left}"
    assert not sockets, f"sockets left behind: {sockets}"


@pytest.fixture(scope="session", autouse=True)
def _no_child_stays() -> Iterator[None]:
    """Prove that the tests of this process left no child behind."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    children = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    left = {child.pid: " ".join(_words(child)) for child in children}
    end_all(left)
    assert not left, f"children left behind: {left}"


def _words(process: psutil.Process) -> list[str]:
    try:
        return [process.status(), *process.cmdline()]
    except psutil.Error:
        return ["gone"]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Give a stack of what is to be closed after the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def place(territory: Path) -> Path:
    """Give an empty directory with a short path that every user may enter and read; the test's alone."""
    path = Path(tempfile.mkdtemp(prefix="", dir=territory))
    path.chmod(0o755)
    return path


@pytest.fixture
def start_daemon(territory: Path) -> Iterator[Callable[..., Daemon]]:
    """Give a function that starts fcgipm (see `Daemon`) and waits.

    ``start_daemon(apps, daemon="", wait="running", arguments=(), environ=None)``; *wait* is "running" (all instances
    ready), "answering" (the control socket is there) or "" (do not wait).  All are ended afterwards, and that nothing
    stays is proved.
    """
    started: list[Daemon] = []

    def start(apps: str, *, wait: str = "running", directory: Path | None = None, **more: object) -> Daemon:
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="", dir=territory))
            directory.chmod(0o755)
        daemon = Daemon(directory, apps, **more)  # type: ignore[arg-type]  # passed on as they are
        started.append(daemon)
        if wait == "running":
            daemon.wait_running()
        elif wait == "answering":
            daemon.wait_answering()
        return daemon

    yield start
    faults = []
    for daemon in reversed(started):
        try:
            daemon.clean_up()
        except AssertionError as error:
            faults.append(str(error))
    assert not faults, "\n".join(faults)


@pytest.fixture
def poll() -> Callable[..., object]:
    """Give `harness.waiting.until`."""
    return until
