"""What /proc says of processes that we made."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from harness.waiting import until

from fcgipm.linux import procfs


def test_own_stat() -> None:
    found = procfs.stat(os.getpid())
    assert (found.pid, found.parent, found.session) == (os.getpid(), os.getppid(), os.getsid(0))
    assert found.started > 0


@pytest.mark.parametrize("name", ["(", ")", ") S 1 (", "a b", "x\ny"])
def test_name_of_the_program_does_not_confuse(place: Path, name: str) -> None:
    program = place / name
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "60"]) as process:
        until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == name + "\n")
        found = procfs.stat(process.pid)
        assert (found.parent, found.session) == (os.getpid(), os.getsid(0))
        process.kill()


def test_nobody_there() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        pass
    for ask in (procfs.stat, procfs.tasks, procfs.descriptors, procfs.living_task):
        with pytest.raises((FileNotFoundError, ProcessLookupError)):
            ask(process.pid)


def test_zombie() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    until(lambda: procfs.stat(pid).state == "Z")
    assert procfs.living_task(pid) is None
    assert procfs.descriptors(pid) == {}
    os.waitpid(pid, 0)


def test_children_of_all_threads() -> None:
    pids: list[int] = []
    done = threading.Event()

    def work() -> None:
        pids.append(os.posix_spawn("/bin/sleep", ["sleep", "99"], {}))
        done.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        until(lambda: pids)
        pids.append(os.posix_spawn("/bin/sleep", ["sleep", "99"], {}))
        assert procfs.tells_children()
        assert set(pids) <= set(procfs.children(os.getpid()))
    finally:
        done.set()
        thread.join()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert not set(pids) & set(procfs.children(os.getpid()))
    assert procfs.children(pids[0]) == []


def test_descriptors() -> None:
    with socket.socket() as sock:
        inode = os.fstat(sock.fileno()).st_ino
        link = procfs.descriptors(os.getpid())[sock.fileno()]
        assert link == procfs.descriptor(os.getpid(), os.getpid(), sock.fileno())
        assert procfs.socket_inode(link) == inode
        number = sock.fileno()
    assert procfs.descriptor(os.getpid(), os.getpid(), number) is None
    assert procfs.socket_inode(None) is procfs.socket_inode("pipe:[1]") is None


def test_epoll() -> None:
    with socket.socket() as one, socket.socket() as two, select.epoll() as epoll:
        epoll.register(one, select.EPOLLIN)
        epoll.register(two, select.EPOLLOUT)
        watched = procfs.watched_for_input(os.getpid(), os.getpid(), epoll.fileno())
        assert watched == {os.fstat(one.fileno()).st_ino}


def test_status_bits() -> None:
    assert procfs.status_bits(b"SigIgn") >> (signal.SIGPIPE - 1) & 1, "Python ignores it"
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert procfs.status_bits(b"SigIgn", b"SigCgt") >> (signal.SIGUSR2 - 1) & 1
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_memory_that_is_not_there() -> None:
    with pytest.raises(OSError, match="Input/output error"):
        procfs.memory(os.getpid(), 0, 8)
    assert procfs.selected(os.getpid(), 0, 8) == set()
