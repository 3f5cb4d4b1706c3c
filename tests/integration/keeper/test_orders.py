"""The keeper obeys the manager within bounds, and answers every order."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from harness.keeper import SERVE, Puppet, Rig, listens_blocking, python
from harness.waiting import ended, until

from fcgipm import wire

Start = Callable[..., Rig]


ONE = f"[app.one]\n{python(SERVE)}\n"
NONBLOCKING = (
    "import os, select, socket, sys\ns = socket.socket(fileno=0)\n"
    "if not os.path.exists(sys.argv[1]): s.setblocking(False)\nselect.select([s], [], [])\n"
)


def visit(path: Path) -> socket.socket:
    visitor = socket.socket(socket.AF_UNIX)
    visitor.settimeout(10)
    visitor.connect(str(path))
    return visitor


def test_the_list_of_orders_is_closed() -> None:
    names = " ".join(sorted(kind.__name__ for kind in get_args(wire.Order)))

    assert names == "Apply Connect Count Heard Note Open Publish ReopenLogs Retire Shutdown Spawn Upgrade Watch"


def test_an_instance_is_spawned_seen_to_be_ready_and_removed(rig: Start) -> None:
    puppet = rig(ONE).puppet()
    puppet.order(wire.Spawn(instance=1, app="one", generation=1))

    spawned = puppet.expect(wire.Spawned)
    ready = puppet.expect(wire.BecameReady)
    removed = puppet.retire(1)

    assert (spawned.instance, ready.how, removed.how, removed.connections) == (1, "accepting", "killed", 0)
    assert len(puppet.descriptors[1]) == 2
    assert spawned.at <= ready.at <= removed.at
    ended(spawned.pid)


def test_how_an_instance_has_ended_is_told_exactly(rig: Start) -> None:
    puppet = rig(f"[app.one]\n{python('raise SystemExit(7)')}\n[app.two]\n{python(SERVE)}\n").puppet()
    puppet.order(wire.Spawn(instance=1, app="one", generation=1))
    killed = puppet.spawn("two", 2)
    os.kill(killed.pid, signal.SIGKILL)

    first = puppet.expect(wire.Exited, instance=1)
    second = puppet.expect(wire.Exited, instance=2)

    assert (first.code, first.signal) == (7, None)
    assert (second.code, second.signal) == (None, signal.SIGKILL)


def test_a_program_that_cannot_be_executed_is_told_with_the_step(rig: Start, place: Path) -> None:
    program = place / "program"
    program.write_text("#!/nonexistent\n")
    program.chmod(0o755)
    puppet = rig(f'[app.one]\ncommand = ["{program}"]\n').puppet()
    puppet.order(wire.Spawn(instance=1, app="one", generation=1))

    failed = puppet.expect(wire.SpawnFailed)

    assert (failed.instance, failed.step) == (1, f"exec {program}")
    assert failed.error == f"{os.strerror(2)} (its interpreter /nonexistent is missing)"


def test_a_busy_instance_is_spared_and_cut_only_on_demand(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    puppet.spawn("one", 1)
    with visit(keeper.socket("one")) as visitor:
        until(lambda: _is_refused(puppet, 1))
        removed = puppet.retire(1, cut=True)

        assert (removed.how, removed.connections) == ("cut", 1)
        assert visitor.recv(1) == b""


def _is_refused(puppet: Puppet, number: int) -> bool:
    puppet.order(wire.Retire(instance=number, cut=False))
    return puppet.expect(wire.RemovalRefused).why == "busy"


@pytest.mark.parametrize(
    ("order", "answer", "word"),
    [
        (wire.Spawn(instance=1, app="nobody", generation=1), wire.SpawnFailed, "no application"),
        (wire.Spawn(instance=1, app="one", generation=0), wire.SpawnFailed, "no generation"),
        (wire.Spawn(instance=1, app="one", generation=10**7), wire.SpawnFailed, "no generation"),
        (wire.Retire(instance=99, cut=True), wire.RemovalRefused, "no instance"),
        (wire.Note(app="nobody", text=""), None, "no application"),
        (wire.Note(app="one", text="x" * 9000), None, "longer"),
    ],
)
def test_what_the_books_contradict_is_denied(
    rig: Start, order: wire.Order, answer: type[object] | None, word: str
) -> None:
    puppet = rig(ONE).puppet()
    puppet.order(order)

    assert word in puppet.expect(wire.Denied).error
    if answer is not None:
        puppet.expect(answer)


def test_the_number_of_an_instance_is_never_used_again(rig: Start) -> None:
    puppet = rig(ONE).puppet()
    puppet.spawn("one", 5)
    puppet.retire(5)
    for number in (5, 4):
        puppet.order(wire.Spawn(instance=number, app="one", generation=1))

        assert "has existed" in puppet.expect(wire.Denied).error


def test_publishing_a_generation_replaces_the_public_socket_at_once(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    puppet.spawn("one", 1)
    puppet.spawn("one", 2, generation=2)
    before = keeper.socket("one").stat().st_ino
    puppet.order(wire.Publish(app="one", generation=2))

    fact = puppet.expect(wire.Published).listener

    assert (fact.generation, fact.published, fact.bound) == (2, True, str(keeper.runtime / "private" / "one.2"))
    assert keeper.socket("one").stat().st_ino != before
    assert keeper.bound() == ["one.1", "one.2"]


def test_a_late_comer_at_an_old_listener_is_told_of_and_served(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    puppet.spawn("one", 1)
    puppet.order(wire.Publish(app="one", generation=2))
    puppet.expect(wire.Published)
    # Nobody waits and nobody else is there: it is asked first, then killed.
    assert puppet.retire(1).how == "asked"

    with visit(keeper.runtime / "private" / "one.1") as late:
        waits = puppet.expect(wire.SomebodyWaits)
        assert (waits.app, waits.generation) == ("one", 1)
        puppet.spawn("one", 2, generation=1)
        late.sendall(b"x")
        assert late.recv(1) == b""


def test_generation_0_is_no_socket_at_all(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    puppet.order(wire.Publish(app="one", generation=0))

    assert puppet.expect(wire.Published).listener.generation == 0
    assert not keeper.socket("one").exists()


def test_a_socket_that_appeared_meanwhile_is_not_published_over(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    puppet.order(wire.Publish(app="one", generation=0))
    puppet.expect(wire.Published)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(keeper.socket("one")))
        other.listen()
        puppet.order(wire.Publish(app="one", generation=2))

        assert f"pid {os.getpid()} " in puppet.expect(wire.PublishFailed).error
    keeper.socket("one").unlink()


def test_a_listener_that_an_application_has_set_non_blocking_is_put_back_before_the_next_start(
    rig: Start, place: Path
) -> None:
    keeper = rig(f"[app.one]\n{python(NONBLOCKING, str(place / 'well-behaved'))}\nready-timeout = '200ms'\n")
    puppet = keeper.puppet()
    bound = str(keeper.runtime / "private" / "one.1")
    first = puppet.spawn("one", 1)
    assert listens_blocking(keeper.pid, bound) == [False]
    os.kill(first.pid, signal.SIGKILL)
    puppet.expect(wire.Exited)

    (place / "well-behaved").touch()
    puppet.spawn("one", 2)

    assert listens_blocking(keeper.pid, bound) == [True]


def test_too_many_orders_wait_their_turn_and_none_is_lost(rig: Start) -> None:
    puppet = rig(ONE).puppet()
    puppet.spawn("one", 1)
    puppet.retire(1)
    begun = time.monotonic()

    puppet.order(*(wire.Retire(instance=1, cut=False) for _ in range(1600)))
    for _ in range(1600):
        assert puppet.expect(wire.RemovalRefused).why == "gone"

    assert time.monotonic() - begun > 1.0  # 1000 at once, then 400 a second


def test_garbage_on_the_wire_ends_the_manager_not_the_keeper(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    spawned = puppet.spawn("one", 1)
    os.write(puppet.channel.fileno(), b".garbage")

    second = keeper.puppet()

    ended(puppet.pid)
    assert [(fact.instance, fact.pid) for fact in second.snapshot.instances] == [(1, spawned.pid)]


def test_the_end_that_is_ordered_has_the_status_that_is_ordered(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    spawned = puppet.spawn("one", 1)
    puppet.order(wire.Shutdown(status=3, finished=True))
    puppet.close()

    assert keeper.process.wait(30) == 3
    ended(spawned.pid)
    assert not keeper.runtime.exists()


def test_a_background_job_of_an_instance_may_outlive_it(rig: Start) -> None:
    code = (
        "import os, socket, time\nif os.fork():\n    socket.socket(fileno=0).accept()\nelse:\n"
        "    os.dup2(os.open('/dev/null', 0), 0)\n    time.sleep(1000)\n"
    )
    keeper = rig(f"[app.one]\n{python(code)}\n")
    puppet = keeper.puppet()
    leader = puppet.spawn("one", 1)
    (job,) = (int(word) for word in Path(f"/proc/{leader.pid}/task/{leader.pid}/children").read_text().split())
    until(lambda: os.readlink(f"/proc/{job}/fd/0") == "/dev/null")  # until then it could take visitors
    os.kill(leader.pid, signal.SIGKILL)
    puppet.expect(wire.Exited)
    puppet.spawn("one", 2)  # it has had its time

    assert Path(f"/proc/{job}/stat").read_text().split()[3] == str(keeper.pid)
    os.kill(job, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{job}").exists())  # and the keeper, its parent by now, has reaped it


@pytest.mark.parametrize("leaves", [False, True])
def test_what_outlives_its_instance_is_removed(rig: Start, leaves: bool) -> None:
    """Also what has left its session."""
    code = (
        "import os, socket\nif os.fork():\n    os.wait()\nelse:\n"
        f"    if {leaves}: os.setsid()\n    socket.socket(fileno=0).accept()\n"
    )
    puppet = rig(f"[app.one]\n{python(code)}\n").puppet()
    leader = puppet.spawn("one", 1)
    (child,) = (int(word) for word in Path(f"/proc/{leader.pid}/task/{leader.pid}/children").read_text().split())
    watch = os.pidfd_open(child)
    os.kill(leader.pid, signal.SIGKILL)
    puppet.expect(wire.Exited)

    try:
        assert select.select([watch], [], [], 10)[0]
    finally:
        os.close(watch)


TRACED = """
import ctypes, os, signal
libc = ctypes.CDLL(None)
libc.ptrace(0, 0, 0, 0)  # PTRACE_TRACEME
os.kill(os.getpid(), signal.SIGUSR1)
while True: signal.pause()
"""


def test_an_instance_that_lets_itself_be_traced_does_not_pass_for_dead(rig: Start) -> None:
    keeper = rig(f"[app.one]\n{python(TRACED)}\n[app.two]\n{python(SERVE)}\n")
    puppet = keeper.puppet()
    puppet.order(wire.Spawn(instance=1, app="one", generation=1))
    pid = puppet.expect(wire.Spawned, instance=1).pid
    ended = puppet.expect(wire.Exited, instance=1)

    assert ended.signal == signal.SIGKILL
    assert not Path(f"/proc/{pid}").exists()
    puppet.spawn("two", 2)
