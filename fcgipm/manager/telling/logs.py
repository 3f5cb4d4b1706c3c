"""What instances write: their pipes are read, cut into lines, kept, and passed on.

A pipe is always read, whatever comes of it, so that no application ever blocks on its output.  Beyond its
`Allowance` an application's lines are counted and thrown away.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from fcgipm.log import LineSplitter, wall_clock
from fcgipm.manager.telling.allowance import Allowance
from fcgipm.manager.telling.feed import Feed, Window
from fcgipm.manager.telling.record import LogLine

_TURN: Final = 64 * 1024
"""Bytes read of one pipe before the others have their turn; as much as a pipe holds."""
_TURNS_AT_END: Final = 4
"""How often a pipe is read at once when its instance has ended: a surviving child may go on writing."""
RING_BYTES: Final = 256 * 1024
"""Bytes kept of an application's lines, whatever their number."""
_DROP_REPORT: Final = 1.0
"""Seconds between two lines that say how much was thrown away."""
STREAMS: Final = ("stdout", "stderr")


@dataclass(slots=True)
class _Source:
    """One application that writes."""

    ring: Window[LogLine]
    allowance: Allowance
    pipes: int = 0
    dropped_lines: int = 0
    dropped_bytes: int = 0
    report: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class _Pipe:
    """One pipe of an instance."""

    number: int
    app: str
    instance: int
    pid: int
    stream: str
    splitter: LineSplitter = field(default_factory=LineSplitter)
    skipping: bool = False
    """Whether the beginning of the present line was thrown away, so that its rest must be too."""

    def skip(self, data: bytes) -> int:
        """Throw *data* away, and what of its last line is still to come; return how many lines that are."""
        begins_new = not self.skipping
        self.skipping = not data.endswith(b"\n")
        self.splitter = LineSplitter()
        return max(0, data.count(b"\n") + self.skipping - (not begins_new))

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that *data* completes."""
        if self.skipping:
            _, end, data = data.partition(b"\n")
            self.skipping = not end
        return self.splitter.feed(data)


class Logs:
    """Reads every instance's output within the running event loop."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._sources: dict[str, _Source] = {}
        self._pipes: dict[int, list[_Pipe]] = {}
        self._open: dict[int, _Pipe] = {}
        """By descriptor."""
        self._poller: select.epoll | None = None
        """Of all pipes: in the loop itself each would take as much memory as all else that is known of it."""
        self.feed: Feed[LogLine] = Feed(0)
        """Every line as it comes."""
        self.write: Callable[[LogLine], None] = lambda _line: None
        """Where lines go beside the ring."""
        self.note_dropped: Callable[[str, int], None] = lambda _app, _bytes: None
        """Told of an application and how many bytes of it were thrown away."""

    def watch(self, app: str, instance: int, pid: int, descriptors: Sequence[int]) -> None:
        """Read *descriptors* (stdout, stderr of *instance*) from now on; they are closed at their ends."""
        source = self._source(app)
        pipes = self._pipes.setdefault(instance, [])
        for number, stream in zip(descriptors, STREAMS, strict=False):
            os.set_blocking(number, False)
            pipe = _Pipe(number, app, instance, pid, stream)
            pipes.append(pipe)
            source.pipes += 1
            self._open[number] = pipe
            self._polled().register(number, select.EPOLLIN)

    def _polled(self) -> select.epoll:
        if self._poller is None:
            self._poller = select.epoll()
            asyncio.get_running_loop().add_reader(self._poller.fileno(), self._look)
        return self._poller

    def _look(self) -> None:
        """Give each pipe in which there is something its turn."""
        for number, _ in self._polled().poll(0):
            pipe = self._open.get(number)
            if pipe is not None:
                self._turn(pipe)

    def drain(self, instance: int) -> None:
        """Read what an instance that has ended left in its pipes."""
        for pipe in tuple(self._pipes.get(instance, ())):
            for _ in range(_TURNS_AT_END):
                if not self._turn(pipe):
                    break

    def lines(self, app: str | None) -> list[LogLine]:
        """Return the last lines of *app*, or of all, the oldest first."""
        if app is not None:
            source = self._sources.get(app)
            return list(source.ring) if source is not None else []
        found = [line for source in self._sources.values() for line in source.ring]
        return sorted(found, key=lambda line: line.time)

    def last_words(self, app: str, instance: int, *, lines: int, size: int) -> tuple[str, ...]:
        """Return the last *lines* that *instance* wrote, at most *size* bytes; of the last one at least a part."""
        found: list[str] = []
        for line in reversed(self.lines(app)):
            if line.instance != instance:
                continue
            data = line.text.encode()
            if len(found) == lines or (len(data) > size and found):
                break
            found.append(data[:size].decode(errors="ignore"))
            size -= len(data)
        return tuple(reversed(found))

    def resize(self, keep: int) -> None:
        """Keep *keep* lines of each application from now on."""
        self._keep = keep
        for source in self._sources.values():
            source.ring.resize(keep)

    def forget(self, known: Collection[str]) -> None:
        """Forget the lines of applications that are not in *known* and have no instance left."""
        for app, source in tuple(self._sources.items()):
            if app not in known and not source.pipes:
                self._say_dropped(app)
                del self._sources[app]

    def note_drained(self, app: str, instance: int, pid: int | None, count: int) -> None:
        """Say that *count* bytes of *instance* were thrown away before they got here."""
        text = f"{count} bytes of output were thrown away: they were not read in time"
        self._emit(LogLine(time=wall_clock(), app=app, instance=instance, pid=pid, stream="fcgipm", text=text))

    def _source(self, app: str) -> _Source:
        found = self._sources.get(app)
        if found is None:
            found = self._sources[app] = _Source(Window(self._keep, RING_BYTES), Allowance(time.monotonic_ns()))
        return found

    def _turn(self, pipe: _Pipe) -> bool:
        """Read *pipe* once; return whether there may be more."""
        try:
            data = os.read(pipe.number, _TURN)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end(pipe)
            return False
        source = self._source(pipe.app)
        if not source.allowance.refill(time.monotonic_ns()):
            self._drop(pipe.app, source, pipe.skip(data), len(data))
            return True
        for line in pipe.feed(data):
            self._line(pipe, source, line)
        return True

    def _line(self, pipe: _Pipe, source: _Source, text: str) -> None:
        if not source.allowance.take(len(text)):
            self._drop(pipe.app, source, 1, len(text) + 1)
            return
        self._emit(
            LogLine(
                time=wall_clock(), app=pipe.app, instance=pipe.instance, pid=pipe.pid, stream=pipe.stream, text=text
            )
        )

    def _emit(self, line: LogLine) -> None:
        self._source(line.app).ring.add(line)
        self.feed.publish(line)
        self.write(line)

    def _end(self, pipe: _Pipe) -> None:
        self._polled().unregister(pipe.number)
        del self._open[pipe.number]
        os.close(pipe.number)
        source = self._source(pipe.app)
        for line in pipe.splitter.end():
            self._line(pipe, source, line)
        source.pipes -= 1
        pipes = self._pipes[pipe.instance]
        pipes.remove(pipe)
        if not pipes:
            del self._pipes[pipe.instance]

    def _drop(self, app: str, source: _Source, lines: int, size: int) -> None:
        source.dropped_lines += lines
        source.dropped_bytes += size
        self.note_dropped(app, size)
        if source.report is None:
            loop = asyncio.get_running_loop()
            source.report = loop.call_later(_DROP_REPORT, self._say_dropped, app)

    def _say_dropped(self, app: str) -> None:
        source = self._sources[app]
        if source.report is None:
            return
        source.report.cancel()
        source.report = None
        text = (
            f"{source.dropped_lines} lines ({source.dropped_bytes} bytes) were thrown away: "
            f"{app} writes more than 1,000 lines a second"
        )
        source.dropped_lines = source.dropped_bytes = 0
        self._emit(LogLine(time=wall_clock(), app=app, instance=None, pid=None, stream="fcgipm", text=text))
