"""Numbers that no process can have are nobody's, and end no start; who was stopped goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from dataclasses import replace

import pytest
from harness.waiting import until

from fcgipm.keeper.keeping import recognise
from fcgipm.keeper.keeping.state import KeptInstance, State
from fcgipm.linux import procfs

KEPT = KeptInstance(
    number=7, app="one", generation=1, pid=1, start_time=1, listener=1, executed=True, started_at=1,
)  # fmt: skip


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**70])
def test_no_number_of_a_process_is_doubtful(pid: int) -> None:
    kept = replace(KEPT, pid=pid)
    state = State(
        boot_id="", name_space=1, program="", pid=1, started_at=1, started_unix=1.0, instances=(kept,),
    )  # fmt: skip

    found = recognise.find(state)

    assert not found.survivors
    assert found.doubtful.keys() | {one.kept.number for one in found.departed} == {7}


@pytest.mark.parametrize("is_known", [True, False], ids=["by its output", "by nothing"])
def test_who_stands_still_goes_on_also_without_leader_and_socket(*, is_known: bool) -> None:
    leader = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 99 & echo $!; read gone"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert leader.stdin is not None
    assert leader.stdout is not None
    with leader.stdin, leader.stdout:
        pid = int(leader.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: procfs.stat(pid).state == "T")
            kept = replace(KEPT, pid=leader.pid, start_time=procfs.stat(leader.pid).started, listener=0)
            kept = replace(kept, stdout=os.fstat(leader.stdout.fileno()).st_ino if is_known else 0)
            leader.kill()
            leader.wait()

            state = State(
                boot_id="", name_space=1, program="", pid=1, started_at=1, started_unix=1.0, instances=(kept,),
            )  # fmt: skip
            found = recognise.find(state)

            assert not found.strays
            assert (procfs.stat(pid).state == "T") != is_known
        finally:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("proof", ["socket of its child", "output", "nothing"])
def test_the_session_of_a_leader_that_has_closed_its_socket_goes_on_where_it_is_proved(proof: str) -> None:
    program = "exec 3<&0; sleep 99 <&3 & exec </dev/null 3<&-; echo $!; wait"
    with socket.socket(socket.AF_UNIX) as listener:
        leader = subprocess.Popen(
            ["/bin/sh", "-c", program], stdin=listener.fileno(), stdout=subprocess.PIPE, start_new_session=True
        )
        inode = os.fstat(listener.fileno()).st_ino
    assert leader.stdout is not None
    with leader.stdout:
        pid = int(leader.stdout.readline())
        try:
            until(lambda: recognise.holds(pid, inode) and not recognise.holds(leader.pid, inode))
            for one in (pid, leader.pid):
                os.kill(one, signal.SIGSTOP)
                until(lambda one=one: procfs.stat(one).state == "T")  # type: ignore[misc]
            kept = replace(KEPT, pid=leader.pid, start_time=procfs.stat(leader.pid).started, listener=2**40)
            if proof == "output":
                kept = replace(kept, stdout=os.fstat(leader.stdout.fileno()).st_ino)
            elif proof != "nothing":
                kept = replace(kept, listener=inode)

            state = State(
                boot_id="", name_space=1, program="", pid=1, started_at=1, started_unix=1.0, instances=(kept,),
            )  # fmt: skip
            found = recognise.find(state)

            assert (list(found.doubtful), found.strays, found.survivors) == ([7], [], [])
            stand_still = [procfs.stat(one).state == "T" for one in (pid, leader.pid)]
            assert stand_still == [proof == "nothing"] * 2
        finally:
            os.kill(pid, signal.SIGKILL)
            leader.kill()
            leader.wait()
