"""The end of every child is dealt with, whatever goes wrong with another's."""

from __future__ import annotations

import os

import pytest
from harness.waiting import until

from fcgipm.keeper.instances.book import Book
from fcgipm.keeper.instances.reaper import reap_all


def zombie() -> int:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
    return pid


def test_one_that_cannot_be_dealt_with_is_not_in_the_way_of_the_others() -> None:
    pids = [zombie() for _ in range(3)]
    seen: list[int] = []

    def take(pid: int) -> bool:
        seen.append(pid)
        if len(seen) == 1:
            raise OSError(24, "Too many open files")
        return False

    with pytest.raises(OSError, match="Too many"):
        reap_all(Book(), lambda _instance: None, take)

    assert sorted(seen) == sorted(pids)
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, 0)
