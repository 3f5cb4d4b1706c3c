"""Start the manager's process: without rights, with the wire as its fd 3 and hardly an environment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from fcgipm.keeper.instances.identity import become
from fcgipm.linux import dispositions
from fcgipm.linux import pidfd as pidfds

if TYPE_CHECKING:
    from fcgipm.config.identity import Identity

_WIRE: Final = 3
_STATUS: Final = 4
_LAST_DESCRIPTOR: Final = 2**31 - 1
_PATIENCE: Final = 1000
"""Milliseconds in which the child must have come to its exec; the keeper does nothing else meanwhile."""
_SEND_BUFFER: Final = 1024 * 1024
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Launched:
    """A manager that was exec'd; *wire* is our end, *stderr* the non-blocking read end of what it says."""

    pid: int
    pidfd: int
    wire: socket.socket
    stderr: int

    def drop(self) -> None:
        """Kill it and know nothing of it any more; it is reaped as any other child."""
        pidfds.send(self.pidfd, signal.SIGKILL)
        self.wire.close()
        for number in (self.pidfd, self.stderr):
            os.close(number)


def launch(argv: Sequence[str], identity: Identity, nofile: tuple[int, int]) -> Launched:
    """Fork and exec *argv* as *identity*; raise OSError whose text names the step that failed."""
    with contextlib.ExitStack() as stack:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(theirs.close)
        with contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            said, saying = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, saying)
            undo.callback(os.close, said)
            os.set_blocking(said, False)
            status, telling = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, status)
            try:
                pid = _fork(argv, identity, nofile, (saying, theirs.fileno(), telling))
            finally:
                os.close(telling)
            pidfd = os.pidfd_open(pid)
            undo.callback(os.close, pidfd)
            problem = _problem(status, pidfd)
            if problem:
                pidfds.wait(pidfd, _PATIENCE)
                raise OSError(problem)
            undo.pop_all()
    return Launched(pid, pidfd, ours, said)


def _problem(status: int, pidfd: int) -> str:
    """Return what the child tells of its way to exec, nothing where that went well; kill it where it takes too long."""
    poller = select.poll()
    poller.register(status, select.POLLIN)
    if poller.poll(_PATIENCE):
        return os.read(status, 4096).decode(errors="replace")
    pidfds.send(pidfd, signal.SIGKILL)
    return f"it was not executed within {_PATIENCE} ms"


def _fork(argv: Sequence[str], identity: Identity, nofile: tuple[int, int], descriptors: tuple[int, int, int]) -> int:
    changed = dispositions.changed()
    # No handler of ours may run in the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _be_child(argv, identity, nofile, descriptors, changed)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _be_child(
    argv: Sequence[str],
    identity: Identity,
    nofile: tuple[int, int],
    descriptors: tuple[int, int, int],
    changed: list[int],
) -> NoReturn:
    step, status = "setsid", descriptors[2]
    try:
        os.setsid()
        step = "descriptors"
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        # Lifted first: a target below must not be the source of another.
        sources = [null, descriptors[0], descriptors[0], descriptors[1], descriptors[2]]
        lifted = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _STATUS + 1) for number in sources]
        for target, number in enumerate(lifted):
            os.dup2(number, target, inheritable=target != _STATUS)
        status = _STATUS
        os.closerange(_STATUS + 1, _LAST_DESCRIPTOR)
        step = "signals"
        dispositions.reset(changed)
        os.chdir("/")
        resource.setrlimit(resource.RLIMIT_NOFILE, nofile)
        step = f"becoming {identity.user}"
        become(identity)
        step = f"exec {argv[0]}"
        environment = {"PATH": os.environ.get("PATH", _PATH), "LANG": os.environ.get("LANG", "C.UTF-8")}
        os.execve(argv[0], list(argv), environment)  # noqa: S606  no shell is meant
    except BaseException as error:  # noqa: BLE001  the child must end here, and say why
        reason = error.strerror if isinstance(error, OSError) else repr(error)
        os.write(status, f"{step}: {reason}".encode(errors="replace")[:4096])
    finally:
        os._exit(127)
