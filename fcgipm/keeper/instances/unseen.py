"""Connections that the kernel's tables do not show: those of visitors from another network name space.

An accepted Unix socket belongs to the name space of its client, such as a web server in a container beside ours, and
only there it is listed.  The process that holds it is our instance, so it is found among its descriptors.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from fcgipm.config.schema import MILLISECOND, Duration
from fcgipm.keeper.instances import session, use
from fcgipm.keeper.instances.book import Instance
from fcgipm.keeper.instances.session import IsLeader
from fcgipm.linux.sock_diag import Diag
from fcgipm.wire import MAX_UNSEEN

_LIMIT: Final[Duration] = 50 * MILLISECOND
"""For so long the keeper's other work waits at most, and a few milliseconds for the last instance."""
_SHARE: Final = 10
"""Of the keeper's time, this part at most is spent on looking: one tenth."""


class Unseen:
    """Looks for such connections, and takes its time after that."""

    def __init__(self) -> None:
        self._again_at = 0

    def find(self, instances: Iterable[Instance], is_leader: IsLeader, diag: Diag) -> tuple[int, ...] | None:
        """Return the inodes of such connections, at most `MAX_UNSEEN`, as far as they can be seen at all.

        None: it is too early for another look.
        """
        begun = time.monotonic_ns()
        if begun < self._again_at:
            return None
        found: set[int] = set()
        for instance in instances:
            if instance.starting is None and instance.listener.names is not None:
                pids = [stat.pid for stat in session.members(instance.pid, is_leader if instance.is_child else None)]
                found.update(use.unseen(instance.pid, pids, instance.listener.endpoint, diag))
            if len(found) >= MAX_UNSEEN or time.monotonic_ns() - begun > _LIMIT:
                break
        ended = time.monotonic_ns()
        self._again_at = ended + (ended - begun) * (_SHARE - 1)
        return tuple(sorted(found)[:MAX_UNSEEN])
