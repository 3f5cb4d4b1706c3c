"""Kill an instance whatever it does, and whatever can be seen of it."""

from __future__ import annotations

import signal

from fcgipm.keeper import retire
from fcgipm.keeper.book import Instance
from fcgipm.keeper.session import Process
from fcgipm.linux import pidfd as pidfds


def cut(instance: Instance) -> int:
    """Kill *instance*, its children too, and return how many connections were cut, as far as is seen."""
    if instance.starting is None:
        try:
            return retire.cut(Process(instance.pid, instance.pidfd), instance.listener.endpoint)
        except OSError:
            pass  # /proc cannot be read: its children are found as strays, or end with their pipes
    pidfds.send(instance.pidfd, signal.SIGKILL)
    return 0
