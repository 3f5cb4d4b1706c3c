"""What `fcgipmctl status` prints, made from the answer of the control socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fcgipm.cli.table import Row, layout
from fcgipm.cli.words import coloured, moment, number, printable, size, span
from fcgipm.verbs import ExitCode

_ALL: Final = (
    "APP", "STATE", "INSTANCES", "BUSY", "QUEUE", "WAIT", "RESTARTS", "MEM", "UPTIME", "SOCKET", "LAST/NEXT",
)  # fmt: skip
_LAYOUTS: Final = (
    _ALL,
    tuple(title for title in _ALL if title not in {"MEM", "SOCKET"}),
    ("APP", "STATE", "INSTANCES", "QUEUE", "WAIT", "LAST/NEXT"),
    ("APP", "STATE", "LAST/NEXT"),
)
_NUMBERS: Final = {"INSTANCES", "BUSY", "QUEUE", "WAIT", "RESTARTS", "MEM", "UPTIME"}

_INSTANCES: Final = (("PID", "STATE", "AGE", "GENERATION", "CPU", "MEM"), ("PID", "STATE", "AGE"))

_NOT_WELL: Final = {"starting", "backoff", "failed", "unreachable"}


def exit_code(apps: Sequence[Mapping[str, Any]], named: Sequence[str]) -> ExitCode:
    """Return whether all of *apps* are well; one that is stopped is not if it was asked for by name."""
    unwell = _NOT_WELL | {"stopped"} if named else _NOT_WELL
    return ExitCode.NOT_RUNNING if any(app["state"] in unwell for app in apps) else ExitCode.DONE


def overview(apps: Sequence[Mapping[str, Any]], *, width: int | None, colour: bool) -> list[str]:
    """Return the table of *apps*, a line each, for a terminal of *width*; None: for a file or a pipe."""
    return layout(_LAYOUTS, [_row(app) for app in apps], width=width, right=_NUMBERS, paint=_paint if colour else None)


def details(app: Mapping[str, Any], *, width: int | None, colour: bool) -> list[str]:
    """Return all about one application, with a line for each of its instances."""
    state = str(app["state"])
    head = f"{app['name']}: {coloured(state, state) if colour else state}"
    facts = [
        ("kind", str(app["kind"])),
        ("socket", number(app["address"])),
        ("instances", _instances(app)),
        ("demand", _range(app)),
        ("queue", _queue(app)),
        ("restarts", number(app["restarts"])),
        ("generation", number(app["generation"])),
        ("rollout", _rollout(app)),
        ("given up", _given_up(app)),
        ("memory", size(_memory(app))),
        ("why", str(app["reason"] or "")),
        ("no more", _limit(app)),
        ("next", str(app["next"] or "")),
    ]
    if app["kind"] == "external":
        facts = [fact for fact in facts if fact[0] in {"kind", "socket", "why", "next"}]
    lines = [printable(head) if not colour else head]
    lines += [f"  {name:<11} {printable(text)}" for name, text in facts if text]
    if app["instances"]:
        rows = [_instance_row(instance) for instance in app["instances"]]
        numbers = {"PID", "AGE", "GENERATION", "CPU", "MEM"}
        paint = _paint if colour else None
        inner = None if width is None else width - 2
        lines += ["", *(f"  {line}" for line in layout(_INSTANCES, rows, width=inner, right=numbers, paint=paint))]
    return lines


def _row(app: Mapping[str, Any]) -> Row:
    external = app["kind"] == "external"
    ages = [instance["age"] for instance in app["instances"] if instance["age"] is not None]
    return {
        "APP": str(app["name"]),
        "STATE": str(app["state"]),
        "INSTANCES": "-" if external else _ready(app),
        "BUSY": number(app["busy"]),
        "QUEUE": "-" if external else _ratio(app["queue"], app["queue_limit"]),
        "WAIT": moment(app.get("queue_oldest")),
        "RESTARTS": "-" if external else number(app["restarts"]),
        "MEM": size(_memory(app)),
        "UPTIME": span(max(ages, default=None)),
        "SOCKET": number(app["address"]),
        "LAST/NEXT": ", ".join(filter(None, (*_remarks(app), *_changes(app), _limit(app), *_last(app)))) or "-",
    }


def _instances(app: Mapping[str, Any]) -> str:
    busy = "" if app["busy"] is None else f", {app['busy']} connections open"
    return f"{number(app['ready'])} of {number(app['processes'])} ready{busy}"


def _ready(app: Mapping[str, Any]) -> str:
    """Return ``2/2``, ready and wanted, with ``of 10`` where there may be more."""
    ready = f"{number(app['ready'])}/{number(app['processes'])}"
    return f"{ready} of {app['processes_max']}" if _follows_demand(app) else ready


def _range(app: Mapping[str, Any]) -> str:
    if not _follows_demand(app):
        return ""
    load = "" if app["load"] is None else f", load {app['load']:.0%}"
    return f"from {app['processes_min']} to {app['processes_max']} instances{load}"


def _follows_demand(app: Mapping[str, Any]) -> bool:
    return app.get("processes_min") != app.get("processes_max")


def _queue(app: Mapping[str, Any]) -> str:
    parts = [f"{number(app['queue'])} of {number(app['queue_limit'])} waiting"]
    if app.get("queue_oldest") is not None:
        parts.append(f"the longest for {moment(app['queue_oldest'])}")
    return ", ".join([*parts, *_remarks(app)])


def _remarks(app: Mapping[str, Any]) -> list[str]:
    """Return what visitors suffer now."""
    remarks = []
    if app["queue"] is not None and app["queue"] > app["queue_limit"]:
        remarks.append("the queue is full")
    if app.get("queue_abandoned"):
        remarks.append(f"{app['queue_abandoned']} gave up")
    return remarks


def _changes(app: Mapping[str, Any]) -> list[str]:
    """Return what is on its way, and what has failed that the application itself does not speak of any more."""
    given_up = app.get("given_up")
    failed = given_up is not None and given_up["why"] not in (app["reason"] or "")
    return [text for text in (_rollout(app), f"given up: {_given_up(app)}" if failed else "") if text]


def _rollout(app: Mapping[str, Any]) -> str:
    rollout = app.get("rollout")
    if rollout is None:
        return ""
    return f"generation {rollout['generation']} {rollout['phase']}, {rollout['ready']} of {rollout['of']} ready"


def _given_up(app: Mapping[str, Any]) -> str:
    given_up = app.get("given_up")
    return "" if given_up is None else f"generation {given_up['generation']}: {given_up['why']}"


def _last(app: Mapping[str, Any]) -> tuple[str, str]:
    return app["reason"] or "", app["next"] or ""


def _limit(app: Mapping[str, Any]) -> str:
    """Return why an instance that is wanted is not started."""
    return f"limited by {app['denied']}" if app.get("denied") else ""


def _ratio(value: object, limit: object) -> str:
    return "-" if value is None else f"{value}/{number(limit)}"


def _memory(app: Mapping[str, Any]) -> int | None:
    known = [instance["rss"] for instance in app["instances"] if instance["rss"] is not None]
    return sum(known) if known else None


def _instance_row(instance: Mapping[str, Any]) -> Row:
    cpu = instance["cpu"]
    return {
        "PID": number(instance["pid"]),
        "STATE": str(instance["state"]),
        "AGE": span(instance["age"]),
        "GENERATION": number(instance["generation"]),
        "CPU": "-" if cpu is None else f"{cpu:.1f}s",
        "MEM": size(instance["rss"]),
    }


def _paint(title: str, cell: str, row: Row) -> str:
    return coloured(row["STATE"], cell) if title == "STATE" else cell
