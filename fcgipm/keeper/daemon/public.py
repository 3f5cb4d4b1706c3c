"""The public sockets of all applications: opened with the daemon, taken away before its end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from fcgipm.keeper.context import Context
from fcgipm.keeper.keeping.state import KeptListener
from fcgipm.keeper.keeping.takeback import Stored, take_back
from fcgipm.keeper.listening.listener import Listener
from fcgipm.keeper.listening.listeners import Listeners
from fcgipm.keeper.listening.sockets import SocketError


def open_all(
    context: Context,
    listeners: Listeners,
    stored: Stored,
    left: Sequence[KeptListener],
    *,
    has_one: Callable[[str], bool],
    may_lack: Callable[[str], bool],
    whatever_fails: bool,
) -> list[str]:
    """Give every application its public socket: what systemd has *stored*, or a new one; return what cannot be.

    *left* are those that a keeper before us had; *has_one* tells of which application one was taken up.  *may_lack*
    tells of which processes were left alone that may hold it; there it is said here.  Nothing is published before all
    is bound, unless *whatever_fails* visitors are to reach what can be reached.
    """
    problems, bound = [], []
    for listener in take_back(context, listeners, stored, left):
        context.say("info", f"{listener.address} is taken back as systemd has kept it", app=listener.app)
    stored.close()
    for app in context.loaded.config.applications.values():
        if has_one(app.name):
            continue
        try:
            if listeners.known.published(app.name) is not None:
                listeners.change(app)
                continue
            listener = listeners.make(app, listeners.known.highest(app.name) + 1)
            listeners.enter(listener)
            bound.append(listener)
        except (SocketError, LookupError, OSError) as error:
            text = f"cannot bind the socket of {app.name}: {error}"
            if may_lack(app.name):
                # That one application has no port is no reason to leave all others without a keeper.
                text = f"{text}; end those that were not adopted, and then: fcgipmctl start {app.name}"
                context.tell("error", "not-adopted", text, app=app.name)
            else:
                problems.append(text)
    if not problems or whatever_fails:  # else every name stays as it was: somebody may still serve there
        problems += _publish(listeners, bound)
    return problems


def _publish(listeners: Listeners, bound: Iterable[Listener]) -> list[str]:
    problems = []
    for listener in bound:
        try:
            listeners.publish(listener)
        except SocketError as error:
            problems.append(f"cannot bind the socket of {listener.app}: {error}")
    return problems


def withdraw_all(context: Context, listeners: Listeners) -> None:
    """Let no visitor in any more; where systemd keeps sockets, they can wait for the next daemon."""
    for app in context.loaded.config.applications.values():
        if context.store.keeps:
            with contextlib.suppress(SocketError, LookupError, OSError):
                listeners.hold_back(app)
        else:
            listeners.withdraw_all(app.name)
