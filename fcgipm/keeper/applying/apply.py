"""Read the configuration again, check everything, and only then change what differs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Final, NoReturn

from fcgipm import wire
from fcgipm.config.apart import PATIENCE, Reading
from fcgipm.config.partly import partly, unknown_among, why_not_partly
from fcgipm.config.plan import KeyChange, compare
from fcgipm.config.problems import ConfigError
from fcgipm.config.schema import SECOND, Change
from fcgipm.counting import counted
from fcgipm.keeper.applying.changes import Changes, Plan
from fcgipm.keeper.context import Context
from fcgipm.keeper.dispatch import described
from fcgipm.keeper.listening.listeners import Listeners
from fcgipm.keeper.supervising.handover import definitions_of
from fcgipm.linux import memory

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded
    from fcgipm.keeper.roots.undeclared import Undeclared

_MOST: Final = 4 * 1024 * 1024
"""Bytes of names that may wait for a reading: many times what people can ask for."""
_EACH: Final = 64
"""Bytes that a name takes beside its letters."""


class Applier:
    """Carries out the order `wire.Apply`."""

    def __init__(
        self,
        context: Context,
        changes: Changes,
        listeners: Listeners,
        dynamic: Undeclared,
        *,
        environ: Mapping[str, str],
        foreground: bool,
    ) -> None:
        self._context = context
        self._changes = changes
        self._listeners = listeners
        self._dynamic = dynamic
        self._environ = environ
        self._foreground = foreground
        self._orders: list[wire.Apply] = []
        """Those that the present reading answers."""
        self._waiting: list[wire.Apply] = []
        """Those that have come since it began."""
        self._size = 0
        """Of the names in them."""
        self._reading: Reading | None = None
        self._give_up_at: int | None = None
        self.read: Callable[[str], None] = lambda _problem: None
        """Called when all that asked are answered, with why nothing was changed, if so."""
        self._problem = ""
        """Why the configuration does not hold as it is, if so."""
        self.readings = 0
        """How often the configuration was read."""

    @property
    def is_reading(self) -> bool:
        """Whether the configuration is being read."""
        return self._reading is not None

    def apply(self, order: wire.Apply) -> None:
        """Apply what the file says by now and report what has changed; a problem means that nothing has.

        The file is read by a child, which may take its time.  All that ask meanwhile are answered by one more reading.
        """
        size = sum(len(name) + _EACH for name in order.apps or ())
        if self._size + size > _MOST:
            self._report_problems([order], ["too many applications are named at once; ask again"])
            return
        self._size += size
        self._waiting.append(order)
        if self._reading is None:
            self._read()

    def deadline(self) -> int | None:
        """Return when the file has been read for too long."""
        return self._give_up_at

    def expire(self, now: int) -> None:
        """Give the reading up."""
        assert self._reading is not None, now
        self._context.dispatch.forget(self._reading.fileno())
        self._done(lambda reading: _raise(reading.give_up()))

    def _read(self) -> None:
        context = self._context
        self.readings += 1
        self._orders, self._waiting, self._size = self._waiting, [], 0
        try:
            self._reading = Reading(
                context.loaded.path,
                environ=self._environ,
                euid=os.geteuid(),
                foreground=self._foreground,
                running=context.loaded.config.daemon,
            )
        except ConfigError as error:
            self._report_problems(self._orders, [str(problem) for problem in error.problems])
            self.read(self._problem)
            return
        self._give_up_at = time.monotonic_ns() + PATIENCE * SECOND
        context.dispatch.watch(self._reading.fileno(), self._readable)

    def _readable(self) -> None:
        assert self._reading is not None
        if self._reading.feed():
            self._context.dispatch.forget(self._reading.fileno())
            self._done(Reading.result)

    def _done(self, result: Callable[[Reading], Loaded]) -> None:
        """Apply what was read, and read again for those who have asked since."""
        reading, self._reading, self._give_up_at = self._reading, None, None
        assert reading is not None
        try:
            new = result(reading)
        except ConfigError as error:
            self._report_problems(self._orders, [str(problem) for problem in error.problems])
        else:
            new = self._context.given.renewed(self._dynamic.renewed(new))
            for orders in _alike(self._orders):
                self._carry_out(orders, new)
        finally:
            if self._waiting:
                self._read()
            else:
                self.read(self._problem)

    def _carry_out(self, orders: list[wire.Apply], new: Loaded) -> None:
        """Apply what *orders*, which are alike, want of *new*."""
        apps, old = orders[0].apps, self._context.loaded
        problems = [] if apps is None else why_not_partly(old, new, apps)
        if problems:
            self._report_problems(orders, problems, unknown=unknown_among(old, new, apps or ()))
            return
        target = new if apps is None else partly(old, new, apps, without=self._dynamic.leaving())
        plan = Plan(orders, target, compare(old, target), warnings=list(new.warnings))
        plan.pending = () if apps is None else compare(target, new)
        if orders[0].dry_run:
            self._answer(plan)
        else:
            self._change(plan)

    def _change(self, plan: Plan) -> None:
        self._changes.bind(plan)
        if plan.problems:
            self._report_problems(plan.orders, plan.problems)
            return
        try:
            self._changes.commit(plan)
        except Exception as error:  # noqa: BLE001  the configuration has changed, and the manager must know
            text = f"{described(error)}; the new configuration holds, but not all of it was carried out"
            self._context.say("error", text)
            plan.warnings.append(text)
        self._report(plan)
        self._look_for_scripts()
        memory.give_back()

    def _look_for_scripts(self) -> None:
        """Go through the roots; what that opens is told after the new definitions, to which it belongs."""
        try:
            self._dynamic.define()
        except Exception as error:  # noqa: BLE001  the configuration holds all the same
            self._context.say("error", f"{described(error)}; new scripts are not noticed until the next apply")

    def _report(self, plan: Plan) -> None:
        pending = [change.key for change in plan.changes if change.app is None and change.effect is Change.RESTART]
        plan.warnings += [f"fcgipm.{key}: the new value holds after a restart of fcgipm" for key in pending]
        if any(order.is_whole for order in plan.orders):
            self._problem = ""
        self._context.say("info", f"applied {plan.loaded.path}: {counted(len(plan.changes), 'change')}")
        self._answer(plan, definitions_of(plan.loaded))

    def _answer(self, plan: Plan, definitions: wire.Definitions | None = None) -> None:
        """Tell what has changed, or would change where there are no *definitions*."""
        first, *others = plan.orders
        applied = wire.Applied(
            request=first.request,
            problems=(),
            warnings=tuple(plan.warnings),
            changes=_told(plan.changes),
            definitions=definitions,
            listeners=self._listeners.known.facts(),
            pending=_told(plan.pending),
        )
        self._context.reporter.report(applied)
        if definitions is not None:  # the first one's answer says it all, and holds them
            applied = replace(applied, changes=(), warnings=(), definitions=None)
        for order in others:
            self._context.reporter.report(replace(applied, request=order.request))

    def _report_problems(self, orders: list[wire.Apply], problems: list[str], unknown: Iterable[str] = ()) -> None:
        if any(order.is_whole for order in orders):  # else nobody has wanted the configuration to hold
            self._problem = f"the configuration was not applied: {problems[0]}"
        for order in orders:
            self._context.reporter.report(
                wire.Applied(
                    request=order.request,
                    problems=tuple(problems),
                    warnings=(),
                    changes=(),
                    definitions=None,
                    listeners=(),
                    unknown=tuple(unknown),
                )
            )


def _alike(orders: Iterable[wire.Apply]) -> Iterator[list[wire.Apply]]:
    """Yield *orders* in their order, those together that follow each other and want the same."""
    for _, group in groupby(orders, lambda order: (order.apps, order.dry_run)):
        yield list(group)


def _told(changes: Iterable[KeyChange]) -> tuple[wire.ChangedKey, ...]:
    return tuple(
        wire.ChangedKey(
            app=change.app,
            key=change.key,
            effect=change.effect.value if isinstance(change.effect, Change) else change.effect,
        )
        for change in changes
    )


def _raise(error: ConfigError) -> NoReturn:
    raise error
