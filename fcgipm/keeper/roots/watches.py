"""Which directories are watched for changes, and for which places below the roots of scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from fcgipm.linux import inotify

Place: TypeAlias = tuple[str, str]
"""The name of a root, and the path of a directory below it; ``..`` is the directory that the root itself is in."""

MOST: Final = 2_000
"""Directories that are watched at once."""
_MASK: Final = (
    inotify.CLOSE_WRITE | inotify.ATTRIB | inotify.CREATE | inotify.MOVED_TO | inotify.MOVED_FROM | inotify.DELETE
    | inotify.MOVE_SELF | inotify.DELETE_SELF | inotify.ONLYDIR
)  # fmt: skip


class Watches:
    """Watches of directories; several places may be one directory."""

    def __init__(self) -> None:
        self._inotify = inotify.Inotify()
        self._places: dict[int, set[Place]] = {}
        """By the watch's number."""

    def fileno(self) -> int:
        """Return the descriptor that is readable when something has happened."""
        return self._inotify.fileno()

    def close(self) -> None:
        """Watch nothing more."""
        self._inotify.close()

    def add(self, place: Place, directory: int) -> None:
        """Watch *place*, whose directory is open as *directory*; raise OSError where that cannot be."""
        if len(self._places) >= MOST:
            raise OSError(0, f"{MOST} directories are watched already")
        number = self._inotify.add(f"/proc/self/fd/{directory}", _MASK)
        self._places.setdefault(number, set()).add(place)

    def keep(self, is_needed: Callable[[Place], bool]) -> None:
        """Watch only the places that are still needed."""
        for number, places in list(self._places.items()):
            places -= {place for place in places if not is_needed(place)}
            if not places:
                del self._places[number]
                self._inotify.remove(number)

    def read(self) -> Iterator[tuple[Place | None, inotify.Event]]:
        """Yield what has happened, and where; None: the kernel could not tell what has happened."""
        for event in self._inotify.read():
            if event.mask & inotify.OVERFLOW:
                yield None, event
            for place in self._places.get(event.watch, ()):
                yield place, event
            if event.mask & inotify.IGNORED:
                self._places.pop(event.watch, None)
