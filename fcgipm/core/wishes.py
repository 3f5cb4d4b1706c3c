"""What people, and the configuration, want of one application, and what is begun by that.

Nothing here spawns or removes; after each event `core.reconcile` does, always in the same way.
"""

from __future__ import annotations

from collections.abc import Collection

from fcgipm.config.schema import Application, Change
from fcgipm.core import generations, rolling
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Severity, Topic
from fcgipm.core.events import Instant
from fcgipm.core.instance import Audience
from fcgipm.core.note import Mode, Trouble
from fcgipm.core.phases import Phase
from fcgipm.core.reconcile import heal
from fcgipm.core.rollout import Switch
from fcgipm.core.under_way import Errand
from fcgipm.core.world import terms_of_application

DRAINING = "removed, draining"
"""Why an application is shown that is not in the configuration any more."""
LOST_LISTENER = "its listening socket could not be taken back"


def start(books: Books, now: Instant, out: list[Command]) -> None:
    """Let it run; ends a back-off."""
    books.chronicle.enter(now, "wish", "start", "started by an operator")
    books.trouble = Trouble.NONE
    if books.errand is not None and books.errand.topic is Topic.APP_STOPPED:
        books.errand = None
    heal(books, "started by an operator", out)
    if books.generation == 0 and books.change is None:
        restart(books, now, out)
    elif books.mode is Mode.STOP:
        books.mode = Mode.RUN
        books.reason = ""
        books.level = books.definition.least
        out.append(books.message(Severity.INFO, Topic.APP_STARTED, "started by an operator"))
        if not books.switches and books.newest > books.generation:
            # One was given up, perhaps of this definition: what starts now has it, as on a listener of its own.
            books.newest += 1
            books.generation = books.newest
        if not isinstance(books.change, Switch):
            books.slots = books.empty_slots(now)
        elif not books.change.slots:
            books.change.slots = books.empty_slots(now)


def stop(books: Books, now: Instant, out: list[Command]) -> None:
    """Let it not run; its socket stays, and visitors wait there."""
    if books.mode is Mode.RUN:
        books.mode = Mode.STOP
        out.append(books.message(Severity.INFO, Topic.APP_STOPPING, "stopping, by an operator"))
        books.chronicle.enter(now, "wish", "stop", "stopped by an operator")
        generations.empty(books, books.newest + 1, "stopped", now, out)
        _wait_for(books, Topic.APP_STOPPED, now)
        books.reason = "by an operator"


def restart(books: Books, now: Instant, out: list[Command]) -> None:
    """Replace every instance, the replacement first."""
    if not books.is_leaving:
        books.chronicle.enter(now, "wish", "restart", "restarted by an operator")
        out.append(books.message(Severity.INFO, Topic.APP_RESTARTING, "restarting, by an operator"))
        _replace_all(books, "restarted by an operator", Topic.APP_RESTARTED, now, out)


def reload(books: Books, why: str, now: Instant, out: list[Command]) -> None:
    """Let it run what its definition and its files are now; *why* is empty where an operator says so."""
    if not books.is_leaving:
        text = f"reloading: {why}" if why else "reloading, by an operator"
        books.chronicle.enter(now, "wish", "reload", text)
        out.append(books.message(Severity.INFO, Topic.APP_RELOADING, text, reason="files" if why else "operator"))
        _replace_all(books, why or "reloaded by an operator", Topic.APP_RELOADED, now, out)


def rescale(books: Books, processes: int | None, now: Instant, out: list[Command]) -> None:
    """Keep *processes* instances; None: as many as configured, or as the demand needs."""
    books.scale = processes
    books.level = max(books.definition.least, min(len(books.slots), books.definition.most))
    how = "as configured" if processes is None else "by an operator"
    text = f"scaled to {books.wanted} {how}"
    out.append(books.message(Severity.INFO, Topic.APP_SCALED, text))
    books.chronicle.enter(now, "wish", "scale", text)


def redefine(books: Books, definition: Application, change: Change, now: Instant, out: list[Command]) -> None:
    """A new definition holds; what an operator said about another one is forgotten."""
    before, books.definition = books.definition, definition
    if not definition.is_dynamic:
        books.world.terms = terms_of_application(definition)
    level = books.level if books.scale is None else len(books.slots)
    books.level = max(definition.least, min(level, definition.most))
    severity = (
        Severity.DEBUG if definition.is_dynamic else Severity.INFO
    )  # a change of [dynamic] is one for all scripts
    out.append(books.message(severity, Topic.APP_CHANGED, f"changed: {change.value}"))
    books.chronicle.enter(now, "wish", "apply", f"its definition has changed: {change.value}")
    is_another = change in (Change.GENERATION, Change.LISTENER)
    if is_another or _range(before) != _range(definition) or before.autostart != definition.autostart:
        books.scale = None
        if books.mode is Mode.STOP and definition.autostart:
            start(books, now, out)
    if is_another and books.mode is Mode.RUN:
        _replace_all(books, "its definition has changed", Topic.APP_RESTARTED, now, out)
    elif is_another and not (isinstance(books.change, Switch) and books.change.phase is Phase.CLEARING):
        generations.switch(books, books.newest + 1, [], "its definition has changed", out)


def leave(books: Books, why: str, now: Instant, out: list[Command], *, keeps_socket: bool) -> None:
    """Let it go because the daemon ends: what runs finishes.

    Nobody reaches it any more, or, where another daemon takes over and *keeps_socket*, visitors wait there for that.
    """
    books.mode = Mode.HAND_OVER if keeps_socket else Mode.LEAVE
    books.errand = None
    if isinstance(books.change, Switch) and books.change.phase is Phase.CLEARING:
        generations.drop(books, now)
        books.slots = []
    else:
        generations.empty(books, books.newest + 1 if keeps_socket else 0, why, now, out)


def remove(books: Books, now: Instant, out: list[Command]) -> None:
    """Let it go because it is not in the configuration any more; its public name is gone already."""
    out.append(books.message(Severity.INFO, Topic.APP_REMOVED, "removed from the configuration"))
    books.mode = Mode.LEAVE
    books.reason = DRAINING
    generations.drop(books, now)
    books.slots = []
    books.generation = 0
    generations.drain(books, "removed from the configuration", now)
    _wait_for(books, Topic.APP_GONE, now)


def catch_up(books: Books, now: Instant, out: list[Command], *, outdated: Collection[int], moved: bool) -> None:
    """Bring about what a manager had begun and did not live to finish, and what the end of a keeper has broken.

    A generation that was not proved yet was met by nobody, and is given up; one that was goes on to take the places of
    the others.  Another one is begun where the definition is not what it was for the newest one: of the *outdated*.
    """
    if any(one.estranged for one in books.everybody()) and not books.is_leaving:
        _leave_the_estranged(books, now, out)
    if books.mode is not Mode.RUN or books.change is not None:
        return
    if books.generation == 0:
        generations.switch(books, books.newest + 1, books.empty_slots(now), "it had no public socket", out)
        return
    halfway = rolling.left_halfway(books)
    goes_on = halfway > 0 and halfway not in outdated and not moved
    if not goes_on and (outdated or moved):
        generations.begin(books, "its definition had changed", now, out)
        return
    hidden = {one.generation for one in books.instances.values() if one.audience is Audience.NOBODY}
    left = max(hidden, default=books.left_under_way)
    if left > max(books.generation, halfway):
        generations.interrupted(books, left, out)
    if goes_on:
        rolling.go_on(books, halfway, now, out)


def forget(books: Books, why: str, out: list[Command]) -> None:
    """Let a dynamic application go; asked for again, it is opened again."""
    out.append(books.message(Severity.INFO, Topic.APP_FORGOTTEN, f"forgotten: {why}"))
    books.mode = Mode.LEAVE
    generations.switch(books, 0, [], "forgotten", out)


def come_back(books: Books, definition: Application, now: Instant, out: list[Command]) -> None:
    """Let it run again although its last instances are still leaving: it is in the configuration once more."""
    books.definition = definition
    books.mode = Mode.RUN if definition.autostart else Mode.STOP
    books.reason = ""
    books.errand = None
    out.append(books.message(Severity.INFO, Topic.APP_ADDED, "added by the configuration again"))
    slots = books.empty_slots(now) if definition.autostart else []
    generations.switch(books, books.newest + 1, slots, "added by the configuration again", out)


def is_gone(books: Books) -> bool:
    """Return whether it was to leave, and has."""
    return books.is_leaving and not any(books.everybody()) and books.change is None


def has_failed(books: Books) -> bool:
    """Return whether it is in the kind of trouble that on-failure is about."""
    return books.mode is Mode.RUN and books.in_trouble


# ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _range(definition: Application) -> tuple[int, int]:
    return definition.least, definition.most


def _replace_all(books: Books, why: str, topic: Topic, now: Instant, out: list[Command]) -> None:
    books.mode = Mode.RUN
    books.trouble = Trouble.NONE
    books.reason = ""
    heal(books, why, out)
    generations.begin(books, why, now, out)
    _wait_for(books, topic, now)


def _leave_the_estranged(books: Books, now: Instant, out: list[Command]) -> None:
    """Publish a new listener in place of one that is lost to all but its instances; on a port these go first."""
    if not books.switches:
        generations.retire_all(books, LOST_LISTENER, now)
    elif books.generation and books.generation not in {one.generation for one in books.everybody() if one.estranged}:
        return  # who has the old listener drains, and another one is the public one
    slots = generations.slots_now(books, now) if books.mode is Mode.RUN else []
    generations.switch(books, books.newest + 1, slots, LOST_LISTENER, out)


def _wait_for(books: Books, topic: Topic, now: Instant) -> None:
    """Have *topic* told when what has just begun is done."""
    books.errand = Errand(topic=topic, since=now, cut=books.cut)
