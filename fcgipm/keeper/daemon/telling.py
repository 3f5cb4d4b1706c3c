"""What systemd is told of the daemon: that it is ready, reads its configuration again, ends, lives, and how it is."""

from __future__ import annotations

import enum
import errno
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.linux.descriptors import close_all, copies
from fcgipm.linux.systemd import NotifySocket, Service

_MICROSECOND: Final = 1_000
_PAUSE: Final = SECOND
"""Between two lines of status: a crowd that comes and goes must not keep systemd busy."""
_MARGIN: Final = 5 * SECOND
"""What systemd waits beyond the time that we ask for."""
_MOST_WAITING: Final = 20_000
"""Messages that may wait for room: two for each listener that there may be."""
_FAREWELL: Final = SECOND
"""How long `close` may take to send what still waits."""
_LONGEST_STATUS: Final = 500


class Stage(enum.Enum):
    """What systemd knows of the daemon; STOPPING is the last."""

    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"


class Telling:
    """Tells systemd, where there is one, without ever waiting for it; what fails is said once."""

    def __init__(self, dispatch: Dispatch, service: Service, say: Callable[[str, str], None]) -> None:
        """*say* takes a level and a line for the log."""
        self._dispatch = dispatch
        self._say = say
        self._sock = NotifySocket(service.notify_socket) if service.notify_socket else None
        self._address = service.notify_socket
        self._pace = service.watchdog // 2
        self._waiting: deque[tuple[str, tuple[int, ...]]] = deque()
        """What there was no room for; the descriptors are copies of ours."""
        self._failed = False
        self._stage = Stage.STARTING
        self._problem = ""
        self._told = ""
        """The last line of status."""
        self._status_at = 0
        """When the next one may be told."""
        self._alive_at = 0
        """When the next sign of life is due."""
        self.summary: Callable[[], str] = str
        """How the daemon is, in a line; must cost next to nothing."""

    # ── the stages ───────────────────────────────────────────────────────────────────────────────────────────────

    def ready(self) -> None:
        """The sockets are there: who waits for the daemon may go on."""
        self._go_to(Stage.READY, "READY=1")

    def reloading(self) -> None:
        """The configuration is about to be read again; more than once before `reloaded` is no matter."""
        if self._stage is Stage.READY:
            self._go_to(Stage.RELOADING, f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // _MICROSECOND}")

    def reloaded(self, problem: str) -> None:
        """The configuration was read, and holds unless there was a *problem*, which the status tells from now on."""
        self._problem = problem
        if self._stage is Stage.RELOADING:
            self._go_to(Stage.READY, "READY=1")

    def stopping(self, patience: int) -> None:
        """The daemon ends, and that takes *patience* nanoseconds at most; to be called again when that has changed."""
        extend = f"EXTEND_TIMEOUT_USEC={(patience + _MARGIN) // _MICROSECOND}"
        self._go_to(Stage.STOPPING, extend if self._stage is Stage.STOPPING else f"STOPPING=1\n{extend}")

    def _go_to(self, stage: Stage, state: str) -> None:
        self._stage = stage
        if self._sock is None:
            return
        now = time.monotonic_ns()
        self._told, self._status_at = self._status(), now + _PAUSE
        if self._pace:
            self._alive_at = now + self._pace
            state = f"{state}\nWATCHDOG=1"
        self.tell(f"{state}\nSTATUS={self._told}")

    def _status(self) -> str:
        text = f"{self.summary()}; {self._problem}" if self._problem else self.summary()
        return " ".join(text.split())[:_LONGEST_STATUS]

    # ── deadlines ────────────────────────────────────────────────────────────────────────────────────────────────

    def deadline(self) -> int | None:
        """Return when the next sign of life is due, or a line of status that differs from what was told."""
        if self._sock is None or self._stage is Stage.STARTING:
            return None
        status_at = self._status_at if self._status() != self._told else None
        alive_at = self._alive_at if self._pace else None
        return min((when for when in (status_at, alive_at) if when is not None), default=None)

    def expire(self, now: int) -> None:
        """Tell what is due."""
        state = []
        if self._pace and self._alive_at <= now:
            self._alive_at = now + self._pace
            state.append("WATCHDOG=1")
        status = self._status()
        if status != self._told and self._status_at <= now:
            self._told, self._status_at = status, now + _PAUSE
            state.append(f"STATUS={status}")
        if state:
            self.tell("\n".join(state))

    @property
    def owes_store(self) -> bool:
        """Whether systemd still has to hear of what it is to keep, or to drop; of all else the latest is enough."""
        return any(state.startswith("FDSTORE") for state, _ in self._waiting)

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────

    def tell(self, state: str, descriptors: Sequence[int] = ()) -> None:
        """Send *state* with *descriptors*, which stay the caller's, now or when there is room for it."""
        if self._sock is None:
            return
        try:
            if not self._waiting and self._sock.send(state, descriptors):
                self._failed = False
            elif len(self._waiting) < _MOST_WAITING:
                self._waiting.append((state, copies(descriptors)))
                self._dispatch.watch(self._sock.fileno(), self._flush, read=False, write=True)
            else:
                raise OSError(errno.ENOBUFS, f"{len(self._waiting)} messages wait to be read")
        except OSError as error:
            self._fail(state, error)

    def _flush(self) -> None:
        assert self._sock is not None, self._address
        while self._waiting:
            state, descriptors = self._waiting[0]
            try:
                if not self._sock.send(state, descriptors):
                    return
            except OSError as error:
                self._fail(state, error)
            self._waiting.popleft()
            close_all(descriptors)
        self._dispatch.forget(self._sock.fileno())

    def _fail(self, state: str, error: OSError) -> None:
        if not self._failed:
            what = state.partition("\n")[0]
            self._say("warning", f"systemd cannot be told {what}: {self._address}: {error.strerror or error}")
        self._failed = True

    def close(self) -> None:
        """Send what waits, if that can be done soon, and tell nothing any more."""
        if self._sock is None:
            return
        poller = select.poll()
        poller.register(self._sock.fileno(), select.POLLOUT)
        end = time.monotonic_ns() + _FAREWELL
        while self._waiting and poller.poll(max(0, end - time.monotonic_ns()) // MILLISECOND):
            self._flush()
        while self._waiting:
            close_all(self._waiting.popleft()[1])
        self._dispatch.forget(self._sock.fileno())
        self._sock.close()
        self._sock = None
