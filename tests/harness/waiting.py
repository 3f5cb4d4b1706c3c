"""Wait for something, with a deadline: never for a time alone."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSES = (0.001, 0.002, 0.005, 0.01, 0.02)
"""Seconds between two looks; the last one is repeated."""


def until(condition: Callable[[], T], *, within: float = 30, what: str = "") -> T:
    """Call *condition* until its answer is true and return that answer.

    *within* is in seconds.  Raises AssertionError, naming *what* was waited for, when it never became true.  That it
    takes long does not matter by itself: on a machine that is busy with others a manager starts within ten seconds.
    """
    deadline = time.monotonic() + within
    looks = 0
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what or condition}; last answer: {answer!r}")
        select.select([], [], [], PAUSES[min(looks, len(PAUSES) - 1)])
        looks += 1
    return answer


def readable(descriptor: int, *, within: float = 30) -> None:
    """Wait until *descriptor* (also a pidfd: its process has ended) is readable."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    assert poller.poll(within * 1000), f"descriptor {descriptor} not readable within {within} s"


def ended(pid: int, *, within: float = 30) -> None:
    """Wait until process *pid* has ended; one that is not there has.  It may still have to be reaped."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        readable(descriptor, within=within)
    finally:
        os.close(descriptor)
