"""Sending reports: datagrams to report.sock that nobody waits for."""

from __future__ import annotations

import socket

from fcgipm.reporting import MAX_DATAGRAM, Lost, Report, encode


class Reporter:
    """Sends reports to the socket at *path*; what cannot be sent is counted, and the count is sent when that can be.

    A report waits for room for *patience* seconds at most, and not at all where that was in vain just before.
    """

    def __init__(self, path: str, *, patience: float = 0.0) -> None:
        self._path = path
        self._patience = patience
        self._sock: socket.socket | None = None
        self._is_stuck = False
        self._untold = 0
        self.lost = 0
        """How many reports were lost so far."""

    def send(self, report: Report | bytes) -> OSError | None:
        """Send *report*, or a line that is one; return None, or why it was lost."""
        line = report if isinstance(report, bytes) else encode(report)
        try:
            if self._untold:
                self._send(encode(Lost(self._untold)))
                self._untold = 0
            self._send(line)
        except OSError as error:
            self.lost += 1
            self._untold += 1
            return error
        return None

    def close(self) -> None:
        """Close the socket; the next report opens it again."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _send(self, line: bytes) -> None:
        if len(line) > MAX_DATAGRAM:
            raise OSError(0, f"a report has at most {MAX_DATAGRAM} bytes")
        try:
            self._send_in_time(line)
        except ConnectionError:  # the daemon was started again, with a socket of its own
            self.close()
            self._send_in_time(line)

    def _send_in_time(self, line: bytes) -> None:
        sock = self._sock or self._connect()
        sock.settimeout(0.0 if self._is_stuck else self._patience)
        try:
            sock.send(line)
        except (BlockingIOError, TimeoutError):
            self._is_stuck = True
            raise BlockingIOError(0, "there is no room for it") from None
        self._is_stuck = False

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        self._sock = sock
        return sock
