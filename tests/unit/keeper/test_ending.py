"""Whoever asks a third time does not wait for what does not even die of SIGKILL."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness.instances import recipe

from fcgipm.config.identity import own_identity
from fcgipm.keeper.book import Book, Instance
from fcgipm.keeper.context import Context
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.ending import Ending
from fcgipm.keeper.listener import Listener
from fcgipm.keeper.strays import Strays
from fcgipm.keeper.supervise import Supervisor
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
            app="one", generation=1, sock=sock, endpoint=endpoint_of(sock), names=None, where=where, published=True
        )
        yield Instance(
            number=1, app="one", generation=1, listener=listener, pid=pid, pidfd=pidfd, stdout=-1, stderr=-1,
            recipe=recipe("/bin/sleep"), starting=None, started_at=0,
        )  # fmt: skip
    os.waitpid(pid, 0)
    os.close(pidfd)


def test_a_third_signal_ends_the_waiting_for_the_dead(context: Context, instance: Instance, tmp_path: Path) -> None:
    book = Book()
    book.add(instance)
    supervisor = Supervisor(context, ["/bin/false"], lambda: pytest.fail("no manager"), lambda _order: None)
    ending = Ending(context, book, Strays(context, book.is_leader), supervisor)

    ended = []
    for _ in range(3):
        ending.asked("SIGTERM")
        ended.append(context.dispatch.ended)

    assert ended == [False, False, True]
    assert ending.status == 1
    assert f"left behind: one/1 (pid {instance.pid})" in (tmp_path / "log").read_text()
