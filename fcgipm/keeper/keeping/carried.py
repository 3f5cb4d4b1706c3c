"""What a keeper gives to the program that takes its place in the same process: its state, and its descriptors.

It lies in a memory file, which is inherited; the number of that descriptor is all that the program is told.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fcgipm import wire
from fcgipm.codec import CodecError, from_json, to_json
from fcgipm.keeper.keeping.state import StateError, Steps, in_format

FORMAT: Final = 1
"""Raised with every change that the program before could not read; a program reads its own and the one before."""
_PIECE: Final = 1 << 20

LOADED: Final = "loaded"
"""The configuration as the trial has read it."""
MANAGER_WIRE: Final = "manager/wire"
MANAGER_STDERR: Final = "manager/stderr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """All that the next program is given; what is added later has a default."""

    format: int = FORMAT
    state: str
    """What `state.encode` has made of the keeper's state."""
    path: str
    """The configuration."""
    foreground: bool
    daemon: Mapping[str, Any]
    """The table [fcgipm] that holds: what of it needs a restart stays as it is."""
    nofile: tuple[int, ...]
    """RLIMIT_NOFILE, soft and hard, before the keeper raised its own."""
    made_directory: bool
    """Whether this daemon has made its runtime directory."""
    upgraded: wire.Upgraded
    manager: int | None = None
    """The process of the manager that is started already, and waits to be told everything."""
    descriptors: Mapping[str, int] = field(default_factory=dict)
    """Numbers, which stay the same."""


def keep(data: bytes, name: str) -> int:
    """Return a new memory file (close-on-exec) called *name* that holds *data*; raise OSError."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def kept(descriptor: int) -> bytes:
    """Return all that the file *descriptor* holds, which is closed."""
    try:
        pieces, offset = [], 0
        while piece := os.pread(descriptor, _PIECE, offset):
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def encode(carried: Carried) -> bytes:
    """Return *carried* as the content of a memory file."""
    return json.dumps(to_json(carried), separators=(",", ":")).encode()


def decode(data: bytes) -> Carried:
    """Return what `encode` of this version or of the one before has made; raise `StateError`."""
    try:
        return from_json(Carried, in_format(data, FORMAT, _NEXT))
    except CodecError as error:
        raise StateError(f"it is damaged: {error}") from error


_NEXT: Final[Steps] = {}
