"""The metrics, once: the collector and docs/metrics.md are made from `FAMILIES`.

``python -m fcgipm.manager.telling.families`` prints the page.
"""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from typing import Final

from fcgipm.core.events import Removal
from fcgipm.core.view import AppState
from fcgipm.manager.connectors.answer import Ending
from fcgipm.reporting import REASONS


class Type(enum.Enum):
    """The types of the exposition format that are in use here."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric: its *name* without the prefix, with ``_total`` or ``_info`` where its type has that."""

    name: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    """The values that its last label always has, from 0 on; others may be added to a counter."""
    notes: str = ""
    """For the documentation only."""


PREFIX: Final = "fcgipm_"

STARTUP_BUCKETS: Final = (0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Upper bounds of the start-up histogram in seconds: a C program is ready in 5 ms, a large framework in 10 s."""
REQUEST_BUCKETS: Final = (0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Those of the histograms of requests: from what a page takes at least to what visitors wait for at most."""
CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")

APP_STATES: Final = tuple(state.value for state in AppState)
INSTANCE_STATES: Final = ("starting", "ready", "retiring")
PROCESSES: Final = ("keeper", "manager")

FAMILIES: Final = {
    family.name: family
    for family in (
        Family(
            name="build_info", type=Type.INFO, labels=("version", "python"),
            help="Version of fcgipm and of the Python that runs it.",
        ),
        Family(name="start_time_seconds", type=Type.GAUGE, help="When the daemon was started, in seconds since 1970."),
        Family(
            name="config_last_reload_successful", type=Type.GAUGE,
            help="Whether the configuration was good when it was read last.",
        ),
        Family(
            name="config_last_reload_success_timestamp_seconds", type=Type.GAUGE,
            help="When a good configuration was read last, in seconds since 1970.",
        ),
        Family(
            name="process_cpu_seconds_total", type=Type.COUNTER, labels=("process",), values=PROCESSES,
            help="Processor time of fcgipm's own processes.",
            notes="The keeper's without that of the instances, which are its children.",
        ),
        Family(
            name="process_resident_memory_bytes", type=Type.GAUGE, labels=("process",), values=PROCESSES,
            help="Resident memory of fcgipm's own processes.",
        ),
        Family(
            name="app_state", type=Type.GAUGE, labels=("app", "state"), values=APP_STATES,
            help="1 for the state that the application is in, 0 for the others.",
        ),
        Family(
            name="instances", type=Type.GAUGE, labels=("app", "state"), values=INSTANCE_STATES,
            help="Instances of the application by their state.",
        ),
        Family(
            name="instances_limit", type=Type.GAUGE, labels=("app",),
            help="How many instances the application may have at most.",
            notes="A dynamic application also has its part in the limit of all of them.",
        ),
        Family(
            name="instances_busy", type=Type.GAUGE, labels=("app",),
            help="Connections that instances have accepted and not closed.",
            notes="Read from the kernel at the scrape. Absent where it cannot be known.",
        ),
        Family(
            name="instance_load_ratio", type=Type.GAUGE, labels=("app",),
            help="The load factor of the policy: how much of the time the instances were busy, 1 for all of it.",
            notes="Smoothed as the policy does it. Absent where the number of instances does not follow the demand.",
        ),
        Family(
            name="listen_queue_connections", type=Type.GAUGE, labels=("app",),
            help="Connections that wait to be accepted.",
            notes="Read from the kernel at the scrape, Unix sockets included; those that were given up count until "
            "they are accepted. More than the limit means that visitors are being refused.",
        ),
        Family(
            name="listen_queue_limit_connections", type=Type.GAUGE, labels=("app",),
            help="How many connections may wait.",
        ),
        Family(
            name="listen_queue_oldest_seconds", type=Type.GAUGE, labels=("app",),
            help="Time since the one was first seen who has waited for longest, 0 where nobody waits.",
            notes="Seen by a scrape, or where the number of instances follows the demand, by the manager, which looks "
            "10 times a second while somebody waits. Who has given up does not count.",
        ),
        Family(
            name="listen_queue_abandoned_total", type=Type.COUNTER, labels=("app",),
            help="Visitors who were seen to have given up before their connection was accepted.",
            notes="An estimate, never too many: who gives up unseen between two looks is missing.",
        ),
        Family(
            name="spawns_total", type=Type.COUNTER, labels=("app", "reason"),
            values=("initial", "replacement", "scale", "generation", "late-comer", "somebody-came", "start-delay",
                    "queue-full", "recycle", "overload-response"),
            help="Instances that were started, by reason.",
            notes="initial: for the first time, or after a stop. replacement: for one that ended unasked. generation: "
            "by a restart or a changed definition. late-comer: for a visitor who waited at an old listener. "
            "somebody-came: for a visitor while none was ready. start-delay: somebody had waited for so long. "
            "queue-full: visitors were about to be refused. recycle: for one that has reached max-requests, "
            "max-lifetime or max-memory. overload-response: no instance, but what answers 503.",
        ),
        Family(
            name="start_failures_total", type=Type.COUNTER, labels=("app",),
            help="Starts that failed: the program could not be run, or was not ready within start-timeout.",
        ),
        Family(
            name="spawn_denied_total", type=Type.COUNTER, labels=("app", "reason"),
            values=("restart-delay", "backoff", "shortage", "init-start-delay", "generation", "max-processes",
                    "max-class-processes", "max-processes-of-all"),
            help="Starts that were refused or put off, by reason.",
            notes="Counted once for each change of the reason, as it is logged. generation: a new one is being "
            "published. shortage: of descriptors, processes, memory or room, in the system. max-processes-of-all: the "
            "limit of all dynamic applications together.",
        ),
        Family(
            name="exits_total", type=Type.COUNTER, labels=("app", "reason"),
            values=("exit-0", "exit", "signal", "unknown", "retired"),
            help="Instances that ended, by reason.",
            notes="exit-0, exit: by themselves, with status 0 or another. retired: because they were to go. Those that "
            "were never ready are counted as failed starts.",
        ),
        Family(
            name="retirements_total", type=Type.COUNTER, labels=("app", "result"),
            values=(*(how.value for how in Removal), "spared"),
            help="Instances that were removed, by how that was done, and those that the policy spared.",
            notes="killed: found idle, then killed. asked: sent its stop signal, when nothing could reach it any more; "
            "counted as killed, too, where it did not obey. cut: killed although it may have been serving. spared: "
            "chosen by the policy, found busy, and left alone.",
        ),
        Family(
            name="app_generation", type=Type.GAUGE, labels=("app",),
            help="The generation that visitors reach, 0 for none.",
            notes="It grows by each reload, restart and changed definition that succeeds, and by stops.",
        ),
        Family(
            name="generations_total", type=Type.COUNTER, labels=("app", "result", "reason"),
            values=("start-failed", "died", "probe", "too-slow", "publish", "interrupted", "superseded"),
            help="New generations, by what became of them: published, or given-up, and then why.",
            notes="Without a reason where they were published. start-failed, died: an instance. probe: its answer was "
            "wrong, or too late. too-slow: not ready within start-timeout. publish: its socket could not be made "
            "public. interrupted: the manager that had begun it died. superseded: somebody wanted a newer one.",
        ),
        Family(
            name="connections_cut_total", type=Type.COUNTER, labels=("app",),
            help="Connections that were cut because an instance had to go and, after stop-timeout, still had them: in "
            "the middle of a request, or only kept open by the web server.",
            notes="Outlives the manager.",
        ),
        Family(
            name="instance_startup_seconds", type=Type.HISTOGRAM, labels=("app",),
            help="Time from the start of an instance until it was ready.",
        ),
        Family(
            name="connection_seconds_total", type=Type.COUNTER, labels=("app",),
            help="Time that visitors were connected to instances, all of them added up.",
            notes="From reports; where nobody reports, an estimate from looks. Absent where neither is the case: where "
            "the number of instances is fixed, nobody looks.",
        ),
        Family(
            name="requests_total", type=Type.COUNTER, labels=("app", "class"), values=CLASSES,
            help="Requests that web servers have reported, by the class of the status that the visitor got.",
            notes="Like the next two, absent until the first report on the application.",
        ),
        Family(
            name="request_queue_seconds", type=Type.HISTOGRAM, labels=("app",),
            help="Time from the beginning of a connect until the connection stood, from reports.",
            notes="A Unix socket connects as soon as there is room in its queue.",
        ),
        Family(
            name="request_seconds", type=Type.HISTOGRAM, labels=("app",),
            help="Time from the beginning of a connect until the end of the answer, from reports.",
        ),
        Family(
            name="asks_total", type=Type.COUNTER, labels=("result",), values=tuple(each.value for each in Ending),
            help="Questions for an instance that is ready, of connectors and of `fcgipmctl ensure`, by how they ended.",
            notes="late: none was ready within start-timeout. busy: too many scripts had to be looked at. forbidden: "
            "for a script that may not be run; the log says why.",
        ),
        Family(name="reports_total", type=Type.COUNTER, help="Reports of requests that have come and were believed."),
        Family(
            name="reports_dropped_total", type=Type.COUNTER, labels=("reason",),
            values=(*REASONS, "unknown", "untrusted", "overflow"),
            help="Reports of requests that have come and were not believed, or have not come.",
            notes="unknown: of no application that exists. untrusted: not from the web server's user. overflow: the "
            "socket had no room for them. The others: what was wrong in them.",
        ),
        Family(
            name="instance_cpu_seconds_total", type=Type.COUNTER, labels=("app",),
            help="Processor time of the application's instances, ended ones included.",
            notes="What an instance used after the last scrape before its end is lost.",
        ),
        Family(
            name="instance_resident_memory_bytes", type=Type.GAUGE, labels=("app",),
            help="Resident memory of the application's instances.",
            notes="Memory that processes share is counted for each. Absent where /proc is hidden from the manager.",
        ),
        Family(
            name="backoff_seconds", type=Type.GAUGE, labels=("app",),
            help="Time until the next start is tried, 0 outside of a back-off.",
        ),
        Family(
            name="output_dropped_bytes_total", type=Type.COUNTER, labels=("app",),
            help="Bytes of the instances' output that were thrown away because nobody could read them in time.",
        ),
        Family(
            name="external_reachable", type=Type.GAUGE, labels=("app",),
            help="Whether an application that is managed elsewhere could be connected to.",
        ),
    )
}  # fmt: skip
"""All families by name, in the order of the exposition."""


def document() -> str:
    """Return docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Served at `/metrics` on `metrics-listen` and on the control socket, and printed by `fcgipmctl metrics`.",
        "Names begin with `fcgipm_`. Everything is read when it is asked for. Counters, unless it is said otherwise,",
        "begin at 0 with the manager: where it was replaced, they start again, which `rate()` and `increase()` take as",
        "a reset. No label holds a process id.",
        "",
        "| name | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for family in FAMILIES.values():
        labels = ", ".join(f"`{label}`" for label in family.labels)
        if family.values:
            labels += f" ({', '.join(family.values)})"
        meaning = " ".join(filter(None, (family.help, family.notes)))
        lines.append(f"| `{PREFIX}{family.name}` | {family.type.value} | {labels} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
