"""Instances started a second: by fcgipm, by subprocess, by posix_spawn; each in a process of its own, by turns."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import IO

from bench.programs import nothing
from bench.table import Row

ROUNDS = 24
WAYS = ("fcgipm", "Popen", "posix_spawn")


@contextlib.contextmanager
def spawner(way: str, program: str) -> Iterator[tuple[IO[str], IO[str]]]:
    """Run a process that measures once for each line; give its standard input and output."""
    command = [sys.executable, "-m", "bench.spawner", way, program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdin, process.stdout
        process.stdin.close()


def measure(place: Path) -> Iterator[Row]:
    """Yield the rows about spawning."""
    program = nothing(place)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with contextlib.ExitStack() as stack:
        spawners = {way: stack.enter_context(spawner(way, program)) for way in WAYS}
        for turn in range(ROUNDS):
            for way in sorted(WAYS, reverse=bool(turn % 2)):  # who is first changes: a drift of the machine hits all
                ask, answers = spawners[way]
                ask.write("go\n")
                rates[way].append(float(answers.readline()))
    yield _row("instances spawned/s, with the full set-up", rates, "Popen", "Popen(user=…)", bound=0.6)
    yield _row("", rates, "posix_spawn", "posix_spawn", bound=None)


def _row(what: str, rates: dict[str, list[float]], way: str, peer: str, *, bound: float | None) -> Row:
    ours, theirs = rates["fcgipm"], rates[way]
    return Row(
        what=what, ours=median(ours), bound=bound, sense="≥", of_ratio=True, peer=peer, theirs=median(theirs),
        ratios=tuple(mine / its for mine, its in zip(ours, theirs, strict=True)),
    )  # fmt: skip
