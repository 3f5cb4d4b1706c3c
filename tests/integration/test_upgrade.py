"""`fcgipmctl upgrade`: another program in the same process, and nobody notices."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import FCGIPM, FCGIPMCTL, SCRIPTS, Daemon, configuration
from harness.installation import Installation
from harness.leftovers import end_all, holders
from harness.load import ask
from harness.ports import free_port
from harness.waiting import ended, until

import fcgipm
from fcgipm.fastcgi import encode_request
from fcgipm.linux import procfs

StartDaemon = Callable[..., Daemon]
CAT = 'command = ["/bin/sh", "-c", "exec sleep 1000"]\nready-timeout = "50ms"\n'
PHP = 'command = ["/usr/bin/php-cgi"]\nsocket-mode = "0666"\n'
LONG = 60
"""Seconds: much runs beside these tests."""


def open_files(pid: int) -> int:
    """Return how many descriptors process *pid* has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def upgraded(daemon: Daemon) -> dict[str, Any]:
    """Upgrade *daemon*, which must succeed, and return what is told of it."""
    done = daemon.ctl("upgrade", "--json", timeout=LONG)
    assert done.returncode == 0, f"{done.stderr}\n{daemon.log()}"
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def count(daemon: Daemon) -> int:
    """Return how many upgrades there were, whichever manager tells; 0 where none does just now."""
    found = json.loads(daemon.ctl("status", "--json").stdout)
    return int((found.get("upgraded") or {"count": 0})["count"])


def refused(daemon: Daemon) -> str:
    """Ask *daemon* for an upgrade, which must be refused without any consequence; return what is said."""
    before, pids = daemon.manager, daemon.status()["apps"]
    done = daemon.ctl("upgrade", timeout=LONG)
    assert done.returncode == 1, (done.stdout, done.stderr, daemon.log())
    assert done.stdout == ""
    assert f"fcgipm {fcgipm.__version__} goes on, nothing was changed" in done.stderr
    assert daemon.manager == before, "the old manager goes on, too"
    now = daemon.status()["apps"]
    assert [[one["pid"] for one in app["instances"]] for app in now] == [
        [one["pid"] for one in app["instances"]] for app in pids
    ]
    return done.stderr


# ── what stays ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.needs("php-cgi")
def test_processes_sockets_and_descriptors_stay(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(f"[app.blog]\n{PHP}processes = 3\n[app.shop]\n{CAT}")
    instances, inode = daemon.instances("blog"), daemon.socket("blog").stat().st_ino
    first = upgraded(daemon)
    descriptors = open_files(daemon.pid)
    assert (first["pid"], first["before"], first["after"]) == (daemon.pid, fcgipm.__version__, fcgipm.__version__)
    assert first["instances"] == 4
    assert first["pause"] > 0
    for number in (2, 3):
        upgraded(daemon)
        found = daemon.status()
        assert found["pid"] == daemon.pid
        assert found["upgraded"]["count"] == number
    assert sorted(daemon.instances("blog")) == sorted(instances)
    assert daemon.socket("blog").stat().st_ino == inode
    until(lambda: open_files(daemon.pid) == descriptors, what=f"{descriptors} descriptors")
    until(lambda: len(procfs.children(daemon.pid)) == 5, what="nobody but instances and a manager")
    assert ask(str(daemon.socket("blog")), encode_request({"REQUEST_METHOD": "GET", "SCRIPT_FILENAME": "/none"}))


def test_it_is_said_in_a_line(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}")
    done = daemon.ctl("upgrade", timeout=LONG)
    said = f"fcgipm {fcgipm.__version__} → {fcgipm.__version__}, pid unchanged, 1 instance untouched, pause "
    assert done.stdout.startswith(said), done.stderr
    assert done.stderr == ""
    assert f"fcgipm {fcgipm.__version__} → {fcgipm.__version__}, 1 instance untouched" in daemon.log()
    assert "upgraded: fcgipm" in daemon.ctl("events").stdout


def test_the_signal_does_the_same_without_a_word(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}")
    instances = daemon.instances("blog")
    daemon.process.send_signal(signal.SIGUSR2)
    until(lambda: count(daemon) == 1, within=LONG, what="an upgrade")
    assert daemon.instances("blog") == instances


def test_without_waiting_it_is_asked_for_only(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}")
    done = daemon.ctl("upgrade", "--no-wait")
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: count(daemon) == 1, within=LONG, what="an upgrade")


def test_what_people_have_asked_for_stays(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}[app.shop]\n{CAT}processes = 1\n[app.wiki]\n{CAT}")
    daemon.ctl("stop", "blog")
    daemon.ctl("scale", "shop", "2")
    upgraded(daemon)
    assert daemon.app("blog")["state"] == "stopped"
    assert (daemon.app("shop")["processes"], daemon.app("shop")["ready"]) == (2, 2)
    assert daemon.app("wiki")["restarts"] == 0
    assert daemon.ctl("start", "blog").returncode == 0


def test_the_log_goes_on_in_the_same_file(start_daemon: StartDaemon, place: Path) -> None:
    log = place / "fcgipm.log"
    daemon = start_daemon(f"[app.blog]\n{CAT}", daemon=f'log = "{log}"')
    moved = log.rename(place / "fcgipm.log.1")
    upgraded(daemon)
    assert not log.exists(), "whoever has moved it away has not said that it is to be opened again"
    assert "takes over now" in moved.read_text()
    assert "1 instance untouched" in moved.read_text()
    daemon.process.send_signal(signal.SIGUSR1)
    until(log.exists, what="the log is opened anew")


def test_output_is_read_on(start_daemon: StartDaemon) -> None:
    command = json.dumps(["/bin/sh", "-c", "while sleep 0.05; do echo tick; done"])
    daemon = start_daemon(f'[app.blog]\ncommand = {command}\nready-timeout = "50ms"\n')
    until(lambda: "tick" in daemon.ctl("logs", "blog").stdout, within=LONG, what="output")
    upgraded(daemon)
    until(lambda: "tick" in daemon.ctl("logs", "blog").stdout, within=LONG, what="output for the next manager")
    assert daemon.app("blog")["restarts"] == 0


def test_who_follows_events_goes_on_with_the_next_manager(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}")
    command = [FCGIPMCTL, "-s", str(daemon.control), "events", "-f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert "instance-started" in follower.stdout.readline()
        upgraded(daemon)
        assert any("upgraded: fcgipm" in follower.stdout.readline() for _ in range(20))
        follower.terminate()
        assert "following the next one" in follower.communicate()[1]


def test_who_asks_meanwhile_waits(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}")
    daemon.process.send_signal(signal.SIGUSR2)
    answered = 0
    while not (found := json.loads(daemon.ctl("status", "--json").stdout)).get("upgraded"):
        assert "error" not in found
        answered += 1
    assert answered
    assert daemon.instances("blog")


@pytest.mark.needs("php-cgi")
def test_a_script_that_nobody_declared_stays(start_daemon: StartDaemon, place: Path) -> None:
    scripts = place / "scripts"
    scripts.mkdir()
    script = scripts / "hello"
    script.write_text("#!/bin/sh\nexec sleep 1000\n")
    script.chmod(0o755)
    table = f'[dynamic]\nready-timeout = "50ms"\nroots = [{{ path = "{scripts}" }}]\n'
    daemon = start_daemon(table, wait="answering")
    assert daemon.ctl("ensure", "scripts/hello", timeout=LONG).returncode == 0, daemon.log()
    before = daemon.instances("scripts/hello")
    upgraded(daemon)
    assert daemon.instances("scripts/hello") == before
    assert daemon.app("scripts/hello")["state"] == "running"
    upgraded(daemon)
    assert daemon.instances("scripts/hello") == before


def test_a_socket_deleted_meanwhile_is_linked_again(start_daemon: StartDaemon, installation: Installation) -> None:
    with Paused(start_daemon, installation) as gap:
        gap.daemon.socket("blog").unlink()
        gap.go_on()
        until(gap.daemon.socket("blog").exists, what="the socket is there again")


# ── in the background ────────────────────────────────────────────────────────────────────────────────────────────────


def test_in_the_background_with_relative_paths(place: Path) -> None:
    (place / "apps.toml").write_text(configuration(place / "run", f"[app.blog]\n{CAT}", f'log = "{place}/log"'))
    (place / "apps.toml").chmod(0o644)
    (place / "bin").symlink_to(SCRIPTS)
    started = subprocess.run(
        ["bin/fcgipm", "start", "apps.toml"], cwd=place, capture_output=True, text=True, timeout=LONG, check=False
    )
    pid = int((place / "run" / "fcgipm.pid").read_text())
    try:
        assert started.returncode == 0, started.stderr
        for _ in range(2):
            command = [FCGIPMCTL, "-s", str(place / "run" / "control.sock"), "upgrade"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
            assert "1 instance untouched" in done.stdout, (done.stderr, (place / "log").read_text())
        assert int((place / "run" / "fcgipm.pid").read_text()) == pid
        assert procfs.stat(pid).session != os.getsid(0)
        second = subprocess.run(
            [FCGIPM, "start", str(place / "apps.toml")], capture_output=True, text=True, check=False
        )
        assert f"already running in {place}/run: pid {pid}" in second.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
        ended(pid, within=LONG)
        end_all(holders(str(place)))
    assert not (place / "run").exists(), "it was made by this daemon, and so it is removed"


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def installation(place: Path) -> Installation:
    """Give an installation with this version in place."""
    (place / "installed").mkdir()
    found = Installation(place / "installed")
    found.make(fcgipm.__version__)
    found.use(fcgipm.__version__)
    return found


def test_a_mistake_in_the_configuration(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}")
    daemon.configure(f"[app.blog]\n{CAT}comand = 1\n")
    assert "comand" in refused(daemon)
    daemon.configure(f"[app.blog]\n{CAT}")
    upgraded(daemon)


def test_a_program_that_is_gone(start_daemon: StartDaemon, installation: Installation) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}", program=(installation.program,))
    installation.remove()
    assert "No module named 'fcgipm'" in refused(daemon)
    installation.use(fcgipm.__version__)
    upgraded(daemon)


def test_a_program_that_cannot_read_the_state(start_daemon: StartDaemon, installation: Installation) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}", program=(installation.program,))
    broken = {
        "keeper/keeping/state.py": ('raise StateError(f"it is damaged: {error}") from error', "raise"),
        "keeper/keeping/carried.py": ("return from_json(Carried, ", "return from_json(1 / 0, "),
    }
    installation.make("0.9", broken)
    installation.use("0.9")
    assert "ZeroDivisionError" in refused(daemon)


def test_a_manager_that_ends_at_once(start_daemon: StartDaemon, installation: Installation) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}", program=(installation.program,))
    installation.make("0.9", {"manager/__main__.py": ("    _shut_in()\n", "    raise RuntimeError('no manager')\n")})
    installation.use("0.9")
    assert "its manager has ended: RuntimeError: no manager" in refused(daemon)


def without_an_interpreter(daemon: Daemon, installation: Installation) -> None:
    """Have an upgrade of *daemon* refused when everything but the last step has succeeded."""
    # The manager is started by the same one, so it goes when that is there.
    vanish = "    import pathlib; pathlib.Path(sys.executable).unlink()\n"
    installation.make("0.9", {"manager/__main__.py": ("    _shut_in()\n", f"{vanish}    _shut_in()\n")})
    installation.use("0.9")
    home = Path(installation.program).parent
    if os.geteuid() == 0:
        home.chmod(0o777)  # managers are nobody in particular
    target = os.readlink(home / "python3")
    assert "cannot be executed: No such file" in refused(daemon)
    (home / "python3").symlink_to(target)


def test_an_interpreter_that_vanishes_at_the_last_moment(start_daemon: StartDaemon, installation: Installation) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}", program=(installation.program,))
    without_an_interpreter(daemon, installation)
    (pid,) = daemon.instances("blog")
    os.kill(pid, signal.SIGKILL)
    until(lambda: daemon.instances("blog") not in ([], [pid]), within=LONG, what="it starts and reaps as before")
    installation.use(fcgipm.__version__)
    upgraded(daemon)


def test_a_canary_outlives_an_upgrade_that_fails_at_the_last_moment(
    start_daemon: StartDaemon, installation: Installation
) -> None:
    app = f"{CAT}port = {free_port()}\n"
    daemon = start_daemon(f"[app.blog]\n{app}", program=(installation.program,))
    (old,) = daemon.instances("blog")
    daemon.configure(f"[app.blog]\n{app}start-timeout = '50s'\n".replace("50ms", "50s").replace("1000", "1001"))
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: {*daemon.instances("blog", None)} - {old, None}, within=LONG, what="there is a canary")
    without_an_interpreter(daemon, installation)
    assert len(daemon.instances("blog", None)) == 2
    assert daemon.ctl("stop", "blog", timeout=LONG).returncode == 0, "nobody is waited for in vain"


def test_a_daemon_that_ends(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}")
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(daemon.socket("blog")))
        daemon.process.send_signal(signal.SIGTERM)
        until(lambda: "every application is stopped" in daemon.log(), what="the end begins")
        if daemon.process.poll() is None:
            daemon.process.send_signal(signal.SIGUSR2)
            until(lambda: "cannot upgrade: fcgipm is about to end" in daemon.log() or daemon.process.poll() is not None)


# ── another version ──────────────────────────────────────────────────────────────────────────────────────────────────

NEWER: Mapping[str, tuple[str, str]] = {
    "keeper/keeping/state.py": ("FORMAT: Final = 1\n", "FORMAT: Final = 2\n"),
    "keeper/keeping/carried.py": ("FORMAT: Final = 1\n", "FORMAT: Final = 2\n"),
    "keeper/instances/recipe.py": (
        "    no_new_privs: bool\n",
        "    no_new_privs: bool\n    how: str = ''\n",
    ),
}
NEXT = "_NEXT: Final[Steps] = "
READS_BEFORE = (f"{NEXT}{{}}", f"{NEXT}{{1: lambda found: {{**found, 'motto': 'n'}}}}")


def newer(installation: Installation) -> None:
    """Make version 9.9, whose state has another format, and a field more as its recipes; it reads the format before."""
    installation.make("9.9", NEWER)
    state = installation.file("9.9", "keeper/keeping/state.py")
    text = state.read_text().replace(*READS_BEFORE)
    carried = installation.file("9.9", "keeper/keeping/carried.py")
    carried.write_text(carried.read_text().replace(f"{NEXT}{{}}", f"{NEXT}{{1: dict}}"))
    field = '    program: str\n    """The version of fcgipm that wrote it."""\n'
    assert field in text
    state.write_text(text.replace(field, f"{field}    motto: str\n"))
    record = installation.file("9.9", "keeper/keeping/record.py")
    text = record.read_text()
    line = "            program=fcgipm.__version__,\n"
    assert line in text
    record.write_text(text.replace(line, f"{line}            motto='n',\n"))


def test_into_a_newer_version_and_not_back(start_daemon: StartDaemon, installation: Installation) -> None:
    newer(installation)
    daemon = start_daemon(f"[app.blog]\n{CAT}processes = 2\n", program=(installation.program,))
    instances = daemon.instances("blog")
    installation.use("9.9")
    told = upgraded(daemon)
    assert (told["before"], told["after"], told["instances"]) == (fcgipm.__version__, "9.9", 2)
    assert daemon.status()["program_version"] == "9.9"
    assert json.loads((daemon.runtime / "state.json").read_text())["format"] == 2
    upgraded(daemon)
    assert sorted(daemon.instances("blog")) == sorted(instances)
    found = daemon.app("blog")
    assert (found["generation"], found["rollout"]) == (1, None), "nobody takes what is new for another definition"
    installation.use(fcgipm.__version__)
    done = daemon.ctl("upgrade", timeout=LONG)
    assert done.returncode == 1
    assert "a newer fcgipm has written it: format 2, this one knows 1" in done.stderr
    assert "fcgipm 9.9 goes on, nothing was changed" in done.stderr
    assert sorted(daemon.instances("blog")) == sorted(instances)


# ── while nobody is there ────────────────────────────────────────────────────────────────────────────────────────────


class Gap:
    """The old program has gone, and the new one is not there yet."""

    def __init__(self, daemon: Daemon, fifo: Path) -> None:
        self.daemon = daemon
        self._fifo = fifo
        self.command: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Upgrade, and wait until the new program stands at its beginning."""
        command = [FCGIPMCTL, "-s", str(self.daemon.control), "upgrade"]
        self.command = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until(lambda: self._stands, within=LONG, what="the new program has begun")

    @property
    def _stands(self) -> bool:
        return self._fifo.with_suffix(".there").exists()

    def go_on(self) -> None:
        """Let it go on."""
        descriptor = os.open(self._fifo, os.O_WRONLY)
        os.close(descriptor)

    def outcome(self) -> tuple[int, str]:
        """Return exit code and words of the command."""
        assert self.command is not None
        out, err = self.command.communicate(timeout=LONG)
        return self.command.returncode, out + err


class Paused:
    """A daemon in the middle of an upgrade, as a context."""

    def __init__(self, start_daemon: StartDaemon, installation: Installation, apps: str = f"[app.blog]\n{CAT}") -> None:
        daemon = start_daemon(apps, program=(installation.program,))
        fifo = daemon.directory / "gap"
        os.mkfifo(fifo)
        wait = f"    import pathlib; pathlib.Path('{fifo}.there').touch(); open('{fifo}').close()\n"
        begin = "    try:\n        left = take_over(memory)\n"
        installation.make("0.9", {"cli/start.py": (begin, wait + begin)})
        installation.use("0.9")
        self._gap = Gap(daemon, fifo)

    def __enter__(self) -> Gap:
        self._gap.begin()
        return self._gap

    def __exit__(self, *_: object) -> None:
        if self._gap.command is not None and self._gap.command.poll() is None:
            self._gap.command.kill()
        assert self._gap.command is not None
        self._gap.command.communicate()


def test_an_instance_that_ends_meanwhile_is_told_with_its_status(
    start_daemon: StartDaemon, installation: Installation
) -> None:
    script = "trap 'exit 7' USR1; while :; do read -r line < /dev/null; sleep 0.05; done"
    apps = f'[app.blog]\ncommand = {json.dumps(["/bin/sh", "-c", script])}\nready-timeout = "50ms"\nprocesses = 2\n'
    with Paused(start_daemon, installation, apps) as gap:
        first, second = sorted(int(pid) for pid in children_of(gap.daemon.pid, "sh"))
        os.kill(first, signal.SIGUSR1)
        os.kill(second, signal.SIGKILL)
        ended(first)
        ended(second)
        gap.go_on()
        assert gap.outcome()[0] == 0
        until(lambda: f"(pid {first}) ended: exit status 7" in gap.daemon.log(), within=LONG)
        until(lambda: f"(pid {second}) ended: killed by SIGKILL" in gap.daemon.log(), within=LONG)
        gap.daemon.wait_running(LONG)
        assert not {first, second} & set(gap.daemon.instances("blog"))


def children_of(pid: int, name: str) -> list[int]:
    """Return the children of *pid* that are called *name*."""
    return [child for child in procfs.children(pid) if Path(f"/proc/{child}/comm").read_text().strip() == name]


def test_signals_that_come_meanwhile_are_dealt_with(start_daemon: StartDaemon, installation: Installation) -> None:
    with Paused(start_daemon, installation) as gap:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGWINCH, signal.SIGALRM):
            gap.daemon.process.send_signal(number)
        gap.go_on()
        assert gap.outcome()[0] == 0
        until(lambda: "signal HUP: the configuration is read again" in gap.daemon.log(), within=LONG)
        until(lambda: "applied" in gap.daemon.log(), within=LONG)
        assert gap.daemon.instances("blog")


def test_the_end_that_is_asked_for_meanwhile_is_graceful(start_daemon: StartDaemon, installation: Installation) -> None:
    with Paused(start_daemon, installation) as gap:
        gap.daemon.process.send_signal(signal.SIGTERM)
        gap.go_on()
        assert gap.daemon.process.wait(LONG) == 0
        assert "signal SIGTERM: every application is stopped" in gap.daemon.log()
        code, said = gap.outcome()
        assert code in (0, 1), said


def test_visitors_and_clients_wait_meanwhile(start_daemon: StartDaemon, installation: Installation) -> None:
    with Paused(start_daemon, installation) as gap, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(gap.daemon.control))
        client.sendall(b"GET /v1/status HTTP/1.1\r\nHost: fcgipm\r\nConnection: close\r\n\r\n")
        assert not select.select([client], [], [], 0.1)[0]
        gap.go_on()
        client.settimeout(LONG)
        assert client.recv(12) == b"HTTP/1.1 200"
        assert gap.outcome()[0] == 0


@pytest.fixture
def _nobody_stays(place: Path) -> Iterator[None]:
    yield
    end_all(holders(str(place)))


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        pytest.param(
            ("keeper/keeping/adopt.py", "self._found = recognise.find_children", "RuntimeError('a bug')"),
            ": RuntimeError('a bug'); fcgipm ends", id="bug",
        ),
        pytest.param(
            ("keeper/daemon/logfile.py", "sink = open_sink(daemon.log) if inherited", "OSError(5, 'disk on fire')"),
            "fcgipm: cannot go on after the upgrade: cannot log to stderr: disk on fire; instances serve on", id="log",
        ),
    ],
)  # fmt: skip
def test_a_program_that_cannot_go_on_leaves_all_instances_serving(
    start_daemon: StartDaemon, installation: Installation, failing: tuple[str, str, str], said: str
) -> None:
    daemon = start_daemon(f"[app.blog]\n{CAT}processes = 2\n", program=(installation.program,))
    instances = daemon.instances("blog")
    module, begin, error = failing
    installation.make("0.9", {module: (f"        {begin}", f"        raise {error}\n        {begin}")})
    installation.use("0.9")
    daemon.remember()
    done = daemon.ctl("upgrade", timeout=LONG)
    assert daemon.process.wait(LONG) == 1
    assert done.returncode == 1
    assert "fcgipm has ended over its upgrade, its log says why; its instances serve on" in done.stderr
    assert said in daemon.log()
    assert "Traceback" not in daemon.log()
    try:
        assert daemon.socket("blog").exists()
        assert (daemon.runtime / "state.json").exists()
        assert {procfs.stat(pid).state for pid in instances} <= {"S", "R"}
    finally:
        end_all(dict.fromkeys(instances, "left to the next start"))
        subprocess.run(["rm", "-rf", str(daemon.runtime)], check=True)
