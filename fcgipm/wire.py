"""The messages between keeper and manager, and the channel that carries them.

A channel is one end of a SOCK_SEQPACKET pair, non-blocking at both ends.  A message is JSON, at most `PIECE` bytes
on the wire; a larger one travels in numbered pieces.  Descriptors travel with a message, at most `MAX_DESCRIPTORS`
of them.  What arrives is typed and bounded, or ends the connection (`WireError`).

The keeper obeys the `Order` messages and nothing else: the list is closed, and a test holds it.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, get_args

from fcgipm.codec import from_json, to_json

PIECE: Final = 32 * 1024
"""Bytes of one packet: far below the kernel's limit for a SEQPACKET message (208 KiB by default)."""
MAX_DESCRIPTORS: Final = 64
"""Descriptors sent with one packet; the kernel's limit is 253."""
MAX_BACKLOG: Final = 8 * 1024 * 1024
"""Bytes that may wait to be sent.  More: the reader is stale (`BacklogFull`)."""
MAX_MESSAGE: Final = 16 * 1024 * 1024
"""Bytes of a message put together from pieces."""


class WireError(Exception):
    """What arrived is not a message; the connection is of no use any more."""


class DescriptorsLost(WireError):
    """Descriptors that came with a message were lost, because there is no room for more."""


class WireClosed(WireError):
    """The other end is gone."""


class BacklogFull(WireError):
    """The other end has not read for too long."""


# ── what the keeper tells ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFact:
    """An instance that lives while a manager is started; *pid* and *state* as the keeper knows them."""

    instance: int
    app: str
    generation: int
    pid: int
    ready: str | None
    """How it was seen to be ready (`Readiness`), None while it is starting."""
    asked: bool
    """Whether it was already sent its stop signal."""
    outdated: bool
    """Whether another definition holds by now than the one it was started with."""
    started_at: int
    ready_at: int | None
    turns_away: bool = False
    """Whether it is what answers 503 for the application, no instance of it."""
    canary: bool = False
    """Whether it is on a private listener of its own, where only a probe comes."""
    estranged: bool = False
    """Whether nobody has its listener any more but itself: no other instance can be started there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerFact:
    """A listener that the keeper holds."""

    app: str
    generation: int
    address: str
    """``unix:/public/path`` or ``tcp:HOST:PORT``."""
    bound: str
    """The name that it was bound to: the private path, or the same as *address* for TCP."""
    published: bool
    inode: int = 0
    """Of the socket, which tells it from others of the same name; 0 where there is none any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definitions:
    """The configuration without the values of the environment, as JSON of the classes in `config.schema`."""

    daemon: Mapping[str, Any]
    applications: tuple[Mapping[str, Any], ...]
    """The declared ones, and the dynamic ones that were opened."""
    externals: tuple[Mapping[str, Any], ...]
    dynamic: Mapping[str, Any] | None
    access: Mapping[str, str]
    """Who may use the control socket: str(uid) or ``%GID`` -> ``admin`` or ``read``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """The daemon's program was replaced by the one that is installed, in the same process."""

    count: int
    """How often that was done in all."""
    before: str
    """The version until then."""
    at: int
    """Monotonic nanoseconds when the old program stopped."""
    at_unix: float
    """The same as seconds since 1970."""
    instances: int
    """How many were there, and are not touched by it."""
    pause: int | None
    """Nanoseconds in which nothing was started or reaped; None while it lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a new manager needs; `Handed` messages with the descriptors follow, then `Begun`."""

    version: str
    pid: int
    uid: int
    """As whom the keeper runs."""
    started_at: int
    """Monotonic nanoseconds."""
    started_unix: float
    """Seconds since 1970, for people."""
    definitions: Definitions
    instances: tuple[InstanceFact, ...]
    listeners: tuple[ListenerFact, ...]
    notes: Mapping[str, str]
    next_instance: int
    ending: int | None
    """The exit status with which the daemon is to end, where that is decided."""
    keeps_sockets: bool = False
    """Whether its sockets outlive the daemon, so that visitors can wait there for the next one."""
    upgraded: Upgraded | None = None
    """The last time that was done; None: this process has always run this program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """Descriptors: ``control``, ``connector``, ``report``, ``metrics``, ``log`` (one each), or ``pipes``.

    Pipes are two, the stdout and stderr of an instance.
    """

    what: str
    instance: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The snapshot is complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """As `core.events.Spawned`; carries the read ends of stdout and stderr."""

    instance: int
    pid: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnFailed:
    """As `core.events.SpawnFailed`."""

    instance: int
    step: str
    error: str
    at: int
    shortage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BecameReady:
    """As `core.events.BecameReady`."""

    instance: int
    how: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """As `core.events.Exited`."""

    instance: int
    code: int | None
    signal: int | None
    dumped: bool
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """As `core.events.Removed`."""

    instance: int
    how: str
    connections: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalRefused:
    """As `core.events.RemovalRefused`."""

    instance: int
    why: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """As `core.events.Published`, with the listener as it is now."""

    listener: ListenerFact
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishFailed:
    """As `core.events.PublishFailed`."""

    app: str
    generation: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The answer to `Connect`; carries the connection, a stream that does not block.  Its owner speaks at once."""

    app: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectFailed:
    """The answer to `Connect` where there is no such listener, or nobody takes connections there."""

    app: str
    generation: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SomebodyWaits:
    """As `core.events.SomebodyWaits`."""

    app: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """The answer to `Count`: connections that the kernel does not show to who asks it here.

    Their clients are in another network name space; *connections* are the inodes of the sockets that instances hold.
    """

    app: str
    connections: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The answer to `Open` where the script may be run: its definition and its listener, which is published."""

    root: str
    path: str
    definition: Mapping[str, Any]
    listener: ListenerFact


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFailed:
    """The answer to `Open` where no application can be made of it."""

    root: str
    path: str
    error: str
    obstacle: Literal["missing", "directory", "forbidden"]
    """Nothing is there; a directory, in which a script may be; or what may not be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramChanged:
    """As `core.events.ProgramChanged`."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signalled:
    """The daemon got a signal: ``TERM`` (stop), ``HUP`` (apply) or ``USR1`` (re-open logs)."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedKey:
    """One difference that an apply found; *effect* is a `config.schema.Change`, or ``added`` / ``removed``."""

    app: str | None
    key: str
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The answer to `Apply`: *problems* (then nothing was changed), or what changed and the new definitions.

    After a dry run *changes* are those that would be, and there are no *definitions*.
    """

    request: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: tuple[ChangedKey, ...]
    definitions: Definitions | None
    listeners: tuple[ListenerFact, ...]
    pending: tuple[ChangedKey, ...] = ()
    """Differences of applications, and of the daemon, that were not asked for: they are in the file only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeFailed:
    """The answer to `Upgrade` where the old program goes on; where the new one does, it is in the next snapshot."""

    request: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """An order was refused by the keeper's own checks: a bug in the manager, or somebody who has captured it."""

    order: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """The manager did not read an instance's output, so the keeper threw away *bytes* of it."""

    instance: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Something that the keeper noticed and has logged; *level* is a word of log-level."""

    level: str
    topic: str
    app: str | None
    text: str


Report: TypeAlias = (
    Snapshot
    | Handed
    | Begun
    | Spawned
    | SpawnFailed
    | BecameReady
    | Exited
    | Removed
    | RemovalRefused
    | Published
    | PublishFailed
    | Connected
    | ConnectFailed
    | SomebodyWaits
    | Unseen
    | Opened
    | OpenFailed
    | ProgramChanged
    | Signalled
    | Applied
    | UpgradeFailed
    | Denied
    | Drained
    | Told
)

# ── what the manager orders ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """As `core.commands.Spawn`."""

    instance: int
    app: str
    generation: int
    turns_away: int | None = None
    above: int = 0
    canary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Check the script *path*, relative to the root called *root*, and publish its listener; twice is harmless."""

    root: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """As `core.commands.Watch`."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Tell by `Unseen` whom the instances of *app* serve unseen: at once, or, where it is too early, not at all."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """As `core.commands.Retire`."""

    instance: int
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """As `core.commands.Publish`."""

    app: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Read the configuration again; answered by `Applied` with the same *request*.

    With *apps* only their definitions are taken over, those of new and of removed ones included; a *dry_run* changes
    nothing, and tells what would be changed.
    """

    request: int
    apps: tuple[str, ...] | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Connect to the listener of *generation*, or to that of its canary, which no visitor can reach."""

    app: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """Go on as the program that is installed by now, this very one or none; see `UpgradeFailed`."""

    request: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """As `core.commands.Note`."""

    app: str
    text: str
    wish: str = ""
    resting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """As `core.commands.Shutdown`."""

    status: int
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReopenLogs:
    """Close and open the log file, as after SIGUSR1; the new descriptor comes as `Handed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The manager has dealt with the first *count* reports since its snapshot.  Not an order: a sign of life."""

    count: int


Order: TypeAlias = (
    Spawn | Open | Watch | Count | Connect | Retire | Publish | Apply | Upgrade | Note | ReopenLogs | Shutdown | Heard
)

MAX_UNSEEN: Final = 1_000
"""Connections in one `Unseen`."""
MAX_NOTE: Final = 8 * 1024
"""Bytes of one note."""

_REPORTS: Final[Mapping[str, type[Any]]] = {kind.__name__: kind for kind in get_args(Report)}
_ORDERS: Final[Mapping[str, type[Any]]] = {kind.__name__: kind for kind in get_args(Order)}

MessageT = TypeVar("MessageT")

_MORE: Final = b"+"
_LAST: Final = b"."
_ANCILLARY: Final = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)


class Channel(Generic[MessageT]):
    """One end of the wire: sends one family of messages and receives the other, never blocking.

    The owner registers `fileno()` with its loop: readable means call `receive`, writable (while `backlog` is not
    empty) means call `flush`.
    """

    def __init__(self, sock: socket.socket, expects: Mapping[str, type[MessageT]]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._expects = expects
        self._outgoing: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self.backlog = 0
        """Bytes that wait to be sent."""
        self._pieces: list[bytes] = []
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket and every descriptor that waits to be sent or was received and not handed out."""
        for _, descriptors in self._outgoing:
            _close_all(descriptors)
        _close_all(self._descriptors)
        self._outgoing.clear()
        self._descriptors.clear()
        self._pieces.clear()
        self.backlog = 0
        self._sock.close()

    def send(self, message: object, descriptors: Sequence[int] = ()) -> None:
        """Queue *message* and send what can be sent now; *descriptors* are duplicated and stay the caller's.

        Raises `BacklogFull` where the other end has not read for too long, `WireClosed` where it is gone, OSError where
        there is no room for the copies; nothing of the message is left then.
        """
        if len(descriptors) > MAX_DESCRIPTORS:
            error = f"{len(descriptors)} descriptors do not fit into one message"
            raise ValueError(error)
        text = json.dumps([type(message).__name__, to_json(message)], separators=(",", ":")).encode()
        if self.backlog + len(text) > MAX_BACKLOG:
            error = f"{self.backlog} bytes wait to be read"
            raise BacklogFull(error)
        copies = _copies(descriptors)  # may fail, and then nothing is queued
        chunks = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        for chunk in chunks[:-1]:
            self._outgoing.append((_MORE + chunk, ()))
        self._outgoing.append((_LAST + chunks[-1], copies))
        self.backlog += len(text)
        self.flush()

    def flush(self) -> None:
        """Send what the other end takes now; raise `WireClosed` where it is gone."""
        while self._outgoing:
            packet, descriptors = self._outgoing[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            try:
                self._sock.sendmsg([packet], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError as error:
                raise WireClosed(str(error)) from error
            self._outgoing.popleft()
            self.backlog -= len(packet) - 1
            _close_all(descriptors)

    def receive(self, limit: int = 64) -> Iterator[tuple[MessageT, list[int]]]:
        """Yield the messages that have come, with their descriptors (close-on-exec, the caller's to close).

        At most *limit* packets are read, so that one busy end does not starve its reader's other work.  Raises
        `WireClosed` at the end of the stream and `WireError` for what is not a message.
        """
        for _ in range(limit):
            try:
                packet, ancillary, flags, _ = self._sock.recvmsg(PIECE + 1, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError as error:
                raise WireClosed(str(error)) from error
            self._keep_descriptors(ancillary)
            if flags & socket.MSG_TRUNC:
                error_text = "a message was cut short"
                raise WireError(error_text)
            if flags & socket.MSG_CTRUNC:
                error_text = "a message's descriptors do not fit among those that this process has"
                raise DescriptorsLost(error_text)
            if not packet:
                error_text = "the other end has closed"
                raise WireClosed(error_text)
            if packet[:1] == _MORE:
                self._pieces.append(packet[1:])
                if len(self._pieces) * PIECE > MAX_MESSAGE:
                    error_text = f"a message is longer than {MAX_MESSAGE} bytes"
                    raise WireError(error_text)
                continue
            text = b"".join([*self._pieces, packet[1:]])
            self._pieces.clear()
            message = self._decode(text)
            descriptors, self._descriptors = self._descriptors, []
            yield message, descriptors

    def _keep_descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self._descriptors.extend(numbers)

    def _decode(self, text: bytes) -> MessageT:
        try:
            name, body = json.loads(text)
            return from_json(self._expects[name], body)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise WireError(f"not a message: {error!r}") from error


def keeper_end(sock: socket.socket) -> Channel[Order]:
    """Return the keeper's end: it sends `Report` and receives `Order`."""
    return Channel(sock, _ORDERS)


def manager_end(sock: socket.socket) -> Channel[Report]:
    """Return the manager's end: it sends `Order` and receives `Report`."""
    return Channel(sock, _REPORTS)


def _copies(descriptors: Sequence[int]) -> tuple[int, ...]:
    """Return a copy of each descriptor; where one cannot be made, none is left."""
    made: list[int] = []
    try:
        made.extend(os.dup(number) for number in descriptors)
    except OSError:
        _close_all(made)
        raise
    return tuple(made)


def _close_all(descriptors: Sequence[int]) -> None:
    for number in descriptors:
        os.close(number)
