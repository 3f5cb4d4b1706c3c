"""Samples of applications: what the kernel tells of their listeners, and what that makes with the look before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core.events import Instant, Sample
from fcgipm.linux import visitors
from fcgipm.linux.sock_diag import Diag
from fcgipm.linux.visitors import Peer, Visitors
from fcgipm.manager.observing.line import Line
from fcgipm.manager.observing.listeners import Held, Listeners
from fcgipm.manager.observing.strangers import Strangers

AT_REST: Final[Duration] = 10 * SECOND
"""Between two looks further apart than this an application was at rest: nothing was to be seen when it was left."""
_FEW: Final = 64
_CHECK_EVERY: Final[Duration] = 10 * SECOND
"""Between two checks whether one of those who wait for an application is from another network name space."""


@dataclass(slots=True)
class _Track:
    """What is remembered of one application from look to look."""

    at: Instant
    line: Line
    inode: int = 0
    """The public listener, which the line is before."""
    accepted: frozenset[int] = field(default_factory=frozenset)
    shows: bool = False
    """Whether the kernel has shown a connection that was accepted."""
    checked_at: Instant | None = None
    """When it was checked last who waits."""


class Sampler:
    """Looks at applications; *gave_up* is called with an application and how many visitors of it have given up.

    *strangers* knows whom the kernel does not show, and is told of whom it shows only while he waits.
    """

    def __init__(self, gave_up: Callable[[str, int], None], strangers: Strangers) -> None:
        self._gave_up = gave_up
        self._strangers = strangers
        self._diag: Diag | None = None
        self._tracks: dict[str, _Track] = {}
        self.failures: dict[int, OSError] = {}
        """Why the sockets of an address family could not be seen in the last look at any of them."""

    def close(self) -> None:
        """Give back the socket that the kernel is asked by; the next look makes another."""
        if self._diag is not None:
            self._diag.close()
            self._diag = None

    def look(self, listeners: Listeners, names: Iterable[str], now: Instant) -> dict[str, Sample]:
        """Return a sample of each of *names* that can be seen, with what came together since the look before.

        *listeners* that are neither public nor there any more are dropped from them.
        """
        wanted = {name: listeners.of(name) for name in names}
        seen = self._see(wanted.values())
        samples: dict[str, Sample] = {}
        for name, held in wanted.items():
            public = listeners.public(name) if len(held) > 1 else held[0] if held else None
            if public is not None and public.endpoint.inode in seen.waiting:
                samples[name] = self._sample(name, held, public, seen, now)
            for one in held:
                if one.endpoint.inode not in seen.waiting and one.endpoint.family not in self.failures:
                    listeners.drop(one)
        if len(self._tracks) > 2 * len(listeners) + _FEW:
            self._tracks = {name: track for name, track in self._tracks.items() if listeners.of(name)}
        return samples

    def shows_nobody(self, app: str) -> bool:
        """Return whether the kernel has never shown a connection that *app* has accepted."""
        track = self._tracks.get(app)
        return track is None or not track.shows

    def _see(self, wanted: Iterable[tuple[Held, ...]]) -> Visitors:
        by_family: dict[int, list[Held]] = {}
        for held in wanted:
            for one in held:
                by_family.setdefault(one.endpoint.family, []).append(one)
        seen = Visitors({}, {})
        for family, those in by_family.items():
            self.failures.pop(family, None)
            try:
                if self._diag is None:
                    self._diag = Diag()
                found = visitors.look(self._diag, (one.endpoint for one in those))
            except OSError as error:
                self.close()
                self.failures[family] = error
            else:
                seen.waiting.update(found.waiting)
                seen.accepted.update(found.accepted)
        return seen

    def _sample(self, name: str, held: tuple[Held, ...], public: Held, seen: Visitors, now: Instant) -> Sample:
        inode = public.endpoint.inode
        waiting = seen.waiting[inode]
        accepted = frozenset(seen.accepted[inode])
        if len(held) > 1:
            accepted = accepted.union(*(seen.accepted.get(one.endpoint.inode, ()) for one in held))
        track = self._tracks.get(name)
        if track is None:
            track = self._tracks[name] = _Track(now, Line())
        if track.inode != inode:
            track.inode, track.line = inode, Line()
        track.shows = track.shows or bool(accepted)
        strangers = self._strangers.served(name, now)
        if strangers:
            accepted |= strangers
        gave_up = track.line.take(waiting, now)
        if gave_up:
            self._gave_up(name, gave_up)
        if waiting.line and (track.checked_at is None or now - track.checked_at >= _CHECK_EVERY):
            track.checked_at = now
            self._check(name, waiting.line, now)
        passed = now - track.at
        sample = Sample(
            queued=waiting.queue.waiting,
            limit=waiting.queue.limit,
            abandoned=waiting.abandoned,
            oldest_since=track.line.oldest_since,
            busy=len(accepted),
            connection_time=len(track.accepted) * passed if passed <= AT_REST else 0,
            requests=len(accepted - track.accepted),
        )
        track.at, track.accepted = now, accepted
        return sample

    def _check(self, name: str, line: tuple[Peer, ...], now: Instant) -> None:
        """Tell whether the first who waits is from another network name space: then his socket is not here."""
        peer = next((peer for peer in line if peer), None)
        if self._diag is None or not isinstance(peer, int):
            return
        try:
            row = self._diag.unix_socket(peer)
        except OSError:
            return  # the next look says what is wrong
        if row is None:
            self._strangers.suspect(name, now)
