"""Start an instance: fork, set the child up step by step, exec; tell by step and error what did not work.

The keeper has one thread, so a plain fork is safe.  Its cost follows the keeper's memory, and it alone lets every
step be reported, which subprocess does not.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
from dataclasses import dataclass
from typing import Final, NoReturn

from fcgipm.keeper.recipe import Recipe
from fcgipm.linux import dispositions
from fcgipm.linux import pidfd as pidfds

_STATUS: Final = 3
"""Where the child keeps its end of the status pipe; everything above it is closed."""
_LAST_DESCRIPTOR: Final = 2**31 - 1
_MAX_STATUS: Final = 4096
"""A write to a pipe of up to this size is never split."""
_FAREWELL: Final = 1000
"""Milliseconds that a child may take to end after its last message."""


class SpawnError(Exception):
    """An instance could not be started: *step* did not work (``chdir /srv/blog``) because of *error*."""

    def __init__(self, step: str, error: str) -> None:
        super().__init__(f"{step}: {error}")
        self.step = step
        self.error = error


@dataclass(frozen=True, slots=True)
class Starting:
    """A child between fork and exec.

    *status_fd* becomes readable when it is clear how that went: then call `finish`.  *stdout_fd* and *stderr_fd* are
    the non-blocking read ends of its output.  All are close-on-exec.
    """

    pid: int
    pidfd: int
    status_fd: int
    stdout_fd: int
    stderr_fd: int


def begin(recipe: Recipe, listener_fd: int) -> Starting:
    """Fork a child that becomes an instance on *listener_fd*; return at once.

    Raises `SpawnError` for what failed before the fork; nothing is left behind then.
    """
    opened: list[int] = []
    step = "pipe"
    try:
        for _ in range(3):
            opened += os.pipe2(os.O_CLOEXEC)
        status_r, status_w, stdout_r, stdout_w, stderr_r, stderr_w = opened
        for read_end, write_end in ((stdout_r, stdout_w), (stderr_r, stderr_w)):
            os.set_blocking(read_end, False)
            if recipe.owner != os.geteuid():
                step = "chown of the output pipes"  # else open("/dev/stderr") is refused to the instance
                os.fchown(write_end, recipe.owner, -1)
        step = "fork"
        pid, pidfd = _fork(recipe, (listener_fd, stdout_w, stderr_w, status_w))
    except OSError as error:
        _close_all(opened)
        raise SpawnError(step, _text(error)) from error
    _close_all([status_w, stdout_w, stderr_w])
    return Starting(pid, pidfd, status_r, stdout_r, stderr_r)


def finish(starting: Starting) -> None:
    """Take the result of `begin`: return when the program was executed, and close *status_fd*.

    Raises `SpawnError` where it was not: the child is reaped then, and all descriptors are closed.  To be called when
    *status_fd* is readable: a child that has not told anything yet is not waited for.
    """
    try:
        told = os.read(starting.status_fd, _MAX_STATUS)
    finally:
        os.close(starting.status_fd)
    if not told:
        return
    pidfds.wait(starting.pidfd, _FAREWELL)  # it does nothing after its message but exit
    _close_all([starting.pidfd, starting.stdout_fd, starting.stderr_fd])
    step, _, error = told.decode(errors="replace").partition("\0")
    raise SpawnError(step, error)


def abandon(starting: Starting) -> None:
    """Undo `begin`: kill the child, which is reaped here or, if it does not end at once, as any child of ours."""
    pidfds.send(starting.pidfd, signal.SIGKILL)
    pidfds.wait(starting.pidfd, _FAREWELL)
    _close_all([starting.status_fd, starting.pidfd, starting.stdout_fd, starting.stderr_fd])


def _fork(recipe: Recipe, descriptors: tuple[int, int, int, int]) -> tuple[int, int]:
    handled = dispositions.changed()
    # Blocked until the child has reset their dispositions: a handler of ours must not run in it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _be_child(recipe, descriptors, handled)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # our child, not waited for yet: the number is still its own
        os.waitpid(pid, 0)
        raise


# ── in the child ─────────────────────────────────────────────────────────────────────────────────────────────────


def _be_child(recipe: Recipe, descriptors: tuple[int, int, int, int], handled: list[int]) -> NoReturn:
    """Set up and exec; whatever happens, never return into the keeper's code."""
    step = _Step(descriptors[3])
    try:
        _place_descriptors(descriptors, step)
        _reset_signals(handled, step)
        _set_resources(recipe, step)
        _become(recipe, step)
        if recipe.no_new_privs:
            step.name = "no_new_privs"
            pidfds.forbid_new_privileges()
        step.name = f"exec {recipe.program}"
        os.execve(recipe.program, recipe.arguments, recipe.environment)  # noqa: S606  no shell is meant
    except BaseException as error:  # noqa: BLE001  the child must end here, and say why
        step.report(error)
    finally:
        os._exit(127)


class _Step:
    """What the child is doing, for its last message."""

    def __init__(self, status_fd: int) -> None:
        self.name = "setsid"
        self.status_fd = status_fd

    def report(self, error: BaseException) -> None:
        os.write(self.status_fd, f"{self.name}\0{_text(error)}".encode(errors="replace")[:_MAX_STATUS])


def _place_descriptors(descriptors: tuple[int, int, int, int], step: _Step) -> None:
    os.setsid()
    step.name = "descriptors"
    if min(descriptors) <= _STATUS:  # one would be overwritten by another
        lifted = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _STATUS + 1) for number in descriptors]
    else:
        lifted = list(descriptors)
    for target, number in enumerate(lifted[:3]):
        os.dup2(number, target)
    os.dup2(lifted[3], _STATUS, inheritable=False)
    step.status_fd = _STATUS
    os.closerange(_STATUS + 1, _LAST_DESCRIPTOR)


def _reset_signals(handled: list[int], step: _Step) -> None:
    step.name = "signals"
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as mod_fastcgi promises its applications
    dispositions.reset(number for number in handled if number != signal.SIGPIPE)


def _set_resources(recipe: Recipe, step: _Step) -> None:
    step.name = f"oom_score_adj {recipe.oom_score_adjust}"
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, b"%d" % recipe.oom_score_adjust)
        os.close(descriptor)
    except OSError:
        if recipe.oom_score_adjust:  # 0 asks for nothing in particular: what was inherited may stay
            raise
    step.name = "umask"
    os.umask(recipe.umask)
    step.name = f"setpriority {recipe.priority}"
    try:
        os.setpriority(os.PRIO_PROCESS, 0, recipe.priority)
    except OSError:
        if recipe.priority:
            raise
    for limit in recipe.limits:
        step.name = f"setrlimit {limit.name}"
        resource.setrlimit(limit.resource, (limit.soft, limit.hard))


def _become(recipe: Recipe, step: _Step) -> None:
    if recipe.chroot is not None:
        step.name = f"chroot {recipe.chroot}"
        os.chroot(recipe.chroot)
        os.chdir("/")
    if recipe.directory_first:
        step.name = f"chdir {recipe.directory}"
        os.chdir(recipe.directory)
    become = recipe.become
    if os.geteuid() == 0:
        step.name = f"setgroups of {become.user}"
        os.setgroups(become.groups)
    step.name = f"setgid {become.group}"
    os.setresgid(become.gid, become.gid, become.gid)
    step.name = f"setuid {become.user}"
    os.setresuid(become.uid, become.uid, become.uid)
    if not recipe.directory_first:
        step.name = f"chdir {recipe.directory}"
        os.chdir(recipe.directory)


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, ValueError):
        return str(error)  # what setrlimit raises, with a text of its own
    return repr(error)


def _close_all(descriptors: list[int]) -> None:
    for number in descriptors:
        os.close(number)
