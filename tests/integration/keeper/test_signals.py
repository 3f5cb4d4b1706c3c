"""Signals that mean something, and those that mean nothing to the daemon."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.daemon import FCGIPM, Daemon
from harness.keeper import SERVE, Rig, python
from harness.waiting import ended, readable, until

from fcgipm import wire
from fcgipm.keeper.instances import session
from fcgipm.linux import procfs

Start = Callable[..., Rig]

ONE = f"[app.one]\n{python(SERVE)}\n"
MEANINGLESS = ("ALRM", "VTALRM", "PROF", "PIPE", "TTIN", "TTOU", "IO", "PWR", "XCPU", "STKFLT", "RTMIN", "RTMAX")


def test_a_program_that_knows_no_upgrades_is_no_reason_to_end(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    spawned = puppet.spawn("one", 1)
    os.kill(keeper.pid, signal.SIGUSR2)

    keeper.logged("signal USR2: upgrade")
    keeper.logged("cannot upgrade: harness.keeper cannot go on in place of this program")
    puppet.spawn("one", 2)
    os.kill(spawned.pid, 0)


def test_signals_without_a_meaning_end_nothing(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    for name in MEANINGLESS:
        os.kill(keeper.pid, signal.Signals[f"SIG{name}"])

    puppet.spawn("one", 1)
    assert keeper.process.poll() is None


def test_instances_and_manager_begin_without_what_the_keeper_ignores(rig: Start) -> None:
    keeper = rig("[app.one]\ncommand = ['/bin/cat', '/proc/self/status']\n")
    puppet = keeper.puppet()
    puppet.order(wire.Spawn(instance=1, app="one", generation=1))
    puppet.expect(wire.Spawned)
    readable(puppet.descriptors[1][0])
    text = os.read(puppet.descriptors[1][0], 65536).decode()

    ignored = {line.split()[1] for line in text.splitlines() if line.startswith("SigIgn")}
    assert [int(mask, 16) for mask in ignored] == [1 << (signal.SIGPIPE - 1)]
    status = Path(f"/proc/{puppet.pid}/status").read_text()
    lines = dict(line.split(":\t", 1) for line in status.splitlines())
    # Python ignores these two by itself.
    assert int(lines["SigIgn"], 16) == 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)


def test_hup_without_a_manager_is_told_to_the_next_one(rig: Start) -> None:
    keeper = rig(ONE)
    first = keeper.puppet()
    first.end(1)
    second = keeper.puppet()
    second.end(1)  # another comes in 1 s
    keeper.logged("another is started in 1 s")
    os.kill(keeper.pid, signal.SIGHUP)
    keeper.logged("signal HUP")

    third = keeper.puppet()
    assert third.expect(wire.Signalled).name == "HUP"
    third.order(wire.Apply(request=1))
    third.expect(wire.Applied)
    third.end(1)
    fourth = keeper.puppet()
    fourth.spawn("one", 1)
    assert not [report for report in fourth.reports() if isinstance(report, wire.Signalled)]


def test_hup_that_a_manager_did_not_obey_before_its_end_is_told_to_the_next_one(rig: Start) -> None:
    keeper = rig(ONE)
    first = keeper.puppet()
    os.kill(keeper.pid, signal.SIGHUP)
    first.expect(wire.Signalled)
    first.end(1)

    assert keeper.puppet().expect(wire.Signalled).name == "HUP"


def test_a_second_term_kills_everything_at_once(rig: Start) -> None:
    code = (
        "import os, socket\nos.fork()\nos.fork()\ns = socket.socket(fileno=0)\nc, _ = s.accept()\nc.send(b'x')\n"
        "c.recv(1)\ns.accept()"
    )
    keeper = rig(f"[app.one]\n{python(code)}\nstop-timeout = '60s'\n")
    puppet = keeper.puppet()
    spawned = [puppet.spawn("one", number) for number in (1, 2, 3)]
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(keeper.socket("one")))
        assert visitor.recv(1) == b"x"
        pids = [stat.pid for report in spawned for stat in until(partial(all_four, report.pid))]
        os.kill(keeper.pid, signal.SIGTERM)
        keeper.logged("signal SIGTERM: every")
        os.kill(keeper.pid, signal.SIGTERM)

        assert keeper.process.wait(30) == 1
    assert "one: 3 instances killed because fcgipm ends; 1 connection cut" in keeper.log()
    for pid in pids:
        ended(pid)


def all_four(leader: int) -> list[procfs.Stat]:
    found = session.members(leader)
    return found if len(found) == 4 else []


def test_a_fifo_in_the_logs_place_is_refused_and_the_old_file_kept(rig: Start, place: Path) -> None:
    log = place / "own"
    keeper = rig(ONE, daemon=f'log = "{log}"')
    puppet = keeper.puppet()
    log.rename(place / "old")
    os.mkfifo(log)
    os.kill(keeper.pid, signal.SIGUSR1)
    puppet.expect(wire.Signalled)

    text = f"cannot open {log} again: it is a pipe (fifo); allowed: a file or a character device; writing to the old"
    assert text in (place / "old").read_text()
    puppet.spawn("one", 1)
    os.kill(keeper.pid, signal.SIGTERM)
    puppet.expect(wire.Signalled)


DEAF = (
    "import os,signal,sys; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); os.execv(sys.argv[1], sys.argv[1:])"
)


def test_a_daemon_listens_to_signals_also_when_whoever_has_started_it_did_not(
    start_daemon: Callable[..., Daemon],
) -> None:
    daemon = start_daemon(ONE, program=[sys.executable, "-c", DEAF, FCGIPM])
    (instance,) = daemon.instances("one")
    os.kill(instance, signal.SIGKILL)
    until(lambda: daemon.instances("one") not in ([instance], []), what="a successor: the end was noticed")

    assert daemon.stop() == 0
