"""Remove instances as the manager orders it, and tell what became of each attempt."""

from __future__ import annotations

import contextlib
import signal
import time

from fcgipm import wire
from fcgipm.keeper.context import Context
from fcgipm.keeper.instances import retire
from fcgipm.keeper.instances.book import Book, Instance
from fcgipm.keeper.instances.cutting import cut
from fcgipm.keeper.instances.session import Process
from fcgipm.keeper.listening.listener import Listener


class Removals:
    """Carries out the order `wire.Retire`."""

    def __init__(self, context: Context, book: Book) -> None:
        self._context = context
        self._book = book
        self._said: dict[str, str] = {}
        """By application: why one of its instances could not be looked into, which is said once."""

    def retire(self, order: wire.Retire) -> None:
        """Try once to remove an instance, and tell what became of it."""
        instance = self._book.get(order.instance)
        if instance is None:
            if order.instance > self._book.highest or order.instance < 1:
                self._context.deny("Retire", f"there is no instance {order.instance}")
            self._refused(order.instance, retire.Result.GONE.value)
        elif order.cut:
            self._cut(instance)
        else:
            self._try(instance)

    def _refused(self, number: int, why: str) -> None:
        self._context.reporter.report(wire.RemovalRefused(instance=number, why=why, at=time.monotonic_ns()))

    def _removed(self, number: int, how: str, connections: int, waiting: int = 0) -> None:
        now = time.monotonic_ns()
        report = wire.Removed(instance=number, how=how, connections=connections, waiting=waiting, at=now)
        self._context.reporter.report(report)

    def _cut(self, instance: Instance) -> None:
        connections = cut(instance, self._book.judge_of(instance))
        self._removed(instance.number, "cut", connections, self._left_behind(instance.listener))

    def _left_behind(self, listener: Listener) -> int:
        """Return how many wait where nobody comes to any more, as far as is seen."""
        if listener.published or listener.is_shared or listener.canary:
            return 0
        with contextlib.suppress(OSError):
            queue = self._context.diag.queue(listener.endpoint)
            return 0 if queue is None else queue.waiting
        return 0

    def _try(self, instance: Instance) -> None:
        if instance.starting is not None:
            self._refused(instance.number, retire.Result.UNSTOPPABLE.value)
            return
        listener = instance.listener
        app = self._context.application(instance.app)
        try:
            result = retire.try_removal(
                Process(instance.pid, instance.pidfd),
                listener.endpoint,
                published=listener.published or listener.is_shared,
                last=self._is_last(instance, listener),
                asked=instance.asked,
                stop_signal=signal.SIGTERM if app is None else app.stop_signal,
                is_leader=self._book.judge_of(instance),
            )
        except OSError as error:
            self.complain(instance, f"{error.strerror or error}")
            result = retire.Result.UNSTOPPABLE
        else:
            self._said.pop(instance.app, None)
        if not result.removed:
            self._refused(instance.number, result.value)
            return
        if result is retire.Result.ASKED:
            instance.asked = True
            self._context.keeping.changed()
        self._removed(instance.number, result.value, 0)

    def complain(self, instance: Instance | None, why: str) -> None:
        """Say that *instance* cannot be removed now, unless that was said of another one of its application."""
        if instance is not None and self._said.get(instance.app) != why:
            self._said[instance.app] = why
            text = f"cannot look into {instance.name}: {why}; it serves on, and is tried again until that passes"
            self._context.say("warning", text, app=instance.app)

    def _is_last(self, instance: Instance, listener: Listener) -> bool:
        """Return whether nobody else is left on *listener* who goes on serving."""
        if listener.instances == 1:
            return True
        others = (other for other in self._book if other.listener is listener and other is not instance)
        return all(other.asked for other in others)
