"""Where the descriptors come from that a keeper takes over: its predecessor's, systemd's, or those of instances."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fcgipm.keeper.keeping.state import KeptListener


LOCK = "lock"
"""The runtime directory, locked."""
PID_FILE = "pid-file"
LOG = "log"


def listener_key(inode: int) -> str:
    """Return by what a listener is found among what was inherited: *inode* of the socket."""
    return f"listener/{inode}"


def output_key(instance: int, number: int) -> str:
    """Return by what the read end of fd *number* (1 or 2) of *instance* is found among what was inherited."""
    return f"output/{instance}/{number}"


def own_key(name: str) -> str:
    """Return by what a socket of fcgipm's own is found: *name* as in `wire.Handed`."""
    return f"own/{name}"


@dataclass(slots=True)
class Heritage:
    """Descriptors that this process was given; whatever is not taken is closed by `close`."""

    inherited: Mapping[str, int] = field(default_factory=dict)
    """Over an execve of the keeper, by the keys above and others of who did that."""
    stored: Sequence[int] = ()
    """By systemd, in whatever order: sockets, told apart by their inodes."""
    _taken: set[int] = field(default_factory=set)

    def take(self, kept: KeptListener) -> int | None:
        """Return a descriptor of the listener *kept*, close-on-exec and the caller's; None where nobody has one."""
        candidates = [self.inherited.get(listener_key(kept.inode)), *self.stored]
        for number in candidates:
            if number is not None and number not in self._taken and os.fstat(number).st_ino == kept.inode:
                return self._give(number)
        return None

    def take_key(self, key: str) -> int | None:
        """Return what was inherited under *key*, close-on-exec and the caller's; None where there is none."""
        number = self.inherited.get(key)
        return None if number is None or number in self._taken else self._give(number)

    def left(self) -> list[int]:
        """Return what was not taken."""
        return [number for number in (*self.inherited.values(), *self.stored) if number not in self._taken]

    def close(self) -> None:
        """Close what was not taken."""
        for number in self.left():
            self._taken.add(number)
            os.close(number)

    def _give(self, number: int) -> int:
        self._taken.add(number)
        os.set_inheritable(number, False)
        return number
