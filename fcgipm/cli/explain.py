"""What `fcgipmctl explain` prints, made from the answer of the control socket."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, Final

from fcgipm.cli.words import coloured, moment, printable, span

WIDTH: Final = 80
"""Where there is no terminal."""
SHOWN: Final = 12
"""Decisions; all that are kept are in the JSON."""
_LABEL: Final = 14
_CLOCK: Final = 13
"""Characters in front of the text of a fact, and of a decision or plan."""
_HALF_A_DAY: Final = 43_200


def page(found: Mapping[str, Any], *, width: int | None, colour: bool) -> list[str]:
    """Return the lines that explain one application, the most important first, for a terminal of *width*."""
    columns = max(width or WIDTH, 40)
    lines = _head(found, columns, colour=colour)
    facts = [line for label, text in _facts(found) for line in _block(f"  {label}", _LABEL, text, columns)]
    lines += ["", *facts] if facts else []
    if found["next_start"] or found["next_removal"]:
        lines.append("")
        lines += _block("  next start", _LABEL, found["next_start"] or "", columns)
        lines += _block("  removal", _LABEL, found["next_removal"] or "", columns)
    if found["decisions"]:
        lines += ["", _title("Decided", len(found["decisions"]))]
        lines += _decisions(found["decisions"][-SHOWN:], found["time"], columns)
    if found["plans"]:
        lines += ["", "Next"]
        for plan in found["plans"]:
            when = "now" if plan["in"] <= 0 else f"in {moment(plan['in'])}"
            lines += _block(f"  {when}", _CLOCK, plan["text"], columns)
    return lines


def _title(name: str, count: int) -> str:
    return name if count <= SHOWN else f"{name} (the last {SHOWN} of {count}; --json has all)"


def _head(found: Mapping[str, Any], columns: int, *, colour: bool) -> list[str]:
    first, *rest = wrap(f"{printable(found['name'])}: {printable(found['summary'])}", columns, **_WHOLE_WORDS)
    state = str(found["state"])
    return [first.replace(state, coloured(state, state), 1) if colour else first, *rest]


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is to be told in numbers: a label and a text."""
    if found["kind"] == "external":
        return
    least, most = found["processes_min"], found["processes_max"]
    yield (
        "instances",
        (
            f"{found['ready']} ready, {found['starting']} starting, {found['processes']} wanted; "
            f"{least if least == most else f'{least} to {most}'} configured"
        ),
    )
    if found["in_all"] is not None:
        yield "in all", f"{found['in_all']} of {found['in_all_max']} dynamic instances"
    if found["queue"] is not None:
        yield "queue", _queue(found)
        yield "busy", f"{found['busy']} accepted connection{'' if found['busy'] == 1 else 's'}"
    if found["load"] is not None:
        yield "load", _load(found)


def _queue(found: Mapping[str, Any]) -> str:
    text = f"{found['queue']} of {found['queue_limit']}"
    if found["queue_abandoned"]:
        text += f", {found['queue_abandoned']} of them gave up"
    if found["queue_oldest"] is not None:
        text += f", the oldest has waited {moment(found['queue_oldest'])}"
    if found["start_delay"] is not None:
        text += f" (start-delay {moment(found['start_delay'])})"
    return text


def _load(found: Mapping[str, Any]) -> str:
    text = _percent(found["load"])
    if found["load_left"] is not None and found["ready"] > 1:
        text += f", {_percent(found['load_left'])} with one less"
    if found["threshold"] is not None:
        bound = f"below {100 * found['threshold']:.0f} % one may go" if found["threshold"] else "the last one stays"
        text += f" ({bound})"
    return text


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.1f} %"


def _decisions(decisions: Sequence[Mapping[str, Any]], now: float, columns: int) -> Iterator[str]:
    for each in decisions:
        ago = now - each["time"]
        text = f"{span(ago)} ago: {each['text']}"
        if each["times"] > 1:
            text += f" ({each['times']} times since {_clock(each['since'], now)})"
        yield from _block(f"  {_clock(each['time'], now)}", _CLOCK, text, columns)
        inputs = ", ".join(f"{name} {value}" for name, value in each["inputs"].items())
        if inputs:
            yield from _block("", _CLOCK + 2, inputs, columns)


def _clock(unix: float, now: float) -> str:
    """Return the local time of day, or the day where that is long ago."""
    return time.strftime("%H:%M:%S" if abs(now - unix) < _HALF_A_DAY else "%d %b", time.localtime(unix))


_WHOLE_WORDS: Final[dict[str, Any]] = {"break_long_words": False, "break_on_hyphens": False}


def _block(label: str, indent: int, text: str, columns: int) -> list[str]:
    """Return *text* behind *label*, which is in its first *indent* characters, in as many lines as it takes."""
    if not text:
        return []
    space = " " * indent
    head = f"{label:<{indent - 1}} "
    return wrap(printable(text), columns, initial_indent=head, subsequent_indent=space, **_WHOLE_WORDS)
