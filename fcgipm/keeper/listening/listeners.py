"""The applications' listening sockets: made, published, given up.

A Unix application has a listener for each generation, of which one is published; a TCP application, and one whose
socket systemd has opened, has one for all, which is always public.  A listener stays while it is published or has
instances; after that it is watched for `LATE` more, because a connection may have been on its way to it.

A listener without instances, public or old, is watched until somebody comes; that is told once.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Collection
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import SECOND, Application
from fcgipm.keeper.context import Context
from fcgipm.keeper.keeping.state import KeptListener
from fcgipm.keeper.listening import rights, sockets
from fcgipm.keeper.listening.canaries import Canaries, connection_to
from fcgipm.keeper.listening.guard import Guard
from fcgipm.keeper.listening.listener import Listener, Reach, Vigil
from fcgipm.keeper.listening.making import Files, Making
from fcgipm.keeper.listening.place import Places
from fcgipm.keeper.listening.register import Register
from fcgipm.keeper.listening.sockets import SocketError
from fcgipm.keeper.listening.vigils import Vigils

LATE: Final = 60 * SECOND
"""How long an old listener without instances is kept for late-comers."""


class Listeners:
    """Makes, publishes and closes the listeners of applications; `known` are those that there are."""

    def __init__(self, context: Context, guard: Guard, places: Places) -> None:
        self._context = context
        self._making = Making(context, guard, places)
        self.vigils = Vigils(context)
        self.canaries = Canaries(context, guard, places)
        self.known = Register()

    # ── making ───────────────────────────────────────────────────────────────────────────────────────────────────

    def make(self, app: Application, generation: int) -> Listener:
        """Return a new listener of *app*: bound, not yet published.  It is not in the books: see `enter`."""
        return self._making.make(app, generation, list(self.known))

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
        for other in self.known.of_app(listener.app):
            if other.is_unused:
                self.close(other)  # a newer definition has come before anybody used it
        self.restore(listener)

    def restore(self, listener: Listener, *, highest: int = 0) -> None:
        """Enter a listener that another keeper has made; its application has had generations up to *highest*."""
        self.known.enter(listener, highest=highest)
        self._context.store.put(listener)
        self._context.keeping.changed()
        self._making.learn(listener)
        if listener.names is not None:
            app = listener.app
            try:
                listener.names.watch(lambda level, topic, text: self._context.tell(level, topic, text, app=app))
            except OSError as error:
                text = f"{listener.public} cannot be watched: {error.strerror}; if it is deleted, it stays so"
                self._context.say("warning", text, app=listener.app)

    def discard(self, listener: Listener) -> None:
        """Undo `make`."""
        listener.close()
        if listener.names is not None:
            listener.names.remove()
        self._making.forget(listener.app, list(self.known))

    # ── finding ──────────────────────────────────────────────────────────────────────────────────────────────────

    def of(self, app: Application, generation: int) -> Listener:
        """Return the listener of *generation*, made where it is missing; raise `SocketError`.

        A generation that was given up, or that lies before one that is there, is not made again.
        """
        mine = self.known.of_app(app.name)
        exact = next((one for one in mine if one.generation == generation and one.sock is not None), None)
        if exact is not None:
            if exact.is_shared and exact.is_at(app):
                exact.reach = Reach.PUBLIC
            return exact
        if (latest := self.known.shared(app)) is not None:
            latest.generation = max(latest.generation, generation)
            self.known.had(app.name, generation)
            latest.reach = Reach.PUBLIC  # nothing has to be done for that, and nothing can be undone
            self._context.keeping.changed()
            return latest
        waiting = next((listener for listener in mine if listener.is_unused), None)
        if waiting is not None and waiting.public == app.socket:
            # Its number was a guess when an apply made it: the generation that it is for has its own.
            used = max((listener.generation for listener in mine if listener is not waiting), default=0)
            if generation > used:
                self.known.renumber(waiting, generation)
                return waiting
        if generation <= self.known.highest(app.name):
            raise SocketError(f"generation {generation} of {app.name} has no listener any more")
        listener = self.make(app, generation)
        self.enter(listener)
        return listener

    def connect(self, app: str, generation: int) -> socket.socket:
        """Return a connection to the listener of *generation* that nobody can reach yet, or to its canary's.

        A port of its own, to which the application moves, counts as such: web servers know of it only afterwards.
        Raises `SocketError` where there is none, OSError where it takes nobody.
        """
        mine = [*self.canaries.of(app, generation), *self.known.of_app(app)]
        found = next((one for one in mine if one.generation == generation and _is_apart(one)), None)
        if found is None:
            raise SocketError(f"generation {generation} of {app} has no listener that visitors cannot reach")
        return connection_to(found)

    def watch(self, listener: Listener) -> None:
        """Tell once, by `wire.SomebodyWaits`, when somebody comes to *listener*, whether it has instances or not."""
        self.vigils.arm(listener, Vigil.ORDERED)

    # ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────

    def publish(self, listener: Listener) -> None:
        """Make *listener* the public one of its application; raise `SocketError`, then the old one still is."""
        if listener.names is not None:
            listener.names.refuse_others(Files(list(self.known)), self._context.diag)
            try:
                listener.names.publish()
            except OSError as error:
                raise SocketError(f"{listener.public}: {error.strerror}") from error
        before = [other for other in self.known.of_app(listener.app) if other.published]
        ordered = any(other.vigil is Vigil.ORDERED for other in before)
        listener.reach, listener.closes_at = Reach.PUBLIC, None
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
        for listener in self.known.of_app(app):
            if listener.published:
                self.withdraw(listener)

    def take_away(self, app: str) -> None:
        """Let nobody reach *app* any more, and report that: generation 0 is none at all."""
        listener = self.known.published(app)
        self.withdraw_all(app)
        address = "" if listener is None else listener.address
        fact = wire.ListenerFact(app=app, generation=0, address=address, bound=address, published=False)
        self._context.reporter.report(wire.Published(listener=fact, at=time.monotonic_ns()))

    def withdraw(self, listener: Listener, *, keep: str | None = None) -> None:
        """Take *listener* away from the public; its name is left alone where it is *keep*."""
        if listener.published:
            listener.reach = Reach.WITHDRAWN
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
        if listener.sock is not None and not any(one.instances for one in self.known.sharing(listener)):
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

    def _give_up(self, listener: Listener) -> None:
        if (
            self._context.application(listener.app) is None
            or listener.reach is Reach.HIDDEN  # nobody can be late who never could come
            or len(self.known.sharing(listener)) > 1
            or listener.sock is None
        ):
            self.close(listener)
            return
        listener.closes_at = time.monotonic_ns() + LATE
        self._context.keeping.changed()
        self.vigils.arm(listener, Vigil.EMPTY)

    # ── changing and ending ──────────────────────────────────────────────────────────────────────────────────────

    def change(self, app: Application) -> None:
        """Give all listeners of *app* the attributes and the queue that its definition has by now; raise OSError."""
        attributes = rights.attributes_of(app)
        for listener in self.known.of_app(app.name):
            if listener.sock is not None and not listener.is_given:
                listener.sock.listen(app.listen_queue_depth)
                if listener.names is not None:
                    listener.names.change(attributes)

    def hold_back(self, app: Application) -> None:
        """Let visitors of *app* wait for the next daemon, at a listener without instances; raise `SocketError`.

        One that all generations share stays as it is.
        """
        listener = self.of(app, self.known.highest(app.name) + 1)
        if not listener.is_shared:
            self.publish(listener)

    def remove(self, app: str) -> None:
        """Take all listeners of *app* away from the public; each is closed when its last instance has gone."""
        for listener in self.known.of_app(app):
            self.withdraw(listener)

    def close(self, listener: Listener) -> None:
        """Close *listener* for good."""
        self._context.store.take_out(listener)
        self.vigils.end(listener)
        self.known.remove(listener)
        self._context.keeping.changed()
        if self._context.application(listener.app) is None:
            self.known.forget(listener.app)
        self._making.forget(listener.app, list(self.known))
        if listener.names is not None:
            listener.names.remove()
        listener.close()

    def let_go(self, listeners: Collection[Listener]) -> None:
        """Close *listeners* and leave their names alone: they are another keeper's again."""
        for listener in listeners:
            if listener in self.known:
                self.known.remove(listener)
                listener.close()

    def close_all(self) -> None:
        """Close everything, at the end of the daemon; visitors can go on to come to what systemd keeps."""
        for listener in self.known:
            if listener.outlives:
                self._leave_behind(listener)
            else:
                self.close(listener)
        self.canaries.close_all()

    def close_strange(self) -> None:
        """Close those without instances that are of no application."""
        for listener in self.known:
            if not listener.instances and self._context.application(listener.app) is None:
                self.close(listener)

    def _leave_behind(self, listener: Listener) -> None:
        self.vigils.end(listener)
        self.known.remove(listener)
        if listener.names is not None:
            listener.names.leave()
        listener.close()

    def deadline(self) -> int | None:
        """Return when the next old listener is to be closed."""
        return min((item.closes_at for item in self.known if item.closes_at is not None), default=None)

    def expire(self, now: int) -> None:
        """Close the old listeners to which nobody has come; where somebody waits, say so again."""
        for listener in self.known:
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


def _is_apart(listener: Listener) -> bool:
    """Return whether only instances of its own generation are met at *listener*, and no visitors come to it yet."""
    return listener.where is not None or (listener.names is not None and not listener.published)
