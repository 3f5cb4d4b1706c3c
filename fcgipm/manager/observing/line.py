"""Who waits at one listener, from look to look: since when, and how many have given up."""

from __future__ import annotations

from fcgipm.core.events import Instant
from fcgipm.linux.visitors import Peer, Waiting


class Line:
    """The line before one listener.  Somebody waits since the look in which he was first seen."""

    __slots__ = ("_before", "_gone", "_since", "oldest_since")

    def __init__(self) -> None:
        self._since: dict[Peer, Instant] = {}
        """Who waits and has not given up, and since when."""
        self._before: tuple[Peer, ...] = ()
        """The line of the last look that could name those in it."""
        self._gone: frozenset[bytes] = frozenset()
        self.oldest_since: Instant | None = None
        """Since when the one has waited who has waited for longest; None where nobody waits."""

    def take(self, waiting: Waiting, now: Instant) -> int:
        """Take in a look; return how many were seen to have given up since the one before.

        Who has given up and was accepted all the same between two looks is not seen.
        """
        line = waiting.line
        if line is None:  # some of those too many have waited since the last look, or they would be fewer
            self.oldest_since = now if self.oldest_since is None else self.oldest_since
            return 0
        if line:
            since = self._since
            self._since = {peer: since.get(peer, now) for peer in line if peer}
            self.oldest_since = min(self._since.values(), default=None)
        elif self._since:
            self._since, self.oldest_since = {}, None
        gave_up = len(waiting.gone - self._gone)
        if waiting.abandoned and 0 in line:
            gave_up = new_gaps(self._before, line)
        self._before, self._gone = line, waiting.gone
        return gave_up


def new_gaps(before: tuple[Peer, ...], line: tuple[Peer, ...]) -> int:
    """Return how many gaps (0) *line* has that *before* did not have yet, at least.

    Those at the front leave a line, and others join it at its end: somebody who is in both shows how far it has moved.
    """
    gaps = line.count(0)
    if not before:
        return gaps
    place_of = {peer: place for place, peer in enumerate(before) if peer}
    for place, peer in enumerate(line):
        if peer in place_of:
            return gaps - before[place_of[peer] - place :].count(0)
    return max(gaps - before.count(0), 0)
