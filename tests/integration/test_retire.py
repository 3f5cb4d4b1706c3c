"""An instance is removed only when it serves nobody, and goes on when it is not."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.components import absent
from harness.identity import as_nobody
from harness.instances import Instance, Stage, identity, read_line, recipe
from harness.load import ROOT
from harness.programs import VFORK, WAITERS, compiled, waiting
from harness.waiting import ended, until

from fcgipm.keeper.instances import retire, session
from fcgipm.keeper.instances.readiness import Look
from fcgipm.keeper.instances.retire import Result, cut, try_removal
from fcgipm.linux import procfs
from fcgipm.linux.sock_diag import Diag

SERVES = "c, _ = s.accept(); said(); c.recv(1); c.close(); s.accept()"
"""Serves one connection until its client says something."""


@pytest.fixture(params=["unix", "tcp"])
def stage(request: pytest.FixtureRequest, place: Path) -> Iterator[Stage]:
    with Stage.unix(place / "s") if request.param == "unix" else Stage.tcp() as stage:
        yield stage


@pytest.fixture
def unix(place: Path) -> Iterator[Stage]:
    with Stage.unix(place / "s") as stage:
        yield stage


def attempt(
    stage: Stage,
    instance: Instance,
    *,
    published: bool = True,
    last: bool = False,
    asked: bool = False,
    stop_signal: int = signal.SIGTERM,
    is_leader: session.IsLeader | None = None,
    tries: int = 20,
) -> Result:
    """Try to remove *instance*; again only where the machine was too busy to let it stand still in time."""
    for _ in range(tries):
        result = try_removal(
            instance.process, stage.endpoint, published=published, last=last, asked=asked, stop_signal=stop_signal,
            is_leader=is_leader,
        )  # fmt: skip
        if result is not Result.UNSTOPPABLE:
            return result
    return Result.UNSTOPPABLE


def none_stopped(instance: Instance) -> bool:
    return all(process.state != "T" for process in session.members(instance.pid))


def test_idle_is_killed(stage: Stage) -> None:
    instance = stage.start_ready(recipe(*waiting(WAITERS["accept"])))
    assert attempt(stage, instance) is Result.KILLED
    assert stage.reap(instance)[0].signal == signal.SIGKILL


@pytest.mark.parametrize("how", ["accept", "poll", "epoll", "a thread", "a child"])
def test_busy_is_spared_and_goes_on(stage: Stage, how: str) -> None:
    serves = {
        "accept": SERVES,
        "poll": "s.settimeout(99); " + SERVES,
        "epoll": "e = select.epoll(); e.register(s); e.poll(); " + SERVES,
        "a thread": f"import threading\ndef work():\n  {SERVES}\nthreading.Thread(target=work).start()",
        "a child": f"pid = os.fork()\nif pid: os.waitpid(pid, 0)\nelse:\n  {SERVES}",
    }
    instance = stage.start_ready(recipe(*waiting(serves[how])))
    with stage.connect() as client:
        assert read_line(instance.stdout) == b"here\n"
        assert attempt(stage, instance) is Result.BUSY
        assert attempt(stage, instance, published=False, last=True, asked=True) is Result.BUSY
        until(lambda: none_stopped(instance))
        client.sendall(b"x")
        assert client.recv(1) == b"", "it went on, and has closed"
    stage.wait_for(instance, Look.ACCEPTING)
    assert attempt(stage, instance) is Result.KILLED
    stage.reap(instance)


def test_client_that_went_away_leaves_the_instance_busy(stage: Stage) -> None:
    instance = stage.start_ready(recipe(*waiting("c, _ = s.accept(); said(); time.sleep(100)")))
    with stage.connect():
        read_line(instance.stdout)
    assert attempt(stage, instance) is Result.BUSY


def test_other_connections_do_not_matter(stage: Stage, place: Path) -> None:
    """Neither one to a database nor the listener of its own that a program may have."""
    with Stage.unix(place / "d") as database, Stage.tcp() as other:
        code = (
            "d = socket.socket(socket.AF_UNIX); d.connect(sys.argv[1]); t = socket.create_connection(('127.0.0.1', "
            "int(sys.argv[2]))); u = socket.socket(type=socket.SOCK_DGRAM); "
            "o = socket.create_server(('127.0.0.1', 0)); "
            "n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW); s.accept()"
        )
        where = (str(place / "d"), str(other.endpoint.port))
        instance = stage.start_ready(recipe(*waiting(code), *where))
        with database.listener.accept()[0], other.listener.accept()[0]:
            assert attempt(stage, instance) is Result.KILLED
        stage.reap(instance)


def test_connection_inherited_by_a_background_job_counts(stage: Stage) -> None:
    code = "c, _ = s.accept(); os.set_inheritable(c.fileno(), True); os.posix_spawn('/bin/sleep', ['sleep', '99'], {}, "
    code += "setsid=True); c.close(); said(); s.accept()"
    instance = stage.start_ready(recipe(*waiting(code)))
    with stage.connect():
        assert read_line(instance.stdout) == b"here\n"
        until(lambda: any(process.session != instance.pid for process in session.members(instance.pid)))
        assert attempt(stage, instance) is Result.BUSY


def test_child_that_left_the_session_goes_too(stage: Stage) -> None:
    instance = stage.start(recipe(*waiting(WAITERS["a child with a session of its own"])))
    stage.wait_for(instance, Look.ACCEPTING)
    pids = [process.pid for process in session.members(instance.pid)]
    assert len(pids) == 2
    assert attempt(stage, instance) is Result.KILLED
    for pid in pids:
        ended(pid)
    stage.reap(instance)


LEAVES = (
    "pid = os.fork()\nif not pid:\n  {first}\n  os.fork() and os._exit(0)\n  {then}\n  said()\n  s.accept()\n"
    "os.waitpid(pid, 0)\ns.accept()"
)


@pytest.mark.usefixtures("subreaper")
@pytest.mark.parametrize(("first", "then"), [("0", "0"), ("os.setsid()", "0"), ("0", "os.setsid()")])
def test_cheap_look_sees_what_the_thorough_one_sees(unix: Stage, first: str, then: str) -> None:
    """Orphans in the session included; one that has left the session is nobody's."""
    instance = unix.start(recipe(*waiting(LEAVES.format(first=first, then=then))))
    child = unix.start(recipe(*waiting("os.fork()\nsaid()\ns.accept()")))
    try:
        read_line(instance.stdout)
        unix.wait_for(instance, Look.ACCEPTING)
        read_line(child.stdout)
        until(lambda: len(session.members(child.pid)) == 2)
        leaders = {instance.pid, child.pid}
        until(lambda: len(list(session.orphans(leaders.__contains__))) == 1, what="its parent has ended")
        until(lambda: not [one for one in session.members(instance.pid) if one.state == "Z"], what="and is reaped")
        for one in (instance, child):
            thorough = {stat.pid for stat in session.members(one.pid)}
            assert {stat.pid for stat in session.members(one.pid, leaders.__contains__)} == thorough
        (orphan,) = session.orphans(leaders.__contains__)
        assert (orphan.pid in {stat.pid for stat in session.members(instance.pid)}) is (first == then)
    finally:
        for stat in session.orphans({instance.pid, child.pid}.__contains__):
            os.kill(stat.pid, signal.SIGKILL)
            os.waitpid(stat.pid, 0)


@pytest.mark.usefixtures("subreaper")
def test_orphan_in_the_session_that_serves_makes_it_busy(unix: Stage) -> None:
    code = (
        "pid = os.fork()\nif not pid:\n  os.fork() and os._exit(0)\n  c, _ = s.accept()\n  said()\n  c.recv(1)\n"
        "  time.sleep(100)\nos.waitpid(pid, 0)\ntime.sleep(100)"
    )
    instance = unix.start_ready(recipe(*waiting(code)))
    with unix.connect():
        read_line(instance.stdout)
        assert attempt(unix, instance, is_leader={instance.pid}.__contains__) is Result.BUSY
    (orphan,) = session.orphans({instance.pid}.__contains__)
    os.kill(orphan.pid, signal.SIGKILL)
    os.waitpid(orphan.pid, 0)


def test_what_visibly_serves_is_not_even_stopped(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = stage.start_ready(recipe(*waiting(SERVES)))
    monkeypatch.setattr(retire._Frozen, "freeze", lambda *_: pytest.fail("it was stopped"))
    with stage.connect():
        read_line(instance.stdout)
        assert attempt(stage, instance) is Result.BUSY


def test_unpublished_is_asked_first(unix: Stage) -> None:
    code = "signal.signal(signal.SIGTERM, lambda *_: said()); said()\nwhile True: s.accept()"
    instance = unix.start(recipe(*waiting(code)))
    assert read_line(instance.stdout) == b"here\n"
    unix.wait_for(instance, Look.ACCEPTING)
    assert attempt(unix, instance, published=False, last=True) is Result.ASKED
    assert read_line(instance.stdout) == b"here\n", "it got its signal"
    unix.wait_for(instance, Look.ACCEPTING)
    assert attempt(unix, instance, published=False, last=True, asked=True) is Result.KILLED
    assert unix.reap(instance)[0].signal == signal.SIGKILL


def test_all_of_a_session_are_asked_with_the_signal_that_is_configured(unix: Stage) -> None:
    code = (
        "signal.signal(signal.SIGUSR1, lambda *_: (os.write(1, b'%d\\n' % os.getpid()), os._exit(0)))\n"
        "pid = os.fork()\nif pid: os.waitpid(pid, 0)\ns.accept()"
    )
    instance = unix.start_ready(recipe(*waiting(code)))
    pids = {process.pid for process in session.members(instance.pid)}
    assert attempt(unix, instance, published=False, last=True, stop_signal=signal.SIGUSR1) is Result.ASKED
    for pid in pids:
        ended(pid)  # the leader may be faster than its child
    _, output, _ = unix.reap(instance)
    assert {int(word) for word in output.split()} == pids


def test_last_one_stays_while_somebody_waits(unix: Stage) -> None:
    """On an unpublished listener nobody else would serve them."""
    instance = unix.start_ready(
        recipe(*waiting("p = select.poll(); p.register(s, select.POLLIN); p.poll(); said(); time.sleep(99)"))
    )
    with unix.connect():
        read_line(instance.stdout)
        assert attempt(unix, instance, published=False, last=True) is Result.QUEUE
        assert attempt(unix, instance, published=False, last=True, asked=True) is Result.QUEUE
        assert none_stopped(instance)
        # Asked, it could take a visitor on its way out; frozen and killed, it cannot.
        assert attempt(unix, instance, published=False, last=False) is Result.KILLED
        unix.reap(instance)


def test_gone(stage: Stage) -> None:
    instance = stage.start(recipe("/bin/true"))
    ended(instance.pid)
    assert attempt(stage, instance) is Result.GONE
    assert cut(instance.process, stage.endpoint) == 0


def test_vfork_cannot_be_frozen(stage: Stage, place: Path) -> None:
    instance = stage.start(recipe(str(compiled(VFORK, place / "vfork"))))
    assert read_line(instance.stdout) == b"child\n"
    begun = time.monotonic()
    assert attempt(stage, instance, tries=1) is Result.UNSTOPPABLE
    assert time.monotonic() - begun < 5
    until(lambda: none_stopped(instance))
    assert len(session.members(instance.pid)) == 2
    assert cut(instance.process, stage.endpoint) == 0
    assert stage.reap(instance)[0].signal == signal.SIGKILL


def test_holder_of_a_lock_is_not_frozen(stage: Stage, place: Path) -> None:
    path = place / "lock"
    code = "import fcntl; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); said(); s.accept()"
    instance = stage.start_ready(recipe(*waiting(code), str(path)))
    waiter = os.fork()
    if waiter == 0:
        fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
        os._exit(0)
    try:
        until(lambda: (instance.pid, waiter) in procfs.awaited_locks())
        assert attempt(stage, instance) is Result.LOCK
    finally:
        os.kill(waiter, signal.SIGKILL)
        os.waitpid(waiter, 0)
    assert attempt(stage, instance) is Result.KILLED
    stage.reap(instance)


def test_lock_among_its_own_processes_is_no_reason(unix: Stage, place: Path) -> None:
    code = (
        "import fcntl; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX)\n"
        "if os.fork(): s.accept()\nfcntl.lockf(f, fcntl.LOCK_EX)"
    )
    instance = unix.start_ready(recipe(*waiting(code), str(place / "lock")))
    until(lambda: any(holder == instance.pid for holder, _ in procfs.awaited_locks()))
    assert attempt(unix, instance) is Result.KILLED
    unix.reap(instance)


def test_cut_kills_all_and_counts(stage: Stage) -> None:
    code = "a, _ = s.accept(); b, _ = s.accept(); pid = os.fork(); said(); time.sleep(100)"
    instance = stage.start_ready(recipe(*waiting(code)))
    with stage.connect(), stage.connect():
        read_line(instance.stdout)
        until(lambda: len(session.members(instance.pid)) == 2)
        pids = [process.pid for process in session.members(instance.pid)]
        assert cut(instance.process, stage.endpoint) == 2
        for pid in pids:
            ended(pid)
    stage.reap(instance)


def test_cut_kills_without_a_free_descriptor(unix: Stage) -> None:
    instance = unix.start_ready(recipe(*waiting(WAITERS["accept"])))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        assert cut(instance.process, unix.endpoint) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert unix.reap(instance)[0].signal == signal.SIGKILL


def test_whatever_goes_wrong_it_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = stage.start_ready(recipe(*waiting(WAITERS["a child"])))

    def broken(*_: object) -> None:
        states = {process.state for process in session.members(instance.pid)}
        assert states == {"T"}, "all stand still for the look"
        raise ZeroDivisionError

    monkeypatch.setattr(retire, "use_of", broken)
    with pytest.raises(ZeroDivisionError):
        attempt(stage, instance)
    until(lambda: none_stopped(instance))
    stage.wait_for(instance, Look.ACCEPTING)


def test_nothing_is_left_open(stage: Stage) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for code in ("s.accept()", "c, _ = s.accept(); said(); c.recv(1)"):
        instance = stage.start_ready(recipe(*waiting(code)))
        if "recv" in code:
            with stage.connect():
                read_line(instance.stdout)
                assert attempt(stage, instance) is Result.BUSY
            stage.end(instance)
        else:
            assert attempt(stage, instance) is Result.KILLED
            stage.reap(instance)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_main_thread_that_ended_hides_nothing(unix: Stage, place: Path) -> None:
    """/proc shows no descriptors of such a process, only of its threads."""
    code = (
        "import ctypes, threading\ndef work():\n  c, _ = s.accept()\n  said()\n  c.recv(1)\n"
        "threading.Thread(target=work).start()\nctypes.CDLL(None).syscall(60, 0)"
    )
    if os.uname().machine != "x86_64":
        pytest.skip("the number of exit is that of x86-64")
    instance = unix.start_ready(recipe(*waiting(code)))
    until(lambda: procfs.stat(instance.pid).state == "Z")
    with unix.connect():
        read_line(instance.stdout)
        unix.wait_for(instance, Look.SERVING)
        assert attempt(unix, instance) is Result.BUSY


@pytest.mark.root
def test_client_in_another_network_name_space(unix: Stage) -> None:
    """The kernel's list does not have it; the instance's own descriptor tells."""
    instance = unix.start_ready(recipe(*waiting("c, _ = s.accept(); said(); c.recv(1)")))
    reader, writer = os.pipe()
    client = os.fork()
    if client == 0:
        try:
            assert ctypes.CDLL(None).unshare(0x40000000) == 0  # CLONE_NEWNET
            with unix.connect():
                os.close(writer)
                os.read(reader, 1)
        finally:
            os._exit(0)
    os.close(reader)
    try:
        assert read_line(instance.stdout) == b"here\n"
        with Diag() as diag:
            assert diag.accepted(unix.endpoint) == frozenset(), "else this test proves nothing"
        assert attempt(unix, instance) is Result.BUSY
        assert attempt(unix, instance, published=False, asked=True) is Result.BUSY
    finally:
        os.close(writer)
        os.waitpid(client, 0)


@pytest.mark.root
def test_what_cannot_be_looked_at_is_busy(unix: Stage) -> None:
    """As the user of the instance, to whom the kernel refuses a look at a program that cannot be read."""
    instance = unix.start_ready(
        recipe(*waiting("libc = __import__('ctypes').CDLL(None); libc.prctl(4, 0); s.accept()"), become=identity(65534))
    )
    assert as_nobody(lambda: attempt(unix, instance).value) == "busy"
    assert as_nobody(lambda: attempt(unix, instance, published=False).value) == "asked"
    assert unix.reap(instance)[0].signal == signal.SIGTERM


WITHOUT_PTRACE = """
import os, signal, sys
from pathlib import Path
from harness.instances import Stage, identity, read_line, recipe
from harness.programs import waiting
from fcgipm.keeper.instances.readiness import Look
from fcgipm.keeper.instances.retire import Result, cut, try_removal

def attempt():
    result = Result.UNSTOPPABLE
    while result is Result.UNSTOPPABLE:  # on a busy machine it may take longer until it stands still
        result = try_removal(
            instance.process, stage.endpoint, published=True, last=False, asked=False, stop_signal=signal.SIGTERM
        )
    return result.value

with Stage.unix(Path(sys.argv[1])) as stage:
    code = "c, _ = s.accept(); said(); c.recv(1); c.close(); s.accept()"
    for end in (attempt, lambda: cut(instance.process, stage.endpoint)):
        instance = stage.start(recipe(*waiting(code), become=identity(33), owner=33))
        stage.wait_for(instance, Look.ACCEPTING)
        try:
            os.readlink(f"/proc/{instance.pid}/fd/0")
        except PermissionError:
            print("refused")
        with stage.connect():
            read_line(instance.stdout)
            print(stage.look(instance).value, attempt())
            if end is not attempt:
                print(end())
        if end is attempt:
            stage.wait_for(instance, Look.ACCEPTING)
            print(end())
        stage.reap(instance)
"""


@pytest.mark.root
def test_root_without_the_right_to_trace(place: Path) -> None:
    """As in a container by default: the instance's own user is asked."""
    drop = shutil.which("setpriv")
    if drop is None:
        absent("setpriv is not installed")
    command = [drop, "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace", sys.executable, "-c", WITHOUT_PTRACE]
    done = subprocess.run(
        [*command, str(place / "s")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))},
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["refused", "serving", "busy", "killed", "refused", "serving", "busy", "1"]
