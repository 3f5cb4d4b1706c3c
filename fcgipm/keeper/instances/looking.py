"""Look at instances until they are ready."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from fcgipm import wire
from fcgipm.config.schema import SECOND
from fcgipm.keeper.context import Context
from fcgipm.keeper.instances import readiness
from fcgipm.keeper.instances.book import Book, Instance
from fcgipm.linux import procfs

if TYPE_CHECKING:
    from fcgipm.keeper.daemon.progress import Progress

_LATER: Final = 1 * SECOND
"""Until the next look at an instance that could not be looked at."""


class Looks:
    """The looks at all instances that are not seen to be ready."""

    def __init__(self, context: Context, book: Book, progress: Progress) -> None:
        self._context = context
        self._book = book
        self._progress = progress
        self._watched: dict[int, Instance] = {}
        """By number."""
        self._unseen: dict[str, str] = {}
        """By application: why one of them could not be looked at, which is said once."""

    def __len__(self) -> int:
        return len(self._watched)

    def begin(self, instance: Instance) -> None:
        """Look at *instance*, which was executed at its *started_at*, if its application is still there."""
        app = self._context.application(instance.app)
        if app is not None:
            instance.watch = readiness.Watch(started=instance.started_at, ready_timeout=app.ready_timeout)
            self._watched[instance.number] = instance

    def end(self, instance: Instance) -> None:
        """Look at *instance* no more: it has ended."""
        self._watched.pop(instance.number, None)

    def deadline(self) -> int | None:
        """Return when the next look is due."""
        return min((item.watch.next_look for item in self._watched.values() if item.watch is not None), default=None)

    def expire(self, now: int) -> None:
        """Look at the instances that are due."""
        due = [item for item in self._watched.values() if item.watch is not None and item.watch.next_look <= now]
        processes = list(procfs.processes()) if len(due) > 1 else None
        for instance in due:
            try:
                endpoint, judge = instance.listener.endpoint, self._book.judge_of(instance)
                seen = readiness.look(instance.pid, endpoint, among=processes, is_leader=judge)
            except OSError as error:
                self._look_later(instance, error)
                continue
            # The time after the look: looking at many takes long, and the next one must lie in the future.
            how = None if instance.watch is None else instance.watch.step(time.monotonic_ns(), seen)
            if how is not None:
                self._ready(instance, how)

    def _look_later(self, instance: Instance, error: OSError) -> None:
        if instance.watch is not None:
            instance.watch.next_look = time.monotonic_ns() + _LATER
        why = f"{error.strerror or error}"
        if self._unseen.get(instance.app) != why:
            self._unseen[instance.app] = why
            text = f"cannot see whether {instance.name} is ready: {why}; it is looked at each second"
            self._context.say("warning", text, app=instance.app)

    def _ready(self, instance: Instance, how: str) -> None:
        self._unseen.pop(instance.app, None)
        del self._watched[instance.number]
        instance.watch = None
        instance.ready, instance.ready_at = how, time.monotonic_ns()
        self._context.keeping.changed(later=True)
        report = wire.BecameReady(instance=instance.number, how=how, at=instance.ready_at)
        self._context.reporter.report(report)
        if not instance.turns_away:
            self._progress.ready(instance.app)
