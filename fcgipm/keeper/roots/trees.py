"""Learn which scripts there are below the roots that listen, and when a script that is an application changes.

What happens is only noted, as scripts to look at; looked is after half a second of quiet.  A directory that is made,
renamed or removed, and whatever the kernel could not tell, means that the whole root is gone through.
"""

from __future__ import annotations

import os
import posixpath
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from fcgipm import wire
from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.config.scriptrule import NotExecutable, ScriptError
from fcgipm.keeper.context import Context
from fcgipm.keeper.listening.sockets import SocketError
from fcgipm.keeper.roots.dynamic import Dynamic
from fcgipm.keeper.roots.listing import Listing
from fcgipm.keeper.roots.scripts import Script, examine
from fcgipm.keeper.roots.watches import Place, Watches
from fcgipm.linux import inotify
from fcgipm.linux.paths import open_directory

if TYPE_CHECKING:
    from fcgipm.config.schema import Root

QUIET: Final = 500 * MILLISECOND
_LONGEST_NOISE: Final = 5 * SECOND
"""Somebody who never leaves a tree alone is looked after as often as this."""
MOST_SCRIPTS: Final = 1_000
"""How many get a socket unasked, in all roots together."""
_MOST_NOTED: Final = 1_000
_MOST_SAID: Final = 1_000
_AROUND: Final = ".."


@dataclass(slots=True)
class _Noted:
    """What has happened and was not looked at yet."""

    roots: set[str] = field(default_factory=set)
    scripts: dict[tuple[str, str], None] = field(default_factory=dict)
    """Root and path of what may be a script."""
    since: int = 0

    def add(self, place: Place, event: inotify.Event, around: str) -> None:
        """Note *event* at *place*; *around* is what the root is called in the directory that it is in."""
        root, directory = place
        if directory == _AROUND and event.name != around:
            return
        whole = directory == _AROUND or not event.name or event.mask & inotify.ISDIR
        if whole or len(self.scripts) >= _MOST_NOTED:
            self.roots.add(root)
        else:
            self.scripts[root, posixpath.join(directory, event.name)] = None


class Trees:
    """The trees below all roots."""

    def __init__(self, context: Context, dynamic: Dynamic) -> None:
        self._context = context
        self._dynamic = dynamic
        self._watches = Watches()
        self._marks: dict[str, tuple[int, int]] = {}
        """Inode and time of the last change of each script that is an application, by name."""
        self._noted = _Noted()
        self._due: int | None = None
        self._said: dict[str, str] = {}
        """What was said last about a script or a root."""
        dynamic.opened = self._opened
        context.dispatch.watch(self._watches.fileno(), self._read)

    def close(self) -> None:
        """Watch nothing more."""
        self._context.dispatch.forget(self._watches.fileno())
        self._watches.close()

    def define(self) -> None:
        """Go through all roots of the configuration that holds."""
        roots = self._roots()
        self._watches.keep(lambda place: place[0] in roots)
        for root in roots.values():
            self._go_through(root)

    def deadline(self) -> int | None:
        """Return when to look at what has happened."""
        return self._due

    def expire(self, now: int) -> None:
        """Look at what has happened."""
        assert self._due is not None, now
        noted, self._noted, self._due = self._noted, _Noted(), None
        roots = self._roots()
        for name in noted.roots & roots.keys():
            self._go_through(roots[name])
        for name, path in noted.scripts:
            if name in roots and name not in noted.roots:
                self._look(roots[name], path)

    def _roots(self) -> dict[str, Root]:
        dynamic = self._context.loaded.config.dynamic
        return {} if dynamic is None else {root.name: root for root in dynamic.roots}

    def _read(self) -> None:
        roots, noted, now = self._roots(), self._noted, time.monotonic_ns()
        for place, event in self._watches.read():
            if place is None:
                noted.roots.update(roots)
            elif place[0] in roots:
                noted.add(place, event, posixpath.basename(posixpath.normpath(roots[place[0]].path)))
        if noted.roots or noted.scripts:
            noted.since = noted.since or now
            self._due = min(now + QUIET, noted.since + _LONGEST_NOISE)

    # ── one script ───────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self, root: Root, path: str) -> None:
        """See what has become of *path*, which may be a script."""
        name = f"{root.name}/{path}"
        if self._dynamic.knows(name):
            self._look_again(root, path, name)
        elif root.listen and fnmatchcase(posixpath.basename(path), root.match):
            self._open(root, path, name)

    def _look_again(self, root: Root, path: str, name: str) -> None:
        try:
            become = self._context.loaded.identities[name]
            with examine(self._context.loaded, root, path, become=become) as script:
                self._cover(root, path, script)
                mark = _mark(script)
        except ScriptError as error:
            if error.obstacle == "missing":
                self._context.say("info", f"its script has gone: {error}; running instances go on", app=name)
                self._dynamic.lose(name)
            else:
                self._say(name, f"its script may not be run any more: {error}; running instances go on")
            return
        self._dynamic.found(name)
        if self._marks.get(name) != mark:
            self._marks[name] = mark
            self._said.pop(name, None)
            self._context.reporter.report(wire.ProgramChanged(app=name))

    def _open(self, root: Root, path: str, name: str) -> None:
        if len(self._dynamic) >= MOST_SCRIPTS:
            text = f"there are more than {MOST_SCRIPTS} scripts; others get a socket when they are first asked for"
            self._say("", text)
            return
        try:
            self._dynamic.open(root, path)
        except NotExecutable:
            return  # a script's data, or not finished
        except ScriptError as error:
            if error.obstacle != "missing":
                self._say(name, f"a script may not be run, so it gets no socket: {error}")
        except (SocketError, LookupError, OSError) as error:
            self._say(name, f"a script gets no socket: {error}")
        else:
            self._said.pop(name, None)

    def _opened(self, root: Root, path: str, script: Script) -> None:
        """Watch *script*, which has become an application or was asked for again."""
        name = f"{root.name}/{path}"
        if name not in self._marks:
            if len(self._marks) > 2 * MOST_SCRIPTS:
                self._marks = {known: mark for known, mark in self._marks.items() if self._dynamic.knows(known)}
            self._marks[name] = _mark(script)
            self._cover(root, path, script)

    def _cover(self, root: Root, path: str, script: Script) -> None:
        self._watch((root.name, posixpath.dirname(path)), script.directory)

    # ── a whole root ─────────────────────────────────────────────────────────────────────────────────────────────

    def _go_through(self, root: Root) -> None:
        """Look at the scripts of *root* that are applications; where it listens, at all that there are."""
        self._watches.keep(lambda place: place[0] != root.name)
        found = self._list(root) if root.listen else set()
        start = f"{root.name}/"
        known = {name.removeprefix(start) for name in self._dynamic.names() if name.startswith(start)}
        for path in sorted(known) + sorted(found - known):
            self._look(root, path)

    def _list(self, root: Root) -> set[str]:
        """Return the paths of all files in *root* whose names match, and watch their directories."""
        listing = Listing(root, lambda path, directory: self._watch((root.name, path), directory))
        try:
            try:
                listing.run()
            except FileNotFoundError:
                self._watch_around(root)
                listing.run()  # it may have come just before that
        except OSError as error:
            self._say(root.name, f"cannot look into {root.path}: {error.strerror}; when it is there, it is noticed")
        for what in listing.left_out:
            self._say(root.name, what)
        return listing.found

    def _watch_around(self, root: Root) -> None:
        around = open_directory(posixpath.dirname(posixpath.normpath(root.path)))
        try:
            self._watch((root.name, _AROUND), around)
        finally:
            os.close(around)

    def _watch(self, place: Place, directory: int) -> None:
        try:
            self._watches.add(place, directory)
        except OSError as error:
            where = posixpath.join(*place)
            text = f"{where} cannot be watched: {error.strerror}; what changes there is not noticed until an apply"
            self._say(place[0], text)

    def _say(self, about: str, text: str) -> None:
        """Log *text*, unless that was the last that was said *about* something."""
        if self._said.get(about) == text:
            return
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said[about] = text
        # Whatever else is in a tree may have any name: it is in the text, where what no line can have is escaped.
        self._context.say("warning", text, app=about if self._dynamic.knows(about) else None)


def _mark(script: Script) -> tuple[int, int]:
    return script.status.st_ino, script.status.st_ctime_ns
