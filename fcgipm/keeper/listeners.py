"""The applications' listening sockets: made, published, given up.

A Unix application has a listener for each generation, of which one is published; a TCP application has one for all,
which is always public.  A listener stays while it is published or has instances; after that it is watched for
`LATE` more, because a connection may have been on its way to it.

A listener without instances, public or old, is watched until somebody comes; that is told once.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import SECOND, Application
from fcgipm.keeper import foreign, rights, socketfile, sockets
from fcgipm.keeper.context import Context
from fcgipm.keeper.guard import Guard
from fcgipm.keeper.listener import Listener, Vigil
from fcgipm.keeper.place import Place, Places
from fcgipm.keeper.sockets import FileId, SocketError
from fcgipm.linux.sock_diag import endpoint_of

LATE: Final = 60 * SECOND
"""How long an old listener without instances is kept for late-comers."""


class Listeners:
    """All listeners of applications."""

    def __init__(self, context: Context, guard: Guard, places: Places) -> None:
        self._context = context
        self._guard = guard
        self._places = places
        self._all: list[Listener] = []
        self._highest: dict[str, int] = {}
        """The highest generation that each application has had."""

    def __iter__(self) -> Iterator[Listener]:
        return iter(list(self._all))

    # ── making ───────────────────────────────────────────────────────────────────────────────────────────────────

    def make(self, app: Application, generation: int) -> Listener:
        """Return a new listener of *app*: bound, not yet published.  It is not in the books: see `enter`."""
        if app.port is not None:
            return self._make_tcp(app, app.port, generation)
        assert app.socket is not None, app.name
        sock, names = socketfile.bind(
            self._places,
            self._guard,
            runtime_dir=self._context.loaded.config.daemon.runtime_dir,
            public=app.socket,
            name=f"{app.name}.{self._free_number(app.name, generation)}",
            attributes=rights.attributes_of(app),
            depth=app.listen_queue_depth,
            check=lambda place, private: self._refuse(place, app.socket or "", private),
        )
        return Listener(
            app=app.name, generation=generation, sock=sock, endpoint=endpoint_of(sock), names=names, where=None,
            published=False,
        )  # fmt: skip

    def _refuse(self, place: Place, public: str, private: str) -> None:
        own, diag = self._own_files(), self._context.diag
        foreign.refuse(place, public, own, diag)
        foreign.refuse_private(place, private, own, diag)

    def _free_number(self, app: str, generation: int) -> int:
        """Return *generation*, or the next number by which no listener is bound: one may have been renumbered."""
        taken = {os.path.basename(one.names.private) for one in self._all if one.app == app and one.names is not None}
        return next(number for number in itertools.count(generation) if f"{app}.{number}" not in taken)

    def _make_tcp(self, app: Application, port: int, generation: int) -> Listener:
        before = next((one for one in self._all if one.where == (app.address, port)), None)
        if before is not None:
            # The socket belongs to the address, and goes with it from one application to another.
            sock = before.sock.dup()
            sock.listen(app.listen_queue_depth)
        else:
            try:
                sock = sockets.bind_tcp(app.address, port, app.listen_queue_depth)
            except OSError as error:
                why = foreign.who_listens(app.address, port, self._context.diag) if sockets.is_taken(error) else ""
                raise SocketError(f"{app.address} port {port}: {why or error.strerror}") from error
        return Listener(
            app=app.name, generation=generation, sock=sock, endpoint=endpoint_of(sock), names=None,
            where=(app.address, port), published=False,
        )  # fmt: skip

    def enter(self, listener: Listener) -> None:
        """Enter what `make` returned into the books."""
        for other in list(self._all):
            if other.app == listener.app and self._is_unused(other):
                self.close(other)  # a newer definition has come before anybody used it
        self._all.append(listener)
        self._highest[listener.app] = max(listener.generation, self.highest(listener.app))
        if listener.names is not None:
            app = listener.app
            try:
                listener.names.watch(lambda level, topic, text: self._context.tell(level, topic, text, app=app))
            except OSError as error:
                text = f"{listener.public} cannot be watched: {error.strerror}; if it is deleted, it stays so"
                self._context.say("warning", text, app=listener.app)

    def discard(self, listener: Listener) -> None:
        """Undo `make`."""
        listener.sock.close()
        if listener.names is not None:
            listener.names.remove()

    # ── finding ──────────────────────────────────────────────────────────────────────────────────────────────────

    def highest(self, app: str) -> int:
        """Return the highest generation that *app* has had, 0 if none."""
        return self._highest.get(app, 0)

    def published(self, app: str) -> Listener | None:
        """Return the public listener of *app* (of TCP: the latest)."""
        found = [listener for listener in self._all if listener.app == app and listener.published]
        return found[-1] if found else None

    def of(self, app: Application, generation: int) -> Listener:
        """Return the listener of *generation*, made where it is missing; raise `SocketError`.

        A generation that was given up, or that lies before one that is there, is not made again.
        """
        mine = [listener for listener in self._all if listener.app == app.name]
        exact = next((listener for listener in mine if listener.generation == generation), None)
        if exact is not None:
            exact.published = exact.published or self._tcp_at([exact], app) is exact
            return exact
        if app.port is not None and (latest := self._tcp_at(mine, app)) is not None:
            latest.generation = max(latest.generation, generation)
            self._highest[app.name] = max(self.highest(app.name), generation)
            latest.published = True  # nothing has to be done for that, and nothing can be undone
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
    def _tcp_at(mine: list[Listener], app: Application) -> Listener | None:
        return next((listener for listener in mine if listener.where == (app.address, app.port)), None)

    @staticmethod
    def _is_unused(listener: Listener) -> bool:
        """Return whether an apply has made the listener and nobody has used it yet."""
        return not listener.published and not listener.instances and listener.closes_at is None

    def has_address(self, app: Application) -> bool:
        """Return whether *app* has a TCP listener at its address already, from before it was removed."""
        mine = [listener for listener in self._all if listener.app == app.name]
        return app.port is not None and self._tcp_at(mine, app) is not None

    def facts(self) -> tuple[wire.ListenerFact, ...]:
        """Return all listeners for the manager; of TCP listeners of one application only the latest."""
        facts = {(listener.app, listener.generation): listener.fact() for listener in self._all}
        return tuple(facts.values())

    # ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────

    def publish(self, listener: Listener) -> None:
        """Make *listener* the public one of its application; raise `SocketError`, then the old one still is."""
        if listener.names is not None:
            listener.names.refuse_others(self._own_files(), self._context.diag)
            try:
                listener.names.publish()
            except OSError as error:
                raise SocketError(f"{listener.public}: {error.strerror}") from error
        before = [other for other in self._all if other.app == listener.app and other.published]
        ordered = any(other.vigil is Vigil.ORDERED for other in before)
        listener.published, listener.closes_at = True, None
        for other in before:
            if other is not listener:
                self.withdraw(other, keep=listener.public)
        if ordered:
            self._arm(listener, Vigil.ORDERED)
        elif not listener.instances:
            self._arm(listener, Vigil.EMPTY)

    def withdraw_all(self, app: str) -> None:
        """Take all listeners of *app* away from the public; TCP cannot be, but it is closed after its instances."""
        for listener in list(self._all):
            if listener.app == app and listener.published:
                self.withdraw(listener)

    def withdraw(self, listener: Listener, *, keep: str | None = None) -> None:
        """Take *listener* away from the public; its name is left alone where it is *keep*."""
        listener.published = False
        self._stop_watching(listener)
        if listener.names is not None:
            listener.names.withdraw(keep=keep)
        if not listener.instances:
            self._give_up(listener)

    # ── instances ────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, listener: Listener) -> None:
        """Count one more instance on *listener*; the first one finds it blocking, whatever was done to it before."""
        listener.closes_at = None
        if listener.vigil is not Vigil.ORDERED:
            self._stop_watching(listener)
        if not any(one.instances for one in self._sharing(listener)):
            sockets.make_blocking(listener.sock)
        listener.instances += 1

    def leave(self, listener: Listener) -> None:
        """Count one instance less; a listener that nobody needs any more is watched for late-comers, then closed."""
        listener.instances -= 1
        if listener.instances:
            return
        if not listener.published or self.is_outdated(listener):
            self.withdraw(listener)
        elif listener.vigil is not Vigil.ORDERED:
            self._arm(listener, Vigil.EMPTY)

    def is_outdated(self, listener: Listener) -> bool:
        """Return whether the application has gone, or listens elsewhere by now."""
        app = self._context.application(listener.app)
        if app is None:
            return True
        if listener.where is not None:
            return listener.where != (app.address, app.port)
        return listener.public != app.socket

    def _sharing(self, listener: Listener) -> list[Listener]:
        """Return all listeners that are the same socket: of TCP that is handed over more than *listener* itself."""
        if listener.where is None:
            return [listener]
        return [other for other in self._all if other.endpoint == listener.endpoint]

    def _give_up(self, listener: Listener) -> None:
        if self._context.application(listener.app) is None or len(self._sharing(listener)) > 1:
            self.close(listener)
            return
        listener.closes_at = time.monotonic_ns() + LATE
        self._arm(listener, Vigil.EMPTY)

    # ── who comes ────────────────────────────────────────────────────────────────────────────────────────────────

    def watch(self, listener: Listener) -> None:
        """Tell once, by `wire.SomebodyWaits`, when somebody comes to *listener*, whether it has instances or not."""
        self._arm(listener, Vigil.ORDERED)

    def awaited(self) -> list[wire.SomebodyWaits]:
        """Return what a new manager must be told again: where somebody has come, and no instance since."""
        awaited = [one for one in self._all if one.vigil is Vigil.AWAITED]
        return [wire.SomebodyWaits(app=one.app, generation=one.generation) for one in awaited]

    def _arm(self, listener: Listener, vigil: Vigil) -> None:
        """Watch for the next one who comes: once, because instances are woken by the same connections."""
        if not listener.vigil.is_armed:
            self._context.dispatch.watch(listener.sock.fileno(), lambda: self._somebody_waits(listener), once=True)
        listener.vigil = vigil

    def _somebody_waits(self, listener: Listener) -> None:
        listener.vigil = Vigil.AWAITED
        self._context.reporter.report(wire.SomebodyWaits(app=listener.app, generation=listener.generation))

    def _stop_watching(self, listener: Listener) -> None:
        listener.closes_at, listener.vigil = None, Vigil.OFF
        self._context.dispatch.forget(listener.sock.fileno())

    # ── changing and ending ──────────────────────────────────────────────────────────────────────────────────────

    def change(self, app: Application) -> None:
        """Give all listeners of *app* the attributes and the queue that its definition has by now; raise OSError."""
        attributes = rights.attributes_of(app)
        for listener in self._all:
            if listener.app == app.name:
                listener.sock.listen(app.listen_queue_depth)
                if listener.names is not None:
                    listener.names.change(attributes)

    def remove(self, app: str) -> None:
        """Take all listeners of *app* away from the public; each is closed when its last instance has gone."""
        for listener in list(self._all):
            if listener.app == app:
                self.withdraw(listener)

    def close(self, listener: Listener) -> None:
        """Close *listener* for good."""
        self._stop_watching(listener)
        self._all.remove(listener)
        if self._context.application(listener.app) is None and all(other.app != listener.app for other in self._all):
            self._highest.pop(listener.app, None)
        if listener.names is not None:
            listener.names.remove()
        listener.sock.close()

    def close_all(self) -> None:
        """Close everything, at the end of the daemon."""
        for listener in list(self._all):
            self.close(listener)

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
                self._somebody_waits(listener)
            else:
                self.close(listener)

    def _own_files(self) -> set[FileId]:
        return {listener.names.file for listener in self._all if listener.names is not None}
