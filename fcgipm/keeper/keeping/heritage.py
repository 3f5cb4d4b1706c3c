"""Where the descriptors come from that a keeper takes over: its predecessor's, or those of instances."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fcgipm.keeper.instances.borrowed import descriptor_as_owner
from fcgipm.linux import pidfd as pidfds
from fcgipm.linux import procfs
from fcgipm.linux.systemd import Passed

if TYPE_CHECKING:
    from fcgipm.keeper.instances.session import Process
    from fcgipm.keeper.keeping.state import KeptInstance, KeptListener


LOCK = "lock"
"""The runtime directory, locked."""
PID_FILE = "pid-file"
LOG = "log"


_GIVEN = "given/"


def given_key(inode: int) -> str:
    """Return by what a socket is found that systemd has opened: *inode* of it."""
    return f"{_GIVEN}{inode}"


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
    _taken: set[int] = field(default_factory=set)

    def take(self, kept: KeptListener, holders: Iterable[Process] = ()) -> int | None:
        """Return a descriptor of the listener *kept*, close-on-exec and the caller's; None where it cannot be had.

        Where we have not been given it, it is taken from one of *holders*, processes that have it.
        """
        number = self.inherited.get(listener_key(kept.inode))
        if number is not None and number not in self._taken and os.fstat(number).st_ino == kept.inode:
            return self._give(number)
        taken = (_taken_from(holder, f"socket:[{kept.inode}]") for holder in holders)
        return next((number for number in taken if number is not None), None)

    def take_output(self, instance: KeptInstance, number: int) -> int:
        """Return the read end (non-blocking, close-on-exec, the caller's) of fd *number*, 1 or 2, of *instance*.

        Where it cannot be had, because the instance has closed it or we may not look, that of an ended pipe.
        """
        given = self.take_key(output_key(instance.number, number))
        if given is not None:
            return given
        inode = instance.stdout if number == 1 else instance.stderr
        opened = _read_end(instance.pid, f"pipe:[{inode}]") if inode else None
        return _ended_pipe() if opened is None else opened

    def take_key(self, key: str) -> int | None:
        """Return what was inherited under *key*, close-on-exec and the caller's; None where there is none."""
        number = self.inherited.get(key)
        return None if number is None or number in self._taken else self._give(number)

    def passed(self) -> list[Passed]:
        """Return the sockets that systemd had opened for the program before; which is whose their addresses tell."""
        keys = [key for key in self.inherited if key.startswith(_GIVEN)]
        return [Passed(number, "") for key in keys if (number := self.take_key(key)) is not None]

    def left(self) -> list[int]:
        """Return what was not taken."""
        return [number for number in self.inherited.values() if number not in self._taken]

    def close(self) -> None:
        """Close what was not taken."""
        for number in self.left():
            self._taken.add(number)
            os.close(number)

    def _give(self, number: int) -> int:
        self._taken.add(number)
        os.set_inheritable(number, False)
        return number


def _taken_from(process: Process, link: str) -> int | None:
    """Return a copy of what *process* has open as *link*; None where that is refused."""

    def take(pidfd: int) -> int:
        return pidfds.take_descriptor(pidfd, _number_of(process.pid, link))

    def take_anew() -> int:
        return take(pidfds.open_process(process.pid))

    try:
        taken = take(process.pidfd)
    except PermissionError:
        found = descriptor_as_owner(process.pid, take_anew)
        if found is None:
            return None
        taken = found
    except OSError:
        return None  # it has just ended, or closed it
    if os.readlink(f"/proc/self/fd/{taken}") != link:
        os.close(taken)
        return None
    return taken


def _read_end(pid: int, link: str) -> int | None:
    """Return a new read end of the pipe *link* that process *pid* writes to; None where that is refused."""

    def opened() -> int:
        # What it is is seen before it is opened: the instance may put anything in its place, a device too.
        held = os.open(f"/proc/{pid}/fd/{_number_of(pid, link)}", os.O_PATH | os.O_CLOEXEC)
        try:
            if os.readlink(f"/proc/self/fd/{held}") != link:
                raise FileNotFoundError(link)
            return os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        finally:
            os.close(held)

    try:
        return opened()
    except PermissionError:
        return descriptor_as_owner(pid, opened)
    except OSError:
        return None


def _number_of(pid: int, link: str) -> int:
    for number, open_as in procfs.descriptors(pid).items():
        if open_as == link:
            return number
    raise FileNotFoundError(link)


def _ended_pipe() -> int:
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.close(write_end)
    return read_end
