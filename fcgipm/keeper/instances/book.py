"""The keeper's own books: which instances there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fcgipm import wire

if TYPE_CHECKING:
    from fcgipm.keeper.instances.readiness import Watch
    from fcgipm.keeper.instances.session import IsLeader
    from fcgipm.keeper.instances.spawn import Starting
    from fcgipm.keeper.listening.listener import Listener


@dataclass(slots=True, kw_only=True)
class Instance:
    """A child that is an instance, or is about to be exec'd as one."""

    number: int
    app: str
    generation: int
    listener: Listener
    pid: int
    pidfd: int
    stdout: int
    stderr: int
    recipe: str
    """A digest of what it was started by."""
    start_time: int
    """In clock ticks since the machine was started: together with *pid* no other process ever has it."""
    turns_away: bool = False
    """Whether it is no instance of the application, but answers 503 in its place."""
    starting: Starting | None
    """Until it is exec'd."""
    started_at: int
    watch: Watch | None = None
    """While it is not seen to be ready."""
    ready: str | None = None
    ready_at: int | None = None
    asked: bool = False
    """Whether it was sent its stop signal."""
    is_child: bool = True
    """Whether we have started it; else it was adopted, and neither its status nor its orphans come to us."""
    hidden: bool = False
    """Whether it was killed before its exec without the manager's knowing of it."""

    @property
    def name(self) -> str:
        """How people are told of it: ``blog/12``."""
        return f"{self.app}/{self.number}"

    def fact(self, *, outdated: bool) -> wire.InstanceFact:
        """Return what a new manager must know of it; *outdated*: another definition holds by now."""
        return wire.InstanceFact(
            instance=self.number,
            app=self.app,
            generation=self.generation,
            pid=self.pid,
            ready=self.ready,
            asked=self.asked,
            turns_away=self.turns_away,
            outdated=outdated,
            started_at=self.started_at,
            ready_at=self.ready_at,
            canary=self.listener.canary,
            estranged=self.listener.sock is None,
        )


class Book:
    """All instances, by number and by pid."""

    def __init__(self) -> None:
        self._by_number: dict[int, Instance] = {}
        self._by_pid: dict[int, Instance] = {}
        self._of_app: dict[str, int] = {}
        self.highest = 0
        """The highest number that an instance ever had."""
        self.changed: Callable[[], None] = lambda: None
        """Called when somebody was entered or struck out."""

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Instance]:
        return iter(list(self._by_number.values()))

    def add(self, instance: Instance) -> None:
        """Enter an instance."""
        self._by_number[instance.number] = instance
        self._by_pid[instance.pid] = instance
        self._of_app[instance.app] = self.count(instance.app) + 1
        self.highest = max(self.highest, instance.number)
        self.changed()

    def remove(self, instance: Instance) -> None:
        """Strike an instance out."""
        del self._by_number[instance.number]
        del self._by_pid[instance.pid]
        self._of_app[instance.app] -= 1
        if not self._of_app[instance.app]:
            del self._of_app[instance.app]
        self.changed()

    def count(self, app: str) -> int:
        """Return how many instances *app* has."""
        return self._of_app.get(app, 0)

    def of_app(self, app: str) -> list[Instance]:
        """Return the instances of *app*."""
        return [instance for instance in self._by_number.values() if instance.app == app] if self.count(app) else []

    def get(self, number: int) -> Instance | None:
        """Return the instance with *number*."""
        return self._by_number.get(number)

    def judge_of(self, instance: Instance) -> IsLeader | None:
        """Return by what `session.members` knows who belongs to *instance*, cheaply; None where that is not to be had.

        The orphans of one that was adopted do not come to us.
        """
        return self.is_leader if instance.is_child else None

    def is_leader(self, pid: int) -> bool:
        """Return whether *pid* is the leader of an instance."""
        return pid in self._by_pid

    def of_pid(self, pid: int) -> Instance | None:
        """Return the instance whose leader is *pid*."""
        return self._by_pid.get(pid)
