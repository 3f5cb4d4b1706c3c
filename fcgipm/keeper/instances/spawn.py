"""Start an instance: fork, set the child up step by step, exec; tell by step and error what did not work.

The keeper has one thread, so a plain fork is safe.  Its cost follows the keeper's memory, and it alone lets every
step be reported, which subprocess does not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from fcgipm.keeper.instances import shortage
from fcgipm.keeper.instances.recipe import Recipe
from fcgipm.linux import dispositions, procfs
from fcgipm.linux import pidfd as pidfds
from fcgipm.linux.descriptors import LAST_STANDARD, close_all

if TYPE_CHECKING:
    from fcgipm.keeper.roots.scripts import Script

_Step: TypeAlias = tuple[str, Callable[..., object], tuple[Any, ...]]
"""What to do, and how it is called where it fails."""

_EXEC: Final = "exec "
"""The last step, before what is executed."""
_LAST_DESCRIPTOR: Final = 2**31 - 1
_MAX_STATUS: Final = 4096
"""A write to a pipe of up to this size is never split."""
_NUMBER: Final = 16
"""Bytes of it that are kept for the number of the error."""
_FAREWELL: Final = 1000
"""Milliseconds that a child may take to end after its last message."""


class SpawnError(Exception):
    """An instance could not be started: *step* did not work (``chdir /srv/blog``) because of *error*.

    A *shortage* is the system's, and passes.  *number* is its errno where the child has met it, else 0.
    """

    def __init__(self, step: str, error: str, *, shortage: bool = False, number: int = 0) -> None:
        super().__init__(f"{step}: {error}")
        self.step = step
        self.error = error
        self.shortage = shortage
        self.number = number

    @property
    def not_found(self) -> str:
        """The program that, or what it needs to be executed, was not found; empty where that is not the error."""
        is_that = self.number == errno.ENOENT and self.step.startswith(_EXEC)
        return self.step.removeprefix(_EXEC) if is_that else ""


@dataclass(frozen=True, slots=True)
class Starting:
    """A child between fork and exec.

    *status_fd* becomes readable when it is clear how that went: then call `finish`.  What is written to it lets a child
    that was *held* go on (`release`).  *stdout_fd* and *stderr_fd* are the non-blocking read ends of its output.  All
    are close-on-exec.
    """

    pid: int
    pidfd: int
    status_fd: int
    stdout_fd: int
    stderr_fd: int


def begin(recipe: Recipe, listener_fd: int, script: Script | None = None, *, held: bool = False) -> Starting:
    """Fork a child that becomes an instance on *listener_fd*; return at once.

    With *script* it begins in that one's directory, and executes nothing where another file has its name by then.
    One that is *held* executes nothing before `release`, and ends where its parent does: an instance that is nowhere
    written down would serve for ever, and nobody would know.
    Raises `SpawnError` for what failed before the fork; nothing is left behind then.
    """
    opened: list[int] = []
    lifted: list[int] = []
    step = "pipe"
    try:
        opened += [end.detach() for end in socket.socketpair()]
        for _ in range(2):
            opened += os.pipe2(os.O_CLOEXEC)
        status_r, status_w, stdout_r, stdout_w, stderr_r, stderr_w = opened
        for read_end, write_end in ((stdout_r, stdout_w), (stderr_r, stderr_w)):
            os.set_blocking(read_end, False)
            if recipe.owner != os.geteuid():
                step = "chown of the output pipes"  # else open("/dev/stderr") is refused to the instance
                os.fchown(write_end, recipe.owner, -1)
        descriptors = [listener_fd, stdout_w, stderr_w, status_w]
        if min(descriptors) <= LAST_STANDARD:  # one would be overwritten by another
            step = "descriptors"
            lifted = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, LAST_STANDARD + 1) for number in descriptors]
            opened += lifted
        step = "fork"
        pid, pidfd = _fork(recipe, lifted or descriptors, script, held=held)
    except (OSError, MemoryError) as error:
        close_all(opened)
        raise SpawnError(step, _text(error), shortage=shortage.is_one(error)) from error
    close_all([status_w, stdout_w, stderr_w, *lifted])
    return Starting(pid, pidfd, status_r, stdout_r, stderr_r)


def release(starting: Starting) -> None:
    """Let the child of `begin` go on to what it executes, if it still lives."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        os.write(starting.status_fd, b".")


def finish(starting: Starting) -> None:
    """Take the result of `begin`: return when the program was executed, and close *status_fd*.

    Raises `SpawnError` where it was not: the child is reaped then, and all descriptors are closed.  To be called when
    *status_fd* is readable: a child that has not told anything yet is not waited for.
    """
    try:
        told = os.read(starting.status_fd, _MAX_STATUS)
    except ConnectionResetError:
        told = b""  # it was killed while it was held
    finally:
        os.close(starting.status_fd)
    if not told:
        return
    pidfds.wait(starting.pidfd, _FAREWELL)  # it does nothing after its message but exit
    close_all([starting.pidfd, starting.stdout_fd, starting.stderr_fd])
    step, error, number = told.decode(errors="replace").split("\0")
    raise SpawnError(step, error, shortage=shortage.is_of_all(int(number)), number=int(number))


def abandon(starting: Starting) -> None:
    """Undo `begin`: kill the child, which is reaped here or, if it does not end at once, as any child of ours."""
    pidfds.send(starting.pidfd, signal.SIGKILL)
    pidfds.wait(starting.pidfd, _FAREWELL)
    close_all([starting.status_fd, starting.pidfd, starting.stdout_fd, starting.stderr_fd])


def _fork(recipe: Recipe, descriptors: Sequence[int], script: Script | None, *, held: bool) -> tuple[int, int]:
    steps = list(_steps(recipe, descriptors, script))
    if held:
        steps.insert(-1, ("go-ahead", _await_release, (descriptors[3],)))
    # Blocked until the child has reset their dispositions: a handler of ours must not run in it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, dispositions.CHANGEABLE)
    try:
        pid = os.fork()
        if pid == 0:
            _be_child(steps, descriptors[3])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # our child, not waited for yet: the number is still its own
        os.waitpid(pid, 0)
        raise


def _be_child(steps: Sequence[_Step], status_fd: int) -> NoReturn:
    """Set up and exec; whatever happens, never return into the keeper's code.

    To look at an object is to write to it (its references are counted), and each page that is written is copied first,
    which was half of what a spawn costs.  So all is prepared before the fork, and as little as can be is touched here.
    """
    name = ""
    try:
        for name, call, arguments in steps:  # noqa: B007  used below
            call(*arguments)
    except BaseException as error:  # noqa: BLE001  the child must end here, and say why
        number = getattr(error, "errno", None) or 0
        text = f"{name}\0{_text(error)}".encode(errors="replace")[: _MAX_STATUS - _NUMBER]
        os.write(status_fd, b"%b\0%d" % (text, number))
    finally:
        os._exit(127)


def _await_release(status_fd: int) -> None:
    """Return when the parent lets us go on; end where it has ended itself."""
    if not os.read(status_fd, 1):
        os._exit(0)


# ── what the child does, in this order ───────────────────────────────────────────────────────────────────────────


def _steps(recipe: Recipe, descriptors: Sequence[int], script: Script | None) -> Iterator[_Step]:
    """Yield everything; *descriptors* are above 2: the child's fds 0 to 2 to be, and the status pipe."""
    yield "setsid", os.setsid, ()
    if script is not None:
        # As root, but that is no right that it keeps: to find anything here, its own are asked for again.
        yield f"chdir {recipe.directory}", os.fchdir, (script.directory,)
    for target, number in enumerate(descriptors[:3]):
        yield "descriptors", os.dup2, (number, target)
    yield "descriptors", os.closerange, (3, descriptors[3])
    yield "descriptors", os.closerange, (descriptors[3] + 1, _LAST_DESCRIPTOR)
    changed = dispositions.changed()
    yield "signals", dispositions.reset, ([number for number in changed if number != signal.SIGPIPE],)
    if signal.SIGPIPE not in changed or signal.getsignal(signal.SIGPIPE) is not signal.SIG_IGN:
        yield "signals", signal.signal, (signal.SIGPIPE, signal.SIG_IGN)  # as mod_fastcgi promises its applications
    yield from _resources(recipe)
    yield from _rights(recipe, script)
    yield (
        f"{_EXEC}{recipe.arguments[0] if script else recipe.program}",
        os.execve,
        (recipe.program, recipe.arguments, recipe.environment),
    )


def _resources(recipe: Recipe) -> Iterator[_Step]:
    """Yield what differs from the keeper's own; 0 asks for nothing in particular: what is inherited may stay then."""
    if recipe.oom_score_adjust != procfs.oom_score_adjust():
        yield f"oom_score_adj {recipe.oom_score_adjust}", _adjust_oom_score, (recipe.oom_score_adjust,)
    yield "umask", os.umask, (recipe.umask,)
    if recipe.priority != os.getpriority(os.PRIO_PROCESS, 0):
        yield f"setpriority {recipe.priority}", _set_priority, (recipe.priority,)
    for limit in recipe.limits:
        yield f"setrlimit {limit.name}", resource.setrlimit, (limit.resource, (limit.soft, limit.hard))


def _adjust_oom_score(value: int) -> None:
    try:
        procfs.adjust_oom_score(value)
    except OSError:
        if value:
            raise


def _set_priority(value: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, value)
    except OSError:
        if value:
            raise


def _rights(recipe: Recipe, script: Script | None) -> Iterator[_Step]:
    """Yield the steps to the instance's place and ids; only what comes before setuid has the keeper's rights."""
    enter = f"chdir {recipe.directory}", os.chdir, (recipe.directory,)
    become = recipe.become
    if recipe.chroot is not None:
        yield f"chroot {recipe.chroot}", os.chroot, (recipe.chroot,)
    if recipe.chroot is not None and script is None:
        yield f"chroot {recipe.chroot}", os.chdir, ("/",)
    if script is not None:
        yield "check", _demand_same, (script.name, script.status)
    elif recipe.directory_first:
        yield enter
    if os.geteuid() == 0:
        yield f"setgroups of {become.user}", os.setgroups, (become.groups,)
    yield f"setgid {become.group}", os.setresgid, (become.gid, become.gid, become.gid)
    yield f"setuid {become.user}", os.setresuid, (become.uid, become.uid, become.uid)
    if not recipe.directory_first and script is None:
        yield enter
    if recipe.no_new_privs:
        yield "no_new_privs", pidfds.forbid_new_privileges, ()


def _demand_same(name: str, status: os.stat_result) -> None:
    """Raise ValueError if *name*, here, is not the file any more that was checked and had *status*."""
    found = os.stat(name, follow_symlinks=False)
    if not os.path.samestat(found, status):
        raise ValueError(f"{name} was replaced by another while it was checked")
    if (found.st_mode, found.st_uid, found.st_gid) != (status.st_mode, status.st_uid, status.st_gid):
        raise ValueError(f"{name} was given other rights while it was checked")


def _text(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return os.strerror(errno.ENOMEM)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, ValueError):
        return str(error)  # what setrlimit raises, with a text of its own
    return repr(error)
