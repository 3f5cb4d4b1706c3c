"""Nobody waits for what does not even die of SIGKILL, nor for a manager that cannot be started."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fcgipm.config.identity import own_identity
from fcgipm.config.schema import SECOND
from fcgipm.keeper.context import Context
from fcgipm.keeper.daemon.emptying import Emptying
from fcgipm.keeper.daemon.ending import Ending
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.instances.book import Book, Instance
from fcgipm.keeper.instances.strays import Strays
from fcgipm.keeper.listening.listener import Listener, Reach
from fcgipm.keeper.supervising.supervise import Supervisor
from fcgipm.linux import pidfd as pidfds
from fcgipm.linux.sock_diag import Diag, endpoint_of
from fcgipm.log import FileSink, Logger, open_file


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    log = Logger(FileSink(open_file(str(tmp_path / "log"))))
    config = SimpleNamespace(applications={})
    loaded: Any = SimpleNamespace(manager=own_identity(os.geteuid()), config=config)
    dispatch = Dispatch(log)
    with Diag() as diag:
        yield Context(dispatch, log, loaded, diag, (1024, 4096))
    dispatch.close()
    log.sink.close()


@pytest.fixture
def instance() -> Iterator[Instance]:
    """Give an instance of which nobody takes the end."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "99"], {})
    pidfd = os.pidfd_open(pid)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        where = ("127.0.0.1", sock.getsockname()[1])
        listener = Listener(
            app="one", generation=1, sock=sock, endpoint=endpoint_of(sock), names=None, where=where, reach=Reach.PUBLIC
        )
        yield Instance(
            number=1, app="one", generation=1, listener=listener, pid=pid, pidfd=pidfd, stdout=-1, stderr=-1,
            recipe="", start_time=0, starting=None, started_at=0,
        )  # fmt: skip
    os.waitpid(pid, 0)
    os.close(pidfd)


def test_a_third_signal_ends_the_waiting_for_the_dead(context: Context, instance: Instance, tmp_path: Path) -> None:
    book = Book()
    book.add(instance)
    supervisor = Supervisor(context, ["/bin/false"], lambda: pytest.fail("no manager"), lambda _order: None)
    emptying = Emptying(book, withdraw=lambda: None, retire=lambda _number: None)
    ending = Ending(context, book, Strays(context, book.is_leader), supervisor, emptying)

    ended = []
    for _ in range(3):
        ending.asked("SIGTERM")
        ended.append(context.dispatch.ended)

    assert ended == [False, False, True]
    assert ending.status == 1
    assert f"left behind: one/1 (pid {instance.pid})" in (tmp_path / "log").read_text()


def test_without_a_manager_instances_are_stopped_all_the_same(context: Context, instance: Instance) -> None:
    book = Book()
    book.add(instance)
    supervisor = Supervisor(context, ["/bin/false"], lambda: pytest.fail("no manager"), lambda _order: None)
    did: list[object] = []
    emptying = Emptying(book, withdraw=lambda: did.append("withdraw"), retire=did.append)
    ending = Ending(context, book, Strays(context, book.is_leader), supervisor, emptying)
    assert ending.deadline() is None

    before = time.monotonic_ns()
    ending.asked("SIGTERM")
    due = ending.deadline()
    assert due is not None
    assert 10 <= (due - before) / SECOND < 11  # longer than any manager takes to begin
    ended = []
    ending.expire(due)
    ended.append(context.dispatch.ended)
    book.remove(instance)  # it has ended
    ending.expire(due)
    ended.append(context.dispatch.ended)

    assert did == ["withdraw", 1]
    assert ended == [False, True]
    assert ending.status == 0
    pidfds.send(instance.pidfd, signal.SIGKILL)


def test_a_manager_that_gives_orders_is_left_to_do_it(context: Context, instance: Instance) -> None:
    book = Book()
    book.add(instance)
    supervisor = Supervisor(context, ["/bin/false"], lambda: pytest.fail("no manager"), lambda _order: None)
    emptying = Emptying(book, withdraw=lambda: pytest.fail("withdrawn"), retire=lambda _number: pytest.fail("retired"))
    ending = Ending(context, book, Strays(context, book.is_leader), supervisor, emptying)
    before = time.monotonic_ns()
    ending.asked("SIGTERM")
    supervisor.deaf_since = None

    due = ending.deadline()
    assert due is not None
    assert 15 <= (due - before) / SECOND < 16
    pidfds.send(instance.pidfd, signal.SIGKILL)
