"""An upgrade: the installed program is tried, its manager is started, and then it takes this one's place.

Until the last step nothing has changed for anybody, and whatever goes wrong, this program goes on.
"""

from __future__ import annotations

import enum
import os
import select
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import fcgipm
from fcgipm import wire
from fcgipm.config.definitions import to_definition
from fcgipm.config.schema import SECOND
from fcgipm.counting import counted
from fcgipm.keeper.keeping import carried, execing
from fcgipm.keeper.keeping.carried import Carried
from fcgipm.keeper.keeping.trial import PATIENCE, Trial, TrialError, TrialPassed
from fcgipm.keeper.supervising.launch import Launched, launch
from fcgipm.log import wall_clock

if TYPE_CHECKING:
    from fcgipm.keeper.instances.book import Instance
    from fcgipm.keeper.keeping.handing_over import HandingOver
    from fcgipm.keeper.keeping.origin import Origin

_WARMTH: Final = 30
"""Seconds that the next manager may take to come to itself; nobody waits for it meanwhile."""
_TRIALS: Final = 3
"""How often the configuration may be applied meanwhile, and so is to be read once more."""


class Stage(enum.Enum):
    """How far an upgrade is."""

    RESTING = "resting"
    """There is none."""
    TRYING = "trying"
    WARMING = "warming"
    """The next manager comes to itself, which takes longer than all the rest together."""
    WAITING = "waiting"
    """A configuration is being read, and then it is tried again."""


class Upgrading:
    """Carries out the order `wire.Upgrade`, and SIGUSR2."""

    def __init__(self, handing: HandingOver, origin: Origin, manager: Sequence[str], *, foreground: bool) -> None:
        """*manager* is how a manager is started; *foreground*: the daemon stays in it."""
        self._context = handing.context
        self._handing = handing
        self._program = origin.program
        self._argv = tuple(manager)
        self._foreground = foreground
        self.last = origin.upgraded
        """The last upgrade, None if there was none."""
        self._stage = Stage.RESTING
        self._requests: list[int] = []
        self._due: int | None = None
        self._trials = 0
        self._applies = 0
        self._trial: Trial | None = None
        self._passed: TrialPassed | None = None
        self._manager: Launched | None = None

    def ask(self, request: int | None = None) -> None:
        """Begin, or join in; the answer to *request* is told where it fails, and otherwise by the next program."""
        if request is not None:
            self._requests.append(request)
        if self._stage is Stage.RESTING:
            self._trials = 0
            self._try()

    def deadline(self) -> int | None:
        """Return when what is waited for takes too long."""
        return self._due

    def expire(self, now: int) -> None:  # noqa: ARG002  whenever that is
        """Give up."""
        if self._trial is not None:
            trial, self._trial = self._trial, None
            self._context.dispatch.forget(trial.fileno())
            self._fail(str(trial.give_up()))
        else:
            self._fail(f"its manager has not come to itself within {_WARMTH} s")

    def applied(self) -> None:
        """A configuration was read: if that was waited for, go on."""
        if self._stage is Stage.WAITING:
            self._try()

    def close(self) -> None:
        """End what is under way, at the end of the daemon."""
        if self._trial is not None:
            self._context.dispatch.forget(self._trial.fileno())
            self._trial.give_up()
            self._trial = None
        self._drop()

    def attended(self) -> None:
        """A manager decides: if that is the first one after an upgrade, its pause is over."""
        last = self.last
        if last is None or last.pause is not None:
            return
        self.last = replace(last, pause=time.monotonic_ns() - last.at)
        seconds = (time.monotonic_ns() - last.at) / SECOND
        text = f"fcgipm {last.before} → {fcgipm.__version__}, {counted(last.instances, 'instance')} untouched"
        self._context.tell("info", "upgraded", f"{text}, pause {seconds:.2f} s")

    # ── the steps ────────────────────────────────────────────────────────────────────────────────────────────────

    def _try(self) -> None:
        why = self._handing.why_not()
        self._trials += 1
        if why or self._trials > _TRIALS:
            self._fail(why or "the configuration is applied again and again meanwhile")
            return
        if self._handing.applier.is_reading:
            self._stage = Stage.WAITING
            return
        self._applies = self._handing.applier.readings
        try:
            self._trial = Trial(self._program, carried.encode(self._carried(wall_clock(), {})))
        except TrialError as error:
            self._fail(str(error))
            return
        self._stage, self._due = Stage.TRYING, time.monotonic_ns() + PATIENCE * SECOND
        self._context.dispatch.watch(self._trial.fileno(), self._told)

    def _told(self) -> None:
        trial = self._trial
        assert trial is not None, self._stage
        if not trial.feed():
            return
        self._context.dispatch.forget(trial.fileno())
        self._trial = None
        try:
            self._passed = trial.result()
        except TrialError as error:
            self._fail(str(error))
        else:
            self._warm()

    def _warm(self) -> None:
        context = self._context
        try:
            self._manager = launch(self._argv, context.loaded.manager, context.nofile)
        except OSError as error:
            self._fail(f"its manager cannot be started: {error}")
            return
        self._stage, self._due = Stage.WARMING, time.monotonic_ns() + _WARMTH * SECOND
        context.dispatch.watch(self._manager.wire.fileno(), self._warmed)

    def _warmed(self) -> None:
        manager = self._manager
        assert manager is not None, self._stage
        self._context.dispatch.forget(manager.wire.fileno())
        if not _speaks(manager):
            self._fail(f"its manager has ended: {_last_words(manager)}")
            return
        if self._handing.applier.is_reading or self._handing.applier.readings != self._applies:
            self._drop()
            self._try()  # what the trial has read is not what holds
            return
        why = self._handing.why_not()
        if why:
            self._fail(why)
        else:
            self._go()

    def _go(self) -> None:
        """Let the new program take over; where that does not work, nothing has changed."""
        passed, manager, context = self._passed, self._manager, self._context
        assert passed is not None, self._stage
        assert manager is not None, self._stage
        context.say("info", f"upgrade: {self._program.name}, fcgipm {passed.version}, takes over now")
        late: list[Instance] = []
        with execing.signals_blocked():
            try:
                late = self._handing.settle()
                more = {
                    carried.LOADED: passed.loaded,
                    carried.MANAGER_WIRE: manager.wire.fileno(),
                    carried.MANAGER_STDERR: manager.stderr,
                }
                what = self._carried(wall_clock(), {**self._handing.descriptors(), **more}, manager.pid)
                execing.send_again(self._handing.untaken())
                execing.replace_program(self._program, what)
            except OSError as error:
                self._handing.unsettle(late)
                self._fail(f"{self._program.name} cannot be executed: {error.strerror or error}")

    def _carried(self, wall: float, descriptors: Mapping[str, int], manager: int | None = None) -> Carried:
        context, handing = self._context, self._handing
        done = 0 if self.last is None else self.last.count
        upgraded = wire.Upgraded(
            count=done + 1, before=fcgipm.__version__, at=time.monotonic_ns(), at_unix=wall,
            instances=handing.instances(), pause=None,
        )  # fmt: skip
        return Carried(
            state=handing.state(),
            path=context.loaded.path,
            foreground=self._foreground,
            daemon=to_definition(context.loaded.config.daemon),
            nofile=context.nofile,
            made_directory=handing.runtime.made,
            upgraded=upgraded,
            manager=manager,
            descriptors=dict(descriptors),
        )

    # ── failing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _fail(self, why: str) -> None:
        self._drop()
        self._stage = Stage.RESTING
        text = f"cannot upgrade: {why}; fcgipm {fcgipm.__version__} goes on, nothing was changed"
        self._context.tell("error", "upgrade-failed", text)
        requests, self._requests = self._requests, []
        for request in requests:
            self._context.reporter.report(wire.UpgradeFailed(request=request, error=text))

    def _drop(self) -> None:
        """Undo what the steps have made."""
        self._due = None
        passed, self._passed = self._passed, None
        if passed is not None:
            os.close(passed.loaded)
        manager, self._manager = self._manager, None
        if manager is not None:
            self._context.dispatch.forget(manager.wire.fileno())
            manager.drop()


def _speaks(manager: Launched) -> bool:
    """Return whether *manager* has said something, rather than ended; it is not read here."""
    try:
        return bool(manager.wire.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


def _last_words(manager: Launched) -> str:
    poller = select.poll()
    poller.register(manager.stderr, select.POLLIN)
    said = os.read(manager.stderr, 64 * 1024) if poller.poll(0) else b""
    lines = said.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "without a word")
