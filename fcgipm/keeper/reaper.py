"""Children that have ended: instances, the manager, and strays that came to us because we are their subreaper.

A child is looked at before it is waited for.  Until it is waited for its number is its own, so nobody's end is ever
taken for another's.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from fcgipm.keeper.book import Book, Instance


def reap_all(book: Book, instance_ended: Callable[[Instance], None], manager_ended: Callable[[int], bool]) -> None:
    """Deal with every child that has ended; *manager_ended* returns whether the pid was the manager and is reaped."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        instance = book.of_pid(found.si_pid)
        if instance is not None:
            instance_ended(instance)
        elif not manager_ended(found.si_pid):
            os.waitid(os.P_PID, found.si_pid, os.WEXITED)
