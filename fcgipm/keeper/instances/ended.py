"""How a process has ended: our child, or one that we have adopted."""

from __future__ import annotations

import contextlib
from typing import Final

from fcgipm.linux import pidfd as pidfds
from fcgipm.linux import procfs

UNKNOWN: Final = pidfds.Ended(None, None, dumped=False)


def collect(pid: int, start_time: int, pidfd: int) -> pidfds.Ended:
    """Return how the process, which has ended, did so; a child is reaped."""
    try:
        return pidfds.reap(pidfd) or UNKNOWN
    except ChildProcessError:
        return end_of_other(pid, start_time, pidfd)


def end_of_other(pid: int, start_time: int, pidfd: int | None) -> pidfds.Ended:
    """Return how a process that is not our child has ended, as far as that is still to be known."""
    with contextlib.suppress(OSError):
        status = procfs.exit_status(pid, start_time)
        if status is not None:
            return pidfds.ended_with(status)
    # Its parent has asked, and the kernel may tell whoever has held it since before.
    return UNKNOWN if pidfd is None else pidfds.end_of_other(pidfd)


def worded(end: pidfds.Ended) -> str:
    """Return *end* for people."""
    if end.signal is not None:
        return f"signal {end.signal}"
    return "how is not known" if end.code is None else f"exit status {end.code}"
