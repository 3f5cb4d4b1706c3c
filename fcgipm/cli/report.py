"""The command ``fcgipm-report``: reads a web server's access log from a pipe and sends each line as a report."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final, Self

from fcgipm import __version__
from fcgipm.cli.printing import complain, exit_status
from fcgipm.counting import counted
from fcgipm.reporter import Reporter
from fcgipm.reporting import MAX_DATAGRAM, Malformed, parse

PROGRAM: Final = "fcgipm-report"
_PATIENCE: Final = 0.05
"""Seconds: a web server waits for us only when its pipe is full, which takes hundreds of lines."""
_PIECE: Final = 64 * 1024
_LAST: Final = 64
"""Pieces that are read at most after we were told to end: a pipe holds one, or a few."""
_QUIET: Final = 60.0
"""Seconds."""
_ENDS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(PROGRAM, lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    forwarder = Forwarder(options.socket or default_socket())
    with _Ends() as ends:
        for line in lines(0, ends.fileno):
            forwarder.take(line)
    forwarder.close()
    return 0


def default_socket() -> str:
    """Return the report socket of the user's own daemon if it exists, else the system's."""
    directory = os.environ.get("XDG_RUNTIME_DIR")
    if directory and os.path.exists(own := f"{directory}/fcgipm/report.sock"):
        return own
    return "/run/fcgipm/report.sock"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Send each line of standard input to fcgipm as the report of a finished request. For a piped "
        "access log of lighttpd or Apache, whose format `fcgipmctl snippet` prints.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-s", "--socket", metavar="PATH", help="the report socket (default: report.sock in the runtime directory)"
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


class Forwarder:
    """Sends lines to the socket at *path*, and says once a minute at most what trouble there is."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._reporter = Reporter(path, patience=_PATIENCE)
        self._trouble = ""
        self._told_at = -_QUIET
        self._sent = 0
        self._wrong = 0

    def take(self, line: bytes) -> None:
        """Send *line*, if it is a report."""
        try:
            parse(line)
        except Malformed as malformed:
            self._refuse(str(malformed))
            return
        error = self._reporter.send(line)
        trouble = "" if error is None else error.strerror.lower() if error.strerror else str(error)
        if trouble != self._trouble:
            self._note(trouble)
        self._sent += not trouble

    def close(self) -> None:
        """Say at the end how it went, if anything was lost."""
        lost, wrong = self._reporter.lost, self._wrong
        if lost or wrong:
            complain(
                PROGRAM, f"{counted(self._sent, 'report')} sent, {lost} lost, {counted(wrong, 'line')} without a report"
            )
        self._reporter.close()

    def _note(self, trouble: str) -> None:
        self._trouble, now = trouble, time.monotonic()
        if now - self._told_at < _QUIET:
            return
        if trouble:
            text = f"cannot send to {self._path}: {trouble}; reports are lost until that is possible"
        else:
            text = f"{self._path} takes reports again; {counted(self._reporter.lost, 'report')} lost so far"
        self._told_at = now
        complain(PROGRAM, text)

    def _refuse(self, why: str) -> None:
        self._wrong += 1
        if self._wrong == 1:
            complain(PROGRAM, f"a line is no report: {why}; it is left out, and so is every other one that is none")


class _Ends:
    """Makes the signals that end a program readable: what was written before is still read."""

    def __enter__(self) -> Self:
        self.fileno, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = [signal.signal(number, lambda *_: None) for number in _ENDS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(_ENDS, self._before, strict=True):
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self.fileno)
        os.close(self._write)


def lines(source: int, ending: int) -> Iterator[bytes]:
    """Yield the lines that come from the descriptor *source* without their ends, until its end.

    When *ending* is readable, only what is there already.  A line that is too long for a report is cut where it is.
    """
    rest, left = b"", _LAST
    while left and (data := _read(source, ending)):
        left -= _is_readable(ending)
        *whole, rest = (rest + data).split(b"\n")
        yield from whole
        if len(rest) > 2 * MAX_DATAGRAM:  # no report any more, however it ends
            rest = rest[: MAX_DATAGRAM + 1]
    if rest:
        yield rest


def _read(source: int, ending: int) -> bytes:
    """Return what comes next from *source*; nothing at its end, or when we are to end and nothing is there."""
    poller = select.poll()
    poller.register(source, select.POLLIN)
    poller.register(ending, select.POLLIN)
    if source not in {descriptor for descriptor, _ in poller.poll()}:
        return b""
    return os.read(source, _PIECE)


def _is_readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


if __name__ == "__main__":
    sys.exit(main())
