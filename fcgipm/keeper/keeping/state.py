"""What a keeper leaves to the next one: a record of all that it holds, as JSON with a number of its format.

Nothing in it is secret: environments are in digests only.  Times are nanoseconds of the monotonic clock, which goes on
while the machine runs; *boot_id* tells whether it has.  A format is read by the program that writes it and by the next.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Final, TypeAlias

from fcgipm.codec import CodecError, from_json, to_json, to_terse_json
from fcgipm.keeper.listening.listener import Reach

FORMAT: Final = 1
"""Raised with every change that the program before could not read."""


class StateError(ValueError):
    """A record cannot be used; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptProcess:
    """A process; its number alone could be another's by now."""

    pid: int
    start_time: int
    """Clock ticks since the machine was started, as in /proc/PID/stat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptListener:
    """A listening socket of an application."""

    app: str
    generation: int
    inode: int
    """Of the socket."""
    reach: Reach
    public: str | None = None
    """Where visitors find it, or found or would find it; None for TCP."""
    private: str | None = None
    """The path that it is bound to; None for TCP."""
    device: int = 0
    file: int = 0
    """Which file that is: st_dev and st_ino."""
    address: str = ""
    port: int = 0
    """Of a TCP listener."""
    closes_at: int | None = None
    """While it is watched for late-comers."""
    awaited: bool = False
    """Whether somebody has come to it, and no instance since."""
    stored: str = ""
    """The name under which systemd keeps it."""
    given: bool = False
    """Whether systemd has opened it."""

    @property
    def published(self) -> bool:
        """Whether visitors came to it."""
        return self.reach is Reach.PUBLIC


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptInstance:
    """A process that is an instance, or answers 503 in the place of one, or is about to be executed as either."""

    number: int
    app: str
    generation: int
    pid: int
    start_time: int
    listener: int
    """The inode of the socket that is its fd 0."""
    executed: bool
    """Whether it is known to have been executed: before that it ends with its keeper, and has served nobody."""
    started_at: int
    ready: str | None = None
    ready_at: int | None = None
    asked: bool = False
    turns_away: bool = False
    canary: bool = False
    recipe: str = ""
    """A digest of what it was started by."""
    stdout: int = 0
    stderr: int = 0
    """The inodes of its output pipes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStray:
    """A process that has outlived its instance and is being removed."""

    pid: int
    start_time: int
    listener: int
    name: str
    cut_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptNote:
    """What the manager wants to be remembered of an application."""

    text: str
    wish: str = ""
    """What of it holds after a graceful end, too: what people have asked for; empty where that is nothing."""
    resting: bool = False
    """Whether no instance is to be expected soon: it is stopped, or in back-off."""
    definition: str = ""
    """A digest of the definition that it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptScript:
    """A script that somebody has asked for, and that is an application since."""

    root: str
    path: str
    leaving: bool = False
    """Whether it is forgotten, and stays until nothing is left of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that a keeper leaves."""

    format: int = FORMAT
    boot_id: str
    name_space: int
    """The inode of the keeper's pid name space: elsewhere its numbers mean nothing."""
    program: str
    """The version of fcgipm that wrote it."""
    pid: int
    started_at: int
    started_unix: float
    highest: int = 0
    """The highest number that an instance ever had."""
    ending: int | None = None
    """The exit status with which the daemon is to end, where that is decided."""
    manager: KeptProcess | None = None
    listeners: tuple[KeptListener, ...] = ()
    instances: tuple[KeptInstance, ...] = ()
    strays: tuple[KeptStray, ...] = ()
    notes: Mapping[str, KeptNote] = field(default_factory=dict)
    """By application."""
    scripts: tuple[KeptScript, ...] = ()
    generations: Mapping[str, int] = field(default_factory=dict)
    """The highest that each application has had."""


def encode(state: State) -> bytes:
    """Return *state* as the content of a file."""
    return json.dumps(to_json(state), separators=(",", ":")).encode()


def decode(data: bytes) -> State:
    """Return what `encode` of this version or of the one before made; raise `StateError`."""
    try:
        return from_json(State, in_format(data, FORMAT, _NEXT))
    except CodecError as error:
        raise StateError(f"it is damaged: {error}") from error


Steps: TypeAlias = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
"""By format: what makes the next one of it; only that before the one that is known has to be there."""


def in_format(data: bytes, known: int, steps: Steps) -> dict[str, Any]:
    """Return the JSON object *data* as one of the format *known*, by *steps* where it is older; raise `StateError`."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StateError(f"it is damaged: {error}") from error
    number = found.get("format") if isinstance(found, dict) else None
    if type(number) is not int:
        raise StateError("it is damaged: it has no format")
    if number > known:
        raise StateError(f"a newer fcgipm has written it: format {number}, this one knows {known}")
    while number < known:
        if number not in steps:
            raise StateError(f"it is too old: format {number}, this fcgipm knows {known} and the one before")
        found, number = steps[number](found), number + 1
    return {**found, "format": known}


_NEXT: Final[Steps] = {}


def digest_of(value: object) -> str:
    """Return by what one value that can be JSON, such as a recipe, is told from another, without what is in it.

    Fields with their default value are left out: to the next version, which has more of them, it is the same then.
    A real digest would let more be guessed of what is secret.
    """
    plain = to_terse_json(value) if is_dataclass(value) else to_json(value)
    text = json.dumps(plain, sort_keys=True).encode()
    return f"{checksums(text)}{len(text):x}"


def checksums(text: bytes) -> str:
    """Return two checksums of *text*, 16 digits: a real digest takes a library of 1.5 MB."""
    return f"{zlib.crc32(text):08x}{zlib.adler32(text):08x}"
