"""No more processes, or no more memory: what runs serves on, what is missing is started as soon as it can be."""

from __future__ import annotations

import os
import pwd
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from chaos.load import Crowd
from chaos.scene import Scene, crowd_at
from harness.components import absent
from harness.daemon import FCGIPM
from harness.waiting import until
from integration.faults.faults import OTHER, kill_others, limited, said, wait_for_others

StartScene = Callable[..., Scene]


def crowd(stage: Scene) -> Crowd:
    """Give visitors who ask directly: nginx is another user, who may not come to an ordinary one's sockets."""
    return crowd_at(stage.place, {"directly": ("fcgi", stage.address)}, clients=10, pause=0.002)


def short_of_processes(stage: Scene, visitors: Crowd) -> list[int]:
    """See what the daemon does that cannot fork; return whom of the other application it could not replace."""
    victims = kill_others(stage)
    until(lambda: said(stage, "cannot spawn other/"), what="the shortage is said")
    assert "fork: Resource temporarily unavailable" in stage.ctl("restart", "app", code=1)
    visitors.more(300)
    return victims


def healed(stage: Scene, victims: list[int]) -> None:
    """See that it goes on by itself."""
    wait_for_others(stage, victims)
    stage.ctl("restart", "app")
    stage.settle()
    assert said(stage, "cannot spawn other/") == 1
    assert said(stage, "other: instances can be started again") == 1
    assert "back-off" not in stage.daemon.log()


def test_the_user_may_have_no_more(scene: StartScene, place: Path) -> None:
    program: tuple[str, ...] = (FCGIPM,)
    if os.geteuid() == 0:  # for whom that limit does not hold
        user = pwd.getpwnam("games")
        os.chown(place, user.pw_uid, user.pw_gid)
        program = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", FCGIPM)
    stage = scene("mortal", others=OTHER, program=program)
    with crowd(stage) as visitors:
        with limited(stage.daemon.pid, resource.RLIMIT_NPROC, 1):
            victims = short_of_processes(stage, visitors)
        healed(stage, victims)
    assert visitors.failures == []


@pytest.fixture
def group(place: Path) -> Iterator[Path]:
    """Give a control group that counts processes; whoever is left in it goes back at the end."""
    base = Path("/sys/fs/cgroup/pids")
    base = base if base.is_dir() else Path("/sys/fs/cgroup")
    made = base / f"fcgipm.{place.parent.name}.{place.name}"
    try:
        made.mkdir()
    except OSError as error:
        absent(f"no control group can be made: {error}")
    if not (made / "pids.max").exists():
        made.rmdir()
        absent("no control group can count processes")
    yield made
    for pid in (made / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            (base / "cgroup.procs").write_text(pid)
    until(lambda: _is_removed(made), what="the control group is gone")


def _is_removed(group: Path) -> bool:
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


@pytest.mark.root
def test_the_control_group_may_have_no_more(group: Path, scene: StartScene) -> None:
    stage = scene("mortal", others=OTHER)
    with stage.crowd(clients=10, pause=0.002) as (visitors, _):
        (group / "cgroup.procs").write_text(str(stage.daemon.pid))
        (group / "pids.max").write_text("1")
        victims = short_of_processes(stage, visitors)
        (group / "pids.max").write_text("max")
        healed(stage, victims)
    assert visitors.failures == []


def test_no_memory(scene: StartScene) -> None:
    stage = scene("mortal", others=f"{OTHER}min-server-life = 0\n")
    size = int(Path(f"/proc/{stage.daemon.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    with stage.crowd(clients=10, pause=0.002) as (visitors, _):
        with limited(stage.daemon.pid, resource.RLIMIT_AS, size):
            victims = kill_others(stage)
            for _ in range(3):
                stage.daemon.ctl("restart", "app")
                stage.daemon.ctl("apply", "--timeout", "5")
                visitors.more(50)
        wait_for_others(stage, victims)
        stage.ctl("restart", "app")
        stage.settle()
    assert visitors.failures == []
    assert "ends because of a bug" not in stage.daemon.log()
