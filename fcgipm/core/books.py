"""The books of one application: what is wanted of it, what there is, and the questions that both answer.

`core.application` changes what is wanted and writes down what happened, `core.reconcile` gives the orders.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fcgipm.config.schema import MILLISECOND, Application, Duration
from fcgipm.core import restoring, schedule
from fcgipm.core.backoff import Backoff
from fcgipm.core.chronicle import Chronicle
from fcgipm.core.commands import Severity, Tell, Topic
from fcgipm.core.demand import Demand, Denial, Obstacle
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.instance import Audience, Instance
from fcgipm.core.lifecycle import InstanceState
from fcgipm.core.note import Memory, Mode, Trouble
from fcgipm.core.policy.classic import Load
from fcgipm.core.rollout import Place, Roll, Switch, place_of
from fcgipm.core.slots import Slot, in_a_row
from fcgipm.core.under_way import Attempt, Errand, LateComer, Recycling, Shortage, Turning
from fcgipm.core.view import LiveInstance
from fcgipm.core.world import World, terms_of_application

RESTART_FLOOR: Final[Duration] = 100 * MILLISECOND
"""Least time between two starts in a slot: with restart-delay = 0 a crash loop must not become a busy loop."""


class Books:
    """One application's state.  Everybody in `core` may read it; application, ends, generations, reconcile write it."""

    __slots__ = (
        "abandoned",
        "attempt",
        "backoff",
        "change",
        "chronicle",
        "cut",
        "definition",
        "demand",
        "denial",
        "due",
        "errand",
        "generation",
        "given_up",
        "hold_until",
        "instances",
        "last_ready_at",
        "last_start",
        "late",
        "left_under_way",
        "level",
        "mode",
        "newest",
        "noted",
        "noted_load",
        "number",
        "reason",
        "recycling",
        "restarts",
        "scale",
        "short",
        "slots",
        "stands_at",
        "trouble",
        "turning",
        "world",
    )  # fmt: skip

    def __init__(
        self,
        definition: Application,
        *,
        world: World | None = None,
        number: Callable[[], InstanceId],
        memory: Memory | None,
        published: int,
        living: Sequence[LiveInstance],
        moved: bool = False,
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
        self.given_up, self.left_under_way = memory.given_up, memory.under_way  # by a manager before this one; 0: none
        self.cut = memory.cut
        self.generation = restoring.generation_of(self, published, living, memory)
        self.stands_at: Place | None = None if moved else place_of(definition)
        """Where the published listener is; None is not known, and not where the definition has it."""
        self.newest = max([1, memory.newest, published, *(alive.generation for alive in living)])
        self.change: Switch | Roll | None = None
        self.errand: Errand | None = None
        if self.mode is Mode.STOP and living:
            self.errand = Errand(topic=Topic.APP_STOPPED, since=None, cut=self.cut)
        self.late: dict[int, LateComer] = {}
        """Visitors in the queue of an old listener, by its generation; see `core.late_comers`."""
        self.instances: dict[InstanceId, Instance] = {}
        self.demand = Demand(load=memory.load)
        if memory.load is not None:
            self.world.go_on(Instant(memory.load.began_at), now)
        self.chronicle = Chronicle()
        self.attempt: Attempt | None = None
        self.recycling = Recycling(not_before=now)
        self.turning = Turning(not_before=now)
        self.denial = Denial(None, now)
        self.hold_until = Instant(0)
        """When restart-delay has passed since the start of one that ended unasked and was not replaced."""
        self.short = Shortage()
        self.last_ready_at: Instant | None = None
        self.noted_load = memory.load
        """The connection time as the note has it: not every look is worth one."""
        for alive in living:
            restoring.adopt(self, alive, now)
        self.level = restoring.level_of(self, memory)
        """How many instances the demand has led to."""
        self.noted = self.memory()
        self.slots: list[Slot] = []
        self.slots = restoring.slots_of_the_living(self, now)
        if self.is_observed:
            self.demand.look_by(now)
        self.due = min(schedule.deadlines(self), default=None)
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
    def lacks(self) -> bool:
        """Whether it has not even a place for each of those."""
        return self.mode is Mode.RUN and len(self.slots) < self.wanted

    @property
    def follows_demand(self) -> bool:
        """Whether the number of its instances follows the demand now."""
        return self.mode is Mode.RUN and self.scale is None and self.definition.is_flexible

    @property
    def is_observed(self) -> bool:
        """Whether a decision can depend on what is seen of it."""
        if self.is_leaving or not self.generation:
            return False
        wears = self.definition.max_requests is not None or self.definition.max_memory is not None
        return self.follows_demand or self.definition.overload_response != "none" or (wears and bool(self.instances))

    @property
    def denied(self) -> Obstacle | None:
        """Why the start that the demand wants is not made; None where none is wanted or it is made."""
        return self.denial.obstacle

    @property
    def concurrency(self) -> int:
        """How many requests one instance serves at once."""
        return self.definition.concurrency or 1

    @property
    def is_leaving(self) -> bool:
        """Whether it goes for good, or the daemon ends."""
        return self.mode in (Mode.LEAVE, Mode.HAND_OVER)

    @property
    def ready(self) -> int:
        """How many instances are ready for visitors and not being retired."""
        return sum(one.serves for one in self.instances.values())

    @property
    def starting_now(self) -> int:
        """How many instances are starting that visitors will meet as soon as they are ready."""
        return sum(
            one.state is InstanceState.STARTING and one.audience is Audience.VISITORS for one in self.instances.values()
        )

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

    def has(self, number: InstanceId | None) -> bool:
        """Return whether *number* is an instance of it, or what turns its visitors away."""
        return number in self.instances or any(one.id == number for one in self.refusers())

    def everybody(self) -> Iterator[Instance]:
        """Yield all instances, and what turns visitors away."""
        yield from self.instances.values()
        yield from self.refusers()

    def refusers(self) -> Iterator[Instance]:
        """Yield what turns visitors away, on the public listener and on old ones."""
        if self.turning.refuser is not None:
            yield self.turning.refuser
        yield from self.turning.aside

    @property
    def restart_pause(self) -> Duration:
        """Time between a start and the next one in the same slot."""
        return max(self.definition.restart_delay, RESTART_FLOOR)

    @property
    def switches(self) -> bool:
        """Whether each generation has a listener of its own."""
        return not self.definition.shares_socket

    @property
    def is_serving(self) -> bool:
        """Whether any instance is ready for visitors and stays."""
        return self.ready > 0

    @property
    def is_in_place(self) -> bool:
        """Whether the published listener is where the definition has it."""
        return self.generation > 0 and self.stands_at == place_of(self.definition)

    @property
    def in_trouble(self) -> bool:
        """Whether it has failed, or waits to try again."""
        return self.trouble is Trouble.FAILED or self.backoff.in_force

    def cut_from(self, now: Instant) -> Instant:
        """Return when the connections are cut of an instance that is to go from *now* on."""
        return Instant(now + self.definition.stop_timeout)

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
        return in_a_row(self.attainable, self.definition.init_start_delay, now)

    def message(self, severity: Severity, topic: Topic, text: str, *, reason: str = "") -> Tell:
        """Return a message about the application."""
        return Tell(severity=severity, topic=topic, app=self.name, text=f"{self.name}: {text}", reason=reason)

    def message_of(self, instance: Instance, severity: Severity, topic: Topic, text: str, *, reason: str = "") -> Tell:
        """Return a message about one instance."""
        label = f"{self.name}/{instance.id}"
        return Tell(
            severity=severity, topic=topic, app=self.name, text=f"{label} {text}", instance=instance.id, reason=reason
        )

    @property
    def _under_way(self) -> int:
        """Return the generation of which the next manager must know; on a listener of its own its state tells."""
        if self.change is None or (self.change.is_settled and self.switches):
            return 0
        return self.change.generation

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
            given_up=self.given_up,
            generation=self.generation,
            under_way=self._under_way,
            cut=self.cut,
            load=self.noted_load,
            level=self.level if self.definition.is_flexible else None,
        )
