"""A world for the engine without processes: time jumps from deadline to deadline, as the loop would let it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fcgipm.config.schema import SECOND, Application, Duration, Dynamic
from fcgipm.core import commands as cmd
from fcgipm.core import events as ev
from fcgipm.core.commands import Command, Tell
from fcgipm.core.engine import Engine
from fcgipm.core.events import Event, InstanceId, Instant
from fcgipm.core.proving import MOMENT
from fcgipm.core.view import AppView, LiveInstance

C = TypeVar("C", bound=Command)
START = Instant(1_000 * SECOND)
QUIET = ev.Sample(queued=0, limit=100)


def blog(**settings: Any) -> Application:
    """Return a Unix application named blog."""
    return Application(name="blog", command=("/bin/blog",), socket="/run/blog.sock", **settings)


def tcp(**settings: Any) -> Application:
    """Return a TCP application named blog."""
    return Application(name="blog", command=("/bin/blog",), port=9000, **settings)


class Simulation:
    """An engine, the time, and what it has ordered."""

    def __init__(
        self,
        *applications: Application,
        living: Sequence[LiveInstance] = (),
        published: Mapping[str, int] | None = None,
        moved: Sequence[str] = (),
        notes: Mapping[str, str] | None = None,
        next_instance: int = 1,
        now: Instant = START,
        dynamic: Dynamic | None = None,
    ) -> None:
        self.now = now
        self.seen: dict[str, ev.Sample] = {}
        """What is to be seen of applications when they are looked at; nobody is there where nothing is said."""
        self.engine = Engine(
            {one.name: one for one in applications},
            dynamic=dynamic,
            living=living,
            published=published,
            moved=moved,
            notes=notes,
            next_instance=next_instance,
            now=now,
        )
        self.notes: dict[str, str] = dict(notes or {})
        self.told: list[Tell] = []

    def given(self, event: Event) -> list[Command]:
        """Return the commands, without messages and notes, that *event* brings about."""
        return self._sorted(self.engine.step(event, self.now))

    def after(self, duration: Duration) -> list[Command]:
        """Let time pass the way the loop would: deadline by deadline."""
        end = Instant(self.now + duration)
        done: list[Command] = []
        while (due := self.engine.deadline()) is not None and due <= end:
            looks = self.engine.looks(max(due, self.now))
            assert due > self.now or looks, "the loop would spin"
            self.now = max(due, self.now)
            done += self.looked() if looks else self.given(ev.Tick())
            assert not self.engine.looks(self.now), "the loop would spin"
        self.now = end
        return done

    def looked(self, **samples: ev.Sample) -> list[Command]:
        """Let the applications be looked at that the engine wants to be looked at, and those of *samples*."""
        self.seen |= samples
        names = dict.fromkeys([*self.engine.looks(self.now), *samples])
        return self.given(ev.Observed(samples={name: self.seen.get(name, QUIET) for name in names}))

    def view(self, name: str = "blog") -> AppView:
        """Return the picture of one application."""
        return next(one for one in self.engine.view(self.now) if one.name == name)

    def texts(self, topic: cmd.Topic) -> list[str]:
        """Return the messages about *topic* so far."""
        return [tell.text for tell in self.told if tell.topic is topic]

    def spawned(self, *numbers: int) -> list[Command]:
        """Let the keeper exec the instances."""
        return self._each(
            lambda number: ev.Spawned(instance=InstanceId(number), pid=1000 + number, at=self.now), numbers
        )

    def ready(self, *numbers: int) -> list[Command]:
        """Let the keeper exec the instances, and see them ready."""
        done = self.spawned(*numbers)
        how = ev.Readiness.ACCEPTING
        return done + self._each(
            lambda number: ev.BecameReady(instance=InstanceId(number), how=how, at=self.now), numbers
        )

    def proved(self, *numbers: int) -> list[Command]:
        """Let the instances of a new generation, or its canary, be ready and live for a moment."""
        return self.ready(*numbers) + self.after(MOMENT)

    def probed(self, generation: int, error: str | None = None, name: str = "blog") -> list[Command]:
        """Let the probe of a generation be answered."""
        return self.given(ev.Probed(app=name, generation=generation, error=error))

    def exited(self, number: int, code: int | None = 1, signal: int | None = None) -> list[Command]:
        """Let an instance end."""
        return self.given(ev.Exited(instance=InstanceId(number), code=code, signal=signal, dumped=False, at=self.now))

    def killed(self, *numbers: int, how: ev.Removal = ev.Removal.KILLED, connections: int = 0) -> list[Command]:
        """Let the keeper carry out removals, and the processes end."""
        done: list[Command] = []
        for number in numbers:
            done += self.given(ev.Removed(instance=InstanceId(number), how=how, connections=connections, at=self.now))
            done += self.exited(number, code=None, signal=9)
        return done

    def refused(self, number: int, why: ev.Refusal = ev.Refusal.BUSY) -> list[Command]:
        """Let the keeper refuse a removal."""
        return self.given(ev.RemovalRefused(instance=InstanceId(number), why=why, at=self.now))

    def published(self, generation: int, name: str = "blog") -> list[Command]:
        """Let the keeper publish a generation."""
        return self.given(ev.Published(app=name, generation=generation, at=self.now))

    def _each(self, make: Callable[[int], Event], numbers: Sequence[int]) -> list[Command]:
        return [command for number in numbers for command in self.given(make(number))]

    def _sorted(self, commands: list[Command]) -> list[Command]:
        rest: list[Command] = []
        for command in commands:
            if isinstance(command, Tell):
                self.told.append(command)
            elif isinstance(command, cmd.Note):
                self.notes[command.app] = command.text
            else:
                rest.append(command)
        return rest


def spawns(commands: Sequence[Command]) -> list[tuple[int, int]]:
    """Return (instance, generation) of each spawn."""
    return [(one.instance, one.generation) for one in commands if isinstance(one, cmd.Spawn)]


def retirements(commands: Sequence[Command]) -> list[tuple[int, bool]]:
    """Return (instance, cut) of each removal."""
    return [(one.instance, one.cut) for one in commands if isinstance(one, cmd.Retire)]


def publications(commands: Sequence[Command]) -> list[int]:
    """Return the generation of each publication."""
    return [one.generation for one in commands if isinstance(one, cmd.Publish)]


def probes(commands: Sequence[Command]) -> list[int]:
    """Return the generation of each probe."""
    return [one.generation for one in commands if isinstance(one, cmd.Probe)]


def canaries(commands: Sequence[Command]) -> list[int]:
    """Return the number of each canary."""
    return [one.instance for one in commands if isinstance(one, cmd.Spawn) and one.canary]


def alive(number: int, generation: int = 1, *, is_ready: bool = True, outdated: bool = False) -> LiveInstance:
    """Return an instance of "blog" that the next manager finds."""
    return LiveInstance(
        instance=InstanceId(number),
        app="blog",
        generation=generation,
        pid=1000 + number,
        started_at=START,
        ready_at=START if is_ready else None,
        asked=False,
        outdated=outdated,
    )


def running(application: Application, processes: int = 1) -> Simulation:
    """Return a simulation in which instances 1 … *processes* of *application* are ready."""
    sim = Simulation(application)
    started = spawns(sim.given(ev.Tick()))
    for number in range(1, processes + 1):
        if not any(number == instance for instance, _ in started):
            started += spawns(sim.after(application.init_start_delay))
        sim.ready(number)
    return sim
