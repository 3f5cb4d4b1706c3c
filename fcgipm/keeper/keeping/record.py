"""The state as text, put together from the keeper's books; what has not changed is not encoded again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import fcgipm
from fcgipm.codec import to_json, to_terse_json
from fcgipm.keeper.keeping.state import (
    KeptInstance,
    KeptListener,
    KeptNote,
    KeptProcess,
    KeptScript,
    State,
    decode,
    encode,
)
from fcgipm.keeper.listening.listener import Vigil
from fcgipm.linux import procfs

if TYPE_CHECKING:
    from fcgipm.keeper.daemon.ending import Ending
    from fcgipm.keeper.instances.book import Book, Instance
    from fcgipm.keeper.instances.strays import Strays
    from fcgipm.keeper.listening.listener import Listener
    from fcgipm.keeper.listening.listeners import Listeners
    from fcgipm.keeper.roots.undeclared import Undeclared
    from fcgipm.keeper.supervising.supervise import Supervisor

_APART: Final = frozenset({"listeners", "instances", "notes", "scripts"})
"""Fields that are as long as what they are about is many."""


_Item: TypeAlias = tuple[Hashable, Hashable, Callable[[], str]]
"""Of what something is, what of it may change, and how it is made."""


@dataclass(slots=True)
class _Texts:
    """What was encoded, by what it is of; valid while its key is the same."""

    _known: dict[Hashable, tuple[Hashable, str]] = field(default_factory=dict)

    def joined(self, items: Iterable[_Item]) -> str:
        """Return the texts of *items* with commas between; forget all others."""
        before, self._known = self._known, {}
        for of, key, make in items:
            known = before.get(of)
            if known is None or known[0] != key:
                known = key, make()
            self._known[of] = known
        return ",".join(text for _, text in self._known.values())


@dataclass(frozen=True, slots=True)
class Books:
    """Who knows what is to be recorded."""

    book: Book
    listeners: Listeners
    strays: Strays
    dynamic: Undeclared
    supervisor: Supervisor
    ending: Ending
    notes: Callable[[], Iterable[tuple[str, KeptNote]]]
    started_at: int
    """When the daemon was started, in monotonic nanoseconds."""
    started_unix: float


class Record:
    """Makes the record; see `fcgipm.keeper.keeping.state` for what is in it."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._instances, self._listeners, self._notes, self._scripts = _Texts(), _Texts(), _Texts(), _Texts()
        self._boot_id, self._name_space = boot_id(), name_space()
        self._manager: KeptProcess | None = None

    def text(self) -> bytes:
        """Return the record as it is to be written."""
        head: dict[str, Any] = to_json(self._head())
        text = json.dumps({key: value for key, value in head.items() if key not in _APART}, separators=(",", ":"))
        parts = [
            text[:-1],
            ',"listeners":[', self._listeners.joined(map(_of_listener, self._books.listeners.known)),
            '],"instances":[', self._instances.joined(map(_of_instance, self._books.book)),
            '],"scripts":[', self._scripts.joined(map(_of_script, self._books.dynamic.scripts())),
            '],"notes":{', self._notes.joined(map(_of_note, self._books.notes())),
            "}}",
        ]  # fmt: skip
        return "".join(parts).encode()

    def state(self) -> State:
        """Return the record as it is now."""
        return decode(self.text())

    def farewell(self) -> bytes | None:
        """Return what is to be known after a graceful end; None where that is nothing.

        It is what people have asked for, and the sockets in which visitors wait for the next keeper.  An instance that
        could not be killed is no less ours then.
        """
        if len(self._books.book):
            return self.text()
        wishes = {app: note for app, note in self._books.notes() if note.wish}
        listeners = [listener for listener in self._books.listeners.known if listener.outlives]
        if not wishes and not listeners:
            return None
        scripts = (
            one
            for one in self._books.dynamic.scripts()
            if f"{one.root}/{one.path}" in wishes or (listeners and not one.leaving)
        )
        state = replace(
            self._head(), ending=None, manager=None, strays=(), generations={}, scripts=tuple(scripts),
            notes={app: replace(note, text=note.wish) for app, note in wishes.items()},
            listeners=tuple(map(kept_listener, listeners)),
        )  # fmt: skip
        return encode(state)

    def _head(self) -> State:
        books = self._books
        return State(
            boot_id=self._boot_id,
            name_space=self._name_space,
            program=fcgipm.__version__,
            pid=os.getpid(),
            started_at=books.started_at,
            started_unix=books.started_unix,
            highest=books.book.highest,
            ending=books.ending.decided,
            manager=self._kept_manager(),
            strays=books.strays.kept(),
            generations=books.listeners.known.generations(),
        )

    def _kept_manager(self) -> KeptProcess | None:
        """Return the manager; the kernel is asked once when each was started."""
        pid = self._books.supervisor.pid
        if pid is None or self._manager is None or self._manager.pid != pid:
            self._manager = _process(pid)
        return self._manager


def _of_listener(listener: Listener) -> _Item:
    awaited = listener.vigil is Vigil.AWAITED
    key = listener.generation, listener.reach, listener.closes_at, awaited, listener.stored

    return listener, key, lambda: _encoded(kept_listener(listener))


def kept_listener(listener: Listener) -> KeptListener:
    """Return what is written down of *listener*."""
    names, where = listener.names, listener.where
    return KeptListener(
        app=listener.app,
        generation=listener.generation,
        inode=listener.endpoint.inode,
        reach=listener.reach,
        public=listener.public,
        private=None if names is None else names.private,
        device=0 if names is None else names.file.device,
        file=0 if names is None else names.file.inode,
        address="" if where is None else where[0],
        port=0 if where is None else where[1],
        closes_at=listener.closes_at,
        awaited=listener.vigil is Vigil.AWAITED,
        stored=listener.stored,
        given=listener.is_given,
    )


def _of_instance(instance: Instance) -> _Item:
    key = instance.starting is None, instance.ready, instance.asked

    def make() -> str:
        return _encoded(
            KeptInstance(
                number=instance.number,
                app=instance.app,
                generation=instance.generation,
                pid=instance.pid,
                start_time=instance.start_time,
                listener=instance.listener.endpoint.inode,
                executed=instance.starting is None,
                started_at=instance.started_at,
                ready=instance.ready,
                ready_at=instance.ready_at,
                asked=instance.asked,
                turns_away=instance.turns_away,
                canary=instance.listener.canary,
                recipe=instance.recipe,
                stdout=os.fstat(instance.stdout).st_ino,
                stderr=os.fstat(instance.stderr).st_ino,
            )
        )

    return instance.number, key, make


def _of_script(script: KeptScript) -> _Item:
    return (script.root, script.path), script.leaving, lambda: _encoded(script)


def _of_note(named: tuple[str, KeptNote]) -> _Item:
    app, note = named
    return app, note, lambda: f"{json.dumps(app)}:{_encoded(note)}"


def _encoded(value: object) -> str:
    return json.dumps(to_terse_json(value), separators=(",", ":"))


def _process(pid: int | None) -> KeptProcess | None:
    if pid is None:
        return None
    try:
        return KeptProcess(pid=pid, start_time=procfs.stat(pid).started)
    except OSError:
        return None  # it has just ended


def boot_id() -> str:
    """Return which start of the machine this is."""
    return procfs.read("/proc/sys/kernel/random/boot_id").decode().strip()


def name_space() -> int:
    """Return in which name space our process numbers mean something."""
    return os.stat("/proc/self/ns/pid").st_ino
