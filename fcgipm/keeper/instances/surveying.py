"""Which files a program is made of, what they are like now, and where to watch for others.

A path is gone along component by component: wherever it can come to lead elsewhere, there is a place to be watched.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

Mark: TypeAlias = bytes
"""Device, inode, time of the last change of the content, size, mode, owner and group of a file."""
_MARK: Final = struct.Struct("=QQqqIII")

MOST_FILES: Final = 5_000
MOST_PLACES: Final = 2_000
"""Of one application; a survey of more would hold the keeper up."""
MOST_NAMES: Final = 20_000
"""That are looked at where a pattern stands, whether they are files or not."""
DEEPEST: Final = 100
"""Components of a path: who may make directories must not decide how deep the keeper goes."""
_MOST_LINKS: Final = 40
"""As many as the kernel follows."""
_WILD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Made:
    """What an application is made of."""

    program: str
    """The path of what is executed."""
    others: tuple[str, ...] = ()
    """Paths, of arguments, that are of interest where they are files."""
    patterns: tuple[str, ...] = ()


@dataclass(slots=True)
class Survey:
    """What was found."""

    marks: dict[str, Mark] = field(default_factory=dict)
    """By path."""
    places: dict[str, set[str]] = field(default_factory=dict)
    """Directories, with the names in them whose changes matter; ``""`` is any name.

    Without names it matters only whether the directory itself is moved or removed.
    """
    has_program: bool = False
    """Whether the program is there: as long as it is not, nothing new can be started."""
    is_complete: bool = True
    """Whether there were not too many files, or too deep ones."""


def survey(made: Made) -> Survey:
    """Return what there is of *made* now; what cannot be looked at is not there."""
    surveyor = _Surveyor(Survey())
    surveyor.follow(made.program, literally=True)
    surveyor.survey.has_program = bool(surveyor.survey.marks)
    for path in made.others:
        surveyor.follow(path, literally=True)
    for path in made.patterns:
        surveyor.follow(path)
    return surveyor.survey


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


@dataclass(slots=True)
class _Surveyor:
    survey: Survey
    _literally: bool = False
    """Whether no component is a pattern."""
    _links: int = 0
    _looked: int = 0
    """At how many names."""

    def follow(self, path: str, *, literally: bool = False) -> None:
        """Go to all that *path* leads to."""
        self._links, self._literally = 0, literally
        self._follow("/", _parts(path))

    def _follow(self, directory: str, parts: list[str]) -> None:
        """Go on from *directory*, which is there, to all that *parts* leads to."""
        if not parts:
            return
        if self._is_full(directory):
            self.survey.is_complete = False
            return
        self.survey.places.setdefault(directory, set())
        name, rest = parts[0], parts[1:]
        if self._literally or not _WILD.search(name):
            self._enter(directory, name, rest)
        elif name == "**":
            self._below(directory, rest)
        else:
            self.survey.places[directory].add("")
            for found in self._names(directory, name):
                self._enter(directory, found, rest)

    def _is_full(self, directory: str) -> bool:
        places, marks = self.survey.places, self.survey.marks
        is_too_wide = len(marks) >= MOST_FILES or (len(places) >= MOST_PLACES and directory not in places)
        return is_too_wide or directory.count("/") > DEEPEST

    def _names(self, directory: str, pattern: str) -> Iterator[str]:
        """Yield the names in *directory* that match, as long as there are not too many."""
        for name in _names(directory, pattern):
            if self._looked >= MOST_NAMES or len(self.survey.marks) >= MOST_FILES:
                self.survey.is_complete = False
                return
            self._looked += 1
            yield name

    def _below(self, directory: str, rest: list[str]) -> None:
        """Go on in *directory* and in all below it, but through no symbolic link: it might lead back."""
        self.survey.places[directory].add("")
        self._follow(directory, rest)
        for name in self._names(directory, "*"):
            path = os.path.join(directory, name)
            if not os.path.islink(path) and os.path.isdir(path):
                self._follow(path, ["**", *rest])

    def _enter(self, directory: str, name: str, rest: list[str]) -> None:
        """Look at *name* in *directory* and go on with the *rest*."""
        path = os.path.join(directory, name)
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                self._way(directory, name)
                status = os.stat(path)
        except OSError:
            self._note(directory, name)  # it may come
            return
        if not rest:
            self._note(directory, name)
            if stat.S_ISREG(status.st_mode):
                self.survey.marks[path] = _mark(status)
        elif stat.S_ISDIR(status.st_mode):
            self._follow(path, rest)
        else:
            self._note(directory, name)

    def _way(self, directory: str, name: str) -> None:
        """Note where the symbolic link *name* in *directory* leads, and what is a link on the way."""
        self._note(directory, name)
        self._links += 1
        if self._links > _MOST_LINKS:
            return
        here = "/" if (target := os.readlink(os.path.join(directory, name))).startswith("/") else directory
        parts = _parts(target)
        for number, part in enumerate(parts):
            path = os.path.normpath(os.path.join(here, part))
            if os.path.islink(path):
                self._way(here, part)
            elif number == len(parts) - 1 or not os.path.isdir(path):
                self._note(here, part)
            here = path

    def _note(self, directory: str, name: str) -> None:
        self.survey.places.setdefault(directory, set()).add(name)


def _names(directory: str, pattern: str) -> Iterator[str]:
    """Yield the names in *directory* that match, sorted; those with a dot in front only where it is written."""
    try:
        names: Collection[str] = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        if fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith(".")):
            yield name


def _mark(status: os.stat_result) -> Mark:
    return _MARK.pack(
        status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode, status.st_uid, status.st_gid
    )
