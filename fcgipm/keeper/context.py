"""What all parts of the keeper use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fcgipm import wire
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.keeping.store import Store
from fcgipm.keeper.listening.given import Given
from fcgipm.linux.sock_diag import Diag
from fcgipm.log import Logger

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded
    from fcgipm.config.schema import Application


class Reporter(Protocol):
    """Takes what is to be told to the manager."""

    def report(self, message: wire.Report, descriptors: Sequence[int] = ()) -> bool:
        """Send *message* and return whether there is a manager to get it; the next one gets a snapshot.

        Never raises.
        """


class Keeping(Protocol):
    """Writes down what is to outlive the keeper."""

    def changed(self, *, later: bool = False) -> None:
        """Something of it has changed: it is written before the loop sleeps again, or with *later* within a second."""

    def when_written(self, call: Callable[[], None]) -> None:
        """Call *call* once, when all that has changed so far is written."""

    def settle(self) -> None:
        """Write what has changed now."""

    def why_not(self) -> str:
        """Try to write it; return why it cannot be, empty where it can."""


class _Nowhere:
    def changed(self, *, later: bool = False) -> None:
        """Nothing is written."""

    def when_written(self, call: Callable[[], None]) -> None:
        """Nothing is waited for."""
        call()

    def settle(self) -> None:
        """Nothing is written."""

    def why_not(self) -> str:
        """Nothing keeps it from that."""
        return ""


class _Nobody:
    def report(self, message: wire.Report, descriptors: Sequence[int] = ()) -> bool:  # noqa: ARG002  nobody hears it
        """Drop *message*."""
        return False


@dataclass(slots=True)
class Context:
    """The loop, the log, the configuration that holds, and the way to the manager."""

    dispatch: Dispatch
    log: Logger
    loaded: Loaded
    diag: Diag
    nofile: tuple[int, int]
    """RLIMIT_NOFILE (soft, hard) before the keeper raised its own: what instances get."""
    reporter: Reporter = field(default_factory=_Nobody)
    keeping: Keeping = field(default_factory=_Nowhere)
    given: Given = field(default_factory=Given)
    store: Store = field(default_factory=Store)

    def application(self, name: str) -> Application | None:
        """Return the definition of *name* that holds."""
        return self.loaded.config.applications.get(name)

    def say(self, level: str, text: str, *, app: str | None = None) -> None:
        """Log *text*."""
        self.log.log(level, text, app=app)

    def tell(self, level: str, topic: str, text: str, *, app: str | None = None) -> None:
        """Log *text*, and tell the manager for `fcgipmctl events`."""
        self.say(level, text, app=app)
        self.reporter.report(wire.Told(level=level, topic=topic, app=app, text=text))

    def deny(self, order: str, error: str) -> None:
        """Log and tell that an order of this kind is refused by our own checks."""
        self.say("error", f"the manager's order {order} is denied: {error}")
        self.reporter.report(wire.Denied(order=order, error=error))
