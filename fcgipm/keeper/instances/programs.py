"""Learn when the program file of an application is replaced or rewritten."""

from __future__ import annotations

import os
from collections.abc import Iterable

from fcgipm import wire
from fcgipm.config.schema import Application
from fcgipm.keeper.context import Context
from fcgipm.linux import inotify

_MASK = inotify.CLOSE_WRITE | inotify.MOVED_TO | inotify.CREATE | inotify.ONLYDIR


class Programs:
    """Watches the directories of all programs, and where symbolic links lead."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._inotify = inotify.Inotify()
        self._watches: dict[str, int] = {}
        self._apps: dict[tuple[int, str], set[str]] = {}
        """By watch and name of the file."""
        context.dispatch.watch(self._inotify.fileno(), self._read)

    def define(self, applications: Iterable[Application]) -> None:
        """Watch the programs of *applications* and no others.  A directory that is not there is not watched.

        Dynamic applications are looked after by `fcgipm.keeper.roots.trees`.
        """
        before, self._watches, self._apps = self._watches, {}, {}
        for app in applications:
            if app.is_dynamic:
                continue
            for path in _places(app):
                number = self._watched(os.path.dirname(path))
                if number is not None:
                    self._apps.setdefault((number, os.path.basename(path)), set()).add(app.name)
        for number in set(before.values()) - set(self._watches.values()):
            self._inotify.remove(number)

    def close(self) -> None:
        """Watch nothing more."""
        self._inotify.close()

    def _watched(self, directory: str) -> int | None:
        if directory not in self._watches:
            try:
                self._watches[directory] = self._inotify.add(directory, _MASK)
            except OSError as error:
                text = f"cannot watch {directory} for new programs: {error.strerror}; a back-off will not notice one"
                self._context.say("warning", text)
                return None
        return self._watches[directory]

    def _read(self) -> None:
        changed: dict[str, None] = {}
        for event in self._inotify.read():
            if event.mask & inotify.OVERFLOW:
                changed |= dict.fromkeys(app for apps in self._apps.values() for app in apps)
            changed |= dict.fromkeys(self._apps.get((event.watch, event.name), ()))
        for app in changed:
            self._context.reporter.report(wire.ProgramChanged(app=app))


def _places(app: Application) -> set[str]:
    """Return the path of the program as it is written and as its links lead, seen from outside a chroot."""
    program = app.command[0]
    if app.chroot is not None:
        return {app.chroot.rstrip("/") + program}
    return {program, os.path.realpath(program)}
