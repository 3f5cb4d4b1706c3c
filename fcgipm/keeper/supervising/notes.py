"""What the manager wants to be known after its death: a note on each application, which is its own to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import Application
from fcgipm.keeper.context import Context
from fcgipm.keeper.keeping.state import KeptNote


@dataclass(frozen=True, slots=True)
class Marks:
    """What `core.commands.Note` says beside the text."""

    wish: str = ""
    resting: bool = False
    definition: str = ""
    """A digest of what was defined when the wish was expressed."""


_NO_MARKS: Final = Marks()


class Notes:
    """The notes of all applications, and what the keeper may know of them."""

    def __init__(self, context: Context, texts: dict[str, str], digest: Callable[[Application], str]) -> None:
        """*texts* are by application; *digest* tells one definition from another."""
        self._context = context
        self._digest = digest
        self.texts = texts
        self._marks: dict[str, Marks] = {}

    def why_not(self, order: wire.Note) -> str:
        """Return why the note is not kept, an empty text if nothing speaks against it."""
        if max(len(text.encode(errors="replace")) for text in (order.text, order.wish)) > wire.MAX_NOTE:
            return f"a note of {order.app!r} is longer than {wire.MAX_NOTE} bytes"
        if order.app not in self.texts and self._context.application(order.app) is None:
            return f"there is no application {order.app!r}"
        return ""

    def keep(self, order: wire.Note) -> None:
        """Keep the note in place of the one before."""
        self.texts[order.app] = order.text
        app = self._context.application(order.app)
        definition = self._digest(app) if order.wish and app is not None else ""
        before = self._marks.get(order.app, _NO_MARKS)
        self._marks[order.app] = now = Marks(order.wish, order.resting, definition)
        self._context.keeping.changed(later=now == before)  # a wish must not be forgotten; the rest is estimates

    def kept(self) -> Iterator[tuple[str, KeptNote]]:
        """Yield all notes as they are written down, with their applications."""
        for app, text in self.texts.items():
            marks = self._marks.get(app, _NO_MARKS)
            yield app, KeptNote(text=text, wish=marks.wish, resting=marks.resting, definition=marks.definition)

    def remember(self, app: str, note: KeptNote, text: str) -> bool:
        """Keep *text* for *app*, as a keeper before us did with *note*; False where another definition ends a wish."""
        definition = self._context.application(app)
        if note.wish and definition is not None and self._digest(definition) != note.definition:
            return False
        self.texts[app] = text
        self._marks[app] = Marks(note.wish, note.resting, note.definition)
        return True
