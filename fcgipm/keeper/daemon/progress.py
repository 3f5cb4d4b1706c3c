"""How the daemon's start goes: told once, when every application that starts by itself serves or one has failed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from fcgipm.config.schema import Application


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to ``fcgipm start``: its exit status, and what is told to who waits for it."""

    status: int
    text: str


class Progress:
    """Waits for the first ready instance of each application that is started with the daemon."""

    def __init__(self, applications: Iterable[Application], tell: Callable[[Outcome], None], done: Callable[[], str]):
        """Tell the outcome by *tell*, once; *done* gives the text of a success.

        What needs no instance while nobody comes is not waited for.
        """
        self._missing = {app.name for app in applications if app.autostart and app.least}
        self._tell: Callable[[Outcome], None] | None = tell
        self._done = done

    @property
    def is_awaited(self) -> bool:
        """Whether somebody still waits for the outcome."""
        return self._tell is not None

    def begun(self) -> None:
        """The daemon runs: where nothing starts by itself, that is all there is to tell."""
        if not self._missing:
            self._finish(0, self._done())

    def spare(self, app: str) -> None:
        """Do not wait for *app*: before it begins it is clear that it serves already, or that nothing is to come."""
        self._missing.discard(app)

    def ready(self, app: str) -> None:
        """An instance of *app* is ready."""
        self._missing.discard(app)
        if not self._missing:
            self._finish(0, self._done())

    def dropped(self, app: str) -> None:
        """*app* was stopped or removed: nobody waits for it any more."""
        if app in self._missing:
            self.ready(app)

    def only(self, applications: Collection[str]) -> None:
        """Wait for nobody else than *applications*."""
        for app in self._missing.difference(applications):
            self.dropped(app)

    def failed(self, app: str, why: str) -> None:
        """A start of *app* failed, which matters here if it was never ready."""
        if app in self._missing:
            self.give_up(why)

    def give_up(self, why: str) -> None:
        """The start is a failure; the daemon stays and tries on."""
        self._finish(1, f"{why}; the daemon stays up and tries on")

    def _finish(self, status: int, text: str) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(Outcome(status, text))
