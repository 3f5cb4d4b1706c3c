"""Pieces of the core's messages: spans of time, ends of processes."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from typing import Final

from fcgipm.config.schema import MILLISECOND, SECOND, Duration
from fcgipm.counting import counted

_SIGNALS: Final = {
    1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 10: "USR1",
    11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT", 24: "XCPU", 25: "XFSZ", 31: "SYS",
}  # fmt: skip
"""Names by number, as on Linux; `core` may not ask the `signal` module."""

_SUEXEC: Final = {
    101: "wrong number of arguments", 102: "its caller is no known user", 103: "wrong user called it",
    104: "the command has a slash or ..", 105: "no such target user", 106: "no such target group",
    107: "target uid or gid too low, or root", 108: "target group refused", 109: "could not set the group",
    110: "could not set the user", 111: "the working directory cannot be found",
    112: "the document root cannot be entered", 113: "the user's directory cannot be entered",
    114: "the program is outside the document root", 115: "the directory cannot be looked at",
    116: "the directory is writable by others", 117: "the program cannot be looked at or is a symlink",
    118: "the program is writable by others", 119: "the program is setuid or setgid",
    120: "program or directory is not owned by the target user and group", 121: "umask could not be set",
    123: "the configuration for its caller is missing or forbids it", 124: "exec was refused",
}  # fmt: skip
"""What suexec's exit statuses mean."""


def seconds(span: Duration) -> str:
    """Return *span* for people: ``3 ms``, ``0.3 s``, ``4 s``, ``10 min``.

    >>> [seconds(one * MILLISECOND) for one in (0, 3, 250, 4_000, 4_998, 59_600, 599_990)]
    ['0 s', '3 ms', '0.2 s', '4 s', '5 s', '60 s', '10 min']
    """
    if span >= 120 * SECOND:
        return f"{round(span / (60 * SECOND))} min"
    if span >= 10 * SECOND:
        return f"{round(span / SECOND)} s"
    if 0 < span < 100 * MILLISECOND:
        return f"{max(round(span / MILLISECOND), 1)} ms"
    return f"{span / SECOND:.1f}".removesuffix(".0") + " s"


def end(code: int | None, signal: int | None, *, dumped: bool) -> str:
    """Return how a process ended: ``exit status 1``, ``killed by SIGSEGV (core dumped)``, ``how is not known``."""
    if signal is not None:
        name = _SIGNALS.get(signal)
        text = f"killed by SIG{name}" if name else f"killed by signal {signal}"
        return f"{text} (core dumped)" if dumped else text
    if code is None:
        return "how is not known"
    return f"exit status {code}"


def suexec(code: int | None) -> str | None:
    """Return why suexec refused with *code*; None if it is none of its exit statuses."""
    return None if code is None else _SUEXEC.get(code)


def left_over(generations: Collection[int], of: int) -> str:
    """Return how many of *of* instances are of *generations* that were given up: a number for each; empty: none.

    >>> left_over([2], 3)
    '1 of 3 instances is of generation 2 and serves until it is replaced'
    >>> left_over([3, 2], 4)
    '2 of 4 instances are of generations 2 and 3 and serve until they are replaced'
    """
    if not generations:
        return ""
    count = f"{len(generations)} of {counted(of, 'instance')}"
    numbers = [str(number) for number in sorted(set(generations))]
    which = f"{'generation' if len(numbers) == 1 else 'generations'} {' and '.join(numbers)}"
    if len(generations) == 1:
        return f"{count} is of {which} and serves until it is replaced"
    return f"{count} are of {which} and serve until they are replaced"


def percent(ratio: Fraction) -> str:
    """Return *ratio* for people.

    >>> percent(Fraction(1, 3))
    '33.3 %'
    """
    return f"{float(100 * ratio):.1f} %"


def left(count: int) -> str:
    """Return what is added of *count* visitors who were left behind in the queue of an old listener.

    >>> [left(one) for one in (0, 1, 2)]
    ['', '; 1 earlier visitor still waits', '; 2 earlier visitors still wait']
    """
    return f"; {counted(count, 'earlier visitor')} still wait{'s' if count == 1 else ''}" if count else ""
