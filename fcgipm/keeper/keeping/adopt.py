"""Take up what a keeper has left that was killed: its sockets, its instances, and what it had to remember."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fcgipm import wire
from fcgipm.counting import counted
from fcgipm.keeper.instances import retire
from fcgipm.keeper.instances.book import Instance
from fcgipm.keeper.instances.session import Process
from fcgipm.keeper.keeping import recognise, record, statefile
from fcgipm.keeper.keeping.heritage import Heritage
from fcgipm.keeper.keeping.recognise import Departed, Found, Survivor
from fcgipm.keeper.keeping.relisten import Relistening
from fcgipm.keeper.keeping.state import KeptListener, State, StateError
from fcgipm.keeper.keeping.takeback import Stored
from fcgipm.keeper.keeping.unknown import unknown
from fcgipm.keeper.listening.listener import Listener, Vigil
from fcgipm.keeper.listening.sockets import SocketError
from fcgipm.linux.sock_diag import Endpoint

if TYPE_CHECKING:
    from fcgipm.keeper.context import Context
    from fcgipm.keeper.daemon.progress import Progress
    from fcgipm.keeper.instances.book import Book
    from fcgipm.keeper.instances.starting import Starting
    from fcgipm.keeper.instances.strays import Strays
    from fcgipm.keeper.listening.guard import Guard
    from fcgipm.keeper.listening.listeners import Listeners
    from fcgipm.keeper.listening.place import Places
    from fcgipm.keeper.roots.undeclared import Undeclared
    from fcgipm.keeper.supervising.orders import Orders


def left_by(context: Context, directory: int) -> tuple[State | None, str]:
    """Return what the keeper before has left in the runtime directory, and why that cannot be used.

    None where it cannot, or where it has left nothing.
    """
    try:
        return statefile.read(directory), ""
    except (StateError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        path = os.path.join(context.loaded.config.daemon.runtime_dir, statefile.NAME)
        text = f"cannot use {path}: {why}; instances that an fcgipm has left there are not adopted"
        context.tell("error", "state-file", f"{text}, and what was stopped is started")
        return None, text


@dataclass(slots=True)
class Adoption:
    """Two steps: `take_sockets` before others are bound, and `take_instances` when there are books for them."""

    context: Context
    book: Book
    listeners: Listeners
    places: Places
    guard: Guard
    heritage: Heritage
    stored: Stored
    state: State | None
    same_process: bool = False
    """Whether it was this process that left the state, in another program: what it has started are our children."""
    _found: Found = field(default_factory=Found)
    _restored: list[tuple[KeptListener, Listener]] = field(default_factory=list)
    _departed: list[Departed] = field(default_factory=list)

    @property
    def _holds(self) -> bool:
        """Whether the processes and sockets of the state are those of here and now."""
        state = self.state
        here = record.boot_id(), record.name_space()
        return state is not None and (state.boot_id, state.name_space) == here

    # ── sockets ──────────────────────────────────────────────────────────────────────────────────────────────────

    def take_sockets(self) -> None:
        """Let go on whatever stands still, and take over the listeners."""
        state = self.state
        if state is None or not self._holds:
            return
        self._found = recognise.find_children(state) if self.same_process else recognise.find(state)
        relistening = Relistening(self.context, self.places, self.guard, self.heritage, self.stored)
        for kept in state.listeners:
            listener = self._given(kept) or relistening.take(kept, recognise.holders(self._found, kept))
            if listener is not None:
                mine = ((one.kept.listener, one.kept.app) for one in self._found.survivors)
                listener.instances = sum(one == (kept.inode, kept.app) for one in mine)
                self.listeners.restore(listener, highest=state.generations.get(kept.app, 0))
                self._restored.append((kept, listener))
        if state.manager is not None and not self.same_process and not recognise.await_end(state.manager):
            text = f"the manager (pid {state.manager.pid}) of the fcgipm before has not ended; what it holds stays busy"
            self.context.say("warning", text)
        self._cut_canaries(relistening)
        if not self.same_process:
            names = (one.names for _, one in self._restored)
            relistening.sweep(state.listeners, {file.file for file in names if file is not None})
        self._make_public()

    def _given(self, kept: KeptListener) -> Listener | None:
        """Return the listener *kept* where systemd gives it again."""
        app = self.context.application(kept.app)
        if not kept.given or app is None or self.context.given.of(app) is None:
            return None
        listener = self.listeners.make(app, kept.generation)
        if listener.endpoint.inode == kept.inode:
            return listener
        self.listeners.discard(listener)
        return None

    def has_listener(self, app: str) -> bool:
        """Return whether visitors of *app* have a listener, if only that which its instances alone have.

        Another one takes the place of such a one when the manager says so: until then they are served there.
        """
        mine = self.listeners.known.of_app(app)
        return any(
            one.published or (one.sock is None and kept.published) for kept, one in self._restored if one in mine
        )

    def is_doubtful(self, app: str) -> bool:
        """Return whether processes are left alone that may be instances of *app*, and may have its port."""
        state = self.state
        return state is not None and any(
            one.app == app and one.number in self._found.doubtful for one in state.instances
        )

    def _make_public(self) -> None:
        """Let be public what is meant to be, or what the public path leads to: a publish was cut short."""
        for kept, listener in self._restored:
            names = listener.names
            if listener.sock is None or (names is None and not kept.published):
                continue
            if not listener.published:
                others = (other for other in self.listeners.known.of_app(kept.app) if other is not listener)
                if not kept.published or any(other.published for other in others):
                    continue
            try:
                self.listeners.publish(listener)
            except SocketError as error:
                text = f"{error}; visitors of {kept.app} do not come to fcgipm any more"
                self.context.tell("error", "socket-lost", text, app=kept.app)

    def _cut_canaries(self, relistening: Relistening) -> None:
        """Remove those that were to prove a generation: nobody waits for that any more, and no visitor is there."""
        for one in [one for one in self._found.survivors if one.kept.canary]:
            endpoint = Endpoint(one.kept.listener, None, None, 1)
            retire.cut(Process(one.kept.pid, one.pidfd), endpoint)
            os.close(one.pidfd)
            self._found.survivors.remove(one)
        state = self.state
        assert state is not None, "there are survivors"
        relistening.remove_canaries(one.number for one in state.instances if one.canary)

    # ── instances ────────────────────────────────────────────────────────────────────────────────────────────────

    def take_instances(
        self, starting: Starting, strays: Strays, orders: Orders, dynamic: Undeclared, progress: Progress
    ) -> None:
        """Enter everybody into the books, and remember what is to be remembered."""
        state = self.state
        if state is None:
            return
        dynamic.reopen(script for script in state.scripts if not script.leaving)
        self._take_notes(orders, progress)
        if not self._holds:
            return
        self.book.highest = max(self.book.highest, state.highest)
        for one in self._found.survivors:
            self._take_instance(one, starting)
        for stray in self._found.strays:
            listener = self._listener_of(stray.listener)
            if listener is not None:
                strays.adopt(stray.process, stray.started, listener, name=stray.name, cut_at=stray.cut_at)
        for kept, listener in self._restored:
            self._go_on_watching(kept, listener)
        self._departed = [one for one in self._found.departed if one.kept.executed and not one.kept.canary]
        self._say(state)
        if not self.same_process:
            self._say_unknown(state)

    def unseen(self) -> tuple[list[wire.InstanceFact], list[wire.Exited]]:
        """Return, once, those that have ended while nobody looked: as they were for the manager, and their ends."""
        departed, self._departed = self._departed, []
        now = time.monotonic_ns()
        facts = [
            wire.InstanceFact(
                instance=one.number, app=one.app, generation=one.generation, pid=one.pid, ready=one.ready,
                asked=one.asked, outdated=False, started_at=one.started_at, ready_at=one.ready_at,
                turns_away=one.turns_away,
            )
            for one in (gone.kept for gone in departed)
        ]  # fmt: skip
        ends = [
            wire.Exited(
                instance=one.kept.number, code=one.end.code, signal=one.end.signal, dumped=one.end.dumped, at=now
            )
            for one in departed
        ]
        return facts, ends

    def let_go(self) -> None:
        """Leave everything as it was found: this start has failed, and the next one may not."""
        self.listeners.let_go([listener for _, listener in self._restored])

    def _take_instance(self, one: Survivor, starting: Starting) -> None:
        kept = one.kept
        listener = self._listener_of(kept.listener, kept.app)
        if listener is None:
            text = f"{kept.app}/{kept.number} (pid {kept.pid}) cannot be adopted: nothing is known of its socket"
            self.context.say("error", f"{text}; it is left alone", app=kept.app)
            os.close(one.pidfd)
            return
        listener.instances -= 1  # it is counted when it is entered
        starting.adopt(
            Instance(
                number=kept.number,
                app=kept.app,
                generation=kept.generation,
                listener=listener,
                pid=kept.pid,
                pidfd=one.pidfd,
                stdout=self.heritage.take_output(kept, 1),
                stderr=self.heritage.take_output(kept, 2),
                recipe=kept.recipe,
                start_time=kept.start_time,
                turns_away=kept.turns_away,
                starting=None,
                started_at=kept.started_at,
                ready=kept.ready,
                ready_at=kept.ready_at,
                asked=kept.asked,
                is_child=one.is_child,
            )
        )

    def _listener_of(self, inode: int, app: str = "") -> Listener | None:
        found = [listener for kept, listener in self._restored if kept.inode == inode]
        return next((one for one in found if one.app == app), found[0] if found else None)

    def _go_on_watching(self, kept: KeptListener, listener: Listener) -> None:
        """Watch it for who comes late, or first; what belongs to no application any more is nobody's to come to."""
        if self.context.application(kept.app) is None:
            self.listeners.withdraw(listener)
        elif listener.instances:
            return
        elif not listener.published:
            self.listeners.withdraw(listener)
            listener.closes_at = kept.closes_at or listener.closes_at
        elif kept.awaited:
            self.listeners.vigils.end(listener)
            listener.vigil = Vigil.AWAITED

    def _take_notes(self, orders: Orders, progress: Progress) -> None:
        """Give the notes to who keeps them; after a graceful end, or on another start of the machine, the wishes."""
        state = self.state
        assert state is not None, "there are notes"
        for app, note in state.notes.items():
            text = note.text if self._holds else note.wish
            if text and orders.notes.remember(app, note, text) and note.resting:
                progress.spare(app)

    def _say(self, state: State) -> None:
        survivors, found = len(self._found.survivors), self._found
        # What systemd keeps, or opens, is there also while nobody has it.
        lost = {one.app for one in state.listeners if one.published and not (one.stored or one.given)}
        lost -= {kept.app for kept, _ in self._restored}
        if not (survivors or found.departed or found.doubtful or lost) or self.same_process:
            return
        parts = [f"{counted(survivors, 'instance')} adopted"]
        if self._departed:
            parts.append(f"{len(self._departed)} had ended meanwhile")
        if lost:
            parts.append(f"no instance held the socket of {', '.join(sorted(lost))}: visitors were refused meanwhile")
        text = f"fcgipm {state.program} (pid {state.pid}) has left without ending: {', '.join(parts)}"
        self.context.tell("warning", "adopted", text)
        names = {one.number: f"{one.app}/{one.number}" for one in state.instances}
        for number, why in found.doubtful.items():
            text = f"{names[number]} cannot be adopted: {why}; it is left alone, and others take its place"
            self.context.tell("error", "not-adopted", text)

    def _say_unknown(self, state: State) -> None:
        apps = {listener.endpoint.inode: listener.app for _, listener in self._restored}
        for pid, inode in unknown(state, self._found, apps):
            app = apps[inode]
            text = (
                f"{app}: pid {pid} serves at its socket, and the fcgipm before has written nothing down of it; it is "
                f"left alone, and serves on beside the instances; end it when it is done: kill {pid}"
            )
            self.context.tell("error", "not-adopted", text, app=app)
