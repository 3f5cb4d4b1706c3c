"""What an instance finds: proof from inside the child."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.components import absent, need
from harness.instances import Stage, identity, python, read_line, recipe
from harness.waiting import readable, until

from fcgipm.keeper.instances import spawn
from fcgipm.keeper.instances.recipe import Limit, wrapper_arguments
from fcgipm.keeper.instances.spawn import SpawnError
from fcgipm.linux import dispositions, pidfd, procfs
from fcgipm.linux.rlimits import LIMIT_NUMBERS

PROBE = """
import json, os, resource, stat
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
descriptors = {}
for number in range(64):
    try:
        descriptors[number] = stat.S_IFMT(os.fstat(number).st_mode)
    except OSError:
        pass
print(json.dumps({
    "environment": {k.decode(): v.decode() for k, v in
                    (p.split(b"=", 1) for p in open("/proc/self/environ", "rb").read().split(b"\\0") if p)},
    "descriptors": descriptors,
    "zero": os.fstat(0).st_ino,
    "flags": {number: os.get_blocking(number) for number in range(3)},
    "ignored": int(status["SigIgn"], 16),
    "blocked": int(status["SigBlk"], 16),
    "session": os.getsid(0), "pid": os.getpid(), "group": os.getpgid(0),
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": sorted(os.getgroups()),
    "cwd": os.getcwd(), "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "umask": os.umask(0), "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "oom": int(open("/proc/self/oom_score_adj").read()),
    "no_new_privs": int(status["NoNewPrivs"]),
    "dumpable": os.access("/proc/self/mem", os.R_OK),
}))
with open("/dev/stderr", "w") as again:
    again.write("stderr can be opened")
"""
# In the C locale Python sets LC_CTYPE for itself; what the kernel was given is in /proc/self/environ.


@pytest.fixture
def stage(place: Path) -> Iterator[Stage]:
    with Stage.unix(place / "s") as stage:
        yield stage


def inside(stage: Stage, **changes: Any) -> dict[str, Any]:
    """Return what the probe says of itself."""
    ended, stdout, stderr = stage.reap(stage.start(recipe(*python(PROBE), **changes)))
    assert (ended.code, stderr) == (0, b"stderr can be opened")
    result: dict[str, Any] = json.loads(stdout)
    return result


def test_environment_is_exactly_the_configured_one(stage: Stage) -> None:
    environment = {"A": "1", "EMPTY": "", "UMLAUT": "ä", "WITH": "a=b"}
    assert inside(stage, environment=environment)["environment"] == environment
    assert inside(stage, environment={})["environment"] == {}


def test_descriptors_are_the_listener_and_two_pipes(stage: Stage) -> None:
    seen = inside(stage)
    kinds = {int(number): kind for number, kind in seen["descriptors"].items()}
    assert kinds == {0: stat.S_IFSOCK, 1: stat.S_IFIFO, 2: stat.S_IFIFO}
    assert seen["zero"] == stage.endpoint.inode
    assert seen["flags"] == {"0": True, "1": True, "2": True}, "all must be blocking"


def test_nothing_inheritable_leaks(stage: Stage) -> None:
    number = os.open("/dev/null", os.O_RDONLY)
    try:
        os.set_inheritable(number, True)
        os.dup2(number, 60)
        assert sorted(inside(stage)["descriptors"]) == ["0", "1", "2"]
    finally:
        os.close(number)
        os.close(60)


@pytest.mark.parametrize("low", [0, 1, 2, 3])
def test_listener_may_have_any_descriptor(stage: Stage, place: Path, low: int) -> None:
    """A keeper that was started with closed standard descriptors has its sockets and pipes there."""
    found = place / "found"
    keeper = os.fork()
    if keeper == 0:
        try:
            os.dup2(stage.listener.fileno(), low)
            for number in set(map(int, os.listdir("/proc/self/fd"))) - {low}:
                with contextlib.suppress(OSError):
                    os.close(number)
            starting = spawn.begin(recipe(*python(PROBE)), low)
            spawn.finish(starting)
            found.write_bytes(read_line(starting.stdout_fd))
            pidfd.reap(starting.pidfd, block=True)
        finally:
            os._exit(0)
    os.waitpid(keeper, 0)
    seen = json.loads(found.read_bytes())
    assert seen["zero"] == stage.endpoint.inode
    assert sorted(seen["descriptors"]) == ["0", "1", "2"]


def test_signals_are_default_but_pipe(stage: Stage) -> None:
    """Whatever the daemon ignores, handles or blocks."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGXFSZ)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, lambda *_: None)
        seen = inside(stage)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask | {signal.SIGTERM, signal.SIGCHLD}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    # The probe is Python, which ignores SIGPIPE and SIGXFSZ itself: see the next test for these.
    assert seen["ignored"] == 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    assert seen["blocked"] == 0


def test_ignored_signals_of_a_program_without_opinion(stage: Stage) -> None:
    _, stdout, _ = stage.reap(stage.start(recipe("/bin/cat", "/proc/self/status")))
    lines = dict(line.split(":\t", 1) for line in stdout.decode().splitlines())
    assert int(lines["SigIgn"], 16) == 1 << (signal.SIGPIPE - 1)
    assert int(lines["SigCgt"], 16) == 0
    assert int(lines["SigBlk"], 16) == 0


@pytest.fixture
def ignoring_what_the_c_library_hides() -> Iterator[None]:
    """Ignore signals 32 and 33, as GNU make lets its children."""
    call = dispositions._SYS_RT_SIGACTION[os.uname().machine]
    libc = ctypes.CDLL(None)
    ignore, before = ctypes.create_string_buffer(b"\1" + bytes(63), 64), ctypes.create_string_buffer(64)
    for number in (32, 33):
        assert libc.syscall(call, number, ignore, before, ctypes.c_size_t(8)) == 0
    yield
    for number in (32, 33):
        assert libc.syscall(call, number, before, None, ctypes.c_size_t(8)) == 0


@pytest.mark.usefixtures("ignoring_what_the_c_library_hides")
def test_signals_that_the_c_library_hides_are_default_too(stage: Stage) -> None:
    assert {32, 33} <= set(dispositions.changed())
    _, stdout, _ = stage.reap(stage.start(recipe("/bin/cat", "/proc/self/status")))
    lines = dict(line.split(":\t", 1) for line in stdout.decode().splitlines())
    assert int(lines["SigIgn"], 16) == 1 << (signal.SIGPIPE - 1)


def test_signal_that_arrives_before_the_exec_is_obeyed(stage: Stage) -> None:
    """It acts by default; nothing of the daemon's handlers runs in the child."""
    caught = []
    before = signal.signal(signal.SIGUSR2, lambda *_: caught.append(os.getpid()))
    try:
        starting = spawn.begin(recipe("/bin/sleep", "60"), stage.listener.fileno())
        os.kill(starting.pid, signal.SIGUSR2)
        spawn.finish(starting)
        ended = pidfd.reap(starting.pidfd, block=True)
    finally:
        signal.signal(signal.SIGUSR2, before)
    for number in (starting.stdout_fd, starting.stderr_fd, starting.pidfd):
        os.close(number)
    assert ended is not None
    assert ended.signal == signal.SIGUSR2
    assert caught == []


def test_own_session(stage: Stage) -> None:
    seen = inside(stage)
    assert seen["session"] == seen["group"] == seen["pid"]


def test_directory_umask_priority_limits(stage: Stage, place: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = (
        Limit("nofile", LIMIT_NUMBERS["nofile"], 200, hard),
        Limit("nofile", LIMIT_NUMBERS["nofile"], 100, 100),
        Limit("core", LIMIT_NUMBERS["core"], 0, 0),
    )
    nice = os.getpriority(os.PRIO_PROCESS, 0) + 3
    seen = inside(
        stage, directory=str(place), umask=0o027, priority=nice, limits=limits, oom_score_adjust=500, no_new_privs=True
    )
    assert seen["cwd"] == str(place)
    assert seen["umask"] == 0o027
    assert seen["nice"] == nice
    assert seen["nofile"] == [100, 100]
    assert seen["core"] == [0, 0]
    assert seen["oom"] == 500
    assert seen["no_new_privs"] == 1
    assert inside(stage)["no_new_privs"] == 0
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard), "the daemon's own limits must stay"


@pytest.mark.root
def test_identity(stage: Stage) -> None:
    www = identity(33)
    seen = inside(stage, become=www, owner=www.uid)
    assert seen["uids"] == [33, 33, 33]
    assert seen["gids"] == [www.gid] * 3
    assert seen["groups"] == sorted(www.groups)


@pytest.mark.root
def test_chroot(stage: Stage, place: Path) -> None:
    """Program and directory are inside it."""
    (place / "inner").mkdir()
    program = place / "probe"
    build_static(program)
    ended, stdout, _ = stage.reap(
        stage.start(recipe("/probe", chroot=str(place), directory="/inner", become=identity(33)))
    )
    assert ended.code == 0
    assert stdout == b"/inner\n"


def build_static(program: Path) -> None:
    """Make a program that needs no libraries and prints its working directory."""
    code = "#include <stdio.h>\n#include <unistd.h>\nint main(void) { char b[99]; puts(getcwd(b, 99)); return 0; }\n"
    subprocess.run(
        [need("gcc"), "-static", "-x", "c", "-", "-o", str(program)], input=code.encode(), check=True, timeout=60
    )


NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may do this")
FAILURES = [
    pytest.param({"program": "/nonexistent"}, "exec /nonexistent", "No such file or directory", id="exec"),
    pytest.param({"program": "/etc/passwd"}, "exec /etc/passwd", "Permission denied", id="exec-mode"),
    pytest.param({"directory": "/nonexistent"}, "chdir /nonexistent", "No such file or directory", id="chdir"),
    pytest.param(
        {"limits": (Limit("nofile", LIMIT_NUMBERS["nofile"], 2**40, 2**40),)},
        "setrlimit nofile",
        "not allowed to raise maximum limit",
        id="rlimit",
    ),
    pytest.param({"oom_score_adjust": 2000}, "oom_score_adj 2000", "Invalid argument", id="oom"),
    pytest.param({"chroot": "/nonexistent"}, "chroot /nonexistent", None, id="chroot"),
    pytest.param({"priority": -20}, "setpriority -20", "Permission denied", id="priority", marks=NOT_ROOT),
    pytest.param({"become": identity(33)}, "setgid www-data", "Operation not permitted", id="gid", marks=NOT_ROOT),
    pytest.param(
        {"directory": "/root", "become": identity(33), "owner": 33},
        "chdir /root",
        "Permission denied",
        id="chdir-as-user",
        marks=pytest.mark.root,
    ),
]


@pytest.mark.parametrize(("changes", "step", "error"), FAILURES)
def test_failing_step_is_named(stage: Stage, changes: dict[str, Any], step: str, error: str | None) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    starting = spawn.begin(recipe("/bin/true", **changes), stage.listener.fileno())
    with pytest.raises(SpawnError) as caught:
        spawn.finish(starting)
    assert caught.value.step == step
    assert error in {None, caught.value.error}
    assert str(caught.value) == f"{step}: {caught.value.error}"
    assert not Path(f"/proc/{starting.pid}").exists(), "the child must be reaped"
    assert sorted(os.listdir("/proc/self/fd")) == before, "descriptors are left open"


def test_script_without_interpreter(stage: Stage, place: Path) -> None:
    script = place / "script"
    script.write_text("echo hello\n")
    script.chmod(0o755)
    starting = spawn.begin(recipe(str(script)), stage.listener.fileno())
    with pytest.raises(SpawnError, match=r"script: Exec format error$"):
        spawn.finish(starting)


def test_no_descriptor_left_is_reported(stage: Stage) -> None:
    what = recipe("/bin/true")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = sorted(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(SpawnError, match=r"^pipe: Too many open files$"):
            spawn.begin(what, stage.listener.fileno())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_listener_flags_are_untouched(stage: Stage) -> None:
    """They belong to all that share the socket: non-blocking, libfcgi's programs would exit."""
    before = fcntl.fcntl(stage.listener, fcntl.F_GETFL)
    stage.reap(stage.start(recipe("/bin/true")))
    assert fcntl.fcntl(stage.listener, fcntl.F_GETFL) == before
    assert not before & os.O_NONBLOCK


@pytest.mark.root
def test_wrapper_runs_as_web_user_in_the_programs_directory(stage: Stage, place: Path) -> None:
    """The directory is entered before: the web server's user may be unable to."""
    locked = place / "locked"
    locked.mkdir(mode=0o700)
    wrapper = place / "wrapper"
    wrapper.write_text('#!/bin/sh\nid -u; echo "$@"; /bin/pwd\n')
    wrapper.chmod(0o755)
    what = recipe(str(wrapper), "blog", "blog", "app", become=identity(33), directory=str(locked), directory_first=True)
    _, stdout, _ = stage.reap(stage.start(what))
    assert stdout.decode().splitlines()[:2] == ["33", "blog blog app"]


@pytest.mark.root
@pytest.mark.needs("suexec")
def test_real_suexec(stage: Stage) -> None:
    """It takes names and the program's own name, in the program's directory, below its document root."""
    suexec = need("suexec")
    configuration = Path("/etc/apache2/suexec/www-data")
    if not configuration.exists():
        absent("suexec is not configured for www-data")
    root = configuration.read_text().splitlines()[0]
    nobody = identity(65534)
    with tempfile.TemporaryDirectory(dir=root) as name:
        directory = Path(name)
        program = directory / "app"
        program.write_text("#!/bin/sh\nid -un; readlink /proc/$$/fd/0; /bin/pwd; echo $HTTP_OWN$OWN; echo here >&2\n")
        for path, mode in ((directory, 0o755), (program, 0o755)):
            os.chown(path, nobody.uid, nobody.gid)
            path.chmod(mode)
        what = recipe(
            *wrapper_arguments(suexec, (str(program),), nobody),
            become=identity(33),
            owner=nobody.uid,
            directory=name,
            directory_first=True,
            environment={"HTTP_OWN": "passes", "OWN": "does not"},
        )
        ended, stdout, stderr = stage.reap(stage.start(what))
    assert (ended.code, stderr) == (0, b"here\n")
    assert stdout.decode().splitlines() == ["nobody", f"socket:[{stage.endpoint.inode}]", name, "passes"]


def test_rate_is_bounded(stage: Stage) -> None:
    """Forty starts, one after another, in far less than a tenth of a second each, and nothing stays."""
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(40):
        ended, _, _ = stage.reap(stage.start(recipe("/bin/true")))
        assert ended.code == 0
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_ended_tells_code_and_signal(stage: Stage) -> None:
    ended, _, _ = stage.reap(stage.start(recipe("/bin/sh", "-c", "exit 7")))
    assert (ended.code, ended.signal, ended.dumped) == (7, None, False)
    ended, _, _ = stage.reap(stage.start(recipe("/bin/sh", "-c", "kill -KILL $$")))
    assert (ended.code, ended.signal, ended.dumped) == (None, signal.SIGKILL, False)


def test_tcp_listener() -> None:
    with Stage.tcp() as stage:
        assert inside(stage)["zero"] == os.fstat(stage.listener.fileno()).st_ino
        assert stage.listener.family == socket.AF_INET


def test_one_that_is_held_executes_nothing_before_its_parent_says_so(stage: Stage, place: Path) -> None:
    mark = place / "mark"
    place.chmod(0o777)
    starting = spawn.begin(recipe("/usr/bin/touch", str(mark)), stage.listener.fileno(), held=True)
    until(lambda: procfs.stat(starting.pid).state == "S", what="it waits")
    assert not procfs.stat(starting.pid).executed

    spawn.release(starting)
    readable(starting.status_fd)
    spawn.finish(starting)
    assert pidfd.wait(starting.pidfd, 10_000) == pidfd.Ended(0, None, dumped=False)
    assert mark.exists()
    for descriptor in (starting.stdout_fd, starting.stderr_fd, starting.pidfd):
        os.close(descriptor)


def test_one_that_is_held_ends_where_its_parent_does(stage: Stage, place: Path) -> None:
    mark = place / "mark"
    place.chmod(0o777)
    starting = spawn.begin(recipe("/usr/bin/touch", str(mark)), stage.listener.fileno(), held=True)

    os.close(starting.status_fd)  # as at the end of a process
    assert pidfd.wait(starting.pidfd, 10_000) is not None
    assert not mark.exists()
    for descriptor in (starting.stdout_fd, starting.stderr_fd, starting.pidfd):
        os.close(descriptor)


def test_one_that_is_killed_while_it_is_held_is_told_by_its_end(stage: Stage) -> None:
    starting = spawn.begin(recipe("/bin/true"), stage.listener.fileno(), held=True)
    os.kill(starting.pid, signal.SIGSTOP)
    until(lambda: procfs.stat(starting.pid).state == "T", what="it stands still")
    spawn.release(starting)
    os.kill(starting.pid, signal.SIGKILL)
    readable(starting.status_fd)

    spawn.finish(starting)
    assert pidfd.wait(starting.pidfd, 10_000) == pidfd.Ended(None, signal.SIGKILL, dumped=False)
    for descriptor in (starting.stdout_fd, starting.stderr_fd, starting.pidfd):
        os.close(descriptor)
