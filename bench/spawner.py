"""One way of starting instances, in a process of its own: ``python -m bench.spawner WAY PROGRAM``.

It imports what the keeper imports, whatever the way, as the cost of a fork follows the memory; beyond that only what
its way needs: what other modules have to do after a fork is not the keeper's.
"""

from __future__ import annotations

import gc
import os
import pwd
import resource
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from fcgipm.config.identity import Identity
from fcgipm.keeper import loop
from fcgipm.keeper.daemon.signals import Signals
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.instances import spawn
from fcgipm.keeper.instances.recipe import Limit, Recipe
from fcgipm.log import Logger, open_sink

SPAWNS = 50

assert loop


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
    import subprocess  # noqa: PLC0415  not in the keeper's memory

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


WAYS: dict[str, Callable[[Recipe, int], None]] = {
    "fcgipm": by_fcgipm,
    "Popen": by_popen,
    "posix_spawn": by_posix_spawn,
}


def rate(way: Callable[[Recipe, int], None], what: Recipe, listener: int) -> float:
    """Return how many a second."""
    begin = time.perf_counter()
    for _ in range(SPAWNS):
        way(what, listener)
    return SPAWNS / (time.perf_counter() - begin)


def main(name: str, program: str) -> None:
    """Print a rate for each line that is read."""
    what, dispatch = recipe(program), Dispatch(Logger(open_sink("stderr"), level="info", form="text"))
    with socket.socket() as listener, Signals(dispatch, lambda _number: None):
        rate(WAYS[name], what, listener.fileno())
        gc.collect()
        gc.freeze()  # as the keeper does
        for _line in sys.stdin:
            print(rate(WAYS[name], what, listener.fileno()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
