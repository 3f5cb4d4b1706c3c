"""Looking at applications: before the engine decides, and when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from fcgipm import wire
from fcgipm.config.schema import SECOND, Duration
from fcgipm.core.commands import Severity
from fcgipm.core.events import Instant, Observed, Sample
from fcgipm.manager.observing.sampling import Sampler
from fcgipm.manager.observing.strangers import Strangers
from fcgipm.manager.observing.weighing import Scales
from fcgipm.manager.state import State

Say = Callable[[Severity, str | None, str], None]
"""Writes one message of fcgipm's own to the log: severity, application, text."""


class Reported(Protocol):
    """What connectors have reported, which is more than what is seen at the moments of looking."""

    def take(self, app: str) -> tuple[int, int] | None:
        """Return the connection time (ns) and the number of requests of *app* that were reported since the last call.

        None where nobody reports on it: then what was seen holds.
        """


class Observer:
    """Looks at the applications of *state*; by *say* it says what cannot be seen, and when it can be again.

    By *send* the keeper is asked for what only it can see.
    """

    def __init__(self, state: State, say: Say, send: Callable[[wire.Order], None]) -> None:
        self.reported: Reported | None = None
        self._state = state
        self._say = say
        self.strangers = Strangers(lambda app: send(wire.Count(app=app)))
        self._sampler = Sampler(state.tally.note_abandoned, self.strangers)
        self._scales = Scales(state)
        self._kept: dict[str, tuple[int, int]] = {}
        """Of those that the engine follows: connection time and requests that it has not heard of yet."""
        self._observed_at: dict[str, Instant] = {}
        """When those were looked at for the engine last."""
        self._failure = ""

    def close(self) -> None:
        """Give back what the kernel is asked by."""
        self._sampler.close()

    def observe(self, names: Iterable[str], now: Instant) -> Observed:
        """Return what is to be seen of *names* now, for the engine; those that cannot be seen are missing."""
        samples = self._look(names, now)
        for name, sample in samples.items():
            kept = self._kept.get(name)
            self._kept[name] = _NOTHING
            self._observed_at[name] = now
            told = None if self.reported is None else self.reported.take(name)
            if told is None:
                told = sample.connection_time, sample.requests
                if kept:
                    told = told[0] + kept[0], told[1] + kept[1]
                self._state.tally.note_connection_time(name, told[0])
            if told != (sample.connection_time, sample.requests):
                samples[name] = replace(sample, connection_time=told[0], requests=told[1])
        for name, memory in self._scales.weigh(samples, now).items():
            samples[name] = replace(samples[name], memory=memory)
        return Observed(samples=samples)

    def glance(self, now: Instant) -> Mapping[str, Sample]:
        """Return what is to be seen of every application now, for people; those that cannot be seen are missing."""
        samples = self._look(self._state.listeners.apps(), now)
        self._kept = {
            name: (time + samples[name].connection_time, requests + samples[name].requests)
            for name, (time, requests) in self._kept.items()
            if name in samples
        }
        self._observed_at = {name: at for name, at in self._observed_at.items() if name in samples}
        return samples

    def stirred(self, samples: Mapping[str, Sample], now: Instant) -> list[str]:
        """Return those of *samples* where somebody is, though the engine has not wanted to look for a while."""
        return [
            name
            for name, at in self._observed_at.items()
            if now - at > _LEFT_ALONE and name in samples and (samples[name].busy or samples[name].queued)
        ]

    async def prepare(self, *, within: float) -> None:
        """Have the keeper tell, before a `glance`, what only it can see; after *within* seconds it does not matter."""
        serving = {member.app for member in self._state.instances.values() if member.pid is not None}
        hidden = (app for app in serving if self._is_behind_file(app) and self._sampler.shows_nobody(app))
        await self.strangers.wonder(hidden, self._state.now(), within=within)

    def _is_behind_file(self, app: str) -> bool:
        return any(one.endpoint.name is not None for one in self._state.listeners.of(app))

    def _look(self, names: Iterable[str], now: Instant) -> dict[str, Sample]:
        samples = self._sampler.look(self._state.listeners, names, now)
        self.strangers.ask(samples, now)
        failure = "; ".join(sorted({error.strerror or str(error) for error in self._sampler.failures.values()}))
        if failure != self._failure:
            self._failure = failure
            if failure:
                text = f"cannot see who waits for the applications: {failure}; the next looks are taken as planned"
                self._say(Severity.WARNING, None, text)
            else:
                self._say(Severity.INFO, None, "who waits for the applications can be seen again")
        return samples


_NOTHING = (0, 0)
_LEFT_ALONE: Final[Duration] = 2 * SECOND
"""For longer than this the engine leaves alone only who rests: who is busy is looked at once a second."""
