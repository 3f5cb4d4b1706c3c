"""Instances from fork to exec, and their end."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from fcgipm import wire
from fcgipm.config.schema import MILLISECOND, SECOND, Application
from fcgipm.keeper.context import Context
from fcgipm.keeper.daemon.progress import Progress
from fcgipm.keeper.instances import ended, spawn
from fcgipm.keeper.instances.book import Book, Instance
from fcgipm.keeper.instances.interpreter import what_is_missing
from fcgipm.keeper.instances.looking import Looks
from fcgipm.keeper.instances.outputs import Outputs
from fcgipm.keeper.instances.recipe import Recipe, recipe_of, recipe_of_refuser
from fcgipm.keeper.instances.shortage import is_one
from fcgipm.keeper.instances.spawn import SpawnError
from fcgipm.keeper.instances.spawn import Starting as Child
from fcgipm.keeper.keeping.state import digest_of
from fcgipm.keeper.listening.listeners import Listeners
from fcgipm.keeper.listening.sockets import SocketError
from fcgipm.keeper.roots.undeclared import Undeclared
from fcgipm.linux import pidfd as pidfds
from fcgipm.linux import procfs

if TYPE_CHECKING:
    from fcgipm.keeper.instances.strays import Strays
    from fcgipm.keeper.listening.listener import Listener

_SETTLING: Final = SECOND
"""How long all that are between fork and exec may take to it when a new manager is waiting for that."""

_RECENT: Final = 8
"""Of so many generations on a listener that all share the recipes are kept."""


class Starting:
    """Spawns instances, has them looked at, and takes note of their ends."""

    def __init__(
        self,
        context: Context,
        book: Book,
        *,
        listeners: Listeners,
        dynamic: Undeclared,
        outputs: Outputs,
        strays: Strays,
        progress: Progress,
    ) -> None:
        self._context = context
        self._book = book
        self._listeners = listeners
        self._dynamic = dynamic
        self._outputs = outputs
        self._strays = strays
        self._progress = progress
        self._recipes: dict[tuple[str, int], Recipe] = {}
        """By application and generation: a generation keeps what it began with, whatever is configured later."""
        self.one_less: Callable[[], None] = lambda: None
        """Called when an instance has ended that was not our child."""
        self.looks = Looks(context, book, progress)
        """Sees that they become ready."""
        self.began: Callable[[str], None] = lambda _app: None
        """Called with the application of which a generation begins."""

    def forget_recipes(self, app: str | None = None) -> None:
        """Forget those of generations, of *app* or of all, that nothing is left of."""
        living = {(instance.app, instance.generation) for instance in self._book}
        published = {(listener.app, listener.generation) for listener in self._listeners.known if listener.published}
        kept = living | published | self._recent()
        for key in [key for key in self._recipes if key not in kept and app in {None, key[0]}]:
            del self._recipes[key]

    def _recent(self) -> set[tuple[str, int]]:
        """Return those of which a listener that all share does not tell whether they are begun again.

        It has the number of the latest; while a change is given up halfway, that is not the one that holds.
        """
        shared = {listener.app for listener in self._listeners.known if listener.is_shared and listener.published}
        found: dict[str, list[int]] = {}
        for app, generation in self._recipes:
            if app in shared:
                found.setdefault(app, []).append(generation)
        return {(app, generation) for app, those in found.items() for generation in sorted(those)[-_RECENT:]}

    def fact(self, instance: Instance) -> wire.InstanceFact:
        """Return what a new manager must know of *instance*."""
        app = None if instance.turns_away else self._context.application(instance.app)
        return instance.fact(outdated=app is not None and instance.recipe != digest_of(self._recipe_now(app)))

    def digest(self, app: Application) -> str:
        """Return by what the definition of *app* is told from another one, as far as a wish depends on it."""
        parts = (digest_of(self._recipe_now(app)), app.socket, app.address, app.port, app.least, app.most)
        return digest_of((*parts, app.autostart))

    def spawn(self, app: Application, order: wire.Spawn) -> None:
        """Begin to start an instance of *app*, or what turns its visitors away; what becomes of it is reported."""
        self._book.highest = max(self._book.highest, order.instance)
        try:
            if order.canary:
                listener = self._listeners.canaries.make(app, order.generation, order.instance)
            else:
                listener = self._listeners.of(app, order.generation)
        except (SocketError, LookupError, OSError) as error:
            self.failed(app.name, order.instance, "socket", str(error), shortage=is_one(error))
            return
        try:
            self._listeners.take(listener)
            self._begin(app, order, listener)
        except SpawnError as error:
            self._listeners.leave(listener)
            self.failed(app.name, order.instance, error.step, error.error, shortage=error.shortage)
        except (OSError, MemoryError) as error:
            self._listeners.leave(listener)
            text = error.strerror if isinstance(error, OSError) and is_one(error) else str(error)
            self.failed(app.name, order.instance, "preparing it", text or "no memory", shortage=is_one(error))

    def _begin(self, app: Application, order: wire.Spawn, listener: Listener) -> None:
        # What is looked at between fork and exec costs a copy of its page: what can be worked out before is.
        if order.turns_away is None:
            with self._dynamic.checked(app) as script:
                recipe = self._recipe(app, order.generation)
                digest = digest_of(recipe)
                starting = spawn.begin(recipe, listener.fileno(), script, held=True)
        else:
            loaded, nofile = self._context.loaded, self._context.nofile
            recipe = recipe_of_refuser(loaded, order.turns_away, order.above, nofile=nofile)
            digest = digest_of(recipe)
            starting = spawn.begin(recipe, listener.fileno(), held=True)
        try:
            self._enter(app, order, listener, digest, starting)
        except (OSError, MemoryError):
            spawn.abandon(starting)
            raise

    def _enter(self, app: Application, order: wire.Spawn, listener: Listener, recipe: str, starting: Child) -> None:
        instance = Instance(
            number=order.instance,
            app=app.name,
            generation=order.generation,
            listener=listener,
            pid=starting.pid,
            pidfd=starting.pidfd,
            stdout=starting.stdout_fd,
            stderr=starting.stderr_fd,
            recipe=recipe,
            start_time=procfs.stat(starting.pid).started,
            turns_away=order.turns_away is not None,
            starting=starting,
            started_at=time.monotonic_ns(),
        )
        self._context.dispatch.watch(starting.status_fd, lambda: self._finish(instance))
        self._book.add(instance)
        self._context.keeping.when_written(lambda: _release(instance))

    def _recipe(self, app: Application, generation: int) -> Recipe:
        key = app.name, generation
        if key not in self._recipes:
            self.forget_recipes(app.name)
            self._recipes[key] = self._recipe_now(app)
            self.began(app.name)
        return self._recipes[key]

    def _recipe_now(self, app: Application) -> Recipe:
        return recipe_of(app, self._context.loaded, nofile=self._context.nofile)

    def failed(self, app: str, number: int, step: str, error: str, *, shortage: bool = False) -> None:
        """Report that instance *number* of *app* is not started, because of *error*, for a *shortage* or not."""
        self._progress.failed(app, f"cannot spawn {app}/{number}: {step}: {error}")
        at = time.monotonic_ns()
        report = wire.SpawnFailed(instance=number, step=step, error=error, at=at, shortage=shortage)
        self._context.reporter.report(report)

    def _finish(self, instance: Instance) -> None:
        """Take note of how the way to exec has ended."""
        starting = instance.starting
        assert starting is not None, instance.name
        self._context.dispatch.forget(starting.status_fd)
        instance.starting = None
        try:
            spawn.finish(starting)
        except SpawnError as error:
            self._book.remove(instance)
            self._listeners.leave(instance.listener)
            if not instance.hidden:
                self.failed(
                    instance.app, instance.number, error.step, self._why(error, instance.app), shortage=error.shortage
                )
            return
        instance.started_at = now = time.monotonic_ns()
        self._context.keeping.changed()
        if instance.hidden:
            return  # killed, and nobody waits for it
        report = wire.Spawned(instance=instance.number, pid=instance.pid, at=now)
        self._context.reporter.report(report, (instance.stdout, instance.stderr))
        self.looks.begin(instance)
        self._watch_output(instance)

    def _why(self, error: SpawnError, name: str) -> str:
        """Return why an instance is not started; of a program that is there also what that needs and has not."""
        if not error.not_found:
            return error.error
        app = self._context.application(name)
        root = "" if app is None or app.chroot is None else app.chroot.rstrip("/")
        missing = what_is_missing(error.not_found, root)
        return f"{error.error} ({missing})" if missing else error.error

    def _watch_output(self, instance: Instance) -> None:
        try:
            self._outputs.add(instance)
        except OSError as error:
            text = f"the output of {instance.name} cannot be watched: {error}; unread, it blocks the instance"
            self._context.say("warning", text, app=instance.app)

    def adopt(self, instance: Instance) -> None:
        """Take up an instance that was executed for another keeper, or for us in another program."""
        self._book.add(instance)
        instance.listener.instances += 1
        if not instance.is_child:
            self._context.dispatch.watch(instance.pidfd, lambda: self._has_gone(instance))
        if instance.ready is not None:
            self._progress.spare(instance.app)
        else:
            self.looks.begin(instance)
        self._watch_output(instance)

    def drop_canaries(self) -> None:
        """Kill canaries: what they were to prove nobody waits for any more, and no visitor is there."""
        for instance in self._book:
            if instance.listener.canary:
                pidfds.send(instance.pidfd, signal.SIGKILL)
                instance.hidden = True

    def settle(self) -> list[Instance]:
        """Finish what is between fork and exec: a new manager knows instances only, or hears nothing of them.

        What does not come there in time is killed and kept out of everything that a manager is told; it is returned.
        """
        late = []
        self._context.keeping.settle()  # else they would wait for that
        deadline = time.monotonic_ns() + _SETTLING
        for instance in self._book:
            if instance.starting is None or instance.hidden:
                continue
            poller = select.poll()
            poller.register(instance.starting.status_fd, select.POLLIN)
            if poller.poll(max(0, deadline - time.monotonic_ns()) // MILLISECOND):
                self._finish(instance)
            else:
                pidfds.send(instance.pidfd, signal.SIGKILL)
                instance.hidden = True
                late.append(instance)
        return late

    def unsettle(self, late: Iterable[Instance]) -> None:
        """Let the ends of those that `settle` has killed be told: the manager that has ordered them stays."""
        for instance in late:
            instance.hidden = False

    # ── ended ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _has_gone(self, instance: Instance) -> None:
        """Take note of the end of one that is not our child: no signal tells of it."""
        self.ended(instance)
        self.one_less()

    def ended(self, instance: Instance) -> None:
        """Reap *instance*, which has ended, and report how."""
        if instance.starting is not None:
            self._finish(instance)
            if self._book.get(instance.number) is None:
                return
        try:
            self._strays.look(instance)
        except OSError as error:  # whatever /proc hides, the end must be told
            text = f"cannot see what has outlived {instance.name}: {error}; it serves on until the next one ends"
            self._context.say("warning", text, app=instance.app)
        finally:
            end = ended.collect(instance.pid, instance.start_time, instance.pidfd)
            self._book.remove(instance)
            self.looks.end(instance)
            if not instance.hidden:
                self._report_end(instance, end)
        self._outputs.remove(instance)
        self._context.dispatch.forget(instance.pidfd)
        for descriptor in (instance.stdout, instance.stderr, instance.pidfd):
            os.close(descriptor)
        self._listeners.leave(instance.listener)
        self._dynamic.left(instance.app)

    def _report_end(self, instance: Instance, end: pidfds.Ended) -> None:
        now = time.monotonic_ns()
        report = wire.Exited(instance=instance.number, code=end.code, signal=end.signal, dumped=end.dumped, at=now)
        self._context.reporter.report(report)
        if instance.ready is None and not instance.turns_away:
            why = f"{instance.name} ended before it was ready: {ended.worded(end)}"
            self._progress.failed(instance.app, why)


def _release(instance: Instance) -> None:
    """Let it be executed: it is written down."""
    if instance.starting is not None:
        spawn.release(instance.starting)
