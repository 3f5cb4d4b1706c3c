"""Instances started a second: by fcgipm, by subprocess, by posix_spawn; in a process of its own, like the keeper."""

from __future__ import annotations

import json
import os
import pwd
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench.programs import nothing
from bench.table import Row
from fcgipm.config.identity import Identity
from fcgipm.keeper import loop, spawn
from fcgipm.keeper.recipe import Limit, Recipe

ROUNDS = 7
SPAWNS = 100

assert loop  # what the keeper imports: the cost of a fork follows the memory


def identity() -> Identity:
    """Return who the instances are: an ordinary user, if this is root."""
    found = pwd.getpwnam("www-data" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
    groups = tuple(os.getgrouplist(found.pw_name, found.pw_gid)) if os.geteuid() == 0 else ()
    return Identity(
        uid=found.pw_uid, gid=found.pw_gid, groups=groups, user=found.pw_name, group=str(found.pw_gid),
        home=found.pw_dir,
    )  # fmt: skip


def recipe(program: str) -> Recipe:
    """Return a recipe with everything that can be set."""
    who = identity()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Recipe(
        program=program, arguments=(program,), environment={"PATH": "/usr/bin:/bin"}, become=who, owner=who.uid,
        directory="/", directory_first=False, chroot=None, umask=0o022, priority=5, oom_score_adjust=0,
        limits=(Limit("nofile", resource.RLIMIT_NOFILE, min(soft, 4096), min(hard, 4096)),
                Limit("core", resource.RLIMIT_CORE, 0, 0)),
        no_new_privs=False,
    )  # fmt: skip


def by_fcgipm(what: Recipe, listener: int) -> None:
    """Start one instance and wait for its end."""
    starting = spawn.begin(what, listener)
    spawn.finish(starting)
    os.waitpid(starting.pid, 0)
    for descriptor in (starting.pidfd, starting.stdout_fd, starting.stderr_fd):
        os.close(descriptor)


def by_popen(what: Recipe, listener: int) -> None:
    """Do the same with what subprocess can set: neither priority nor limits."""
    more: dict[str, Any] = {"extra_groups": what.become.groups} if os.geteuid() == 0 else {}
    process = subprocess.Popen(
        what.arguments, stdin=listener, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=what.environment,
        cwd=what.directory, umask=what.umask, start_new_session=True, user=what.become.uid, group=what.become.gid,
        **more,
    )  # fmt: skip
    with process:
        pass


def by_posix_spawn(what: Recipe, listener: int) -> None:
    """Start the program and nothing else."""
    pid = os.posix_spawn(
        what.program, what.arguments, dict(what.environment), file_actions=[(os.POSIX_SPAWN_DUP2, listener, 0)]
    )
    os.waitpid(pid, 0)


def rate(way: Callable[[Recipe, int], None], what: Recipe, listener: int) -> float:
    """Return how many a second."""
    begin = time.perf_counter()
    for _ in range(SPAWNS):
        way(what, listener)
    return SPAWNS / (time.perf_counter() - begin)


def main(program: str) -> None:
    """Print the medians as JSON."""
    ways = {"fcgipm": by_fcgipm, "Popen": by_popen, "posix_spawn": by_posix_spawn}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    what = recipe(program)
    with socket.socket() as listener:
        for _ in range(ROUNDS):
            for name, way in ways.items():
                rates[name].append(rate(way, what, listener.fileno()))
    print(json.dumps({name: median(found) for name, found in rates.items()}))


def measure(place: Path) -> Iterator[Row]:
    """Yield the rows about spawning."""
    program = nothing(place)
    done = subprocess.run([sys.executable, "-m", "bench.spawns", program], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    yield Row(
        what="instances spawned/s", ours=found["fcgipm"], bound=0.6, sense="≥", of_ratio=True, peer="Popen(user=…)",
        theirs=found["Popen"],
    )  # fmt: skip
    yield Row(what="", ours=found["fcgipm"], peer="posix_spawn", theirs=found["posix_spawn"])


if __name__ == "__main__":
    main(sys.argv[1])
