"""Whatever goes wrong in an order, the manager gets an answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fcgipm import wire
from fcgipm.config.identity import own_identity
from fcgipm.keeper.context import Context
from fcgipm.keeper.daemon.progress import Progress
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.instances.book import Book
from fcgipm.keeper.instances.starting import Starting
from fcgipm.keeper.supervising.notes import Notes
from fcgipm.keeper.supervising.orders import Orders
from fcgipm.linux.sock_diag import Diag
from fcgipm.log import FileSink, Logger, open_file

SPAWN = wire.Spawn(instance=1, app="one", generation=1)
OPEN = wire.Open(root="one", path="two")
PUBLISH = wire.Publish(app="one", generation=1)


class Broken:
    """Any part of the keeper; all that is asked of it raises *error*."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        def call(*_: object) -> Any:
            raise self.error

        return call


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    log = Logger(FileSink(open_file(str(tmp_path / "log"))))
    config = SimpleNamespace(applications={"one": SimpleNamespace(name="one")})
    loaded: Any = SimpleNamespace(manager=own_identity(os.geteuid()), config=config)
    dispatch = Dispatch(log)
    with Diag() as diag:
        yield Context(dispatch, log, loaded, diag, (1024, 4096))
    dispatch.close()
    log.sink.close()


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), ZeroDivisionError("ours")], ids=str)
@pytest.mark.parametrize(
    "order", [SPAWN, PUBLISH, wire.Publish(app="one", generation=0), OPEN, wire.Apply(request=3)], ids=str
)
def test_a_failure_is_an_answer(context: Context, order: wire.Order, error: Exception) -> None:
    heard: list[wire.Report] = []
    reporter: Any = SimpleNamespace(report=lambda message, _descriptors=(): heard.append(message))
    context.reporter = reporter
    broken: Any = Broken(error)
    book, progress = Book(), Progress((), lambda _outcome: None, str)
    starting = Starting(
        context, book, listeners=broken, dynamic=broken, outputs=broken, strays=broken, progress=progress
    )
    orders = Orders(
        context, book, listeners=broken, dynamic=broken, starting=starting, outputs=broken, progress=progress,
        actions=broken, notes={},
    )  # fmt: skip
    if isinstance(error, OSError):
        orders.obey(order)
    else:
        with pytest.raises(ZeroDivisionError):  # and the loop says where
            orders.obey(order)

    (report,) = heard
    match report:
        case wire.SpawnFailed():
            assert report.instance == 1
            assert str(error.args[-1]) in report.error
        case wire.PublishFailed() | wire.OpenFailed():
            assert str(error.args[-1]) in report.error
        case wire.Applied():
            assert str(error.args[-1]) in report.problems[0]
        case _:
            pytest.fail(f"no answer: {report}")


@pytest.mark.parametrize(
    ("order", "at_once"), [(wire.Upgrade(request=3), 20), (wire.Apply(request=3), 20_000)], ids=["upgrade", "apply"]
)
def test_who_asks_too_often_has_to_wait(context: Context, order: wire.Order, at_once: int) -> None:
    done: list[object] = []
    held: list[bool] = []
    broken: Any = Broken(AssertionError("nobody asks for it"))
    actions: Any = SimpleNamespace(apply=done.append, upgrade=done.append, hold=held.append)
    orders = Orders(
        context, Book(), listeners=broken, dynamic=broken, starting=broken, outputs=broken, progress=broken,
        actions=actions, notes={},
    )  # fmt: skip
    while not held:
        orders.obey(order)

    assert at_once <= len(done) < 2 * at_once
    assert orders.deadline() is not None


def test_of_an_application_that_is_forgotten_no_wish_is_known_any_more(context: Context) -> None:
    soon: list[bool] = []
    keeping: Any = SimpleNamespace(changed=lambda *, later: soon.append(not later))
    context.keeping = keeping
    notes = Notes(context, {}, lambda _app: "")
    wish = wire.Note(app="one", text="stopped", wish="stopped", resting=True)
    notes.keep(wish)
    notes.keep(wish)
    notes.known.pop("one")  # as who removes an application does
    notes.keep(wish)

    assert soon == [True, False, True], "a new wish is written down at once"
