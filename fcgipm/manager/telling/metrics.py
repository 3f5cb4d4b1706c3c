"""The exposition: what /metrics answers, made from one picture of the state."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from fcgipm import __version__
from fcgipm.core.events import Instant, Sample
from fcgipm.core.view import AppView
from fcgipm.manager.observing.usage import Usage, read_process, read_usage
from fcgipm.manager.telling.families import APP_STATES, CLASSES, FAMILIES, INSTANCE_STATES, PREFIX, Type
from fcgipm.manager.telling.tally import PUBLISHED, AppTally, Histogram, Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that a scrape is made from, beside the counters."""

    now: Instant
    started_unix: float
    reload_good: bool
    """Whether the configuration was good when it was read last."""
    reload_unix: float
    """When a good configuration was read last."""
    processes: Mapping[str, int]
    """The process ids of ``keeper`` and ``manager``."""
    apps: tuple[AppView, ...]
    samples: Mapping[str, Sample]
    """Of those applications that can be seen."""
    reachable: Mapping[str, bool]
    """The external applications."""


def render(picture: Picture, tally: Tally, accept: str) -> tuple[bytes, str]:
    """Return the exposition and its content type, in the format that the *accept* header prefers."""
    tally.keep_only([app.name for app in picture.apps])
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(picture, tally))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Scrape(Collector):
    """One scrape: reads /proc once, then turns picture and counters into samples."""

    def __init__(self, picture: Picture, tally: Tally) -> None:
        self._picture = picture
        self._tally = tally
        self._families: dict[str, Any] = {}

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what is registered once for one scrape cannot collide."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every family, each with the samples of all applications."""
        self._families = {name: _family(name) for name in FAMILIES}
        self._add_daemon()
        memory = self._read_usage()
        cpu = self._tally.cpu_seconds()
        for app in self._picture.apps:
            self._add_view(app)
            self._add_sample(app.name)
            self._add_counters(app.name, self._tally.app(app.name))
            self._add("instance_cpu_seconds_total", (app.name,), cpu.get(app.name, 0.0))
            self._add("instance_resident_memory_bytes", (app.name,), memory.get(app.name))
        for name, reachable in self._picture.reachable.items():
            self._add("external_reachable", (name,), float(reachable))
        yield from (family for family in self._families.values() if family.samples)

    def _add(self, name: str, labels: tuple[str, ...], value: float | None) -> None:
        """Add a sample; what is not known is absent, never 0."""
        if value is not None:
            self._families[name].add_metric(labels, value)

    def _add_daemon(self) -> None:
        picture = self._picture
        self._families["build_info"].add_metric((), {"version": __version__, "python": platform.python_version()})
        self._add("start_time_seconds", (), picture.started_unix)
        self._add("config_last_reload_successful", (), float(picture.reload_good))
        self._add("config_last_reload_success_timestamp_seconds", (), picture.reload_unix)
        for result, count in self._tally.answers.items():
            self._add("asks_total", (result,), count)
        self._add("reports_total", (), self._tally.reports)
        for reason, count in self._tally.reports_dropped.items():
            self._add("reports_dropped_total", (reason,), count)
        for process, pid in picture.processes.items():
            used = read_process(pid)
            if used is not None:
                self._add("process_cpu_seconds_total", (process,), used.cpu)
                self._add("process_resident_memory_bytes", (process,), used.rss)

    def _read_usage(self) -> dict[str, int]:
        """Read what the instances use, remember their processor time, and return the memory of each application."""
        running = [(app.name, each) for app in self._picture.apps for each in app.instances if each.pid is not None]
        usage: Mapping[int, Usage] = read_usage([each.pid for _, each in running if each.pid is not None])
        memory: dict[str, int] = {app.name: 0 for app in self._picture.apps if not app.instances}
        for app, each in running:
            used = usage.get(each.pid or 0)
            if used is not None:
                self._tally.note_usage(each.instance, app, used)
                memory[app] = memory.get(app, 0) + used.rss
        return memory

    def _add_view(self, app: AppView) -> None:
        for state in APP_STATES:
            self._add("app_state", (app.name, state), float(app.state.value == state))
        numbers = Counter(each.state for each in app.instances)
        for state in INSTANCE_STATES:
            self._add("instances", (app.name, state), numbers[state])
        self._add("instances_limit", (app.name,), app.most)
        self._add("app_generation", (app.name,), app.generation)
        self._add("instance_load_ratio", (app.name,), None if app.load is None else float(app.load))
        self._add("connections_cut_total", (app.name,), app.cut)
        pause = 0 if app.backoff_until is None else max(0, app.backoff_until - self._picture.now)
        self._add("backoff_seconds", (app.name,), pause / 1e9)

    def _add_sample(self, app: str) -> None:
        sample = self._picture.samples.get(app)
        if sample is not None:
            oldest = 0 if sample.oldest_since is None else self._picture.now - sample.oldest_since
            self._add("instances_busy", (app,), sample.busy)
            self._add("listen_queue_connections", (app,), sample.queued)
            self._add("listen_queue_limit_connections", (app,), sample.limit)
            self._add("listen_queue_oldest_seconds", (app,), max(0, oldest) / 1e9)

    def _add_counters(self, app: str, counted: AppTally) -> None:
        for name, by_reason in counted.by_reason.items():
            for reason, count in by_reason.items():
                self._add(name, (app, *_labels(name, reason)), count)
        self._add("start_failures_total", (app,), counted.start_failures)
        self._add("output_dropped_bytes_total", (app,), counted.dropped)
        self._add("listen_queue_abandoned_total", (app,), counted.abandoned)
        self._add("connection_seconds_total", (app,), counted.connected_ns and counted.connected_ns / 1e9)
        self._add_histogram("instance_startup_seconds", app, counted.startup)
        reported = counted.requests
        if not reported.count:
            return
        for kind in CLASSES:
            self._add("requests_total", (app, kind), reported.classes.get(kind, 0))
        self._add_histogram("request_queue_seconds", app, reported.queueing)
        self._add_histogram("request_seconds", app, reported.taking)

    def _add_histogram(self, name: str, app: str, histogram: Histogram) -> None:
        self._families[name].add_metric((app,), buckets=histogram.cumulative(), sum_value=histogram.sum)


def _labels(name: str, reason: str) -> tuple[str, ...]:
    """Return the labels beside the application that a count of this *reason* has."""
    if name != "generations_total":
        return (reason,)
    return (reason, "") if reason == PUBLISHED else ("given-up", reason)


def _family(name: str) -> Metric:
    family = FAMILIES[name]
    full = PREFIX + family.name
    match family.type:
        case Type.GAUGE:
            return GaugeMetricFamily(full, family.help, labels=family.labels)
        case Type.COUNTER:
            return CounterMetricFamily(full.removesuffix("_total"), family.help, labels=family.labels)
        case Type.HISTOGRAM:
            return HistogramMetricFamily(full, family.help, labels=family.labels)
        case Type.INFO:
            return InfoMetricFamily(full.removesuffix("_info"), family.help)
