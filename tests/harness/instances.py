"""Instances started by `fcgipm.keeper.instances.spawn`, without a daemon around them."""

from __future__ import annotations

import grp
import os
import pwd
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fcgipm.config.identity import Identity
from fcgipm.keeper.instances import readiness, session, spawn
from fcgipm.keeper.instances.recipe import Recipe
from fcgipm.keeper.instances.session import Process
from fcgipm.linux import pidfd
from fcgipm.linux.sock_diag import Endpoint, endpoint_of
from harness.waiting import readable, until

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def identity(uid: int | None = None) -> Identity:
    """Return who has *uid*; without one, who runs the tests."""
    if uid is None:
        uid, gid, groups = os.geteuid(), os.getegid(), tuple(os.getgroups())
    else:
        gid = pwd.getpwuid(uid).pw_gid
        groups = (gid,)
    account = pwd.getpwuid(uid)
    return Identity(uid, gid, groups, account.pw_name, grp.getgrgid(gid).gr_name, account.pw_dir)


def recipe(*arguments: str, environment: Mapping[str, str] | None = None, **changes: Any) -> Recipe:
    """Return a plain recipe of the command *arguments*; *changes* are fields of `Recipe`."""
    fields: dict[str, Any] = {
        "program": arguments[0],
        "arguments": arguments,
        "environment": ENVIRONMENT if environment is None else environment,
        "become": identity(),
        "owner": os.geteuid(),
        "directory": "/",
        "directory_first": False,
        "chroot": None,
        "umask": 0o022,
        "priority": 0,
        "oom_score_adjust": 0,
        "limits": (),
        "no_new_privs": False,
    }
    return Recipe(**{**fields, **changes})


@dataclass(slots=True)
class Instance:
    """A living instance and the read ends of its output."""

    process: Process
    stdout: int
    stderr: int

    @property
    def pid(self) -> int:
        """The leader's process id."""
        return self.process.pid


class Stage:
    """A listening socket and the instances on it; everything is ended and closed at the end."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.endpoint: Endpoint = endpoint_of(listener)
        self.instances: list[Instance] = []

    @classmethod
    def unix(cls, path: Path, backlog: int = 64) -> Stage:
        """Listen at *path*, for everybody."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(backlog)
        return cls(listener)

    @classmethod
    def tcp(cls) -> Stage:
        """Listen at some port of the loopback."""
        return cls(socket.create_server(("127.0.0.1", 0), backlog=64))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for instance in list(self.instances):
            self.end(instance)
        self.listener.close()

    def connect(self) -> socket.socket:
        """Return a connected client."""
        client = socket.socket(self.listener.family)
        client.settimeout(20)
        client.connect(self.listener.getsockname())
        return client

    def start(self, what: Recipe) -> Instance:
        """Spawn an instance and wait until it is exec'd."""
        starting = spawn.begin(what, self.listener.fileno())
        readable(starting.status_fd)
        spawn.finish(starting)
        instance = Instance(Process(starting.pid, starting.pidfd), starting.stdout_fd, starting.stderr_fd)
        self.instances.append(instance)
        return instance

    def start_ready(self, what: Recipe) -> Instance:
        """Spawn an instance and wait until it accepts connections."""
        instance = self.start(what)
        self.wait_for(instance, readiness.Look.ACCEPTING, readiness.Look.SERVING)
        return instance

    def look(self, instance: Instance) -> readiness.Look:
        """Look once at *instance*."""
        leaders = {one.pid for one in self.instances}
        return readiness.look(instance.pid, self.endpoint, is_leader=leaders.__contains__)

    def wait_for(self, instance: Instance, *looks: readiness.Look) -> None:
        """Look until one of *looks* is seen."""
        until(lambda: self.look(instance) in looks, what=f"{looks} of {instance.pid}")

    def reap(self, instance: Instance) -> tuple[pidfd.Ended, bytes, bytes]:
        """Wait for the end of *instance*; return how it ended and what is left of its output."""
        readable(instance.process.pidfd)
        ended = pidfd.reap(instance.process.pidfd, block=True)
        assert ended is not None
        output = read_all(instance.stdout), read_all(instance.stderr)
        for descriptor in (instance.stdout, instance.stderr, instance.process.pidfd):
            os.close(descriptor)
        self.instances.remove(instance)
        return ended, *output

    def end(self, instance: Instance) -> None:
        """Kill all of *instance*, however it is."""
        for process in session.members(instance.pid):
            try:
                os.kill(process.pid, signal.SIGKILL)  # our child, not waited for, and what belongs to it
            except ProcessLookupError:
                continue
        self.reap(instance)


def read_all(descriptor: int) -> bytes:
    """Return what can be read from a non-blocking descriptor until its other end is closed, or nothing is there."""
    pieces = []
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except BlockingIOError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


def read_line(descriptor: int) -> bytes:
    """Wait for a line from a non-blocking descriptor; what follows it in the same piece is returned too."""
    text = b""
    while not text.endswith(b"\n"):
        readable(descriptor)
        piece = os.read(descriptor, 65536)
        assert piece, f"closed after {text!r}"
        text += piece
    return text


def python(code: str, *arguments: str) -> Sequence[str]:
    """Return the command that runs *code* in a Python of its own, on the least of start-up."""
    return ("/usr/bin/python3", "-I", "-S", "-c", code, *arguments)
