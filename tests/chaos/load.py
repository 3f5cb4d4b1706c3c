"""Visitors without end: they ask through a web server and directly, and count what became of each request.

They are a C program (programs/visitors.c), so that on two processors the measuring leaves room for what is measured.
"""

from __future__ import annotations

import mmap
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from types import MappingProxyType, TracebackType
from typing import Final, Self

from harness.waiting import until

CLIENTS: Final = 50
"""At a time, on each way."""
_COUNTERS: Final = Struct("=7Q")
_BUCKETS: Final = 160
_WAITS: Final = Struct(f"={_BUCKETS}Q")


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that a visitor had no whole answer to."""

    number: int
    kind: str
    """refused: nobody could be asked, or the web server said 502, 503 or 504; broken: cut, or wrong."""
    after: int
    """Milliseconds."""
    why: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What the visitors of one way have seen."""

    sent: int = 0
    answered: int = 0
    refused: int = 0
    broken: int = 0
    stale: int = 0
    """Of the answered: by an older version than somebody had met before this visitor came."""
    version: int = 0
    """The newest that anybody has met."""
    longest: float = 0
    """Seconds that the slowest answer took."""
    waits: tuple[int, ...] = ()
    """How many answers took how long, in eight buckets for each doubling."""
    failures: tuple[Failure, ...] = ()

    @property
    def failed(self) -> int:
        """All that had no whole answer."""
        return self.sent - self.answered

    def quantile(self, part: float) -> float:
        """Return the time in seconds within which *part* (0…1) of the answers came, to about a tenth."""
        rest = part * sum(self.waits)
        for bucket, count in enumerate(self.waits):
            rest -= count
            if rest <= 0:
                doublings, eighth = divmod(bucket, 8)
                return (eighth + 9) * 2.0**doublings / 1_000_000
        return self.longest


class Visitors:
    """CLIENTS at work, as a context; `tally` says at any time what they have seen, and `failures` at the end why.

    *program* is the compiled visitors.c, *address* a path or a port of 127.0.0.1; *pause* is in seconds.
    """

    def __init__(
        self, program: Path, kind: str, address: str | int, *, script: str, clients: int, pause: float, board: Path
    ) -> None:
        words = [str(program), kind, str(address), str(clients), str(int(pause * 1_000_000)), script, str(board)]
        board.unlink(missing_ok=True)
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        until(lambda: board.exists() and board.stat().st_size, what="the visitors' counters")
        with board.open("rb") as file:
            self._board = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._failures: tuple[Failure, ...] = ()

    @property
    def tally(self) -> Tally:
        """What they have seen so far; while they work, those who wait are among the sent."""
        sent, answered, refused, broken, stale, version, longest = _COUNTERS.unpack_from(self._board)
        waits = _WAITS.unpack_from(self._board, _COUNTERS.size)
        return Tally(sent, answered, refused, broken, stale, version, longest / 1_000_000, waits, self._failures)

    def end(self) -> None:
        """Let nobody ask any more and wait until all have been answered, or have given up."""
        output, _ = self._process.communicate(timeout=90)
        assert self._process.returncode == 0, self._process.returncode
        self._failures = tuple(
            Failure(int(number), kind, int(after), why)
            for number, kind, after, why in (line.split(" ", 3) for line in output.splitlines())
        )

    def kill(self) -> None:
        """End them at once."""
        self._process.kill()
        self._process.communicate()


@dataclass
class Crowd:
    """Visitors on several ways at the same time, as a context."""

    ways: Mapping[str, Visitors]
    tallies: Mapping[str, Tally] = field(default_factory=lambda: MappingProxyType({}))
    """Of each way; there afterwards."""
    first: int = 20
    """So many are answered on each way before anything else happens."""

    def __enter__(self) -> Self:
        try:
            self.more(self.first)
        except AssertionError:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._kill()
            return
        for way in self.ways.values():
            way.end()
        self.tallies = {name: way.tally for name, way in self.ways.items()}

    def _kill(self) -> None:
        for way in self.ways.values():
            way.kill()

    def more(self, count: int, *, within: float = 60) -> None:
        """Wait until *count* more have been answered on each way."""
        goals = [(way, way.tally.answered + count) for way in self.ways.values()]
        until(
            lambda: all(way.tally.answered >= goal for way, goal in goals),
            within=within,
            what=f"{count} more answers on each of {', '.join(self.ways)}: {self.seen()}",
        )

    def meet(self, version: int, *, within: float = 60) -> None:
        """Wait until on each way somebody has met *version*."""
        until(lambda: all(way.tally.version >= version for way in self.ways.values()), within=within, what="met")

    def seen(self) -> Tally:
        """Return what all have seen so far, together."""
        return total(self.tallies.values() or (way.tally for way in self.ways.values()))

    @property
    def failures(self) -> list[str]:
        """What became of the requests that failed, for a test that wants none: way, number, kind, why."""
        return [
            f"{name}: {one.number} {one.kind} after {one.after} ms: {one.why}"
            for name, tally in self.tallies.items()
            for one in tally.failures
        ]


def total(tallies: Iterable[Tally]) -> Tally:
    """Add up what was seen on several ways."""
    all_of_them = list(tallies)
    return Tally(
        sent=sum(tally.sent for tally in all_of_them),
        answered=sum(tally.answered for tally in all_of_them),
        refused=sum(tally.refused for tally in all_of_them),
        broken=sum(tally.broken for tally in all_of_them),
        stale=sum(tally.stale for tally in all_of_them),
        version=max((tally.version for tally in all_of_them), default=0),
        longest=max((tally.longest for tally in all_of_them), default=0),
        waits=tuple(map(sum, zip(*(tally.waits for tally in all_of_them), strict=True))),
        failures=tuple(one for tally in all_of_them for one in tally.failures),
    )
