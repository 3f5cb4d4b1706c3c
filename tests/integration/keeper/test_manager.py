"""The manager's process: without rights, replaced when it ends, missed by no instance."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.daemon import configuration
from harness.keeper import SERVE, Rig, python
from harness.rest import at_rest
from harness.waiting import ended, until

import fcgipm
from fcgipm import wire

Start = Callable[..., Rig]

ONE = f"[app.one]\n{python(SERVE)}\n"


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def test_the_manager_has_the_wire_and_hardly_anything_else(rig: Start) -> None:
    puppet = rig(ONE).puppet()

    descriptors = {int(name) for name in os.listdir(f"/proc/{puppet.pid}/fd")}
    names = {entry.partition(b"=")[0] for entry in Path(f"/proc/{puppet.pid}/environ").read_bytes().split(b"\0")}

    assert descriptors == {0, 1, 2, 3, 4}  # 4 is its connection to this test
    assert names - {b""} <= {b"PATH", b"LANG", b"LC_CTYPE"}
    assert status(puppet.pid)["NoNewPrivs"] == ["1"]
    assert set(status(puppet.pid)["SigBlk"] + status(puppet.pid)["ShdPnd"]) == {"0" * 16}
    assert os.getsid(puppet.pid) == puppet.pid


@pytest.mark.root
def test_roots_manager_is_nobody_in_particular_with_the_web_group(rig: Start) -> None:
    puppet = rig(ONE, daemon='web-group = "daemon"\nweb-user = "daemon"').puppet()

    facts = status(puppet.pid)

    assert "0" not in {*facts["Uid"], *facts["Gid"]}
    assert facts["Groups"] == ["1"]
    assert set(facts["CapEff"] + facts["CapPrm"]) == {"0" * 16}


@pytest.mark.root
def test_a_manager_that_could_not_read_its_program_is_refused_before_anything_starts(place: Path) -> None:
    private = place / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(Path(fcgipm.__file__).parent, private / "fcgipm")
    config = place / "apps.toml"
    config.write_text(configuration(place / "run", ONE, ""))
    environ = {**os.environ, "PYTHONPATH": str(private)}
    done = subprocess.run(
        [sys.executable, "-m", "fcgipm.cli.fcgipm", "start", "--foreground", str(config)],
        cwd="/", env=environ, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert f"may not read {private}; install fcgipm" in done.stderr
    assert not (place / "run").exists()


def test_the_snapshot_has_definitions_without_the_values_of_the_environment(rig: Start) -> None:
    keeper = rig(f"{ONE}initial-env = {{ PASSWORD = 'geheim' }}\n")
    puppet = keeper.puppet()

    (definition,) = puppet.snapshot.definitions.applications

    assert definition["initial_env"] == {"PASSWORD": ""}
    assert "geheim" not in str(puppet.snapshot)
    assert puppet.snapshot.pid == keeper.pid
    assert puppet.snapshot.definitions.access[str(os.geteuid())] == "admin"


def test_a_killed_manager_is_followed_at_once_by_one_that_knows_everything(rig: Start) -> None:
    keeper = rig(ONE)
    first = keeper.puppet()
    one, two = first.spawn("one", 1), first.spawn("one", 2, generation=2)
    first.order(wire.Note(app="one", text="stopped"))
    first.retire(1)
    os.kill(first.pid, signal.SIGKILL)

    second = keeper.puppet()

    keeper.logged(f"(pid {first.pid}) has ended: signal 9; instances are not touched, another is started now")
    (fact,) = second.snapshot.instances
    assert (fact.instance, fact.pid, fact.generation, fact.ready) == (2, two.pid, 2, "accepting")
    assert second.snapshot.notes == {"one": "stopped"}
    assert second.snapshot.next_instance == 3
    assert len(second.handed["pipes", 2]) == 2
    assert stat.S_ISSOCK(os.fstat(second.handed["control", None][0]).st_mode)
    ended(one.pid)
    os.kill(two.pid, 0)


def test_orders_of_a_new_manager_are_obeyed_like_those_of_the_first(rig: Start) -> None:
    keeper = rig(ONE)
    first = keeper.puppet()
    first.spawn("one", 1)
    first.end(70)
    second = keeper.puppet()

    second.retire(1)
    second.spawn("one", 2)


def test_a_manager_that_ends_at_every_start_is_started_with_growing_pauses(rig: Start) -> None:
    keeper = rig(ONE, manager="/bin/false")

    keeper.logged("another is started in 2 s")

    log = keeper.log()
    assert "another is started now" in log
    assert "another is started in 1 s" in log
    assert "exit status 1" in log
    assert "status=1" in log  # and whoever waits for the start is told
    assert keeper.socket("one").exists()


def test_what_the_manager_says_on_standard_error_is_logged(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    puppet.say("Traceback: something\nValueError: that\n")
    keeper.logged("manager: ValueError: that")
    puppet.end(70)

    keeper.logged("has ended: exit status 70 (ValueError: that)")


def test_a_wire_that_was_closed_is_the_end_of_that_manager(rig: Start) -> None:
    keeper = rig(ONE)
    first = keeper.puppet()
    first.channel.close()

    # The process still holds a copy of the wire, so only the keeper can see that this one is of no use.
    os.kill(first.pid, signal.SIGTERM)

    keeper.puppet()


def test_an_idle_keeper_never_wakes_up(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    puppet.spawn("one", 1)
    puppet.order(wire.Heard(count=puppet.heard))

    at_rest(keeper.pid, seconds=5)


def test_hup_and_usr1_are_passed_on(rig: Start, place: Path) -> None:
    keeper = rig(ONE, daemon=f'log = "{place}/own.log"')
    puppet = keeper.puppet()
    (place / "own.log").rename(place / "old.log")
    os.close(puppet.handed.pop(("log", None))[0])

    keeper.process.send_signal(signal.SIGHUP)
    assert puppet.expect(wire.Signalled).name == "HUP"
    keeper.process.send_signal(signal.SIGUSR1)
    assert puppet.expect(wire.Signalled).name == "USR1"

    (log,) = puppet.handed["log", None]
    assert os.path.samestat(os.fstat(log), (place / "own.log").stat())
    assert "was opened again" in (place / "own.log").read_text()


def test_the_manager_may_order_the_log_to_be_opened_again(rig: Start, place: Path) -> None:
    keeper = rig(ONE, daemon=f'log = "{place}/own.log"')
    puppet = keeper.puppet()
    (place / "own.log").unlink()
    puppet.order(wire.ReopenLogs())

    until((place / "own.log").exists)


def test_term_is_told_and_a_second_one_ends_at_once(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    spawned = puppet.spawn("one", 1)
    keeper.process.terminate()
    assert puppet.expect(wire.Signalled).name == "TERM"
    assert keeper.process.poll() is None

    keeper.process.terminate()

    assert keeper.process.wait(30) == 1
    ended(spawned.pid)
    assert not keeper.runtime.exists()


def test_a_manager_that_comes_during_the_shutdown_is_told_of_it(rig: Start) -> None:
    keeper = rig(ONE)
    first = keeper.puppet()
    keeper.process.terminate()
    first.expect(wire.Signalled)
    first.end(1)

    assert keeper.puppet().snapshot.ending == 0


def test_a_changed_program_is_told(rig: Start, place: Path) -> None:
    program = place / "program"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    link = place / "link"
    link.symlink_to(program)
    puppet = rig(f'[app.one]\ncommand = ["{link}"]\n[app.two]\ncommand = ["/bin/sleep", "1000"]\n').puppet()

    (place / "new").write_text("#!/bin/sh\n")
    (place / "new").rename(program)

    assert puppet.expect(wire.ProgramChanged).app == "one"
