"""The manager alone, as a process; the test plays the keeper."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fcgipm import wire
from fcgipm.codec import to_json
from fcgipm.config.schema import Application, Daemon, Dynamic, External
from fcgipm.manager.translate import address_of
from harness.waiting import until

_LAUNCH = """
import os, sys
wire, uid = int(sys.argv[1]), int(sys.argv[2])
os.dup2(wire, 3)
if wire != 3:
    os.close(wire)
if uid >= 0:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
os.execv(sys.executable, [sys.executable, "-m", "fcgipm.manager"])
"""


@dataclass(slots=True)
class Instance:
    """What the keeper knows of an instance."""

    app: str
    generation: int
    pid: int
    stdout: int
    stderr: int
    ready: bool = False
    asked: bool = False


@dataclass(slots=True)
class Reply:
    """An answer of the control socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The JSON of the body."""
        return json.loads(self.body)


@dataclass
class Stage:
    """The keeper's side of the wire.  It obeys by itself, with instances that are nothing but pipes.

    *obey* may be replaced, or *deaf* set, to do otherwise.  All that touches the wire holds the lock.
    """

    place: Path
    applications: Sequence[Application] = ()
    externals: Sequence[External] = ()
    daemon: Daemon = field(default_factory=Daemon)
    access: Mapping[str, str] = field(default_factory=dict)
    uid: int = -1
    orders: list[wire.Order] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    instances: dict[int, Instance] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)
    metrics: socket.socket | None = None
    handed_log: Path | None = None
    pipes: dict[int, list[int]] = field(default_factory=dict)
    """Read ends that a manager is handed at its beginning; without that, only the one that spawned them reads."""
    failing: frozenset[str] = frozenset()
    """Applications whose instances cannot be spawned."""
    slow: bool = False
    """Whether instances become ready by `make_ready` only."""
    answers: Callable[[socket.socket], None] | None = None
    """Speaks for a generation that nobody meets yet, over a connection to it, in a thread; without it there is none."""
    deaf: bool = False
    applied: Callable[[int], wire.Applied] | None = None
    dynamic: Dynamic | None = None
    scripts: Mapping[str, str | None] = field(default_factory=dict)
    """What the keeper says of scripts, by ROOT/path: None where they may run, else why not; missing where not named."""
    next_instance: int = 1
    inodes: dict[str, int] = field(default_factory=dict)
    """Of listening sockets that the test has made, by their applications; of whatever generation."""

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self.control = self.place / "control.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.control))
        self.control.chmod(0o666)
        self._listener.listen(64)
        self.connector = self.place / "connector.sock"
        self._connector_listener = socket.socket(socket.AF_UNIX)
        self._connector_listener.bind(str(self.connector))
        self.connector.chmod(0o666)
        self._connector_listener.listen(64)
        self.report = self.place / "report.sock"
        self._report_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._report_socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._report_socket.bind(str(self.report))
        self.report.chmod(0o666)
        self.log = self.place / "manager.log"
        self._next_pid = 100_000_000  # beyond pid_max: nobody's
        self._ended = False

    def raise_curtain(self) -> None:
        """Start a manager and give it the snapshot."""
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its, self.log.open("ab") as log:
            self.manager = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, str(its.fileno()), str(self.uid)],
                pass_fds=[its.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=True,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            )  # fmt: skip
        self.channel = wire.keeper_end(mine)
        self._ended = False
        with self._lock:
            self.channel.send(self._snapshot())
            self.channel.send(wire.Handed(what="control"), [self._listener.fileno()])
            self.channel.send(wire.Handed(what="connector"), [self._connector_listener.fileno()])
            self.channel.send(wire.Handed(what="report"), [self._report_socket.fileno()])
            if self.metrics is not None:
                self.channel.send(wire.Handed(what="metrics"), [self.metrics.fileno()])
            if self.handed_log is not None:
                self.hand_log(self.handed_log)
            for number, descriptors in self.pipes.items():
                self.channel.send(wire.Handed(what="pipes", instance=number), descriptors)
            self.channel.send(wire.Begun())
        self._thread = threading.Thread(target=self._act, daemon=True)
        self._thread.start()

    def lower_curtain(self) -> int:
        """End the wire; return the manager's exit status."""
        self._ended = True
        self._thread.join(30)
        self.channel.close()
        return self.manager.wait(30)

    def strike(self) -> None:
        """End the wire, and the control socket with it, as where the daemon ends."""
        self._listener.close()
        self.lower_curtain()

    def close(self) -> None:
        """End everything."""
        if self.manager.poll() is None:
            self.lower_curtain()
        else:
            self._ended = True
            self._thread.join(30)
            self.channel.close()
        for sock in (self._listener, self._connector_listener, self._report_socket):
            sock.close()
        for instance in self.instances.values():
            os.close(instance.stdout)
            os.close(instance.stderr)
        for descriptor in itertools.chain.from_iterable(self.pipes.values()):
            os.close(descriptor)

    def hand_log(self, path: Path) -> None:
        """Open *path* and hand it as the log."""
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.tell(wire.Handed(what="log"), [number])
        os.close(number)

    def definitions(self) -> wire.Definitions:
        """Return what the manager is told of the configuration."""
        return wire.Definitions(
            daemon=to_json(self.daemon),
            applications=tuple(to_json(self._complete(each)) for each in self.applications),
            externals=tuple(to_json(each) for each in self.externals),
            dynamic=None if self.dynamic is None else to_json(self.dynamic),
            access=dict(self.access),
        )

    def _complete(self, application: Application) -> Application:
        """Return *application* as the configuration would have it: with its socket."""
        if application.socket is not None or application.port is not None:
            return application
        return replace(application, socket=f"{self.place}/{application.name}.sock")

    def listeners(self) -> tuple[wire.ListenerFact, ...]:
        """Return the public listeners."""
        return tuple(self._listener_fact(each.name, self.published.get(each.name, 1)) for each in self.applications)

    def tell(self, report: wire.Report, descriptors: Sequence[int] = ()) -> None:
        """Send *report*."""
        with self._lock:
            self.channel.send(report, descriptors)

    def end_instance(self, number: int, *, code: int | None = 1, signal: int | None = None) -> None:
        """Let an instance end by itself."""
        with self._lock:
            instance = self.instances.pop(number)
            os.close(instance.stdout)
            os.close(instance.stderr)
            now = time.monotonic_ns()
            self.channel.send(wire.Exited(instance=number, code=code, signal=signal, dumped=False, at=now))

    def given(self, kind: type[wire.Order], **fields: Any) -> list[Any]:
        """Return the orders of *kind* with these fields so far."""
        return [
            order
            for order in list(self.orders)
            if isinstance(order, kind) and all(getattr(order, key) == value for key, value in fields.items())
        ]

    def ask(self, method: str, path: str, body: Any = None, *, uid: int | None = None) -> Reply:
        """Send one request to the control socket and return the answer."""
        return self.say(encode(method, path, body), uid=uid)

    def say(self, data: bytes, *, uid: int | None = None) -> Reply:
        """Send *data* to the control socket and return what it answers."""
        with self.connect(uid=uid) as sock:
            with contextlib.suppress(BrokenPipeError):
                sock.sendall(data)
            return receive(sock)

    def connect(self, *, uid: int | None = None, gid: int | None = None, groups: Sequence[int] = ()) -> socket.socket:
        """Return a connection to the control socket, made by *uid*, for which the test must be root."""
        sock = socket.socket(socket.AF_UNIX)  # blocking while it connects: else a full queue is an error
        if uid is None:
            sock.connect(str(self.control))
            sock.settimeout(30)
            return sock
        before, groups_before = os.getegid(), os.getgroups()
        os.setgroups(groups)
        os.setegid(uid if gid is None else gid)
        os.seteuid(uid)
        try:
            sock.connect(str(self.control))
        finally:
            os.seteuid(0)
            os.setegid(before)
            os.setgroups(groups_before)
        sock.settimeout(30)
        return sock

    def status(self, app: str) -> Any:
        """Return the status of one application."""
        return self.ask("GET", f"/v1/status?app={app}").document["apps"][0]

    def wait_ready(self, app: str, count: int) -> None:
        """Wait until *count* instances of *app* are ready."""
        until(lambda: self.status(app)["ready"] == count, what=f"{count} ready instances of {app}")

    def listen_again(self) -> None:
        """Be deaf no longer, and do what was ordered meanwhile."""
        with self._lock:
            self.deaf = False
            for order in self.orders:
                self.obey(order)

    def obey(self, order: wire.Order) -> None:
        """Do what the manager orders."""
        with self._lock:
            self._obey(order, time.monotonic_ns())

    def _obey(self, order: wire.Order, now: int) -> None:
        match order:
            case wire.Spawn() if order.app in self.failing:
                failed = wire.SpawnFailed(instance=order.instance, step="exec", error="no such file", at=now)
                self.channel.send(failed)
            case wire.Spawn():
                self._spawn(order, now)
            case wire.Retire():
                self._retire(order, now)
            case wire.Publish():
                self.published[order.app] = order.generation
                fact = self._listener_fact(order.app, order.generation)
                self.channel.send(wire.Published(listener=fact, at=now))
            case wire.Open():
                self._open(order)
            case wire.Note():
                self.notes[order.app] = order.text
            case wire.Shutdown(finished=True):
                self.manager.kill()  # the hastiest of keepers
            case wire.Connect():
                self._connect(order)
            case wire.Apply() if self.applied is not None:
                self.channel.send(self.applied(order.request))
            case _:
                pass

    def _act(self) -> None:
        while not self._ended:
            readable, _, _ = select.select([self.channel], [], [], 0.02)
            with self._lock:
                try:
                    self.channel.flush()
                    for order, _ in self.channel.receive() if readable else ():
                        self.orders.append(order)
                        if not self.deaf:
                            self.obey(order)
                except wire.WireClosed:
                    return

    def _spawn(self, order: wire.Spawn, now: int) -> None:
        (out_read, out), (err_read, err) = os.pipe(), os.pipe()
        self._next_pid += 1
        instance = Instance(order.app, order.generation, self._next_pid, out, err)
        self.instances[order.instance] = instance
        self.next_instance = max(self.next_instance, order.instance + 1)
        self.channel.send(wire.Spawned(instance=order.instance, pid=instance.pid, at=now), [out_read, err_read])
        os.close(out_read)
        os.close(err_read)
        if not self.slow:
            self.make_ready(order.instance)

    def make_ready(self, number: int) -> None:
        """Let an instance be seen to accept connections."""
        with self._lock:
            self.instances[number].ready = True
            self.tell(wire.BecameReady(instance=number, how="accepting", at=time.monotonic_ns()))

    def _open(self, order: wire.Open) -> None:
        name = f"{order.root}/{order.path}"
        why = self.scripts.get(name, "no such file")
        if why is not None:
            self.channel.send(
                wire.OpenFailed(root=order.root, path=order.path, error=why, obstacle=self._obstacle(name))
            )
            return
        definition = app(
            name, processes=None, min_processes=0, max_processes=10, socket=f"{self.place}/{name.replace('/', '.')}"
        )
        self.applications = (*self.applications, definition)
        listener = self._listener_fact(name, 1)
        report = wire.Opened(root=order.root, path=order.path, definition=to_json(definition), listener=listener)
        self.channel.send(report)

    def _connect(self, order: wire.Connect) -> None:
        if self.answers is None:
            failed = wire.ConnectFailed(app=order.app, generation=order.generation, error="nobody listens there")
            self.channel.send(failed)
            return
        mine, its = socket.socketpair()
        with its:
            self.channel.send(wire.Connected(app=order.app, generation=order.generation), [its.fileno()])
        mine.settimeout(10)
        threading.Thread(target=self._answer, args=(mine, self.answers), daemon=True).start()

    @staticmethod
    def _answer(sock: socket.socket, answers: Callable[[socket.socket], None]) -> None:
        with sock, contextlib.suppress(OSError):
            answers(sock)

    def _obstacle(self, name: str) -> Literal["missing", "directory", "forbidden"]:
        if name in self.scripts:
            return "forbidden"
        return "directory" if any(script.startswith(f"{name}/") for script in self.scripts) else "missing"

    def _retire(self, order: wire.Retire, now: int) -> None:
        if order.instance not in self.instances:  # it has ended by itself while the order was under way
            self.channel.send(wire.RemovalRefused(instance=order.instance, why="gone", at=now))
            return
        how = "cut" if order.cut else "killed"
        self.channel.send(wire.Removed(instance=order.instance, how=how, connections=0, at=now))
        self.end_instance(order.instance, code=None, signal=9)

    def _listener_fact(self, app: str, generation: int) -> wire.ListenerFact:
        return wire.ListenerFact(
            app=app,
            generation=generation,
            address=self._address(app),
            bound=f"{self.place}/private/{app}.{generation}",
            published=generation > 0,
            inode=self.inodes.get(app, 0),
        )

    def _address(self, app: str) -> str:
        definition = next((each for each in self.applications if each.name == app), None)
        return f"unix:{self.place}/{app}.sock" if definition is None else address_of(self._complete(definition))

    def _snapshot(self) -> wire.Snapshot:
        now = time.monotonic_ns()
        return wire.Snapshot(
            version="0", pid=os.getpid(), uid=os.geteuid(), started_at=now, started_unix=1.0,
            definitions=self.definitions(),
            instances=tuple(
                wire.InstanceFact(
                    instance=number, app=each.app, generation=each.generation, pid=each.pid,
                    ready="accepting" if each.ready else None, asked=each.asked, outdated=False, started_at=now - 10**9,
                    ready_at=now - 10**9 if each.ready else None,
                )
                for number, each in self.instances.items()
            ),
            listeners=self.listeners(), notes=dict(self.notes), next_instance=self.next_instance, ending=None,
        )  # fmt: skip


@contextlib.contextmanager
def staged(place: Path, *applications: Application, **more: Any) -> Iterator[Stage]:
    """Give a manager that has begun, and end it."""
    stage = Stage(place, applications, **more)
    stage.raise_curtain()
    try:
        yield stage
    finally:
        stage.close()


def app(name: str = "blog", **more: Any) -> Application:
    """Return an application that starts all of its instances at once."""
    return Application(**{"name": name, "command": ("/bin/true",), "init_start_delay": 0, **more})


def encode(method: str, path: str, body: Any = None) -> bytes:
    """Return a whole request."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"{method} {path} HTTP/1.1\r\nHost: f\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def receive(sock: socket.socket) -> Reply:
    """Return one answer, read to the end of the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join(_chunks(body))
    return Reply(int(first.split()[1]), headers, body)


def _chunks(data: bytes) -> Iterator[bytes]:
    while data:
        size, _, data = data.partition(b"\r\n")
        yield data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
