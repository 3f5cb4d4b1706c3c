"""Check numbers against each other: ranges of instances, the totals of [dynamic], spans of time."""

from __future__ import annotations

from fcgipm.config.drafts import Draft
from fcgipm.config.problems import Report
from fcgipm.config.quantities import duration_text
from fcgipm.config.resolve import Drafts

_WITHIN_TOTAL = ("max_class_processes", "min_processes", "process_slack")


def check_limits(drafts: Drafts, report: Report) -> None:
    """Report numbers in *drafts* that cannot be together."""
    for draft in drafts.applications.values():
        _check_timeouts(draft, report)
        _check_range(draft, report)
        _check_idle_stop(draft, report)
    if drafts.dynamic is not None:
        _check_timeouts(drafts.dynamic, report)
        for name in _WITHIN_TOTAL:
            _demand_at_most(drafts.dynamic, name, "max_processes", report)


def _check_timeouts(draft: Draft, report: Report) -> None:
    ready, start = draft.values["ready_timeout"], draft.values["start_timeout"]
    if ready > start and draft.sound("ready_timeout", "start_timeout"):
        text = f"{duration_text(ready)} is more than start-timeout, {duration_text(start)}"
        report.problem(draft.at("ready_timeout"), f"{text}; at most that is allowed")


def _check_range(draft: Draft, report: Report) -> None:
    others = [name for name in ("min-processes", "max-processes") if name.replace("-", "_") in draft.places]
    if others and "processes" in draft.places:
        text = f"cannot be together with {' and '.join(others)}; write a fixed number or a range, not both"
        report.problem(draft.at("processes"), text)
    else:
        _demand_at_most(draft, "min_processes", "max_processes", report)


def _check_idle_stop(draft: Draft, report: Report) -> None:
    if draft.values["idle_stop"] is None or not draft.sound("processes", "min_processes", "max_processes"):
        return
    least = draft.values["processes"] if draft.values["min_processes"] is None else draft.values["min_processes"]
    if least:
        text = f"needs min-processes = 0, and this application keeps {least}; write that, or leave idle-stop out"
        report.problem(draft.at("idle_stop"), text)


def _demand_at_most(draft: Draft, name: str, greatest: str, report: Report) -> None:
    value, most = draft.values[name], draft.values[greatest]
    if draft.sound(name, greatest) and value is not None and most is not None and value > most:
        text = f"{value} is more than {greatest.replace('_', '-')}, {most}; at most that is allowed"
        report.problem(draft.at(name), text)
