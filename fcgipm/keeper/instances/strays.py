"""Processes that outlive their instance: children of a php-cgi that was killed, and the like.

They would serve on the listener for ever, and nobody would know.  Each is removed as an instance is: frozen, looked
at, killed if it serves nobody, and cut when stop-timeout is over.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.keeper.context import Context
from fcgipm.keeper.instances import retire, session
from fcgipm.keeper.instances.book import Instance
from fcgipm.keeper.instances.session import Process
from fcgipm.keeper.keeping.state import KeptStray
from fcgipm.keeper.listening.listener import Listener
from fcgipm.linux import pidfd as pidfds
from fcgipm.linux import procfs

_FIRST_PAUSE: Final = 20 * MILLISECOND
_LONGEST_PAUSE: Final = 1 * SECOND
_DEFAULT_PATIENCE: Final = 30 * SECOND
"""Where the application is not defined any more."""


@dataclass(slots=True)
class _Stray:
    process: Process
    started: int
    listener: Listener
    name: str
    due: int
    pause: int
    cut_at: int


class Strays:
    """Removes what is left of ended instances."""

    def __init__(self, context: Context, is_known: Callable[[int], bool]) -> None:
        """*is_known* tells whether a pid is that of an instance or of the manager."""
        self._context = context
        self._is_known = is_known
        self._all: list[_Stray] = []

    def look(self, instance: Instance) -> None:
        """Take charge of what is left of *instance*, whose leader has ended and is not waited for yet.

        That is what has come to us as an orphan, in whatever session, and serves on the same listener; what is in the
        session of another instance belongs to that one.
        """
        now = time.monotonic_ns()
        app = self._context.application(instance.app)
        patience = _DEFAULT_PATIENCE if app is None else app.stop_timeout
        # Those of one that was adopted come to somebody else; what it held proves whose they are.
        orphans = session.orphans(self._is_ours) if instance.is_child else procfs.processes()
        for stat in orphans:
            others = stat.session != instance.pid and (self._is_ours(stat.session) or not instance.is_child)
            if others or self._is_ours(stat.pid) or stat.state in "ZX" or not _serves(stat.pid, instance.listener):
                continue
            process = session.hold(stat)
            if process is not None:
                stray = _Stray(
                    process, stat.started, instance.listener, instance.name, now, _FIRST_PAUSE, now + patience
                )
                self._all.append(stray)
                self._context.keeping.changed()
                text = f"pid {stat.pid} has outlived {instance.name}; it is removed when it serves nobody"
                self._context.say("info", text, app=instance.app)

    def adopt(self, process: Process, started: int, listener: Listener, *, name: str, cut_at: int | None) -> None:
        """Take charge of what the keeper before us has known of, or what has lost its instance since."""
        now = time.monotonic_ns()
        app = self._context.application(listener.app)
        patience = _DEFAULT_PATIENCE if app is None else app.stop_timeout
        self._all.append(_Stray(process, started, listener, name, now, _FIRST_PAUSE, cut_at or now + patience))
        self._context.keeping.changed()
        text = f"pid {process.pid} has outlived {name}; it is removed when it serves nobody"
        self._context.say("info", text, app=listener.app)

    def _is_ours(self, pid: int) -> bool:
        """Return whether *pid* is known to belong where it is."""
        return self._is_known(pid) or any(stray.process.pid == pid for stray in self._all)

    def kept(self) -> tuple[KeptStray, ...]:
        """Return all of them as they are written down."""
        return tuple(
            KeptStray(
                pid=stray.process.pid,
                start_time=stray.started,
                listener=stray.listener.endpoint.inode,
                name=stray.name,
                cut_at=stray.cut_at,
            )
            for stray in self._all
        )

    def deadline(self) -> int | None:
        """Return when the next attempt is due."""
        return min((stray.due for stray in self._all), default=None)

    def expire(self, now: int) -> None:
        """Try to remove those that are due."""
        for stray in list(self._all):
            if stray.due <= now and self._is_done_with(stray, now):
                os.close(stray.process.pidfd)
                self._all.remove(stray)
                self._context.keeping.changed()

    def kill_all(self) -> None:
        """Kill all of them, at the end of the daemon."""
        for stray in self._all:
            pidfds.send(stray.process.pidfd, signal.SIGKILL)
            os.close(stray.process.pidfd)
        self._all.clear()

    def _is_done_with(self, stray: _Stray, now: int) -> bool:
        if pidfds.has_ended(stray.process.pidfd):
            return True
        endpoint = stray.listener.endpoint
        if now >= stray.cut_at:
            connections = retire.cut(stray.process, endpoint, self._is_known)
            text = f"pid {stray.process.pid}, which outlived {stray.name}, was killed; {connections} connections cut"
            self._context.say("warning", text, app=stray.listener.app)
            return True
        try:
            result = retire.try_removal(
                stray.process, endpoint, published=True, last=False, asked=True, stop_signal=signal.SIGTERM,
                is_leader=self._is_known,
            )  # fmt: skip
        except OSError:
            result = retire.Result.BUSY
        stray.due = min(time.monotonic_ns() + stray.pause, stray.cut_at)
        stray.pause = min(2 * stray.pause, _LONGEST_PAUSE)
        return result.removed or result is retire.Result.GONE


def _serves(pid: int, listener: Listener) -> bool:
    """Return whether a process can take visitors: a background job that an application has started cannot."""
    try:
        return procfs.socket_inode(procfs.descriptors(pid).get(0)) == listener.endpoint.inode
    except PermissionError:
        return True
    except OSError:
        return False
