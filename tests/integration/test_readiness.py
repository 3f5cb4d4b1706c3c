"""Ready is what waits for the listener, whatever it is written in; what sleeps in anything else is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.components import need
from harness.identity import as_nobody
from harness.instances import ENVIRONMENT, Stage, read_line, recipe
from harness.programs import PERL, SLEEPERS, STDIO, THREADED, WAITERS, compiled, waiting
from harness.waiting import until

from fcgipm.keeper.instances import session
from fcgipm.keeper.instances.readiness import Look, look
from fcgipm.linux import procfs


@pytest.fixture(params=["unix", "tcp"])
def stage(request: pytest.FixtureRequest, place: Path) -> Iterator[Stage]:
    with Stage.unix(place / "s") if request.param == "unix" else Stage.tcp() as stage:
        yield stage


@pytest.mark.parametrize("how", WAITERS)
def test_waiting_for_the_listener_is_ready(stage: Stage, how: str) -> None:
    instance = stage.start(recipe(*waiting(WAITERS[how])))
    stage.wait_for(instance, Look.ACCEPTING)


@pytest.mark.parametrize("how", SLEEPERS)
def test_sleeping_in_something_else_is_not(stage: Stage, how: str) -> None:
    instance = stage.start(recipe(*waiting(SLEEPERS[how])))
    assert read_line(instance.stdout) == b"here\n"
    seen = set()

    def asleep() -> bool:
        seen.add(stage.look(instance))
        return Look.ASLEEP in seen

    until(asleep)
    assert seen <= {Look.ASLEEP, Look.RUNNING}
    for _ in range(20):
        assert stage.look(instance) is Look.ASLEEP


@pytest.mark.needs("libfcgi")
@pytest.mark.parametrize("variant", ["stdio", "threaded", "threaded, main thread ended"])
def test_libfcgi(stage: Stage, place: Path, variant: str) -> None:
    if variant == "stdio":
        program = compiled(STDIO, place / "stdio", "fcgi")
    else:
        program = compiled(THREADED, place / "threaded", "fcgi")
    arguments = ["more"] if "ended" in variant else []
    instance = stage.start(recipe(str(program), *arguments))
    stage.wait_for(instance, Look.ACCEPTING)
    if "ended" in variant:
        until(lambda: procfs.stat(instance.pid).state == "Z", what="the end of the main thread")
        assert stage.look(instance) is Look.ACCEPTING


@pytest.mark.needs("libfcgi-perl")
def test_perl(stage: Stage) -> None:
    stage.start_ready(recipe(need("perl"), "-e", PERL))


@pytest.mark.needs("php-cgi")
@pytest.mark.parametrize("children", [0, 3])
def test_php(stage: Stage, children: int) -> None:
    environment = {**ENVIRONMENT, **({"PHP_FCGI_CHILDREN": str(children)} if children else {})}
    instance = stage.start(recipe(need("php-cgi"), environment=environment))
    stage.wait_for(instance, Look.ACCEPTING)
    until(lambda: len(session.members(instance.pid)) == 1 + children)


@pytest.mark.needs("fcgiwrap")
@pytest.mark.parametrize("children", [1, 2])
def test_fcgiwrap(stage: Stage, children: int) -> None:
    stage.start_ready(recipe(need("fcgiwrap"), "-c", str(children)))


@pytest.mark.parametrize("how", ["poll by a time limit", "select", "epoll", "accept"])
def test_after_a_stop_too(stage: Stage, how: str) -> None:
    """A stopped and continued poll is another system call."""
    instance = stage.start_ready(recipe(*waiting(WAITERS[how])))
    os.kill(instance.pid, signal.SIGSTOP)
    until(lambda: procfs.stat(instance.pid).state == "T")
    os.kill(instance.pid, signal.SIGCONT)
    if how != "epoll":  # which is interrupted, and Python goes round
        until(lambda: procfs.stat(instance.pid).state == "S")
    stage.wait_for(instance, Look.ACCEPTING)


def test_serving(stage: Stage) -> None:
    """Under load an instance is never seen waiting."""
    instance = stage.start(recipe(*waiting("c, _ = s.accept(); s.close(); time.sleep(100)")))
    stage.wait_for(instance, Look.ACCEPTING)
    with stage.connect():
        stage.wait_for(instance, Look.SERVING)
    assert stage.look(instance) is Look.SERVING, "the client has gone, the instance is still at work"


def test_a_connection_of_another_instance_says_nothing(stage: Stage) -> None:
    serving = stage.start_ready(recipe(*waiting("c, _ = s.accept(); time.sleep(100)")))
    sleeping = stage.start(recipe(*waiting("said(); time.sleep(100)")))
    assert read_line(sleeping.stdout) == b"here\n"
    with stage.connect():
        stage.wait_for(serving, Look.SERVING)
        stage.wait_for(sleeping, Look.ASLEEP)


def test_running(stage: Stage) -> None:
    instance = stage.start(recipe(*waiting("said()\nwhile True: pass")))
    assert read_line(instance.stdout) == b"here\n"
    stage.wait_for(instance, Look.RUNNING)


def test_gone(stage: Stage) -> None:
    instance = stage.start(recipe("/bin/true"))
    stage.wait_for(instance, Look.GONE)


@pytest.mark.root
def test_without_rights_nothing_is_claimed(stage: Stage) -> None:
    """As the ordinary user's keeper is with a setuid program, or root's without CAP_SYS_PTRACE."""
    instance = stage.start_ready(recipe(*waiting(WAITERS["accept"])))
    assert as_nobody(lambda: look(instance.pid, stage.endpoint).value) == "unknown"
