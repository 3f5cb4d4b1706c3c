"""Where log lines go; keeper and manager write the same way.

An `Entry` is one line with its time, severity, application and process.  A sink takes entries and never raises and
never blocks for long: what cannot be written is dropped and counted, and the count is told once writing works again.
"""

from __future__ import annotations

import abc
import os
import select
import socket
import stat
from datetime import UTC, datetime
from typing import Final, Protocol

from fcgipm.linux.paths import open_to_write
from fcgipm.logline import (
    MAX_LINE,
    Entry,
    LineSplitter,
    escaped,
    format_line,
    label,
    timestamp,
    wall_clock,
)

__all__ = [
    "LEVELS", "MAX_LINE", "Entry", "FileSink", "JournalSink", "LineSplitter", "Logger", "Sink", "SyslogSink", "escaped",
    "format_line", "is_file", "open_file", "open_sink", "sink_on", "timestamp", "wall_clock", "why_unheard",
]  # fmt: skip

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""The words of log-level and their order."""

_PRIORITY: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""The severities of syslog."""
_FACILITY_DAEMON: Final = 3 << 3
_DEV_LOG: Final = "/dev/log"
_JOURNAL: Final = "/run/systemd/journal/socket"
_PIPE_BUF: Final = 4096
"""A pipe that poll calls writable takes as many bytes without blocking."""
_SINK_NAMES: Final = ("stderr", "syslog", "journal")


class Sink(Protocol):
    """Where entries go."""

    def write(self, entry: Entry, form: str) -> None:
        """Write *entry* in *form*; never raise, never wait."""

    def fileno(self) -> int:
        """Return the descriptor behind it."""

    def replace(self, descriptor: int) -> None:
        """Go on with *descriptor*, which belongs to the sink from now on."""

    def close(self) -> None:
        """Close the descriptor."""


def _poll_of(descriptor: int) -> select.poll | None:
    """Return a poll object that waits for room; None for a regular file, which always has some."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return poller


class FileSink:
    """A file, a terminal or a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._lost = 0
        self._cut = False
        self._descriptor = descriptor
        self._poll = _poll_of(descriptor)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def replace(self, descriptor: int) -> None:
        """Close the old descriptor, unless it is a standard one, and go on with this one."""
        self.close()
        self._descriptor = descriptor
        self._poll = _poll_of(descriptor)

    def close(self) -> None:
        """Close the descriptor, unless it is a standard one."""
        if self._descriptor > 2:
            os.close(self._descriptor)

    def write(self, entry: Entry, form: str) -> None:
        """Write one line, or count it as lost where it cannot be written now."""
        lines = []
        if self._lost:
            notice = Entry(entry.time, "warning", f"{self._lost} lines of this log could not be written and are lost")
            lines.append(format_line(notice, form))
        lines.append(format_line(entry, form))
        # A line of which only a part could be written is ended first.
        data = ("\n" * self._cut + "\n".join(lines) + "\n").encode(errors="backslashreplace")
        done = self._put(data)
        self._cut = 0 < done < len(data) or (done == 0 and self._cut)
        self._lost = 0 if done == len(data) else self._lost + 1

    def _put(self, data: bytes) -> int:
        """Write what can be written without waiting; return how many bytes."""
        done = 0
        try:
            while done < len(data):
                # The descriptor may be shared with others who want it blocking, so its flags stay as they are.
                if self._poll is not None and not self._poll.poll(0):
                    break
                done += os.write(self._descriptor, data[done : done + _PIPE_BUF] if self._poll else data[done:])
        except OSError:
            pass  # full disk, closed terminal: tried again with the next line
        return done


class _DatagramSink(abc.ABC):
    """One datagram for each entry; connected again by itself when the receiver was restarted."""

    address: str

    def __init__(self, sock: socket.socket | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if sock is None else sock
        self._lost = 0
        if sock is None:
            self._connect_again()  # where nobody is there yet, each line tries again

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def replace(self, descriptor: int) -> None:
        """Close the old socket and go on with this one."""
        self._socket.close()
        self._socket = socket.socket(fileno=descriptor)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def write(self, entry: Entry, form: str) -> None:
        """Send *entry*, or count it as lost where it cannot be sent now."""
        if self._lost:
            text = f"{self._lost} lines of this log could not be written and are lost"
            if not self._send(self._datagram(Entry(entry.time, "warning", text), form)):
                self._lost += 1
                return
            self._lost = 0
        if not self._send(self._datagram(entry, form)):
            self._lost += 1

    def _send(self, data: bytes) -> bool:
        for attempt in range(2):
            try:
                self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                if attempt or not self._connect_again():
                    return False
            else:
                return True
        return False

    def _connect_again(self) -> bool:
        try:
            self._socket.connect(self.address)
        except OSError:
            return False
        return True

    @abc.abstractmethod
    def _datagram(self, entry: Entry, form: str) -> bytes:
        """Return *entry* as its receiver wants it."""


class SyslogSink(_DatagramSink):
    """The system's log daemon, by RFC 3164 as everybody sends it to /dev/log."""

    def __init__(self, sock: socket.socket | None = None, address: str = _DEV_LOG) -> None:
        self.address = address
        super().__init__(sock)

    def _datagram(self, entry: Entry, form: str) -> bytes:
        when = datetime.fromtimestamp(entry.time, UTC).astimezone()
        text = format_line(entry, form) if form == "json" else label(entry) + escaped(entry.text)
        head = f"<{_FACILITY_DAEMON | _PRIORITY[entry.level]}>{_MONTHS[when.month - 1]} {when.day:2d} {when:%H:%M:%S}"
        return f"{head} fcgipm[{os.getpid()}]: {text}".encode(errors="backslashreplace")


class JournalSink(_DatagramSink):
    """systemd's journal, by its native protocol: the application and its process are fields."""

    def __init__(self, sock: socket.socket | None = None, address: str = _JOURNAL) -> None:
        self.address = address
        super().__init__(sock)

    def _datagram(self, entry: Entry, form: str) -> bytes:
        message = format_line(entry, form) if form == "json" else label(entry) + escaped(entry.text)
        fields = {
            "MESSAGE": message,
            "PRIORITY": str(_PRIORITY[entry.level]),
            "SYSLOG_IDENTIFIER": "fcgipm",
            "SYSLOG_FACILITY": "3",
            "FCGIPM_APP": entry.app,
            "FCGIPM_PID": None if entry.pid is None else str(entry.pid),
        }
        # Every value is on one line: `format_line` and `escaped` leave no line feed.
        lines = [f"{name}={value}\n" for name, value in fields.items() if value is not None]
        return "".join(lines).encode(errors="backslashreplace")


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""As RFC 3164 wants them in every locale."""


def open_sink(target: str) -> Sink:
    """Return the sink that the option ``log`` names: ``stderr``, ``syslog``, ``journal`` or a path.

    Raises OSError for a path that cannot be opened.  Nobody there to receive datagrams is no error: see `why_unheard`.
    """
    match target:
        case "stderr":
            return FileSink(2)
        case "syslog":
            return SyslogSink()
        case "journal":
            return JournalSink()
        case _:
            return FileSink(open_file(target))


def why_unheard(target: str) -> str | None:
    """Return why nobody would receive what is logged to *target* (``syslog`` or ``journal``) now, None if somebody."""
    address = {"syslog": _DEV_LOG, "journal": _JOURNAL}.get(target)
    if address is None:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(address)
        except OSError as error:
            return f"nobody receives what is logged to {target} ({address}: {error.strerror})"
    return None


def open_file(path: str) -> int:
    """Open a log file for appending, made with mode 0640 where it is missing; raise OSError."""
    return open_to_write(path, os.O_WRONLY | os.O_APPEND, 0o640)


def is_file(target: str) -> bool:
    """Return whether the option ``log`` names a file."""
    return target not in _SINK_NAMES


def sink_on(target: str, descriptor: int) -> Sink:
    """Return the sink of the option ``log`` on a *descriptor* that somebody else has opened."""
    match target:
        case "syslog":
            return SyslogSink(socket.socket(fileno=descriptor))
        case "journal":
            return JournalSink(socket.socket(fileno=descriptor))
        case _:
            return FileSink(descriptor)


class Logger:
    """Entries that matter enough go to a sink; *level* and *form* may change while it is used."""

    def __init__(self, sink: Sink, *, level: str = "info", form: str = "text") -> None:
        self.sink = sink
        self.level = level
        self.form = form

    def log(self, level: str, text: str, *, app: str | None = None, pid: int | None = None) -> None:
        """Log *text* if *level* matters enough."""
        if LEVELS[level] >= LEVELS[self.level]:
            self.sink.write(Entry(wall_clock(), level, text, app, pid), self.form)

    def write(self, entry: Entry) -> None:
        """Log what an application wrote, whatever the level."""
        self.sink.write(entry, self.form)
