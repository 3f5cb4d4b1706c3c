"""Watch listeners for somebody who comes: once, because instances are woken by the same connections."""

from __future__ import annotations

from collections.abc import Callable

from fcgipm import wire
from fcgipm.keeper.context import Context
from fcgipm.keeper.listening.listener import Listener, Vigil


class Vigils:
    """The watches of all listeners."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.heard: Callable[[str], None] = lambda _app: None
        """Called with the application to which somebody has come."""

    def arm(self, listener: Listener, vigil: Vigil) -> None:
        """Watch for the next one who comes to *listener*; one that is watched for already is not watched for twice."""
        if listener.sock is None:
            return
        if not listener.vigil.is_armed:
            self._context.dispatch.watch(listener.fileno(), lambda: self.tell(listener), once=True)
        listener.vigil = vigil
        self._context.keeping.changed(later=True)

    def tell(self, listener: Listener) -> None:
        """Report that somebody waits at *listener*."""
        listener.vigil = Vigil.AWAITED
        self._context.keeping.changed(later=True)
        self._context.reporter.report(wire.SomebodyWaits(app=listener.app, generation=listener.generation))
        self.heard(listener.app)

    def end(self, listener: Listener) -> None:
        """Watch *listener* no more, for whatever reason it was watched."""
        listener.closes_at, listener.vigil = None, Vigil.OFF
        if listener.sock is not None:
            self._context.dispatch.forget(listener.fileno())
