"""Processes by descriptor."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess

import pytest
from harness.waiting import readable, until

from fcgipm.linux import pidfd, procfs


def child(code: int | None = None) -> tuple[int, int]:
    """Return (pid, pidfd) of a child that exits with *code*, or waits for a signal."""
    pid = os.fork()
    if pid == 0:
        while code is None:
            signal.pause()
        os._exit(code)
    return pid, pidfd.open_process(pid)


def test_end_by_itself() -> None:
    _, descriptor = child(3)
    readable(descriptor)
    assert pidfd.has_ended(descriptor)
    assert pidfd.reap(descriptor) == pidfd.Ended(3, None, dumped=False)
    os.close(descriptor)


def test_end_by_signal_and_a_stop_is_none() -> None:
    pid, descriptor = child()
    assert pidfd.send(descriptor, signal.SIGSTOP)
    until(lambda: procfs.stat(pid).state == "T")
    assert not pidfd.has_ended(descriptor)
    assert pidfd.reap(descriptor) is None
    assert pidfd.send(descriptor, signal.SIGKILL)
    readable(descriptor)
    assert pidfd.has_ended(descriptor)
    assert pidfd.reap(descriptor, block=True) == pidfd.Ended(None, signal.SIGKILL, dumped=False)
    assert not pidfd.send(descriptor, signal.SIGKILL), "there is nobody to send it to"
    os.close(descriptor)


def test_somebody_elses_child() -> None:
    descriptor = pidfd.open_process(os.getppid())
    try:
        with pytest.raises(ChildProcessError):
            pidfd.reap(descriptor)
    finally:
        os.close(descriptor)


def test_nobody_there() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        pass
    with pytest.raises(ProcessLookupError):
        pidfd.open_process(process.pid)


def test_descriptor_of_another_process() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        _, descriptor = child()
        try:
            copy = pidfd.take_descriptor(descriptor, sock.fileno())
            assert os.fstat(copy).st_ino == os.fstat(sock.fileno()).st_ino
            assert fcntl.fcntl(copy, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
            os.close(copy)
            with pytest.raises(OSError, match="Bad file descriptor") as caught:
                pidfd.take_descriptor(descriptor, 1 << 20)
            assert caught.value.errno == errno.EBADF
        finally:
            pidfd.send(descriptor, signal.SIGKILL)
            pidfd.reap(descriptor, block=True)
            os.close(descriptor)


def test_subreaper() -> None:
    """An orphan's end can be waited for by an ancestor that asked for it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            pidfd.become_subreaper()
            if os.fork() == 0:
                os.fork() or os._exit(7)
                os._exit(0)
            status = 0 if sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2)) == [0, 7] else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
