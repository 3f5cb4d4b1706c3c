"""What importers want of the files of a configuration: they read none themselves."""

from __future__ import annotations

import posixpath
from typing import Final, Protocol

from fcgipm.importing.found import Place, Unreadable

LONGEST_PATH: Final = 4096


class Files(Protocol):
    """Gives files their text."""

    def read(self, path: str) -> str:
        """Return the text of *path*; bytes that are not UTF-8 become surrogates.

        Raises `OSError` where it cannot be read, `ValueError` where it is too much or no text.
        """

    def expand(self, pattern: str) -> list[str]:
        """Return the files that *pattern* matches, sorted; of a directory all that is in it, of nothing nothing."""


def joined(directory: str, path: str) -> str:
    """Return *path*, seen from *directory*, without needless dots and slashes; the last slash goes, too."""
    return "/" + posixpath.normpath(posixpath.join(directory, path)).lstrip("/")


def read_main(files: Files, path: str) -> str:
    """Return the text of the file that is to be imported; raise `Unreadable` where it has none."""
    try:
        return files.read(path)
    except (OSError, ValueError) as error:
        raise Unreadable(Place(path), f"cannot be read: {reason(error)}") from None


def reason(error: Exception) -> str:
    """Return why something could not be read, for a message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)
