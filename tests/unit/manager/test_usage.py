"""What an instance uses, read from real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fcgipm.manager.observing.usage import read_process, read_usage

PARENT = """
import os, sys
work = "import time\\nwhile time.process_time() < 0.1: pass\\nprint('child', flush=True)\\ninput()"
import subprocess
with subprocess.Popen([sys.executable, "-c", work]) as child:
    child.wait()
print("waited", flush=True)
sys.stdin.buffer.raw.read(1)
"""


@pytest.fixture
def leader() -> Iterator[subprocess.Popen[str]]:
    """Give the leader of a session whose child has used a tenth of a second, and ends at the next line of input."""
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "child\n"
        yield process
        os.killpg(process.pid, signal.SIGKILL)


def test_a_session_is_all_its_processes(leader: subprocess.Popen[str]) -> None:
    whole, alone = read_usage([leader.pid])[leader.pid], read_process(leader.pid)
    assert alone is not None
    assert whole.cpu >= alone.cpu + 0.08
    assert whole.rss > alone.rss + (1 << 20)


def test_the_time_of_a_child_that_was_waited_for_stays(leader: subprocess.Popen[str]) -> None:
    before = read_usage([leader.pid])[leader.pid]
    assert leader.stdin is not None
    assert leader.stdout is not None
    leader.stdin.write("\n")
    leader.stdin.flush()
    assert leader.stdout.readline() == "waited\n"
    after = read_usage([leader.pid])[leader.pid]
    assert after.cpu >= before.cpu >= 0.08
    assert after.rss < before.rss


def test_who_cannot_be_read_is_missing() -> None:
    nobody = 2**22 + 1  # no process has this number
    assert read_usage([nobody]) == {}
    assert read_usage([]) == {}
    assert read_process(nobody) is None
    assert read_process(os.getpid()) is not None
