"""Ordering a new instance."""

from __future__ import annotations

from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Spawn
from fcgipm.core.events import Instant
from fcgipm.core.instance import Audience, Instance
from fcgipm.core.policy.classic import Load


def spawn(
    books: Books,
    generation: int,
    why: str,
    now: Instant,
    out: list[Command],
    *,
    audience: Audience = Audience.VISITORS,
    canary: bool = False,
) -> Instance:
    """Order a new instance; with the first one the windows of its connection time begin."""
    instance = Instance(
        id=books.number(),
        generation=generation,
        audience=audience,
        started_at=now,
        why_started=why,
        overdue_at=Instant(now + books.definition.start_timeout),
    )
    books.instances[instance.id] = instance
    books.last_start = now
    if books.demand.load is None and books.definition.is_flexible:
        books.demand.load = Load.begun(now, books.world.terms.settings)
        books.world.begin(now)
    out.append(Spawn(app=books.name, generation=generation, instance=instance.id, why=why, canary=canary))
    return instance
