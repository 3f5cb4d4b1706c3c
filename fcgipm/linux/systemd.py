"""What systemd gives a service and wants to hear of it: the protocols of sd_notify(3) and sd_listen_fds(3)."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

_FIRST_DESCRIPTOR: Final = 3
_MICROSECOND: Final = 1_000
_UNNAMED: Final = "unknown"
_UNCONNECTED: Final = frozenset({errno.ENOTCONN, errno.ECONNREFUSED, errno.ECONNRESET})
LONGEST_NAME: Final = 255
"""Characters of the name that systemd keeps a descriptor by."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A descriptor that the process was started with."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Service:
    """What systemd, or whoever is in its place, has told us; the empty one is that of a process without systemd."""

    notify_socket: str = ""
    """Where it wants to be told how the service is doing: a path, or ``@`` and an abstract name; empty: nowhere."""
    watchdog: int = 0
    """Nanoseconds within which it must hear of us each time, 0 if it does not mind."""
    room: int = 0
    """How many descriptors it keeps for us while we are not there."""
    passed: tuple[Passed, ...] = ()

    def variables(self) -> dict[str, str]:
        """Return what another program that goes on as this process must find in its environment, for `take`.

        Descriptors are not among it: only those who hold them know what has become of them.
        """
        found = {"NOTIFY_SOCKET": self.notify_socket}
        if self.watchdog:
            found |= {"WATCHDOG_USEC": str(self.watchdog // _MICROSECOND), "WATCHDOG_PID": str(os.getpid())}
        if self.room:
            found["FDSTORE"] = str(self.room)
        return found if self.notify_socket else {}


NO_SERVICE: Final = Service()


def take(environ: MutableMapping[str, str]) -> Service:
    """Return what systemd tells this process, and remove it from *environ*: it is for nobody else.

    Descriptors that are passed are made close-on-exec; what is meant for another process is left alone.
    """
    notify_socket = environ.pop("NOTIFY_SOCKET", "")
    interval, watched = _number(environ.pop("WATCHDOG_USEC", "")), environ.pop("WATCHDOG_PID", "")
    room = _number(environ.pop("FDSTORE", ""))
    listening, count = environ.pop("LISTEN_PID", ""), _number(environ.pop("LISTEN_FDS", ""))
    names = environ.pop("LISTEN_FDNAMES", "")
    environ.pop("LISTEN_PIDFDID", None)
    own = str(os.getpid())
    return Service(
        notify_socket=notify_socket,
        watchdog=interval * _MICROSECOND if watched in {"", own} and notify_socket else 0,
        room=room if notify_socket else 0,
        passed=tuple(_passed(count, names.split(":") if names else [])) if listening == own else (),
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _passed(count: int, names: Sequence[str]) -> Iterator[Passed]:
    # Never more than can be open, whatever the variable says.
    for index in range(min(count, os.sysconf("SC_OPEN_MAX"))):
        number = _FIRST_DESCRIPTOR + index
        with contextlib.suppress(OSError):  # it is not open
            os.set_inheritable(number, False)
            yield Passed(number, names[index] if index < len(names) else _UNNAMED)


class NotifySocket:
    """The way to systemd; never blocks."""

    def __init__(self, address: str) -> None:
        """Tell at *address*, as in `Service`; nobody is looked for there before there is something to tell."""
        self._address = address
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def fileno(self) -> int:
        """Return the descriptor that becomes writable when there is room again."""
        return self._sock.fileno()

    def send(self, state: str, descriptors: Sequence[int] = ()) -> bool:
        """Send *state*, lines such as ``READY=1``, with *descriptors*; return False where there is no room now.

        Raises OSError.
        """
        data = [state.encode(errors="replace")]
        rights = array.array("i", descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        try:
            try:
                self._sock.sendmsg(data, ancillary, socket.MSG_NOSIGNAL)
            except OSError as error:
                # For the first time, or whoever was there has been replaced by another.
                if error.errno not in _UNCONNECTED:
                    raise
                self._connect()
                self._sock.sendmsg(data, ancillary, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        return True

    def _connect(self) -> None:
        if self._address[0] not in "/@":
            raise OSError(errno.EAFNOSUPPORT, "not a Unix socket")
        self._sock.connect("\0" + self._address[1:] if self._address[0] == "@" else self._address)

    def close(self) -> None:
        """Tell nothing any more."""
        self._sock.close()
