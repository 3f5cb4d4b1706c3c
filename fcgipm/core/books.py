"""The books of one application: what is wanted of it, what there is, and the questions that both answer.

`core.application` changes what is wanted and writes down what happened, `core.reconcile` gives the orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fcgipm.config.schema import MILLISECOND, Application, Duration
from fcgipm.core.backoff import Backoff
from fcgipm.core.commands import Severity, Tell, Topic
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.instance import Instance
from fcgipm.core.lifecycle import InstanceState
from fcgipm.core.note import Memory, Mode, Trouble
from fcgipm.core.policy import static
from fcgipm.core.rollout import Errand, LateComer, Phase, Roll, Slot, Switch
from fcgipm.core.view import AppState, AppView, LiveInstance

RESTART_FLOOR: Final[Duration] = 100 * MILLISECOND
"""Least time between two starts in a slot: with restart-delay = 0 a crash loop must not become a busy loop."""


class Books:
    """One application's state.  Everybody in `core` may read it; application, ends, generations, reconcile write it."""

    def __init__(
        self,
        definition: Application,
        *,
        number: Callable[[], InstanceId],
        memory: Memory | None,
        published: int,
        living: Sequence[LiveInstance],
        now: Instant,
    ) -> None:
        memory = memory or Memory(mode=Mode.RUN if definition.autostart else Mode.STOP, newest=published)
        self.definition = definition
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
        self.noted = self.memory()
        for alive in living:
            self._adopt(alive, now)
        self.slots = self._slots_of_the_living(now)
        self.due = min(self.deadlines(), default=None)
        """The earliest of its deadlines, as of the last reconciliation."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.definition.name

    @property
    def wanted(self) -> int:
        """How many instances it has when it runs."""
        return static.wanted(self.definition, self.scale)

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

    def empty_slots(self, now: Instant, why: str = "initial") -> list[Slot]:
        """Return slots that are filled one after the other, init-start-delay apart."""
        delay = self.definition.init_start_delay
        return [Slot(not_before=Instant(now + index * delay), why=why) for index in range(self.wanted)]

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
        """Return when *instance* will have lived long enough to end a row of failures; None: no such row."""
        if self.backoff.failures == 0 or instance.pid is None or not instance.is_staying:
            return None
        return Instant(instance.started_at + self.definition.min_server_life)

    def deadlines(self) -> Iterator[Instant]:
        """Yield when something about it is due."""
        for instance in self.instances.values():
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
            ready=sum(instance.is_ready for instance in self.instances.values()),
            restarts=self.restarts,
            reason=self.reason,
            next_at=next_at,
            backoff_until=self.backoff.next_start(self.last_start) if held_back and self.last_start else None,
            abandoned=self.abandoned,
            cut=self.cut,
            denied="",
            load=None,
            instances=tuple(instance.view() for instance in self.instances.values()),
        )

    def _state(self) -> AppState:
        if self.mode is not Mode.RUN:
            return AppState.STOPPED
        if self.is_serving:
            return AppState.RUNNING
        if self.trouble is Trouble.FAILED:
            return AppState.FAILED
        return AppState.BACKOFF if self.backoff.in_force else AppState.STARTING

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
        self.instances[alive.instance] = instance
        is_old = self.switches and alive.generation != self.generation
        if alive.asked or is_old or self.mode is not Mode.RUN:
            cut_at = Instant(now + self.definition.stop_timeout)
            instance.retire("its removal was under way", first_try=now, cut_at=cut_at)

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
        missing = self.empty_slots(now)[len(slots) :]
        if self.last_start is None:
            return slots + missing
        for index, slot in enumerate(missing):
            delay = max(self.restart_pause, (index + 1) * self.definition.init_start_delay)
            slot.not_before = max(now, Instant(self.last_start + delay))
        return slots + missing
