"""How long an old listener stays; a minute passes here by asking what happens then."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fcgipm import wire
from fcgipm.config.load import load
from fcgipm.config.schema import SECOND
from fcgipm.keeper.context import Context
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.listening.guard import Guard
from fcgipm.keeper.listening.listeners import LATE, Listeners
from fcgipm.keeper.listening.place import Places
from fcgipm.keeper.listening.sockets import SocketError
from fcgipm.linux.sock_diag import Diag
from fcgipm.log import FileSink, Logger, open_file


class Collector:
    """Takes reports."""

    def __init__(self) -> None:
        self.reports: list[wire.Report] = []

    def report(self, message: wire.Report, descriptors: Sequence[int] = ()) -> bool:
        self.reports.append(message)
        return True


@pytest.fixture
def context(place: Path) -> Iterator[Context]:
    config = place / "apps.toml"
    command = json.dumps(["/bin/sleep", "1"])
    config.write_text(f'[fcgipm]\nruntime-dir = "{place}/run"\n[app.one]\ncommand = {command}\n')
    (place / "run").mkdir(mode=0o711)
    loaded = load(str(config), environ={}, euid=os.geteuid())
    log = Logger(FileSink(open_file(str(place / "log"))))
    dispatch = Dispatch(log)
    with Diag() as diag:
        yield Context(dispatch, log, loaded, diag, (1024, 4096), Collector())
    dispatch.close()
    log.sink.close()


@pytest.fixture
def listeners(context: Context) -> Iterator[Listeners]:
    guard = Guard(context.dispatch)
    made = Listeners(context, guard, Places())
    app = context.application("one")
    assert app is not None
    made.publish(made.of(app, 1))
    yield made
    made.close_all()
    guard.close()


def test_an_unpublished_listener_without_instances_stays_for_a_minute(
    context: Context, listeners: Listeners, place: Path
) -> None:
    app = context.application("one")
    assert app is not None
    assert listeners.deadline() is None
    listeners.publish(listeners.of(app, 2))

    due = listeners.deadline()

    assert due is not None
    assert LATE == 60 * SECOND
    assert LATE - SECOND < due - time.monotonic_ns() <= LATE
    listeners.expire(due)
    assert os.listdir(place / "run" / "private") == ["one.2"]
    assert listeners.deadline() is None
    with pytest.raises(SocketError, match="no listener any more"):
        listeners.of(app, 1)


def test_one_that_was_never_public_goes_with_its_last_instance(
    context: Context, listeners: Listeners, place: Path
) -> None:
    app = context.application("one")
    assert app is not None
    hidden = listeners.of(app, 2)
    listeners.take(hidden)
    with listeners.connect("one", 2):  # a probe that was not answered
        listeners.leave(hidden)

    assert os.listdir(place / "run" / "private") == ["one.1"]
    assert listeners.deadline() is None


def test_it_is_not_closed_over_somebody_who_waits(context: Context, listeners: Listeners, place: Path) -> None:
    app = context.application("one")
    assert app is not None
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(place / "run" / "one.sock"))
        listeners.publish(listeners.of(app, 2))
        due = listeners.deadline()
        assert due is not None

        listeners.expire(due)

        assert listeners.deadline() == due + LATE
        assert isinstance(context.reporter, Collector)
        assert context.reporter.reports == [wire.SomebodyWaits(app="one", generation=1)]


def test_a_published_listener_stays_without_instances(context: Context, listeners: Listeners) -> None:
    app = context.application("one")
    assert app is not None
    listener = listeners.of(app, 1)
    listeners.take(listener)
    listeners.leave(listener)

    assert listeners.deadline() is None
    assert listener.published


def test_a_listener_that_an_apply_made_is_used_for_the_generation_that_comes_whatever_its_number(
    context: Context, listeners: Listeners, place: Path
) -> None:
    app = context.application("one")
    assert app is not None
    for _ in range(2):  # two applies, before anybody used the first one's
        listeners.enter(listeners.make(app, listeners.known.highest("one") + 1))

    used = listeners.of(app, 2)
    listeners.publish(used)
    listeners.publish(following := listeners.of(app, 3))

    assert used.fact().bound == f"{place}/run/private/one.3"
    assert (used.generation, following.generation) == (2, 3)
    assert following.fact().bound == f"{place}/run/private/one.4"
