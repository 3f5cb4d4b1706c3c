"""Late-comers: who waits at a listener that nobody can reach any more, and what becomes of him.

He was on the way there at the moment of a switch, or behind the requests that were cut at stop-timeout.  The keeper
tells of him once, and again each minute: so he is remembered.  Where the application runs he gets an instance, which
goes when done; where it is stopped he waits for its start, or is turned away, as those at its public listener are.
"""

from __future__ import annotations

from typing import Final

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core.books import Books
from fcgipm.core.events import Instant
from fcgipm.core.instance import Instance
from fcgipm.core.slots import Slot
from fcgipm.core.under_way import LateComer

OLD_LISTENER: Final[Duration] = 60 * SECOND
"""How long the keeper watches a listener that nobody can reach any more, and after which it tells again who waits."""
_LEAST: Final[Duration] = 1 * SECOND
"""How long what was started for late-comers has at least: cut at once, it would be started again and again."""


def came(books: Books, generation: int, now: Instant, *, waiting: int = 0) -> None:
    """Somebody waits at the listener of *generation*, an old one; how many, is known where they are *waiting*."""
    if books.is_leaving:
        return
    gone_at = Instant(now + OLD_LISTENER)
    known = books.late.get(generation)
    if known is not None:
        known.gone_at, known.waiting = gone_at, waiting or known.waiting
    elif not any(one.generation == generation for one in books.everybody()):
        slot = Slot(not_before=now, why="late-comer")
        books.late[generation] = LateComer(slot=slot, gone_at=gone_at, waiting=waiting)


def met(books: Books, generation: int) -> None:
    """What turns late-comers away takes them from their queue; who comes after them is told of anew."""
    if generation in books.late and books.late[generation].slot.instance is None:
        del books.late[generation]


def left_by(books: Books, instance: Instance, now: Instant) -> None:
    """*instance* has gone, and was cut while others waited behind it: nobody else serves them."""
    if instance.waiting and books.switches and instance.generation != books.generation:
        came(books, instance.generation, now, waiting=instance.waiting)


def waiting(books: Books) -> int:
    """Return how many are known to wait at old listeners."""
    return sum(one.waiting for one in books.late.values())


def cut_from(books: Books, now: Instant) -> Instant:
    """Return when what was started for late-comers, and is ready *now*, is cut."""
    return max(books.cut_from(now), Instant(now + _LEAST))
