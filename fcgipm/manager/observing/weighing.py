"""How large instances are, of applications with max-memory: looked at now and then while they serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core.events import InstanceId, Instant, Sample
from fcgipm.manager.observing.usage import read_usage
from fcgipm.manager.state import State

EVERY: Final[Duration] = 30 * SECOND
"""Between two looks at the same application."""


class Scales:
    """Weighs the instances of *state*, when there is a look at their application anyway."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._last: dict[str, Instant] = {}

    def weigh(self, samples: Mapping[str, Sample], now: Instant) -> dict[str, dict[InstanceId, int]]:
        """Return the resident bytes of whole sessions, by application and instance, of the *samples* that are due.

        Instances that cannot be looked at are missing.
        """
        due: dict[str, dict[InstanceId, int]] = {
            name: {} for name, sample in samples.items() if self._is_due(name, sample, now)
        }
        if not due:
            return due
        self._last = {name: at for name, at in self._last.items() if now - at < EVERY} | dict.fromkeys(due, now)
        weighed = {
            member.pid: (member.app, InstanceId(number))
            for number, member in self._state.instances.items()
            if member.app in due and member.pid is not None
        }
        for pid, usage in read_usage(weighed).items():
            app, instance = weighed[pid]
            due[app][instance] = usage.rss
        return due

    def _is_due(self, name: str, sample: Sample, now: Instant) -> bool:
        definition = self._state.applications.get(name)
        if definition is None or definition.max_memory is None:
            return False
        serves = sample.busy > 0 or sample.requests > 0 or sample.connection_time > 0
        last = self._last.get(name)
        return serves and (last is None or now - last >= EVERY)
