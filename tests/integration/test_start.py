"""``fcgipm start``: what it prints, when it returns, with which status."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.daemon import FCGIPM, configuration
from harness.keeper import SERVE, python
from harness.leftovers import end_all, holders, stay
from harness.waiting import ended, until

Run = Callable[..., subprocess.CompletedProcess[str]]

ONE = f"[app.one]\n{python(SERVE)}\nprocesses = 2\n"


@pytest.fixture
def start(place: Path) -> Iterator[Run]:
    """Give a function that runs ``fcgipm start`` in the background; the daemon is ended with the test."""

    def run(apps: str, *arguments: str, daemon: str = f'log = "{place}/log"') -> subprocess.CompletedProcess[str]:
        config = place / "apps.toml"
        config.write_text(configuration(place / "run", apps, daemon))
        return subprocess.run(
            [FCGIPM, "start", *arguments, str(config)], capture_output=True, text=True, timeout=30, check=False
        )

    yield run
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # there is none, or it ends by itself
        pid = daemon_pid(place)
        os.kill(pid, signal.SIGTERM)
        ended(pid, within=20)
    left = stay(lambda: holders(str(place / "run")))
    end_all(left)
    assert not left


def daemon_pid(place: Path) -> int:
    return int((place / "run" / "fcgipm.pid").read_text())


def test_it_returns_when_everything_serves(start: Run, place: Path) -> None:
    done = start(ONE)

    pid = daemon_pid(place)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith(f"fcgipm: running (pid {pid}): 1 app, ")
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"fcgipm: keeper ")
    assert os.getsid(pid) != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}


def test_it_leaves_limits_masks_and_signals_of_instances_alone(start: Run, place: Path) -> None:
    assert start(ONE).returncode == 0

    limits = Path(f"/proc/{daemon_pid(place)}/limits").read_text()

    # python-daemon would take the right to dump core from every instance.
    (core,) = (line.split()[-3:-1] for line in limits.splitlines() if line.startswith("Max core"))
    assert core[1] == Path("/proc/self/limits").read_text().split("Max core file size")[1].split()[1]


def test_it_says_why_an_application_does_not_start_and_the_daemon_stays(start: Run, place: Path) -> None:
    done = start(f"{ONE}[app.bad]\n{python('raise SystemExit(9)')}\n")

    assert done.returncode == 1
    assert "bad/" in done.stderr
    assert "exit status 9" in done.stderr
    assert "stays up" in done.stderr
    os.kill(daemon_pid(place), 0)


def test_an_application_that_does_not_start_by_itself_is_not_waited_for(start: Run) -> None:
    done = start(f"[app.one]\n{python(SERVE)}\nautostart = false\n")

    assert done.returncode == 0, done.stderr
    assert "0 instances" in done.stderr


def test_a_bad_file_is_refused_with_all_that_is_wrong(start: Run, place: Path) -> None:
    done = start(f"{ONE}processes = -1\n[app.two]\n{python(SERVE)}\nuser = 'nobody-of-this-name'\n")

    assert done.returncode == 1
    assert "app.one.processes" in done.stderr or "apps.toml" in done.stderr
    assert not (place / "run").exists()


def test_what_only_the_daemon_finds_out_is_told_too(start: Run, place: Path) -> None:
    (place / "run").mkdir()
    (place / "run" / "one.sock").write_text("a file")

    done = start(ONE)

    assert done.returncode == 1
    assert "one.sock: there is something that is not a socket" in done.stderr


def test_a_second_one_is_refused_with_the_pid_of_the_first(start: Run, place: Path) -> None:
    assert start(ONE).returncode == 0
    pid = daemon_pid(place)

    done = start(ONE)

    assert done.returncode == 1
    assert f"pid {pid}\n" in done.stderr
    assert daemon_pid(place) == pid


def test_wrong_use_has_a_status_of_its_own() -> None:
    done = subprocess.run([FCGIPM, "start"], capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_the_version_is_told() -> None:
    done = subprocess.run([FCGIPM, "--version"], capture_output=True, text=True, timeout=20, check=True)

    assert done.stdout.startswith("fcgipm ")


def test_check_and_show_are_reached(place: Path) -> None:
    config = place / "apps.toml"
    config.write_text(configuration(place / "run", ONE, ""))
    for words in (["check"], ["-t"], ["show"]):
        done = subprocess.run([FCGIPM, *words, str(config)], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done


def test_a_daemon_that_is_killed_leaves_nothing_that_keeps_the_next_one_from_starting(start: Run, place: Path) -> None:
    assert start(f"[app.one]\n{python(SERVE)}\nautostart = false\n").returncode == 0
    pid = daemon_pid(place)
    os.kill(pid, signal.SIGKILL)
    ended(pid)

    done = start(ONE)

    assert done.returncode == 0, done.stderr
    assert daemon_pid(place) != pid


def test_the_keeper_imports_nothing_heavy() -> None:
    code = "import sys, fcgipm.cli.start; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"asyncio", "aiohttp", "psutil", "prometheus_client", "daemon", "subprocess", "ssl", "argparse"} & {
        *done.stdout.split()
    }


def test_the_keeper_stays_small(start: Run, place: Path) -> None:
    assert start(ONE).returncode == 0
    status = Path(f"/proc/{daemon_pid(place)}/status").read_text()

    (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident * 1024 <= 20_000_000  # 19.2 with one application; 100 of them add 0.7


def test_a_closed_standard_error_does_not_matter(place: Path) -> None:
    config = place / "apps.toml"
    config.write_text(configuration(place / "run", ONE, ""))
    readable, writable = os.pipe()
    daemon = subprocess.Popen([FCGIPM, "start", "--foreground", str(config)], stderr=writable, stdout=writable)
    os.close(writable)
    os.close(readable)
    try:
        until((place / "run" / "control.sock").exists)
    finally:
        daemon.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(20)
    assert daemon.returncode == 0
