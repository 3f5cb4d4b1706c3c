"""Which listeners of applications there are, of which generation, and how many generations there were."""

from __future__ import annotations

from collections.abc import Iterator

from fcgipm import wire
from fcgipm.config.schema import Application
from fcgipm.keeper.listening.listener import Listener, Vigil


class Register:
    """All listeners of applications, in the order in which they were made."""

    def __init__(self) -> None:
        self._all: list[Listener] = []
        self._highest: dict[str, int] = {}
        """The highest generation that each application has had."""

    def __iter__(self) -> Iterator[Listener]:
        return iter(list(self._all))  # who asks may close some of them meanwhile

    def __contains__(self, listener: object) -> bool:
        return listener in self._all

    # ── keeping ──────────────────────────────────────────────────────────────────────────────────────────────────

    def enter(self, listener: Listener, *, highest: int = 0) -> None:
        """Enter *listener*, whose application has had generations up to *highest*."""
        self._all.append(listener)
        self.had(listener.app, max(listener.generation, highest))

    def remove(self, listener: Listener) -> None:
        """Take *listener* out; the generations of its application are remembered."""
        self._all.remove(listener)

    def had(self, app: str, generation: int) -> None:
        """Remember that *app* has had *generation*."""
        self._highest[app] = max(self.highest(app), generation)

    def renumber(self, listener: Listener, generation: int) -> None:
        """Let *listener*, whose number was a guess, be that of *generation*, which is the latest."""
        listener.generation = self._highest[listener.app] = generation

    def forget(self, app: str) -> None:
        """Let *app*, which is defined no more, begin with generation 1 again, unless a listener of it is left."""
        if all(other.app != app for other in self._all):
            self._highest.pop(app, None)

    # ── finding ──────────────────────────────────────────────────────────────────────────────────────────────────

    def highest(self, app: str) -> int:
        """Return the highest generation that *app* has had, 0 if none."""
        return self._highest.get(app, 0)

    def generations(self) -> dict[str, int]:
        """Return the highest generation that each application has had."""
        return dict(self._highest)

    def published(self, app: str) -> Listener | None:
        """Return the public listener of *app* (of TCP: the latest)."""
        found = [listener for listener in self._all if listener.app == app and listener.published]
        return found[-1] if found else None

    def of_app(self, app: str) -> list[Listener]:
        """Return all listeners of *app*, the latest last."""
        return [listener for listener in self._all if listener.app == app]

    def shared(self, app: Application) -> Listener | None:
        """Return the one that all generations of *app* use where its definition has its socket."""
        return next((one for one in self.of_app(app.name) if one.sock and one.is_shared and one.is_at(app)), None)

    def sharing(self, listener: Listener) -> list[Listener]:
        """Return all listeners that are the same socket: one that is handed over is more than *listener* itself."""
        if not listener.is_shared:
            return [listener]
        return [other for other in self._all if other.endpoint == listener.endpoint]

    # ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────

    def facts(self) -> tuple[wire.ListenerFact, ...]:
        """Return all listeners for the manager; of TCP listeners of one application only the latest."""
        facts = {(listener.app, listener.generation): listener.fact() for listener in self._all}
        return tuple(facts.values())

    def awaited(self) -> list[wire.SomebodyWaits]:
        """Return what a new manager must be told again: where somebody has come, and no instance since."""
        awaited = [one for one in self._all if one.vigil is Vigil.AWAITED]
        return [wire.SomebodyWaits(app=one.app, generation=one.generation) for one in awaited]

    def why_not_found(self) -> str:
        """Return which listener would not be found again by its path, and why; empty where all would be."""
        lost = (one for one in self._all if one.names is not None and not one.names.is_in_place())
        return next((f"the directory of {one.public} was replaced; a restart binds it anew" for one in lost), "")
