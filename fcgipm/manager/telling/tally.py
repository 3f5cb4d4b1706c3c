"""What has happened so far, counted: the metrics that only grow."""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from fcgipm import wire
from fcgipm.core.commands import Tell, Topic
from fcgipm.core.events import InstanceId, Removal
from fcgipm.manager.connectors.answer import Ending
from fcgipm.manager.observing.usage import Usage
from fcgipm.manager.telling.families import CLASSES, FAMILIES, REQUEST_BUCKETS, STARTUP_BUCKETS

_COUNTED: Final = {
    Topic.INSTANCE_STARTED: "spawns_total",
    Topic.START_DENIED: "spawn_denied_total",
    Topic.INSTANCE_ENDED: "exits_total",
    Topic.INSTANCE_REMOVED: "retirements_total",
    Topic.INSTANCE_SPARED: "retirements_total",
    Topic.OVERLOADED: "spawns_total",
    Topic.GENERATION_ABANDONED: "generations_total",
}
"""Which message is counted by which metric, under the message's reason."""
PUBLISHED: Final = "published"
"""What stands among the reasons of generations for those that were not given up."""
_GONE: Final = "gone"
"""The reason of the message that a retired instance has ended."""
_REMOVALS: Final = frozenset(how.value for how in Removal)
_TURNS_AWAY: Final = "overload-response"
"""The reason of all that is told of what answers 503, which is no instance of its application."""


@dataclass(slots=True)
class Histogram:
    """How long things took: *counts* for each of *bounds* and one for what took longer, and the *sum* in seconds."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one observation."""
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def merge(self, other: Histogram) -> None:
        """Count what *other*, which has the same bounds, has counted."""
        if other.counts:
            self.counts = list(map(operator.add, self.counts, other.counts)) if self.counts else list(other.counts)
        self.sum += other.sum

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, how many took at most so long) for each bucket, the last one ``+Inf``."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for place, bound in enumerate((*map(str, self.bounds), "+Inf")):
            total += self.counts[place] if self.counts else 0
            buckets.append((bound, total))
        return buckets


@dataclass(slots=True)
class Requests:
    """What connectors have reported of the requests to one application."""

    classes: dict[str, int] = field(default_factory=dict)
    """How many there were, by the class of the status that the visitor got."""
    queueing: Histogram = field(default_factory=lambda: Histogram(REQUEST_BUCKETS))
    taking: Histogram = field(default_factory=lambda: Histogram(REQUEST_BUCKETS))

    @property
    def count(self) -> int:
        """How many requests there were."""
        return sum(self.classes.values())

    @property
    def connected_ns(self) -> int:
        """For how many nanoseconds visitors were connected."""
        return round(self.taking.sum * 1_000_000_000)

    def add(self, status: int, *, connect: float | None, response: float | None) -> None:
        """Count a request that the visitor got *status* (100 to 599) for.

        *connect* and *response* are seconds from the beginning of the connect, None where they are not known.
        """
        kind = CLASSES[status // 100 - 1]
        self.classes[kind] = self.classes.get(kind, 0) + 1
        if connect is not None:
            self.queueing.add(connect)
        if response is not None:
            self.taking.add(response)

    def merge(self, other: Requests) -> None:
        """Count what *other* has counted."""
        for kind, count in other.classes.items():
            self.classes[kind] = self.classes.get(kind, 0) + count
        self.queueing.merge(other.queueing)
        self.taking.merge(other.taking)


class AppTally:
    """The counters of one application."""

    __slots__ = (
        "_counts", "abandoned", "connected_ns", "cpu_of_ended", "dropped", "requests", "start_failures", "startup",
    )  # fmt: skip

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        """By metric and reason; those that are 0, which most are, are made up when they are asked for."""
        self.startup = Histogram(STARTUP_BUCKETS)
        self.start_failures = 0
        self.dropped = 0
        self.abandoned = 0
        self.connected_ns: int | None = None
        """Nanoseconds; None where nobody looks and nobody reports."""
        self.requests = Requests()
        self.cpu_of_ended = 0.0

    def count(self, name: str, reason: str) -> None:
        """Count one *reason* of the metric *name*."""
        self._counts[name, reason] = self._counts.get((name, reason), 0) + 1

    @property
    def by_reason(self) -> dict[str, Counter[str]]:
        """The counts of each metric by reason, at 0 where nothing was counted."""
        found = {name: Counter(dict.fromkeys(FAMILIES[name].values, 0)) for name in sorted(set(_COUNTED.values()))}
        found["generations_total"][PUBLISHED] = 0
        for (name, reason), count in self._counts.items():
            found[name][reason] = count
        return found


class Tally:
    """Counts what the core tells (`note`) and what the keeper reports (`note_report`)."""

    def __init__(self) -> None:
        self._apps: dict[str, AppTally] = {}
        self._app_of: dict[InstanceId, str] = {}
        self._spawned_at: dict[InstanceId, int] = {}
        self._cpu: dict[InstanceId, float] = {}
        self.answers: Counter[str] = Counter(dict.fromkeys(FAMILIES["asks_total"].values, 0))
        self.reports = 0
        self.reports_dropped: Counter[str] = Counter(dict.fromkeys(FAMILIES["reports_dropped_total"].values, 0))

    def app(self, name: str) -> AppTally:
        """Return the counters of application *name*, at zero where nothing was counted yet."""
        found = self._apps.get(name)
        if found is None:
            found = self._apps[name] = AppTally()
        return found

    def keep_only(self, names: Collection[str]) -> None:
        """Forget the applications that are not in *names*: they were removed from the configuration."""
        for name in self._apps.keys() - set(names):
            del self._apps[name]

    def note_instance(self, instance: InstanceId, app: str) -> None:
        """Remember which application *instance* is of; to be called for the living ones of a snapshot."""
        self._app_of[instance] = app

    def note(self, tell: Tell) -> None:
        """Count one message of the core."""
        if tell.app is None:
            return
        if tell.topic is Topic.INSTANCE_STARTED and tell.instance is not None:
            self._app_of[tell.instance] = tell.app
        name, counted = _COUNTED.get(tell.topic), self.app(tell.app)
        if tell.reason == _TURNS_AWAY and tell.topic is not Topic.OVERLOADED:
            return
        if tell.topic is Topic.GENERATION_PUBLISHED:
            counted.count("generations_total", PUBLISHED)
        elif tell.topic is Topic.START_FAILED:
            counted.start_failures += 1
        elif tell.topic is Topic.INSTANCE_REMOVED and tell.reason not in _REMOVALS:
            if tell.reason == _GONE:
                counted.count("exits_total", "retired")
        elif name is not None and tell.reason:
            counted.count(name, tell.reason)

    def note_report(self, report: wire.Report) -> None:
        """Count one report of the keeper."""
        match report:
            case wire.Snapshot():
                for fact in report.instances:
                    self.note_instance(InstanceId(fact.instance), fact.app)
            case wire.Spawned():
                self._spawned_at[InstanceId(report.instance)] = report.at
            case wire.BecameReady():
                self._note_ready(InstanceId(report.instance), report.at)
            case wire.Drained():
                self._note_dropped(InstanceId(report.instance), report.bytes)
            case wire.Exited():
                self._note_end(InstanceId(report.instance))
            case _:
                pass

    def note_dropped(self, app: str, count: int) -> None:
        """Count *count* bytes of *app*'s output that the manager threw away."""
        self.app(app).dropped += count

    def note_abandoned(self, app: str, count: int) -> None:
        """Count *count* visitors of *app* who were seen to have given up."""
        self.app(app).abandoned += count

    def note_connection_time(self, app: str, nanoseconds: int) -> None:
        """Add to the time that visitors were connected to *app*."""
        counted = self.app(app)
        counted.connected_ns = nanoseconds + (counted.connected_ns or 0)

    def note_requests(self, app: str, requests: Requests) -> None:
        """Count *requests* to *app* that were reported, and are believed."""
        self.reports += requests.count
        self.app(app).requests.merge(requests)
        self.note_connection_time(app, requests.connected_ns)

    def note_answer(self, ending: Ending) -> None:
        """Count one question for an instance that is ready, by how it ended."""
        self.answers[ending.value] += 1

    def note_reports_dropped(self, reason: str, count: int = 1) -> None:
        """Count *count* reports that are not believed, or were lost."""
        self.reports_dropped[reason] += count

    def note_usage(self, instance: InstanceId, app: str, usage: Usage) -> None:
        """Remember what *instance* has used so far; a counter never goes back, whatever /proc says."""
        self._app_of[instance] = app
        self._cpu[instance] = max(usage.cpu, self._cpu.get(instance, 0.0))

    def cpu_seconds(self) -> Mapping[str, float]:
        """Return the processor time of each application: of its ended instances and as last seen of the others."""
        totals = {name: counted.cpu_of_ended for name, counted in self._apps.items()}
        for instance, seconds in self._cpu.items():
            app = self._app_of.get(instance)
            if app is not None:
                totals[app] = totals.get(app, 0.0) + seconds
        return totals

    def _note_ready(self, instance: InstanceId, at: int) -> None:
        app, begun = self._app_of.get(instance), self._spawned_at.pop(instance, None)
        if app is not None and begun is not None:
            self.app(app).startup.add((at - begun) / 1e9)

    def _note_dropped(self, instance: InstanceId, count: int) -> None:
        app = self._app_of.get(instance)
        if app is not None:
            self.note_dropped(app, count)

    def _note_end(self, instance: InstanceId) -> None:
        app = self._app_of.pop(instance, None)
        self._spawned_at.pop(instance, None)
        seconds = self._cpu.pop(instance, 0.0)
        if app is not None:
            self.app(app).cpu_of_ended += seconds
