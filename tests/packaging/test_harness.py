"""The tests' own tools can fail."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from harness.components import absent
from harness.leftovers import alive, bound_sockets, descendants, end_all, holders
from harness.waiting import ended, until


def test_waiting_for_what_never_comes_fails_and_says_for_what() -> None:
    with pytest.raises(AssertionError, match="the moon"):
        until(lambda: False, within=0.05, what="the moon")


def test_a_missing_component_skips_on_a_users_machine_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        absent("nothing here")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        absent("nothing here")


def test_a_process_that_holds_a_socket_of_the_directory_is_found(place: Path) -> None:
    path = place / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(listener.fileno(),), cwd="/",
        )  # fmt: skip
    with child:
        assert child.stdout is not None
        child.stdout.readline()

        assert list(bound_sockets(str(place)).values()) == [str(path)]
        assert set(holders(str(place))) == {child.pid}
        identity = {pid: (pid, start) for pid, start in descendants(os.getpid())}[child.pid]
        assert alive(identity)
        end_all({child.pid: ""})
        ended(child.pid)
        assert not alive(identity)
    assert holders(str(place)) == {}
    assert bound_sockets(str(place)) == {}
