"""A manager that does not answer is replaced; the times are those of the rules, and nobody waits for them here."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness.waiting import ended

from fcgipm import wire
from fcgipm.config.identity import own_identity
from fcgipm.config.schema import SECOND
from fcgipm.keeper.context import Context
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.supervising.conversation import Handover
from fcgipm.keeper.supervising.launch import launch
from fcgipm.keeper.supervising.supervise import PATIENCE, Supervisor
from fcgipm.linux.sock_diag import Diag
from fcgipm.log import FileSink, Logger, open_file

DEAF = [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"]
SILENT = [*DEAF[:-1], "import os, signal; os.close(3); signal.pause()"]
"""It closes the wire, and stays."""
SNAPSHOT = wire.Snapshot(
    version="", pid=1, uid=0, started_at=0, started_unix=0.0, instances=(), listeners=(), notes={}, next_instance=1,
    definitions=wire.Definitions(daemon={}, applications=(), externals=(), dynamic=None, access={}), ending=None,
)  # fmt: skip


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    log = Logger(FileSink(open_file(str(tmp_path / "log"))), level="debug")
    loaded: Any = SimpleNamespace(manager=own_identity(os.geteuid()))
    with Diag() as diag:
        dispatch = Dispatch(log)
        context = Context(dispatch, log, loaded, diag, (1024, 4096))
        made = Supervisor(context, DEAF, lambda: Handover(SNAPSHOT, ()), lambda _order: None)
        yield made
        made.end()
        bury(made)
        dispatch.close()
    log.sink.close()


def bury(supervisor: Supervisor) -> None:
    """Kill the manager if it lives, and reap it."""
    pid = supervisor.pid
    if pid is not None:
        supervisor.kill()
        ended(pid)
        assert supervisor.ended(pid)


def test_a_manager_that_hears_nothing_for_60_s_is_killed(supervisor: Supervisor) -> None:
    supervisor.start()
    pid, due = supervisor.pid, supervisor.deadline()
    assert pid is not None
    assert due is not None
    assert PATIENCE == 60 * SECOND

    assert supervisor.report(wire.Begun())
    assert supervisor.deadline() == due  # the oldest counts

    supervisor.expire(due)
    ended(pid)
    assert not supervisor.report(wire.Begun())


def test_pauses_grow_to_30_s_and_the_first_restart_is_at_once(supervisor: Supervisor) -> None:
    for pause in (0, 1, 2, 4, 8, 16, 30, 30):
        supervisor.start()
        assert supervisor.pid is not None
        before = time.monotonic_ns()
        bury(supervisor)
        due = supervisor.deadline()
        assert due is not None
        assert before <= due - pause * SECOND <= time.monotonic_ns()


def test_pauses_grow_while_managers_cannot_be_started_however_long_ago_the_last_birth_was(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    supervisor.start()
    supervisor._born -= 61 * SECOND
    bury(supervisor)  # it has lived long: the next one is started at once
    supervisor._argv = ["/nonexistent"]

    pauses = (1, 2, 4, 8, 16, 30, 30, 30)
    for pause in pauses:
        before = time.monotonic_ns()
        supervisor.start()
        due = supervisor.deadline()
        assert due is not None
        assert before <= due - pause * SECOND <= time.monotonic_ns()

    assert (tmp_path / "log").read_text().count("cannot be started") == len(pauses)


def test_a_long_life_makes_the_next_start_immediate_again(supervisor: Supervisor) -> None:
    for _ in range(3):
        supervisor.start()
        bury(supervisor)
    supervisor.start()
    supervisor._born -= 61 * SECOND
    bury(supervisor)

    due = supervisor.deadline()
    assert due is not None
    assert due <= time.monotonic_ns()


def test_a_manager_that_reads_nothing_is_given_up_when_the_backlog_is_full(supervisor: Supervisor) -> None:
    supervisor.start()
    pid = supervisor.pid
    assert pid is not None
    text = "x" * 1_000_000

    taken = [supervisor.report(wire.Told(level="info", topic="", app=None, text=text)) for _ in range(12)]

    assert taken[0]
    assert not taken[-1]
    ended(pid)


@pytest.mark.parametrize("dismissed", [False, True])
def test_a_manager_that_closes_the_wire_and_does_not_end_is_killed_after_2_s(
    supervisor: Supervisor, dismissed: bool
) -> None:
    supervisor._argv = SILENT
    supervisor.start()
    pid, due = supervisor.pid, supervisor.deadline()
    assert pid is not None
    assert due is not None
    while due - time.monotonic_ns() > 2 * SECOND:
        supervisor._context.dispatch.step()
        due = supervisor.deadline()
        assert due is not None
    assert due > time.monotonic_ns()
    assert not supervisor.report(wire.Begun())
    if dismissed:
        supervisor.end()
        assert supervisor.deadline() == due

    supervisor.expire(due)
    assert supervisor.deadline() is None
    ended(pid)
    assert supervisor.ended(pid)
    assert (supervisor.deadline() is None) == dismissed  # no other follows when the daemon ends


def test_the_pause_before_the_next_start_is_cut_short_when_there_is_something_to_do(supervisor: Supervisor) -> None:
    for _ in range(3):
        supervisor.start()
        bury(supervisor)
    due = supervisor.deadline()
    assert due is not None
    assert due > time.monotonic_ns()

    supervisor.hurry()
    due = supervisor.deadline()
    assert due is not None
    assert due <= time.monotonic_ns()

    supervisor.end()
    supervisor.hurry()
    assert supervisor.deadline() is None


def test_what_cannot_be_executed_is_said_with_the_step(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor._argv = ["/nonexistent"]
    supervisor.start()

    assert not supervisor.is_alive
    assert "the manager cannot be started: exec /nonexistent: No such file" in (tmp_path / "log").read_text()
    assert supervisor.deadline() is not None


def test_one_that_was_started_before_is_dropped_where_it_cannot_be_told_what_there_is(supervisor: Supervisor) -> None:
    def fail() -> Handover:
        raise OSError("too many open files")

    supervisor.start()
    bury(supervisor)
    supervisor._handover = fail
    before = len(os.listdir("/proc/self/fd"))
    child = launch(DEAF, supervisor._context.loaded.manager, (1024, 4096))
    supervisor.start(child)

    assert not supervisor.is_alive
    assert supervisor.deadline() is not None  # another is started
    assert len(os.listdir("/proc/self/fd")) == before  # what is set aside may have other numbers
    ended(child.pid)
    os.waitpid(child.pid, 0)


def test_nothing_is_left_open_by_a_manager_that_has_ended(supervisor: Supervisor) -> None:
    supervisor.start()
    bury(supervisor)
    before = set(os.listdir("/proc/self/fd"))
    supervisor.start()
    bury(supervisor)

    assert set(os.listdir("/proc/self/fd")) == before
