"""What the manager wants to be known after its death: a note on each application, which is its own to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fcgipm import wire
from fcgipm.config.schema import Application
from fcgipm.keeper.context import Context
from fcgipm.keeper.keeping.state import KeptNote


class Notes:
    """The notes of all applications, and what the keeper may know of them."""

    def __init__(self, context: Context, known: dict[str, KeptNote], digest: Callable[[Application], str]) -> None:
        """*known* are by application, and taken out by who forgets one; *digest* tells definitions apart."""
        self._context = context
        self._digest = digest
        self.known = known

    def why_not(self, order: wire.Note) -> str:
        """Return why the note is not kept, an empty text if nothing speaks against it."""
        if max(len(text.encode(errors="replace")) for text in (order.text, order.wish)) > wire.MAX_NOTE:
            return f"a note of {order.app!r} is longer than {wire.MAX_NOTE} bytes"
        if order.app not in self.known and self._context.application(order.app) is None:
            return f"there is no application {order.app!r}"
        return ""

    def keep(self, order: wire.Note) -> None:
        """Keep the note in place of the one before."""
        app = self._context.application(order.app)
        definition = self._digest(app) if order.wish and app is not None else ""
        note = KeptNote(text=order.text, wish=order.wish, resting=order.resting, definition=definition)
        before = self.known.get(order.app, KeptNote(text=""))
        self.known[order.app] = note
        # A wish must not be forgotten; the rest is estimates.
        self._context.keeping.changed(later=note == replace(before, text=note.text))

    def remember(self, app: str, note: KeptNote, text: str) -> bool:
        """Keep *text* for *app*, as a keeper before us did with *note*; False where another definition ends a wish."""
        definition = self._context.application(app)
        if note.wish and definition is not None and self._digest(definition) != note.definition:
            return False
        self.known[app] = replace(note, text=text)
        return True
