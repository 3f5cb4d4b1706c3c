"""Learn when the files change that an application is made of, and tell once when they have come to rest.

What the kernel tells only stirs an application up: what it is made of is looked at then, and again when nothing has
happened for half a second.  Only what is the same at both looks, and is not what was known, is told.  So nothing is
told of a file that is still being written, or that was put back.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import MILLISECOND, SECOND, Application
from fcgipm.keeper.context import Context
from fcgipm.keeper.instances.surveying import MOST_FILES, Made, Mark, Survey, survey
from fcgipm.linux import inotify

QUIET: Final = 500 * MILLISECOND
_NOTHING: Final[frozenset[str]] = frozenset()
"""One for all: most directories on the way to a program are of interest themselves only."""
_SOON: Final = 50 * MILLISECOND
"""Until the first look: many events that come together are looked at once."""
_RESTLESS: Final = 30 * SECOND
"""Changes that go on for so long are told of."""
_SELF: Final = inotify.MOVE_SELF | inotify.DELETE_SELF | inotify.ONLYDIR
_MASK: Final = (
    _SELF | inotify.CLOSE_WRITE | inotify.ATTRIB | inotify.CREATE | inotify.DELETE | inotify.MOVED_TO
    | inotify.MOVED_FROM
)  # fmt: skip
_ITSELF: Final = "."
"""Stands among the names in a directory for that one itself; nothing that happens in it has this name."""
_SCRIPTS: Final = "dynamic"
"""What stands for all dynamic applications, which share what [dynamic] watches; no application is called so."""


class Stage(enum.Enum):
    """How far the files of an application are from rest."""

    RESTING = enum.auto()
    STIRRED = enum.auto()
    """Something has happened; the first look is due."""
    SETTLING = enum.auto()
    """It was looked at; nothing may happen until the second look."""


@dataclass(slots=True)
class _Watched:
    """An application whose files are watched."""

    made: Made
    known: Mapping[str, Mark]
    """What its present generation was made of, as far as is known."""
    stage: Stage = Stage.RESTING
    due: int | None = None
    since: int = 0
    """When it was stirred up."""
    seen: Mapping[str, Mark] = field(default_factory=dict)
    """At the last look of this unrest."""

    def stir(self, now: int) -> None:
        """Something has happened."""
        if self.stage is Stage.RESTING:
            self.stage, self.due, self.since = Stage.STIRRED, now + _SOON, now
        elif self.stage is Stage.SETTLING:
            self.due = now + QUIET

    def look(self, found: Survey, now: int) -> bool:
        """Take what was *found*; return whether it is new and at rest."""
        if self.stage is Stage.STIRRED or found.marks != self.seen:
            self.stage, self.due, self.seen = Stage.SETTLING, now + QUIET, found.marks
            return False
        is_news = found.has_program and found.marks != self.known
        if found.has_program:  # else it is on its way: what comes is compared with what was
            self.known = found.marks
        self.rest()
        return is_news

    def rest(self) -> None:
        """Expect nothing."""
        self.stage, self.due, self.seen = Stage.RESTING, None, {}


class Programs:
    """Watches the programs of all applications and, of those with auto-update, all other files that they name."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._inotify = inotify.Inotify()
        self._watched: dict[str, _Watched] = {}
        self._surveys: dict[str, Mapping[str, frozenset[str]]] = {}
        """The places of each application."""
        self._numbers: dict[str, int] = {}
        """Of the watches, by directory."""
        self._concerned: dict[int, dict[str, set[str]]] = {}
        """By watch: whom each name concerns; ``""`` is any name."""
        self._stirred: set[str] = set()
        """Those of which a look is due."""
        self._said: set[str] = set()
        context.dispatch.watch(self._inotify.fileno(), self._read)

    def define(self, applications: Iterable[Application]) -> None:
        """Watch the files of *applications* and no others.

        The program of a dynamic application is looked after by `fcgipm.keeper.roots.trees`.
        """
        wanted = {app.name: made_of(app) for app in applications if not app.is_dynamic}
        dynamic = self._context.loaded.config.dynamic
        if dynamic is not None and dynamic.auto_update and dynamic.watch:
            wanted[_SCRIPTS] = Made("/", patterns=dynamic.watch)
        before, self._watched = self._watched, {}
        self._surveys = {name: places for name, places in self._surveys.items() if name in wanted}
        for name, made in wanted.items():
            known = before.get(name)
            if known is not None and known.made == made:
                self._watched[name] = known
            else:
                found = self._survey(name, made)
                self._watched[name] = _Watched(made, found.marks)
        self._stirred &= self._watched.keys()
        self._place(self._watched)

    def close(self) -> None:
        """Watch nothing more."""
        self._inotify.close()

    def began(self, app: str) -> None:
        """A generation of *app* begins with the files as they are now: what had stirred until now is in it."""
        watched = self._watched.get(app)
        if watched is None:
            return
        self._read()
        if watched.stage is not Stage.RESTING:
            watched.known = self._survey(app, watched.made).marks

    def deadline(self) -> int | None:
        """Return when the next look is due."""
        return min((due for name in self._stirred if (due := self._watched[name].due) is not None), default=None)

    def expire(self, now: int) -> None:
        """Look at the applications that are due."""
        self._read()
        due = {name for name in self._stirred if (self._watched[name].due or now + 1) <= now}
        for name in sorted(due):
            watched = self._watched[name]
            found = self._survey(name, watched.made)
            # The time after the look, which may take long: what happens meanwhile comes after it.
            if watched.look(found, time.monotonic_ns()):
                self._tell(name)
            if watched.stage is Stage.RESTING:
                self._stirred.discard(name)
            elif now - watched.since > _RESTLESS:
                self._say(name, "its files have been changing for more than 30 s; what is new is used when they rest")
        self._place(due)

    def _tell(self, name: str) -> None:
        names = [name]
        if name == _SCRIPTS:
            apps = self._context.loaded.config.applications.values()
            names = [app.name for app in apps if app.is_dynamic]
        self._said.discard(name)
        for app in names:
            self._context.reporter.report(wire.ProgramChanged(app=app))

    # ── watching ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _survey(self, name: str, made: Made) -> Survey:
        found = survey(made)
        if name == _SCRIPTS:
            found.has_program = True
        self._surveys[name] = {place: frozenset(names) if names else _NOTHING for place, names in found.places.items()}
        if not found.is_complete:
            what = f"it is made of more than {MOST_FILES} files, or of too many or too deep directories"
            self._say(name, f"{what}; changes of the others are not noticed")
        return found

    def _place(self, looked_at: Collection[str]) -> None:
        """Have watches where the last surveys want them, and nowhere else.

        Those of who was *looked_at* are made again: another directory may be where one was.
        """
        concerned: dict[str, dict[str, set[str]]] = {}
        for name, places in self._surveys.items():
            for directory, names in places.items():
                here = concerned.setdefault(directory, {})
                for one in names or {_ITSELF}:
                    here.setdefault(one, set()).add(name)
        self._concerned = {}
        before, self._numbers = self._numbers, {}
        for directory, here in concerned.items():
            number = before.get(directory)
            if number is None or any(not names.isdisjoint(looked_at) for names in here.values()):
                number = self._add(directory, here)
            if number is not None:
                self._numbers[directory] = number
                by_name = self._concerned.setdefault(number, {})
                for one, mine in here.items():
                    by_name.setdefault(one, set()).update(mine)
        for number in set(before.values()) - set(self._numbers.values()):
            self._inotify.remove(number)

    def _add(self, directory: str, here: Mapping[str, set[str]]) -> int | None:
        mask = _SELF if here.keys() == {_ITSELF} else _MASK
        try:
            # Several paths may lead to one directory, and each adds what it wants.
            return self._inotify.add(directory, mask | inotify.MASK_ADD)
        except OSError as error:
            text = f"cannot watch {directory} for new files: {error.strerror}; no back-off or auto-update notices one"
            for app in sorted(set().union(*here.values())):
                self._say(app, text)
            return None

    def _say(self, app: str, text: str) -> None:
        if app not in self._said:
            self._said.add(app)
            self._context.say("warning", text, app=None if app == _SCRIPTS else app)

    def _read(self) -> None:
        stirred: dict[str, None] = {}
        for event in self._inotify.read():
            if event.mask & inotify.OVERFLOW:
                stirred |= dict.fromkeys(self._watched)
            by_name = self._concerned.get(event.watch, {})
            if event.name:
                stirred |= dict.fromkeys(by_name.get(event.name, ()))
                stirred |= dict.fromkeys(by_name.get("", ()))
            else:  # the directory itself
                stirred |= dict.fromkeys(name for names in by_name.values() for name in names)
        now = time.monotonic_ns()
        for app in stirred:
            if app in self._watched:
                self._watched[app].stir(now)
                self._stirred.add(app)


def made_of(app: Application) -> Made:
    """Return what the declared application *app* is made of; the program alone where nothing else matters."""
    inside = "" if app.chroot is None else app.chroot.rstrip("/")
    program, *arguments = app.command
    if not app.auto_update:
        return Made(inside + program)
    others = tuple(inside + argument for argument in arguments if argument.startswith("/"))
    return Made(inside + program, others, app.watch)
