"""The books of one application: what is wanted of it, what there is, and the questions that both answer.

`core.application` changes what is wanted and writes down what happened, `core.reconcile` gives the orders.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Final

from fcgipm.config.schema import MILLISECOND, SECOND, Application, Duration
from fcgipm.core.backoff import Backoff
from fcgipm.core.chronicle import Chronicle
from fcgipm.core.commands import Severity, Tell, Topic
from fcgipm.core.demand import Demand, Denial
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.instance import Instance
from fcgipm.core.lifecycle import InstanceState
from fcgipm.core.note import Memory, Mode, Trouble
from fcgipm.core.policy.classic import Load, load_factor
from fcgipm.core.rollout import Attempt, Errand, LateComer, Phase, Recycling, Roll, Slot, Switch, Turning
from fcgipm.core.view import AppState, AppView, LiveInstance
from fcgipm.core.world import World, terms_of_application

RESTART_FLOOR: Final[Duration] = 100 * MILLISECOND
"""Least time between two starts in a slot: with restart-delay = 0 a crash loop must not become a busy loop."""
LIMIT_HOLDS: Final[Duration] = 1 * SECOND
"""For how long who asks is told that a limit is reached, without another look."""


class Books:
    """One application's state.  Everybody in `core` may read it; application, ends, generations, reconcile write it."""

    def __init__(
        self,
        definition: Application,
        *,
        world: World | None = None,
        number: Callable[[], InstanceId],
        memory: Memory | None,
        published: int,
        living: Sequence[LiveInstance],
        now: Instant,
    ) -> None:
        memory = memory or Memory(mode=Mode.RUN if definition.autostart else Mode.STOP, newest=published)
        self.definition = definition
        self.world = world or World(terms_of_application(definition))
        self.world.members[definition.name] = self
        self.number = number
        self.mode = memory.mode
        self.scale = memory.scale
        self.backoff = Backoff(failures=memory.failures)
        self.trouble = memory.trouble
        self.reason = memory.reason
        self.last_start = None if memory.last_start is None else Instant(memory.last_start)
        self.restarts = memory.restarts
        self.abandoned = memory.abandoned
        self.cut = memory.cut
        self.generation = published
        if not self.switches and living:
            self.generation = min(alive.generation for alive in living)  # nobody is told of those: one listener for all
        self.newest = max([1, memory.newest, published, *(alive.generation for alive in living)])
        self.change: Switch | Roll | None = None
        self.errand: Errand | None = None
        if self.mode is Mode.STOP and living:
            self.errand = Errand(topic=Topic.APP_STOPPED, since=None, cut=self.cut)
        self.late: dict[int, LateComer] = {}
        """Visitors in the queue of an old listener, by its generation."""
        self.instances: dict[InstanceId, Instance] = {}
        self.demand = Demand(load=memory.load)
        if memory.load is not None:
            self.world.go_on(Instant(memory.load.began_at), now)
        self.chronicle = Chronicle()
        self.attempt: Attempt | None = None
        self.recycling = Recycling(not_before=now)
        self.turning = Turning(not_before=now)
        self.denial = Denial("", now)
        self.hold_until = Instant(0)
        """When restart-delay has passed since the start of one that ended unasked and was not replaced."""
        self.last_ready_at: Instant | None = None
        self.noted_load = memory.load
        """The connection time as the note has it: not every look is worth one."""
        self.noted = self.memory()
        for alive in living:
            self._adopt(alive, now)
        found = sum(one.is_staying for one in self.instances.values())
        self.level = max(definition.least, min(found, definition.most))
        """How many instances the demand has led to."""
        self.slots: list[Slot] = []
        self.slots = self._slots_of_the_living(now)
        if self.is_observed:
            self.demand.look_by(now)
        self.due = min(self.deadlines(), default=None)
        """The earliest of its deadlines, as of the last reconciliation."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.definition.name

    @property
    def wanted(self) -> int:
        """How many instances it has when it runs: by an operator, by demand, or by its definition."""
        if self.scale is not None:
            return min(self.scale, self.definition.most) if self.definition.is_flexible else self.scale
        return self.level if self.definition.is_flexible else self.definition.least

    @property
    def attainable(self) -> int:
        """How many of those it may have as things are: dynamic ones share a limit."""
        if not self.definition.is_dynamic:
            return self.wanted
        return min(self.wanted, self.held + max(self.world.terms.limit - self.world.total, 0))

    @property
    def follows_demand(self) -> bool:
        """Whether the number of its instances follows the demand now."""
        return self.mode is Mode.RUN and self.scale is None and self.definition.is_flexible

    @property
    def is_observed(self) -> bool:
        """Whether a decision can depend on what is seen of it."""
        if self.mode is Mode.LEAVE or not self.generation:
            return False
        wears = self.definition.max_requests is not None or self.definition.max_memory is not None
        return self.follows_demand or self.definition.overload_response != "none" or (wears and bool(self.instances))

    @property
    def denied(self) -> str:
        """Why the start that the demand wants is not made: a word; empty where none is wanted or it is made."""
        return self.denial.reason

    @property
    def concurrency(self) -> int:
        """How many requests one instance serves at once."""
        return self.definition.concurrency or 1

    @property
    def ready(self) -> int:
        """How many instances are ready and not being retired."""
        return sum(one.is_ready for one in self.instances.values())

    @property
    def starting_now(self) -> int:
        """How many instances are starting."""
        return sum(one.state is InstanceState.STARTING for one in self.instances.values())

    @property
    def starting(self) -> int:
        """How many instances are starting or about to be: help on its way.

        One that was not ready in time is among them until it is gone: what follows is decided by its end.
        """
        there = [self.instances[slot.instance] for slot in self.slots if slot.instance is not None]
        failed = sum(not one.is_staying for one in there if one.failure)
        return self.starting_now + len(self.slots) - len(there) + failed

    @property
    def held(self) -> int:
        """How many instances count against the limits: those that are there, and those that are missing."""
        return self.living + sum(slot.instance is None for slot in self.slots)

    @property
    def living(self) -> int:
        """How many of them are there; who is only tried may stay after all."""
        tried = None if self.attempt is None else self.attempt.victim
        there = [slot.instance for slot in self.slots if slot.instance is not None]
        return sum(number == tried or self.instances[number].is_staying for number in there)

    @property
    def lasting(self) -> int:
        """How many of those will be there when all that are to be taken have gone."""
        return self.living - (0 if self.attempt is None else self.attempt.left)

    @property
    def is_above_limits(self) -> bool:
        """Whether there is more of it, or of all who share limits, than may be."""
        terms = self.world.terms
        return self.held > min(terms.class_limit, self.definition.most) or self.world.total > terms.limit

    @property
    def in_motion(self) -> bool:
        """Whether an instance is starting or being retired, or everything is about to change."""
        moving = any(not one.is_ready for one in self.instances.values())
        return moving or self.starting > 0 or self.attempt is not None or self.change is not None

    @property
    def turn(self) -> tuple[bool, int, str]:
        """Its place among those that the same event concerns.

        Of those who share limits, the one where somebody waits for longest comes first, wherever it was defined.
        """
        if not self.definition.is_dynamic:
            return False, 0, ""
        sample = self.demand.sample
        times = (self.demand.came_at, None if sample is None else sample.oldest_since)
        since = min((at for at in times if at is not None), default=None)
        return True, sys.maxsize if since is None else since, self.name

    def load_at(self, now: Instant) -> Load:
        """Return its connection time as of *now*; nothing before its first start."""
        settings = self.world.terms.settings
        return Load.begun(now, settings) if self.demand.load is None else self.demand.load.at(now, settings)

    @property
    def refused(self) -> str:
        """Why nobody who comes now will be served soon; an empty text: he will."""
        if self.mode is Mode.STOP:
            return f"{self.name} is stopped by an operator"
        if self.mode is Mode.LEAVE or not self.generation:
            return f"{self.name} is being removed"
        if self.trouble is Trouble.FAILED:
            return f"{self.name} has failed: {self.reason}"
        if self.backoff.in_force and not self.starting_now:
            return f"{self.name} is in back-off: {self.reason}"
        if self.is_at_limit:
            return f"{self.name} gets no instance: as many as allowed are running"
        return ""

    def refused_at(self, now: Instant) -> str:
        """Return `refused`; not that a limit was reached a while ago, because others may have gone since."""
        is_old = self.is_at_limit and now - self.denial.at >= LIMIT_HOLDS
        return "" if is_old and self.mode is Mode.RUN and not self.backoff.in_force else self.refused

    @property
    def is_at_limit(self) -> bool:
        """Whether the last start that was wanted was not made because there are as many as may be."""
        return self.denied in ("max-processes", "max-class-processes", "max-processes-of-all")

    @property
    def refused_until(self) -> Instant | None:
        """When that may have changed; None where nobody knows."""
        if self.mode is Mode.RUN and self.backoff.in_force and self.last_start is not None:
            return self.backoff.next_start(self.last_start)
        return None

    def has(self, number: InstanceId | None) -> bool:
        """Return whether *number* is an instance of it, or what turns its visitors away."""
        return number in self.instances or (self.turning.refuser is not None and self.turning.refuser.id == number)

    def everybody(self) -> Iterator[Instance]:
        """Yield all instances, and what turns visitors away."""
        yield from self.instances.values()
        if self.turning.refuser is not None:
            yield self.turning.refuser

    @property
    def restart_pause(self) -> Duration:
        """Time between a start and the next one in the same slot."""
        return max(self.definition.restart_delay, RESTART_FLOOR)

    @property
    def switches(self) -> bool:
        """Whether each generation has a listener of its own; those of a TCP application share one."""
        return self.definition.port is None

    @property
    def is_serving(self) -> bool:
        """Whether any instance is ready and stays."""
        return any(instance.is_ready for instance in self.instances.values())

    def slot_of(self, instance: Instance) -> Slot | None:
        """Return the slot that holds *instance*."""
        pending = self.change.slots if isinstance(self.change, Switch) else []
        late = [one.slot for one in self.late.values()]
        return next((slot for slot in [*self.slots, *pending, *late] if slot.instance == instance.id), None)

    def is_for_late_comer(self, instance: Instance) -> bool:
        """Return whether *instance* was started for a visitor on an old listener."""
        return any(one.slot.instance == instance.id for one in self.late.values())

    def forget(self, instance: Instance) -> None:
        """Take an ended instance out of the books."""
        if slot := self.slot_of(instance):
            slot.instance = None
        del self.instances[instance.id]

    def empty_slots(self, now: Instant) -> list[Slot]:
        """Return slots that are filled one after the other, init-start-delay apart."""
        return self._in_a_row(self.attainable, now)

    def startable(self) -> Iterator[tuple[int, Slot]]:
        """Yield (generation, slot) of each empty slot that is to be filled, now or later."""
        if self.mode is not Mode.RUN or self.trouble is Trouble.FAILED or self.generation == 0:
            return
        yield from ((generation, one.slot) for generation, one in self.late.items() if one.slot.instance is None)
        gathering = isinstance(self.change, Switch) and self.change.phase is Phase.GATHERING
        if gathering or not isinstance(self.change, Switch):
            yield from ((self.generation, slot) for slot in self.slots if slot.instance is None)
        if gathering and isinstance(self.change, Switch):
            yield from ((self.change.generation, slot) for slot in self.change.slots if slot.instance is None)

    def start_at(self, slot: Slot) -> Instant:
        """Return when an empty slot may be filled; back-off lets one start through at a time."""
        if self.backoff.in_force and self.last_start is not None:
            return max(slot.not_before, self.backoff.next_start(self.last_start))
        return slot.not_before

    def heals_at(self, instance: Instance) -> Instant | None:
        """Return when *instance* will have lived long enough to end a row of failures; None: no such row.

        What turns visitors away says nothing of the application's own program.
        """
        if self.backoff.failures == 0 or instance.pid is None or instance.id not in self.instances:
            return None
        if not instance.is_staying:
            return None
        return Instant(instance.started_at + self.definition.min_server_life)

    def deadlines(self) -> Iterator[Instant]:
        """Yield when something about it is due."""
        for instance in self.everybody():
            for due in (instance.deadline(), self.heals_at(instance)):
                if due is not None:
                    yield due
        for _, slot in self.startable():
            yield self.start_at(slot)
        for one in self.late.values():
            if one.slot.instance is None:
                yield one.gone_at

    def message(self, severity: Severity, topic: Topic, text: str, *, reason: str = "") -> Tell:
        """Return a message about the application."""
        return Tell(severity=severity, topic=topic, app=self.name, text=f"{self.name}: {text}", reason=reason)

    def message_of(self, instance: Instance, severity: Severity, topic: Topic, text: str, *, reason: str = "") -> Tell:
        """Return a message about one instance."""
        label = f"{self.name}/{instance.id}"
        return Tell(
            severity=severity, topic=topic, app=self.name, text=f"{label} {text}", instance=instance.id, reason=reason
        )

    def memory(self) -> Memory:
        """Return what must outlive the manager."""
        return Memory(
            mode=self.mode,
            scale=self.scale,
            failures=self.backoff.failures,
            trouble=self.trouble,
            reason=self.reason,
            last_start=self.last_start,
            restarts=self.restarts,
            newest=self.newest,
            abandoned=self.abandoned,
            cut=self.cut,
            load=self.noted_load,
        )

    def view(self, now: Instant) -> AppView:
        """Return the application as a picture."""
        next_at = min((self.start_at(slot) for _, slot in self.startable()), default=None)
        if next_at is not None and next_at <= now:
            next_at = None
        held_back = self.backoff.in_force and self.last_start is not None
        return AppView(
            name=self.name,
            state=self._state(),
            generation=self.generation,
            wanted=self.wanted,
            least=self.definition.least,
            most=self.definition.most,
            ready=self.ready,
            restarts=self.restarts,
            reason=self.reason,
            next_at=next_at,
            backoff_until=self.backoff.next_start(self.last_start) if held_back and self.last_start else None,
            abandoned=self.abandoned,
            cut=self.cut,
            denied=self.denied,
            load=None if self.demand.load is None or not self.follows_demand else self._load_factor(now),
            instances=tuple(instance.view() for instance in self.instances.values()),
        )

    def _state(self) -> AppState:
        if self.mode is not Mode.RUN:
            return AppState.STOPPED
        if self.is_serving:
            return AppState.RUNNING
        if self.trouble is Trouble.FAILED:
            return AppState.FAILED
        if self.backoff.in_force:
            return AppState.BACKOFF
        return AppState.STARTING if self.wanted or self.starting else AppState.IDLE

    def _load_factor(self, now: Instant) -> Fraction:
        return load_factor(self.load_at(now), self.ready, self.concurrency, self.world.terms.settings)

    def _adopt(self, alive: LiveInstance, now: Instant) -> None:
        is_starting = alive.ready_at is None
        instance = Instance(
            id=alive.instance,
            generation=alive.generation,
            pid=alive.pid,
            started_at=alive.started_at,
            ready_at=alive.ready_at,
            state=InstanceState.STARTING if is_starting else InstanceState.READY,
            overdue_at=Instant(alive.started_at + self.definition.start_timeout) if is_starting else None,
        )
        if alive.turns_away:
            self.turning.refuser = instance
        else:
            self.instances[alive.instance] = instance
            if alive.ready_at is not None:
                self.last_ready_at = max(alive.ready_at, self.last_ready_at or alive.ready_at)
        is_old = self.switches and alive.generation != self.generation
        if alive.asked or is_old or self.mode is not Mode.RUN:
            cut_at = Instant(now + self.definition.stop_timeout)
            instance.retire("its removal was under way", first_try=now, cut_at=cut_at)

    def _in_a_row(self, count: int, now: Instant) -> list[Slot]:
        delay = self.definition.init_start_delay
        return [Slot(not_before=Instant(now + index * delay)) for index in range(count)]

    def _slots_of_the_living(self, now: Instant) -> list[Slot]:
        """Return slots for the living, and for those still to be started.

        A slot is empty because it was never filled, or because of a death that no manager saw: no start comes
        before both delays have passed.
        """
        if self.mode is not Mode.RUN:
            return []
        slots = [
            Slot(not_before=now, instance=instance.id) for instance in self.instances.values() if instance.is_staying
        ]
        missing = self._in_a_row(self.wanted, now)[len(slots) :]
        if self.last_start is None:
            return slots + missing
        for index, slot in enumerate(missing):
            delay = max(self.restart_pause, (index + 1) * self.definition.init_start_delay)
            slot.not_before = max(now, Instant(self.last_start + delay))
        return slots + missing
