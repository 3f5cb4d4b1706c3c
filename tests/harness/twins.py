"""Two engines for one world, whose applications are defined in opposite orders: they must decide the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fcgipm.config.schema import Application, Dynamic
from fcgipm.core import commands as cmd
from fcgipm.core import events as ev
from fcgipm.core.commands import Command
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.view import LiveInstance
from harness.simulation import Simulation


class Twins:
    """The engine whose orders are carried out, and the one that only has to order the same.

    They number instances differently; what stands in the same place of one application's orders is the same instance.
    """

    def __init__(
        self,
        applications: Mapping[str, Application],
        dynamic: Dynamic | None,
        *,
        now: Instant,
        agree: bool = True,
        living: Sequence[LiveInstance] = (),
        published: Mapping[str, int] | None = None,
        notes: Mapping[str, str] | None = None,
        next_instance: int = 1,
    ) -> None:
        """*agree*: whether they have to; not where an instance's number means something to itself."""

        def simulation(definitions: Sequence[Application]) -> Simulation:
            return Simulation(
                *definitions, dynamic=dynamic, now=now, living=living, published=published, notes=notes,
                next_instance=next_instance,
            )  # fmt: skip

        in_order = list(applications.values())
        self.sim, self.other = simulation(in_order), simulation(in_order[::-1]) if agree else None
        self._numbers = {one.instance: one.instance for one in living}
        """The other engine's number of each instance."""

    @property
    def now(self) -> Instant:
        """The time."""
        return self.sim.now

    @now.setter
    def now(self, now: Instant) -> None:
        self.sim.now = now
        if self.other is not None:
            self.other.now = now

    def looks(self) -> tuple[str, ...]:
        """Return who must be looked at."""
        looks = self.sim.engine.looks(self.now)
        assert self.other is None or sorted(looks) == sorted(self.other.engine.looks(self.now))
        return looks

    def given(self, event: ev.Event) -> list[Command]:
        """Return what *event* brings about in both."""
        done = self.sim.given(event)
        if self.other is not None:
            self._compare(done, self.other.given(self._translated(event)))
            assert self.sim.engine.deadline() == self.other.engine.deadline()
        return done

    def _compare(self, done: list[Command], others: list[Command]) -> None:
        assert Counter(map(_without_numbers, done)) == Counter(map(_without_numbers, others)), (
            "the order of definition has decided"
        )
        theirs = [one for one in others if isinstance(one, cmd.Spawn)]
        for spawn in (one for one in done if isinstance(one, cmd.Spawn)):
            match = next(one for one in theirs if _without_numbers(one) == _without_numbers(spawn))
            theirs.remove(match)
            self._numbers[spawn.instance] = match.instance
        retired = Counter(self._numbers[one.instance] for one in done if isinstance(one, cmd.Retire))
        assert retired == Counter(one.instance for one in others if isinstance(one, cmd.Retire)), (
            "the order of definition has chosen who goes"
        )

    def _translated(self, event: ev.Event) -> ev.Event:
        match event:
            case ev.Spawned() | ev.SpawnFailed() | ev.BecameReady() | ev.Exited() | ev.Removed() | ev.RemovalRefused():
                return replace(event, instance=self._numbers[event.instance])
            case ev.Observed():
                # In the other order, too.
                backwards = list(event.samples.items())[::-1]
                return ev.Observed(samples={name: self._translated_sample(sample) for name, sample in backwards})
            case ev.ConfigurationApplied():
                return replace(event, applications=dict(list(event.applications.items())[::-1]))
            case _:
                return event

    def _translated_sample(self, sample: ev.Sample) -> ev.Sample:
        return replace(sample, memory={self._numbers[number]: size for number, size in sample.memory.items()})


def _without_numbers(command: Command) -> Any:
    match command:
        case cmd.Spawn() | cmd.Retire():
            return replace(command, instance=InstanceId(0), why=re.sub(r"/\d+", "", command.why))
        case _:
            return command
