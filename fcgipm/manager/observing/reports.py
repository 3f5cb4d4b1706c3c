"""Reports of finished requests: read from report.sock by a thread of their own, and handed on in bunches.

The socket holds few datagrams, and who sends one does not wait: so it is read whatever else the manager does.  A report
changes statistics of applications that exist, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fcgipm.config.identity import resolve_user
from fcgipm.core import events
from fcgipm.core.commands import Severity
from fcgipm.manager.driver import Driver
from fcgipm.manager.state import State
from fcgipm.manager.telling.tally import Requests
from fcgipm.reporting import MAX_DATAGRAM, Lost, Malformed, Report, parse, without_syslog

PAUSE: Final = 0.1
"""Seconds for which reports are gathered before they are handed on."""
LATELY: Final = 300.0
"""Seconds: where nothing was reported for so long, what is seen of an application holds again."""
ENOUGH: Final = 100
"""With fewer datagrams in net.unix.max_dgram_qlen a busy web server loses reports."""
_QLEN: Final = Path("/proc/sys/net/unix/max_dgram_qlen")
_SWITCH: Final = 0.0005
"""Seconds that the thread waits at most for the loop's turn to end: at 20,000 reports a second ten come then."""
_UCRED: Final = struct.Struct("3i")
_ANCILLARY: Final = socket.CMSG_SPACE(_UCRED.size)
"""Room for the credentials and nothing else: descriptors that somebody sends are closed by the kernel."""


async def serve_reports(sock: socket.socket, driver: Driver, keeper_uid: int) -> None:
    """Take the datagrams that come to *sock* from now on."""
    Reports(sock, driver, keeper_uid)


@dataclass(slots=True)
class Bunch:
    """What has come since the last one."""

    requests: dict[str, Requests] = field(default_factory=dict)
    """By application."""
    unreached: set[str] = field(default_factory=set)
    """Applications to which a connect has failed."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason."""


class Inbox(threading.Thread):
    """Reads *sock* until that is shut down; *came* is called from the thread when a bunch begins.

    Those in *believed*, user ids, are listened to; *find* returns which application a target is, None for none.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        believed: Collection[int],
        find: Callable[[str], str | None],
        came: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        super().__init__(name="reports", daemon=True)
        self._sock = sock
        self._believed = believed
        self._find = find
        self._came = came
        self._failed = failed
        self._lock = threading.Lock()
        self._bunch: Bunch | None = None

    def take(self) -> Bunch:
        """Return what has come since the last call."""
        with self._lock:
            bunch, self._bunch = self._bunch, None
        return bunch or Bunch()

    def run(self) -> None:
        """Read until the end."""
        try:
            self._read()
        except Exception as error:  # noqa: BLE001  # of a thread it would be lost
            self._failed(error)

    def _read(self) -> None:
        buffer = bytearray(MAX_DATAGRAM)
        view = memoryview(buffer)
        while True:
            size, ancillary, flags, _ = self._sock.recvmsg_into([buffer], _ANCILLARY)
            if not size and not ancillary:
                return  # nobody has sent that: the socket was shut down
            found: Report | Lost | str = "untrusted"
            if self._is_believed(ancillary):
                found = "length" if flags & socket.MSG_TRUNC else _parsed(bytes(view[:size]))
            app = self._find(found.target) if isinstance(found, Report) else None
            with self._lock:
                bunch, begins = self._bunch, self._bunch is None
                if bunch is None:
                    bunch = self._bunch = Bunch()
                _count(bunch, found, app)
            if begins:
                self._came()

    def _is_believed(self, ancillary: list[tuple[int, int, bytes]]) -> bool:
        for _, kind, data in ancillary:
            if kind == socket.SCM_CREDENTIALS and len(data) == _UCRED.size:
                return _UCRED.unpack(data)[1] in self._believed
        return False


def _parsed(datagram: bytes) -> Report | Lost | str:
    """Return what *datagram* says, or the word for what is wrong with it."""
    try:
        return parse(without_syslog(datagram))
    except Malformed as error:
        return error.reason


def _count(bunch: Bunch, found: Report | Lost | str, app: str | None) -> None:
    if isinstance(found, str):
        bunch.dropped[found] += 1
    elif isinstance(found, Lost):
        bunch.dropped["overflow"] += found.count
    elif app is None:
        bunch.dropped["unknown"] += 1
    else:
        requests = bunch.requests.get(app)
        if requests is None:
            requests = bunch.requests[app] = Requests()
        requests.add(found.status, connect=found.connect, response=found.response if found.reached else None)
        if not found.reached and found.response is not None:
            bunch.unreached.add(app)


@dataclass(slots=True)
class _Account:
    """What was reported of one application and nobody has taken."""

    last_at: float
    connected_ns: int = 0
    requests: int = 0


class Reports:
    """Hands on what has come: to the tally, to who looks at applications, and as a hint to look."""

    def __init__(self, sock: socket.socket, driver: Driver, keeper_uid: int) -> None:
        self._driver = driver
        self._state = driver.state
        self._loop = asyncio.get_running_loop()
        self._accounts: dict[str, _Account] = {}
        self._has_begun = False
        self._inbox = Inbox(
            sock,
            believed=_believed(self._state, keeper_uid),
            find=self._state.meant,
            came=lambda: self._later(self._gather),
            failed=lambda error: self._later(self._fail, error),
        )
        driver.observer.reported = self
        sys.setswitchinterval(_SWITCH)
        self._inbox.start()

    def take(self, app: str) -> tuple[int, int] | None:
        """Return connection time (ns) and number of the requests that were reported of *app* since the last call.

        None where nothing was reported lately.
        """
        account = self._accounts.get(app)
        if account is None:
            return None
        if self._loop.time() - account.last_at > LATELY:
            del self._accounts[app]
            return None
        taken = account.connected_ns, account.requests
        account.connected_ns = account.requests = 0
        return taken

    def _later(self, call: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the process is about to
            self._loop.call_soon_threadsafe(call, *arguments)

    def _gather(self) -> None:
        self._loop.call_later(PAUSE, self._hand_on)

    def _hand_on(self) -> None:
        bunch, now, tally = self._inbox.take(), self._loop.time(), self._state.tally
        for reason, count in bunch.dropped.items():
            tally.note_reports_dropped(reason, count)
        for app, requests in bunch.requests.items():
            if app not in self._state.applications:
                continue  # forgotten meanwhile
            self._warn_once()
            tally.note_requests(app, requests)
            account = self._accounts.setdefault(app, _Account(now))
            account.last_at = now
            account.connected_ns += requests.connected_ns
            account.requests += requests.count
        if len(self._accounts) > 2 * len(self._state.applications):
            self._accounts = {app: one for app, one in self._accounts.items() if app in self._state.applications}
        for app in bunch.unreached:
            self._hint(app)

    def _hint(self, app: str) -> None:
        """Have *app*, to which a connect has failed, looked at; where it has no instance, the keeper watches."""
        prospect = self._state.engine.prospect(app, self._state.now())
        public = self._state.listeners.public(app)
        if prospect is not None and prospect.ready and public is not None:
            self._driver.step(events.SomebodyWaits(app=app, generation=public.fact.generation))

    def _warn_once(self) -> None:
        """Say, when the first report has come, if many would be lost."""
        if self._has_begun:
            return
        self._has_begun = True
        try:
            qlen = int(_QLEN.read_text())
        except (OSError, ValueError):
            return
        if qlen < ENOUGH:
            text = (
                f"report.sock holds {qlen} reports (net.unix.max_dgram_qlen), so a busy web server will lose some; "
                "raise it as fcgipm's file in sysctl.d does, and start fcgipm again"
            )
            self._driver.say(Severity.WARNING, None, text)

    def _fail(self, error: Exception) -> None:
        raise error  # in the loop: that ends the manager


def _believed(state: State, keeper_uid: int) -> frozenset[int]:
    """Return whose reports count: root's, the web server's, and those of who has started the daemon."""
    believed = {0, keeper_uid}
    with contextlib.suppress(LookupError):
        believed.add(resolve_user(state.daemon.web_user).uid)
    return frozenset(believed)
