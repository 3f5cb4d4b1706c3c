"""The applications' listening sockets: made, published, given up.

A Unix application has a listener for each generation, of which one is published; a TCP application, and one whose
socket systemd has opened, has one for all, which is always public.  A listener stays while it is published or has
instances; after that it is watched for `LATE` more, because a connection may have been on its way to it.

A listener without instances, public or old, is watched until somebody comes; that is told once.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import SECOND, Application
from fcgipm.keeper.context import Context
from fcgipm.keeper.keeping.state import KeptListener
from fcgipm.keeper.listening import rights, sockets
from fcgipm.keeper.listening.canaries import Canaries, connection_to
from fcgipm.keeper.listening.guard import Guard
from fcgipm.keeper.listening.listener import Listener, Vigil
from fcgipm.keeper.listening.making import Files, Making
from fcgipm.keeper.listening.place import Places
from fcgipm.keeper.listening.sockets import SocketError
from fcgipm.keeper.listening.vigils import Vigils

LATE: Final = 60 * SECOND
"""How long an old listener without instances is kept for late-comers."""


class Listeners:
    """All listeners of applications."""

    def __init__(self, context: Context, guard: Guard, places: Places) -> None:
        self._context = context
        self._making = Making(context, guard, places)
        self.vigils = Vigils(context)
        self.canaries = Canaries(context, guard, places)
        self._all: list[Listener] = []
        self._highest: dict[str, int] = {}
        """The highest generation that each application has had."""

    def __iter__(self) -> Iterator[Listener]:
        return iter(list(self._all))

    # ── making ───────────────────────────────────────────────────────────────────────────────────────────────────

    def make(self, app: Application, generation: int) -> Listener:
        """Return a new listener of *app*: bound, not yet published.  It is not in the books: see `enter`."""
        return self._making.make(app, generation, self._all)

    def take_back(self, kept: KeptListener, sock: socket.socket, *, stored: str = "") -> Listener:
        """Enter the listener that *kept* tells of and *sock* is; raise `SocketError` where it can be reached no more.

        *stored* is the name under which systemd keeps it.
        """
        listener = self._making.take_back(kept, sock)
        listener.stored = stored or kept.stored
        self.enter(listener)
        return listener

    def enter(self, listener: Listener) -> None:
        """Enter what `make` returned into the books."""
        for other in list(self._all):
            if other.app == listener.app and self._is_unused(other):
                self.close(other)  # a newer definition has come before anybody used it
        self.restore(listener)

    def restore(self, listener: Listener, *, highest: int = 0) -> None:
        """Enter a listener that another keeper has made; its application has had generations up to *highest*."""
        self._all.append(listener)
        self._context.store.put(listener)
        self._context.keeping.changed()
        self._highest[listener.app] = max(listener.generation, self.highest(listener.app), highest)
        self._making.learn(listener)
        if listener.names is not None:
            app = listener.app
            try:
                listener.names.watch(lambda level, topic, text: self._context.tell(level, topic, text, app=app))
            except OSError as error:
                text = f"{listener.public} cannot be watched: {error.strerror}; if it is deleted, it stays so"
                self._context.say("warning", text, app=listener.app)

    def why_not_found(self) -> str:
        """Return which listener would not be found again by its path, and why; empty where all would be."""
        lost = (one for one in self._all if one.names is not None and not one.names.is_in_place())
        return next((f"the directory of {one.public} was replaced; a restart binds it anew" for one in lost), "")

    def discard(self, listener: Listener) -> None:
        """Undo `make`."""
        listener.close()
        if listener.names is not None:
            listener.names.remove()
        self._making.forget(listener.app, self._all)

    # ── finding ──────────────────────────────────────────────────────────────────────────────────────────────────

    def highest(self, app: str) -> int:
        """Return the highest generation that *app* has had, 0 if none."""
        return self._highest.get(app, 0)

    def generations(self) -> dict[str, int]:
        """Return the highest generation that each application has had."""
        return dict(self._highest)

    def published(self, app: str) -> Listener | None:
        """Return the public listener of *app* (of TCP: the latest)."""
        found = [listener for listener in self._all if listener.app == app and listener.published]
        return found[-1] if found else None

    def of_app(self, app: str) -> list[Listener]:
        """Return all listeners of *app*, the latest last."""
        return [listener for listener in self._all if listener.app == app]

    def of(self, app: Application, generation: int) -> Listener:
        """Return the listener of *generation*, made where it is missing; raise `SocketError`.

        A generation that was given up, or that lies before one that is there, is not made again.
        """
        mine = self.of_app(app.name)
        exact = next((listener for listener in mine if listener.generation == generation), None)
        if exact is not None:
            exact.published = exact.published or (exact.is_shared and exact.is_at(app))
            return exact
        if (latest := _shared(mine, app)) is not None:
            latest.generation = max(latest.generation, generation)
            self._highest[app.name] = max(self.highest(app.name), generation)
            latest.published = True  # nothing has to be done for that, and nothing can be undone
            self._context.keeping.changed()
            return latest
        waiting = next((listener for listener in mine if self._is_unused(listener)), None)
        if waiting is not None and waiting.public == app.socket:
            # Its number was a guess when an apply made it: the generation that it is for has its own.
            used = max((listener.generation for listener in mine if listener is not waiting), default=0)
            if generation > used:
                waiting.generation = self._highest[app.name] = generation
                return waiting
        if generation <= self.highest(app.name):
            raise SocketError(f"generation {generation} of {app.name} has no listener any more")
        listener = self.make(app, generation)
        self.enter(listener)
        return listener

    @staticmethod
    def _is_unused(listener: Listener) -> bool:
        """Return whether an apply has made the listener and nobody has used it yet."""
        return not listener.published and not listener.instances and listener.closes_at is None

    def connect(self, app: str, generation: int) -> socket.socket:
        """Return a connection to the listener of *generation* that nobody can reach yet, or to its canary's.

        A port of its own, to which the application moves, counts as such: web servers know of it only afterwards.
        Raises `SocketError` where there is none, OSError where it takes nobody.
        """
        mine = [*self.canaries.of(app, generation), *self.of_app(app)]
        found = next((one for one in mine if one.generation == generation and _is_apart(one)), None)
        if found is None:
            raise SocketError(f"generation {generation} of {app} has no listener that visitors cannot reach")
        return connection_to(found)

    def has_address(self, app: Application) -> bool:
        """Return whether *app* has a shared listener at its address already, from before it was removed."""
        mine = self.of_app(app.name)
        return _shared(mine, app) is not None

    def watch(self, listener: Listener) -> None:
        """Tell once, by `wire.SomebodyWaits`, when somebody comes to *listener*, whether it has instances or not."""
        self.vigils.arm(listener, Vigil.ORDERED)

    def awaited(self) -> list[wire.SomebodyWaits]:
        """Return what a new manager must be told again: where somebody has come, and no instance since."""
        awaited = [one for one in self._all if one.vigil is Vigil.AWAITED]
        return [wire.SomebodyWaits(app=one.app, generation=one.generation) for one in awaited]

    def facts(self) -> tuple[wire.ListenerFact, ...]:
        """Return all listeners for the manager; of TCP listeners of one application only the latest."""
        facts = {(listener.app, listener.generation): listener.fact() for listener in self._all}
        return tuple(facts.values())

    # ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────

    def publish(self, listener: Listener) -> None:
        """Make *listener* the public one of its application; raise `SocketError`, then the old one still is."""
        if listener.names is not None:
            listener.names.refuse_others(Files(self._all), self._context.diag)
            try:
                listener.names.publish()
            except OSError as error:
                raise SocketError(f"{listener.public}: {error.strerror}") from error
        before = [other for other in self._all if other.app == listener.app and other.published]
        ordered = any(other.vigil is Vigil.ORDERED for other in before)
        listener.published, listener.closes_at = True, None
        self._context.keeping.changed()
        for other in before:
            if other is not listener:
                self.withdraw(other, keep=listener.public)
        if ordered:
            self.vigils.arm(listener, Vigil.ORDERED)
        elif not listener.instances:
            self.vigils.arm(listener, Vigil.EMPTY)

    def withdraw_all(self, app: str) -> None:
        """Take all listeners of *app* away from the public; TCP cannot be, but it is closed after its instances."""
        for listener in self.of_app(app):
            if listener.published:
                self.withdraw(listener)

    def take_away(self, app: str) -> None:
        """Let nobody reach *app* any more, and report that: generation 0 is none at all."""
        listener = self.published(app)
        self.withdraw_all(app)
        address = "" if listener is None else listener.address
        fact = wire.ListenerFact(app=app, generation=0, address=address, bound=address, published=False)
        self._context.reporter.report(wire.Published(listener=fact, at=time.monotonic_ns()))

    def withdraw(self, listener: Listener, *, keep: str | None = None) -> None:
        """Take *listener* away from the public; its name is left alone where it is *keep*."""
        listener.published = False
        self._context.keeping.changed()
        self.vigils.end(listener)
        if listener.names is not None:
            listener.names.withdraw(keep=keep)
        if not listener.instances:
            self._give_up(listener)

    # ── instances ────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, listener: Listener) -> None:
        """Count one more instance on *listener*; the first one finds it blocking, whatever was done to it before."""
        listener.closes_at = None
        self._context.keeping.changed()
        if listener.vigil is not Vigil.ORDERED:
            self.vigils.end(listener)
        if listener.sock is not None and not any(one.instances for one in self._sharing(listener)):
            sockets.make_blocking(listener.sock)
        listener.instances += 1

    def leave(self, listener: Listener) -> None:
        """Count one instance less; a listener that nobody needs any more is watched for late-comers, then closed."""
        listener.instances -= 1
        if listener.instances:
            return
        if listener.canary:
            self.canaries.close(listener)
            return
        if listener.sock is None:
            self.close(listener)
            return
        if not listener.published or self.is_outdated(listener):
            self.withdraw(listener)
        elif listener.vigil is not Vigil.ORDERED:
            self.vigils.arm(listener, Vigil.EMPTY)

    def is_outdated(self, listener: Listener) -> bool:
        """Return whether the application has gone, or listens elsewhere by now."""
        app = self._context.application(listener.app)
        return app is None or not listener.is_at(app)

    def _sharing(self, listener: Listener) -> list[Listener]:
        """Return all listeners that are the same socket: one that is handed over is more than *listener* itself."""
        if not listener.is_shared:
            return [listener]
        return [other for other in self._all if other.endpoint == listener.endpoint]

    def _give_up(self, listener: Listener) -> None:
        if self._context.application(listener.app) is None or len(self._sharing(listener)) > 1 or listener.sock is None:
            self.close(listener)
            return
        listener.closes_at = time.monotonic_ns() + LATE
        self._context.keeping.changed()
        self.vigils.arm(listener, Vigil.EMPTY)

    # ── changing and ending ──────────────────────────────────────────────────────────────────────────────────────

    def change(self, app: Application) -> None:
        """Give all listeners of *app* the attributes and the queue that its definition has by now; raise OSError."""
        attributes = rights.attributes_of(app)
        for listener in self._all:
            if listener.app == app.name and listener.sock is not None and not listener.is_given:
                listener.sock.listen(app.listen_queue_depth)
                if listener.names is not None:
                    listener.names.change(attributes)

    def hold_back(self, app: Application) -> None:
        """Let visitors of *app* wait for the next daemon, at a listener without instances; raise `SocketError`.

        One that all generations share stays as it is.
        """
        listener = self.of(app, self.highest(app.name) + 1)
        if not listener.is_shared:
            self.publish(listener)

    def remove(self, app: str) -> None:
        """Take all listeners of *app* away from the public; each is closed when its last instance has gone."""
        for listener in self.of_app(app):
            self.withdraw(listener)

    def forget(self, app: str) -> None:
        """Let *app*, which is defined no more, begin with generation 1 again, unless a listener of it is left."""
        if all(other.app != app for other in self._all):
            self._highest.pop(app, None)

    def close(self, listener: Listener) -> None:
        """Close *listener* for good."""
        self._context.store.take_out(listener)
        self.vigils.end(listener)
        self._all.remove(listener)
        self._context.keeping.changed()
        if self._context.application(listener.app) is None:
            self.forget(listener.app)
        self._making.forget(listener.app, self._all)
        if listener.names is not None:
            listener.names.remove()
        listener.close()

    def let_go(self, listeners: Collection[Listener]) -> None:
        """Close *listeners* and leave their names alone: they are another keeper's again."""
        for listener in listeners:
            if listener in self._all:
                self._all.remove(listener)
                listener.close()

    def close_all(self) -> None:
        """Close everything, at the end of the daemon; visitors can go on to come to what systemd keeps."""
        for listener in list(self._all):
            if listener.outlives:
                self._leave_behind(listener)
            else:
                self.close(listener)
        self.canaries.close_all()

    def close_strange(self) -> None:
        """Close those without instances that are of no application."""
        for listener in list(self._all):
            if not listener.instances and self._context.application(listener.app) is None:
                self.close(listener)

    def _leave_behind(self, listener: Listener) -> None:
        self.vigils.end(listener)
        self._all.remove(listener)
        if listener.names is not None:
            listener.names.leave()
        listener.close()

    def deadline(self) -> int | None:
        """Return when the next old listener is to be closed."""
        return min((item.closes_at for item in self._all if item.closes_at is not None), default=None)

    def expire(self, now: int) -> None:
        """Close the old listeners to which nobody has come; where somebody waits, say so again."""
        for listener in list(self._all):
            if listener.closes_at is None or listener.closes_at > now:
                continue
            try:
                queue = self._context.diag.queue(listener.endpoint)
            except OSError as error:
                listener.closes_at = now + LATE
                text = f"cannot see whether somebody waits at {listener.address}: {error}; it is kept for longer"
                self._context.say("warning", text, app=listener.app)
                continue
            if queue is not None and queue.waiting:
                listener.closes_at = now + LATE
                self.vigils.tell(listener)
            else:
                self.close(listener)


def _shared(mine: Iterable[Listener], app: Application) -> Listener | None:
    """Return the one of *mine* that all generations of *app* use where its definition has its socket."""
    return next((listener for listener in mine if listener.is_shared and listener.is_at(app)), None)


def _is_apart(listener: Listener) -> bool:
    """Return whether only instances of its own generation are met at *listener*, and no visitors come to it yet."""
    return listener.where is not None or (listener.names is not None and not listener.published)
