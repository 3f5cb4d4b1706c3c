"""A new manager does not wait for what does not come to its exec."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from harness.waiting import ended

from fcgipm.keeper.context import Context
from fcgipm.keeper.instances import spawn
from fcgipm.keeper.instances.book import Book, Instance
from fcgipm.keeper.instances.starting import Starting
from fcgipm.keeper.listening.listener import Listener, Reach


@pytest.fixture
def stuck() -> Iterator[list[Instance]]:
    """Give children that say nothing of their way to exec."""
    made, pipes = [], []
    for number in (1, 2, 3):
        pid = os.posix_spawn("/bin/sleep", ["sleep", "99"], {})
        pipes.append(os.pipe())
        starting = spawn.Starting(pid, os.pidfd_open(pid), pipes[-1][0], -1, -1)
        unused: Any = None
        listener = Listener(
            app="one", generation=1, sock=unused, endpoint=unused, names=None, where=None, reach=Reach.PUBLIC
        )
        fields: dict[str, Any] = {"listener": listener, "recipe": "", "start_time": 0, "starting": starting}
        fields |= {"pid": pid, "pidfd": starting.pidfd, "stdout": -1, "stderr": -1, "started_at": 0}
        made.append(Instance(number=number, app="one", generation=1, **fields))
    yield made
    for instance in made:
        os.kill(instance.pid, signal.SIGKILL)
        os.waitpid(instance.pid, 0)
        os.close(instance.pidfd)
    for pair in pipes:
        for descriptor in pair:
            os.close(descriptor)


def test_all_together_have_a_second(stuck: list[Instance]) -> None:
    book = Book()
    for instance in stuck:
        book.add(instance)
    nobody: dict[str, Any] = dict.fromkeys(("listeners", "dynamic", "outputs", "strays", "progress"))
    unused: Any = None
    context = Context(unused, unused, unused, unused, (1024, 4096))
    starting = Starting(context, book, **nobody)
    begun = time.monotonic()

    late = starting.settle()

    assert time.monotonic() - begun < 2.9  # one after the other they would have three
    assert all(instance.hidden for instance in book)
    for instance in stuck:
        ended(instance.pid)
    starting.unsettle(late)
    assert late == stuck
    assert not any(instance.hidden for instance in book), "a manager that stays after all hears of their ends"
