"""Dynamic applications, whose code is not even loaded before a configuration has a table [dynamic]."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fcgipm import wire
from fcgipm.keeper.context import Context
from fcgipm.keeper.instances.book import Book
from fcgipm.keeper.keeping.state import KeptNote, KeptScript
from fcgipm.keeper.listening.listeners import Listeners

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded
    from fcgipm.config.schema import Application
    from fcgipm.keeper.roots.dynamic import Dynamic
    from fcgipm.keeper.roots.scripts import Script
    from fcgipm.keeper.roots.trees import Trees


class Undeclared:
    """What `fcgipm.keeper.roots.dynamic` and `fcgipm.keeper.roots.trees` do, where there is anything for them to do."""

    def __init__(self, context: Context, book: Book, listeners: Listeners, notes: dict[str, KeptNote]) -> None:
        self._context = context
        self._book = book
        self._listeners = listeners
        self._notes = notes
        self._dynamic: Dynamic | None = None
        self._trees: Trees | None = None
        self.dropped: Callable[[], None] = lambda: None
        """Called when there is nothing left of an application."""

    def define(self) -> None:
        """Go through the roots of the configuration that holds; raise OSError where they cannot be watched."""
        self._load()
        if self._trees is not None:
            self._trees.define()

    def close(self) -> None:
        """Watch nothing more."""
        if self._trees is not None:
            self._trees.close()

    def deadline(self) -> int | None:
        """See `Trees.deadline`."""
        return None if self._trees is None else self._trees.deadline()

    def expire(self, now: int) -> None:
        """See `Trees.expire`."""
        if self._trees is not None:
            self._trees.expire(now)

    def obey(self, order: wire.Open) -> None:
        """Open a script and answer; raise OSError where that could not even be tried."""
        self._load()
        if self._dynamic is not None:
            self._dynamic.obey(order)
            return
        error = f"there is no root {order.root!r}"
        self._context.reporter.report(
            wire.OpenFailed(root=order.root, path=order.path, error=error, obstacle="missing")
        )

    def scripts(self) -> list[KeptScript]:
        """See `Dynamic.scripts`."""
        return [] if self._dynamic is None else self._dynamic.scripts()

    def reopen(self, scripts: Iterable[KeptScript]) -> None:
        """Know *scripts* again; those that may not be run any more are said."""
        scripts = [script for script in scripts if not script.leaving]
        if scripts:
            self._load()
        if self._dynamic is not None:
            self._dynamic.reopen(scripts)

    def leaving(self) -> list[str]:
        """See `Dynamic.leaving`."""
        return [] if self._dynamic is None else self._dynamic.leaving()

    def keep(self, name: str) -> None:
        """See `Dynamic.keep`."""
        if self._dynamic is not None:
            self._dynamic.keep(name)

    def forget(self, name: str) -> None:
        """See `Dynamic.forget`."""
        if self._dynamic is not None:
            self._dynamic.forget(name)

    def left(self, name: str) -> None:
        """See `Dynamic.left`."""
        if self._dynamic is not None:
            self._dynamic.left(name)

    def checked(self, app: Application) -> contextlib.AbstractContextManager[Script | None]:
        """See `Dynamic.checked`."""
        return contextlib.nullcontext() if self._dynamic is None else self._dynamic.checked(app)

    def renewed(self, new: Loaded) -> Loaded:
        """See `Dynamic.renewed`."""
        return new if self._dynamic is None else self._dynamic.renewed(new)

    def applied(self) -> None:
        """See `Dynamic.applied`."""
        if self._dynamic is not None:
            self._dynamic.applied()

    def _load(self) -> None:
        if self._dynamic is not None or self._context.loaded.config.dynamic is None:
            return
        from fcgipm.keeper.roots.dynamic import Dynamic  # noqa: PLC0415  0.4 MB that most do not need
        from fcgipm.keeper.roots.trees import Trees  # noqa: PLC0415

        dynamic = Dynamic(self._context, self._book, self._listeners, self._notes)
        self._trees = Trees(self._context, dynamic)
        dynamic.dropped = self.dropped
        self._dynamic = dynamic
