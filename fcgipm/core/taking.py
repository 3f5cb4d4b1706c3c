"""Which function takes which event of one application."""

from __future__ import annotations

from typing import TypeAlias

from fcgipm.core import application as app
from fcgipm.core import events as ev
from fcgipm.core import proving, turning_away, wishes
from fcgipm.core.books import Books
from fcgipm.core.commands import Command
from fcgipm.core.events import Instant

OfInstance: TypeAlias = ev.Spawned | ev.SpawnFailed | ev.BecameReady | ev.Exited | ev.Removed | ev.RemovalRefused
Wish: TypeAlias = ev.StartRequested | ev.StopRequested | ev.RestartRequested | ev.ReloadRequested | ev.ScaleRequested
OfApplication: TypeAlias = (
    ev.Published | ev.PublishFailed | ev.Probed | ev.SomebodyWaits | ev.Asked | ev.ProgramChanged | Wish
)  # fmt: skip


def of_instance(books: Books, event: OfInstance, now: Instant, out: list[Command]) -> None:
    """Take in what happened to an instance, or to what turns visitors away."""
    if event.instance not in books.instances:
        turning_away.take(books, event, now, out)
        return
    match event:
        case ev.Spawned():
            app.spawned(books, event, now, out)
        case ev.SpawnFailed():
            app.spawn_failed(books, event, now, out)
        case ev.BecameReady():
            app.became_ready(books, event, now, out)
        case ev.Exited():
            app.exited(books, event, now, out)
        case ev.Removed():
            app.removed(books, event, now, out)
        case ev.RemovalRefused():
            app.removal_refused(books, event, now, out)


def of_application(books: Books, event: OfApplication, now: Instant, out: list[Command]) -> None:
    """Take in what happened to an application as a whole, or what somebody wants of it."""
    match event:
        case ev.Published():
            app.published(books, event, now, out)
        case ev.PublishFailed():
            app.publish_failed(books, event, now, out)
        case ev.Probed():
            proving.probed(books, event, now, out)
        case ev.SomebodyWaits():
            app.somebody_waits(books, event.generation, now)
        case ev.Asked():
            app.asked(books, now)
        case ev.ProgramChanged():
            app.program_changed(books, now, out)
        case _:
            _wish(books, event, now, out)


def _wish(books: Books, event: Wish, now: Instant, out: list[Command]) -> None:
    match event:
        case ev.StartRequested():
            wishes.start(books, now, out)
        case ev.StopRequested():
            wishes.stop(books, now, out)
        case ev.RestartRequested():
            wishes.restart(books, now, out)
        case ev.ReloadRequested():
            wishes.reload(books, event.why, now, out)
        case ev.ScaleRequested():
            wishes.rescale(books, event.processes, now, out)
