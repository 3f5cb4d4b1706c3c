"""The listeners of all applications, as the keeper has told of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from fcgipm import wire
from fcgipm.linux.sock_diag import Endpoint, endpoint_named

_OLD: Final = 3
"""How many old generations of an application may still serve what has reached them."""


@dataclass(frozen=True, slots=True)
class Held:
    """A listener that the keeper holds, and what the kernel knows it by."""

    fact: wire.ListenerFact
    endpoint: Endpoint


class Listeners:
    """All listeners, by application."""

    def __init__(self, facts: Iterable[wire.ListenerFact] = ()) -> None:
        self._of: dict[str, tuple[Held, ...]] = {}
        for fact in facts:
            self._of[fact.app] = (*self.of(fact.app), _held(fact))

    def __iter__(self) -> Iterator[wire.ListenerFact]:
        for held in self._of.values():
            yield from (one.fact for one in held)

    def __len__(self) -> int:
        """Return how many applications have any."""
        return len(self._of)

    def apps(self) -> tuple[str, ...]:
        """Return the applications that have any."""
        return tuple(self._of)

    def of(self, app: str) -> tuple[Held, ...]:
        """Return the listeners of *app*, whatever their generation."""
        return self._of.get(app, ())

    def public(self, app: str) -> Held | None:
        """Return the published listener of *app*, or its newest where none is published, or None."""
        return max(self.of(app), key=lambda one: (one.fact.published, one.fact.generation), default=None)

    def learn(self, fresh: wire.ListenerFact) -> None:
        """Take *fresh* as the published listener of its application; generation 0: it has none any more.

        The old ones still serve what has reached them.
        """
        others = [one for one in self.of(fresh.app) if not fresh.generation or one.fact.bound != fresh.bound]
        held = [Held(replace(one.fact, published=False), one.endpoint) for one in others[-_OLD:]]
        if fresh.generation:
            held.append(_held(fresh))
        self._set(fresh.app, tuple(held))

    def drop(self, old: Held) -> None:
        """Forget a listener that is not there any more, unless it is a published one."""
        if not old.fact.published:
            self._set(old.fact.app, tuple(one for one in self.of(old.fact.app) if one is not old))

    def _set(self, app: str, held: tuple[Held, ...]) -> None:
        if held:
            self._of[app] = held
        else:
            self._of.pop(app, None)


def _held(fact: wire.ListenerFact) -> Held:
    return Held(fact, replace(endpoint_named(fact.bound), inode=fact.inode))
