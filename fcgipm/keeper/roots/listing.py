"""List the files below a root whose names match, directory by directory, within bounds."""

from __future__ import annotations

import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from fcgipm.linux.paths import open_directory

if TYPE_CHECKING:
    from fcgipm.config.schema import Root

_MOST_ENTRIES: Final = 20_000
"""Of all directories together."""
_DEEPEST: Final = 32
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Listing:
    """One walk through a root; *enter* is called with each directory (path below the root, descriptor) before it."""

    def __init__(self, root: Root, enter: Callable[[str, int], None]) -> None:
        self._root = root
        self._enter = enter
        self._entries = 0
        self.found: set[str] = set()
        """Paths below the root."""
        self.left_out: list[str] = []
        """What was not gone through, and why, as sentences."""

    def run(self) -> None:
        """Walk; raise OSError where the root itself cannot be entered."""
        above = open_directory(self._root.path)
        try:
            top = os.open(".", _LIST, dir_fd=above)
        finally:
            os.close(above)
        self._walk("", top, 0)

    def _walk(self, path: str, directory: int, depth: int) -> None:
        """Go through *directory*, which is closed then."""
        try:
            self._enter(path.rstrip("/"), directory)
            below = []
            with os.scandir(directory) as entries:
                for entry in entries:
                    self._entries += 1
                    if self._entries > _MOST_ENTRIES:
                        text = f"{self._root.path} has more than {_MOST_ENTRIES} files; the rest is not looked at"
                        self.left_out.append(text)
                        return
                    if entry.is_dir(follow_symlinks=False):
                        below.append(entry.name)
                    elif fnmatchcase(entry.name, self._root.match):
                        self.found.add(f"{path}{entry.name}")
            for name in below if self._root.recursive and depth < _DEEPEST else ():
                self._into(f"{path}{name}/", name, directory, depth)
        finally:
            os.close(directory)

    def _into(self, path: str, name: str, directory: int, depth: int) -> None:
        try:
            inner = os.open(name, _LIST, dir_fd=directory)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.left_out.append(f"cannot look into {self._root.path}/{path}: {error.strerror}")
            return
        self._walk(path, inner, depth + 1)
