"""Applications that nobody declared: scripts that became one because somebody asked, or because a root listens.

The definition of each is put among the declared ones, so that everything else deals with it as with those.  One that
is forgotten stays until its last instance and its listener have gone; who comes meanwhile brings it back.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from fcgipm import wire
from fcgipm.config.dynamic import named, why_not_name
from fcgipm.config.identity import script_identity
from fcgipm.config.scriptrule import ScriptError
from fcgipm.keeper.context import Context
from fcgipm.keeper.instances.book import Book
from fcgipm.keeper.instances.spawn import SpawnError
from fcgipm.keeper.keeping.state import KeptNote, KeptScript
from fcgipm.keeper.listening.listener import Listener
from fcgipm.keeper.listening.listeners import Listeners
from fcgipm.keeper.listening.sockets import SocketError
from fcgipm.keeper.roots.definitions import definition_of, with_applications, without_application
from fcgipm.keeper.roots.scripts import Script, examine, owner_of
from fcgipm.keeper.supervising.handover import sparse

if TYPE_CHECKING:
    from fcgipm.config.identity import Identity
    from fcgipm.config.loaded import Loaded
    from fcgipm.config.schema import Application, Root

MOST: Final = 1_100
"""Known at once: what the manager keeps, and some that it is about to forget."""


class Dynamic:
    """The dynamic applications."""

    def __init__(self, context: Context, book: Book, listeners: Listeners, notes: dict[str, KeptNote]) -> None:
        self._context = context
        self._book = book
        self._listeners = listeners
        self._notes = notes
        self._leaving: dict[str, None] = {}
        """Those that are forgotten, and still have an instance or a listener; the first one was forgotten first."""
        self._lost: set[str] = set()
        """Those whose script is not there any more, and that still have an instance."""
        self.dropped: Callable[[], None] = lambda: None
        """Called when there is nothing left of one."""
        self.opened: Callable[[Root, str, Script], None] = lambda _root, _path, _script: None
        """Called with each script that becomes an application."""
        listeners.vigils.heard = self._heard
        self._declared = len(context.loaded.config.applications)
        """How many applications are none of ours."""

    def __len__(self) -> int:
        return len(self._context.loaded.config.applications) - self._declared - len(self._leaving)

    def names(self) -> list[str]:
        """Return the applications that are known and not forgotten."""
        apps = self._context.loaded.config.applications
        return [name for name, app in apps.items() if app.is_dynamic and name not in self._leaving]

    def leaving(self) -> list[str]:
        """Return those that are forgotten, of which something is still there."""
        return list(self._leaving)

    def scripts(self) -> list[KeptScript]:
        """Return all of them, those that are forgotten too, as they are written down."""
        names = [name for name, app in self._context.loaded.config.applications.items() if app.is_dynamic]
        return [
            KeptScript(root=root, path=path, leaving=name in self._leaving)
            for name in names
            for root, _, path in (name.partition("/"),)
        ]

    def knows(self, name: str) -> bool:
        """Return whether *name* is a dynamic application that is not forgotten."""
        app = self._context.application(name)
        return app is not None and app.is_dynamic and name not in self._leaving

    def find(self, name: str) -> tuple[Root, str] | None:
        """Return root and path of the application *name*; None where no root is called so."""
        dynamic = self._context.loaded.config.dynamic
        return None if dynamic is None else named(dynamic, name)

    # ── opening ──────────────────────────────────────────────────────────────────────────────────────────────────

    def obey(self, order: wire.Open) -> None:
        """Open a script and answer."""
        found = self.find(f"{order.root}/{order.path}")
        try:
            if found is None:
                raise ScriptError(f"there is no root {order.root!r}", "missing")
            self.open(*found)
        except (ScriptError, SocketError, LookupError, OSError) as error:
            obstacle = error.obstacle if isinstance(error, ScriptError) else "forbidden"
            failed = wire.OpenFailed(root=order.root, path=order.path, error=str(error), obstacle=obstacle)
            self._context.reporter.report(failed)

    def open(self, root: Root, path: str) -> None:
        """Make an application of the script *path* of *root*, unless it is one, and report it.

        Raises `ScriptError`, `SocketError`, LookupError or OSError; nothing has changed then.
        """
        name = f"{root.name}/{path}"
        why = why_not_name(root, path, self._context.loaded.config.daemon.runtime_dir)
        if why is not None:
            raise ScriptError(f"{name}: {why}")
        app = None if name in self._leaving else self._context.application(name)
        become = None if app is None else self._context.loaded.identities[name]
        with examine(self._context.loaded, root, path, become=become) as script:
            app = app or self._enter(root, path, script)
            listener = self._public(app)
            self.found(name)
            self.opened(root, path, script)
        report = wire.Opened(root=root.name, path=path, definition=sparse(app), listener=listener.fact())
        self._context.reporter.report(report)

    def reopen(self, scripts: Iterable[KeptScript]) -> None:
        """Know *scripts* again, which a keeper before has known; those that may not be run any more are said."""
        for script in scripts:
            name = f"{script.root}/{script.path}"
            found = self.find(name)
            try:
                if found is None:
                    raise ScriptError(f"there is no root {script.root!r}", "missing")
                self.open(*found)
            except (ScriptError, SocketError, LookupError, OSError) as error:
                self._context.say("warning", f"{name} is no application any more: {error}", app=name)

    def _enter(self, root: Root, path: str, script: Script) -> Application:
        """Define it, though only as one that is forgotten as long as it has no public listener."""
        self._make_room()
        loaded = self._context.loaded
        identity = next((one for one in loaded.identities.values() if one == script.identity), script.identity)
        app = definition_of(loaded, root, path, identity)
        self._context.loaded = with_applications(loaded, {app.name: app}, {app.name: identity})
        self._leaving[app.name] = None
        return app

    def _public(self, app: Application) -> Listener:
        listener = self._listeners.known.published(app.name)
        if listener is not None:
            return listener
        mine = [one for one in self._listeners.known.of_app(app.name) if one.sock is not None]
        try:
            # The one that it had last, if it is still there: somebody may wait there.
            listener = mine[-1] if mine else self._listeners.of(app, self._listeners.known.highest(app.name) + 1)
            self._listeners.publish(listener)
        except BaseException:
            if not mine:
                self._close(app.name)
            raise
        return listener

    def _make_room(self) -> None:
        """Let go of those that are forgotten, as far as is needed; raise `ScriptError` where there is no room."""
        self._sweep()
        excess = len(self) + len(self._leaving) + 1 - MOST
        for name in list(self._leaving):
            if excess > 0 and not self._book.count(name) and not self._is_awaited(name):
                self._close(name)
                excess -= 1
        if excess > 0:
            raise ScriptError(f"{MOST} scripts are known, and no more can be at once")

    def _is_awaited(self, name: str) -> bool:
        for listener in self._listeners.known.of_app(name):
            with contextlib.suppress(OSError):
                queue = self._context.diag.queue(listener.endpoint)
                if queue is not None and queue.waiting:
                    return True
        return False

    # ── forgetting ───────────────────────────────────────────────────────────────────────────────────────────────

    def keep(self, name: str) -> None:
        """*name* is public again: it is not forgotten."""
        self._leaving.pop(name, None)
        self._context.keeping.changed()

    def found(self, name: str) -> None:
        """The script of *name* is there."""
        self.keep(name)
        self._lost.discard(name)

    def forget(self, name: str) -> None:
        """Forget *name*, which is public no more."""
        app = self._context.application(name)
        if app is not None and app.is_dynamic:
            self._leaving[name] = None
            self._context.keeping.changed()
            self._sweep()

    def lose(self, name: str) -> None:
        """The script of *name* is not there any more: take its socket away when it has no instance, and forget it."""
        self._lost.add(name)
        self.left(name)

    def left(self, name: str) -> None:
        """An instance of *name* has ended."""
        if self._book.count(name):
            return
        if name in self._lost:
            self._lost.discard(name)
            self._listeners.take_away(name)
            self.forget(name)
        elif name in self._leaving:
            self._sweep()

    def _heard(self, name: str) -> None:
        """Somebody has come to a listener of *name*: if that is forgotten, he brings it back."""
        if name not in self._leaving:
            return
        found = self.find(name)
        try:
            if found is None:
                raise ScriptError("its root has gone")
            self.open(*found)
        except (ScriptError, SocketError, LookupError, OSError) as error:
            self._context.say("info", f"somebody came late and is not served: {error}", app=name)
            if not self._book.count(name):
                self._close(name)

    def _close(self, name: str) -> None:
        for listener in self._listeners.known.of_app(name):
            self._listeners.close(listener)
        self._sweep()

    def _sweep(self) -> None:
        """Drop the definitions of those of which nothing is left."""
        for name in list(self._leaving):
            if not self._book.count(name) and not self._listeners.known.of_app(name):
                self._drop(name)

    def _drop(self, name: str) -> None:
        self._leaving.pop(name, None)
        self._notes.pop(name, None)
        self._context.keeping.changed()
        self._context.loaded = without_application(self._context.loaded, name)
        self._listeners.known.forget(name)
        self.dropped()

    # ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def checked(self, app: Application) -> Iterator[Script | None]:
        """Give the script of *app*, checked once more, while one of its instances is begun; None of a declared one.

        Raises `SpawnError`.
        """
        if not app.is_dynamic:
            yield None
            return
        loaded, found = self._context.loaded, self.find(app.name)
        if found is None:
            raise SpawnError("check", "its root has gone")
        try:
            script = examine(loaded, *found, become=loaded.identities[app.name])
        except ScriptError as error:
            raise SpawnError("check", str(error)) from error
        with script:
            yield script

    # ── applying ─────────────────────────────────────────────────────────────────────────────────────────────────

    def renewed(self, new: Loaded) -> Loaded:
        """Return the configuration *new* with the applications that are known now, defined by its [dynamic].

        Those whose root has gone, or does not allow them any more, are left out, and so are those that are forgotten.
        """
        apps, identities = {}, {}
        for name in self.names():
            found = None if new.config.dynamic is None else named(new.config.dynamic, name)
            if found is None or why_not_name(*found, new.config.daemon.runtime_dir) is not None:
                continue
            identity = self._identity(new, name, *found)
            if identity is not None:
                apps[name], identities[name] = definition_of(new, *found, identity), identity
        return with_applications(new, apps, identities)

    def applied(self) -> None:
        """Another configuration holds, without those that were forgotten."""
        self._leaving.clear()
        self._declared = sum(not app.is_dynamic for app in self._context.loaded.config.applications.values())
        self._lost.intersection_update(self.names())

    def _identity(self, new: Loaded, name: str, root: Root, path: str) -> Identity | None:
        assert new.config.dynamic is not None, name
        before = self._context.loaded.identities[name]
        owner = owner_of(root, path) or (before.uid, before.gid)
        try:
            return script_identity(new.config.dynamic, root, new.config.daemon, os.geteuid(), owner)
        except LookupError:
            return None
