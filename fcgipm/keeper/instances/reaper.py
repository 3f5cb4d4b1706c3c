"""Children that have ended: instances, the manager, and strays that came to us because we are their subreaper.

A child is looked at before it is waited for.  Until it is waited for its number is its own, so nobody's end is ever
taken for another's.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from fcgipm.keeper.instances.book import Book, Instance
from fcgipm.linux import pidfd as pidfds


def reap_all(book: Book, instance_ended: Callable[[Instance], None], manager_ended: Callable[[int], bool]) -> None:
    """Deal with every child that has ended; *manager_ended* returns whether the pid was the manager and is reaped.

    What one of them raises is raised when all have been dealt with.
    """
    errors: list[Exception] = []
    while (found := _ended_child()) is not None:
        pid, code = found
        try:
            if code not in pidfds.ENDS:
                _end_traced(pid)
                continue
            instance = book.of_pid(pid)
            if instance is not None:
                instance_ended(instance)
            elif not manager_ended(pid):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        except Exception as error:  # noqa: BLE001  the others' ends must be told all the same
            errors.append(error)
            # It must not be found again and again.
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    if errors:
        raise errors[0]


def _end_traced(pid: int) -> None:
    """Kill a child that has asked to be traced and stands still for its tracer, whom it takes us for.

    Nobody traces instances.  Its stop would be told for ever, in front of the ends of all others.
    """
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    os.kill(pid, signal.SIGKILL)  # a child that is not waited for: the number is its own


def _ended_child() -> tuple[int, int] | None:
    """Return a child that has ended and is not waited for, and what is told of it."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else (found.si_pid, found.si_code)
