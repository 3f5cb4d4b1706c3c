"""A verified kill under load loses nothing, and a blind one does."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.components import need
from harness.instances import ENVIRONMENT, Instance, Stage, recipe
from harness.load import Load
from harness.programs import STDIO, THREADED, compiled

from fcgipm.keeper.instances import session
from fcgipm.keeper.instances.recipe import Recipe
from fcgipm.keeper.instances.retire import Result, try_removal

PHP_SCRIPT = "<?php usleep(300); echo 'hello';"
KILLS = 100
pytestmark = pytest.mark.timeout(240)  # seconds alone on two cores, minutes beside other tests
INSTANCES = 3


@pytest.fixture(params=["unix", "tcp"])
def stage(request: pytest.FixtureRequest, place: Path) -> Iterator[Stage]:
    with Stage.unix(place / "s") if request.param == "unix" else Stage.tcp() as stage:
        yield stage


def loaded_recipe(what: str, place: Path) -> Recipe:
    if what == "stdio":
        return recipe(str(compiled(STDIO, place / "stdio", "fcgi")))
    if what == "threaded":
        return recipe(str(compiled(THREADED, place / "threaded", "fcgi")))
    return recipe(need("php-cgi"), environment={**ENVIRONMENT, "PHP_FCGI_CHILDREN": "2"})


def address_of(stage: Stage) -> str | tuple[str, int]:
    if stage.listener.family == socket.AF_UNIX:
        return str(stage.endpoint.name)
    return ("127.0.0.1", stage.endpoint.port or 0)


def kill_under_load(stage: Stage, what: Recipe, script: Path, kill: Callable[[Instance], bool], kills: int) -> Load:
    """Remove instances one after another while clients ask, each replaced at once; return the clients."""
    script.write_text(PHP_SCRIPT)
    for _ in range(INSTANCES):
        stage.start_ready(what)
    deadline = time.monotonic() + 200
    with Load(address_of(stage), str(script), clients=4, pause=0.003) as load:
        done = 0
        while done < kills:
            assert time.monotonic() < deadline, f"only {done} kills"
            for instance in list(stage.instances):
                if kill(instance):
                    stage.reap(instance)
                    stage.start_ready(what)
                    done += 1
    return load


@pytest.mark.usefixtures("subreaper")
@pytest.mark.parametrize("what", ["stdio", "threaded", "php"])
def test_verified_kill_loses_nothing(stage: Stage, place: Path, what: str) -> None:
    def kill(instance: Instance) -> bool:
        leaders = {one.pid for one in stage.instances}
        result = try_removal(
            instance.process, stage.endpoint, published=True, last=False, asked=False, stop_signal=signal.SIGTERM,
            is_leader=leaders.__contains__,
        )  # fmt: skip
        for orphan in session.orphans(leaders.__contains__):
            if orphan.state == "Z":
                os.waitpid(orphan.pid, 0)  # a child of the one before; what lives are the clients
        return result is Result.KILLED

    load = kill_under_load(stage, loaded_recipe(what, place), place / "x.php", kill, KILLS)
    assert load.tally.lost == 0
    assert load.tally.answered > KILLS, "there was no load"


@pytest.mark.parametrize("what", ["stdio", "threaded", "php"])
def test_blind_kill_loses_requests(stage: Stage, place: Path, what: str) -> None:
    """The proof that the test above can fail."""

    def kill(instance: Instance) -> bool:
        os.killpg(instance.pid, signal.SIGKILL)
        return True

    load = kill_under_load(stage, loaded_recipe(what, place), place / "x.php", kill, KILLS)
    assert load.tally.lost > 0
