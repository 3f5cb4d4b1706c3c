"""Once a new configuration holds, the manager is told so, whatever goes wrong with a part of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fcgipm import wire
from fcgipm.config.load import load
from fcgipm.keeper.applying.apply import Applier
from fcgipm.keeper.applying.changes import Changes
from fcgipm.keeper.context import Context
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.linux.sock_diag import Diag
from fcgipm.log import FileSink, Logger, open_file

ONE = "[app.one]\ncommand = ['/bin/true']\n"


@dataclass
class Ear:
    """Hears the reports."""

    heard: list[wire.Report] = field(default_factory=list)

    def report(self, message: wire.Report, descriptors: object = ()) -> bool:
        del descriptors
        self.heard.append(message)
        return True


class Broken:
    """Every part that the applier has to do with; *error* is what the one called *where* raises."""

    def __init__(self, where: str, error: Exception) -> None:
        self.where, self.error = where, error

    @property
    def known(self) -> Broken:
        return self

    def __getattr__(self, name: str) -> Any:
        def call(*_: object) -> Any:
            if name == self.where:
                raise self.error
            return () if name == "facts" else None

        return call


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    (tmp_path / "apps.toml").write_text(f"{ONE}socket-mode = '0600'\n[app.two]\ncommand = ['/bin/true']\n")
    loaded = load(str(tmp_path / "apps.toml"), environ={}, euid=os.geteuid())
    log = Logger(FileSink(open_file(str(tmp_path / "log"))))
    dispatch = Dispatch(log)
    with Diag() as diag:
        yield Context(dispatch, log, loaded, diag, (1024, 4096), Ear())
    dispatch.close()
    log.sink.close()


def test_names_without_end_do_not_pile_up_while_the_file_is_read(context: Context) -> None:
    part: Any = Broken("", ZeroDivisionError())
    dynamic: Any = SimpleNamespace(renewed=lambda new: new, applied=lambda: None, define=lambda: None)
    changes = Changes(context, part, part, part, {}, dynamic=dynamic, progress=part)
    applier = Applier(context, changes, part, dynamic, environ={}, foreground=True)
    ear: Any = context.reporter
    context.dispatch.hold(applier)
    names = tuple(f"{number:064}" for number in range(1024))
    applier.apply(wire.Apply(request=0, dry_run=True))
    for request in range(1, 41):
        applier.apply(wire.Apply(request=request, apps=names))

    at_once = list(ear.heard)
    assert [applied.request for applied in at_once] == list(range(33, 41))  # 128 KiB each
    assert {applied.problems for applied in at_once} == {("too many applications are named at once; ask again",)}
    while len(ear.heard) < 41:
        context.dispatch.step()
    for _ in range(2):
        os.wait()  # the readers of the file
    assert not [applied for applied in ear.heard[8:] if applied.problems in {one.problems for one in at_once}]
    applier.apply(wire.Apply(request=41, apps=names))
    assert len(ear.heard) == 41, "there is room again"
    while len(ear.heard) < 42:
        context.dispatch.step()
    os.wait()


@pytest.mark.parametrize(
    ("where", "error", "warning"),
    [
        ("remove", OSError(24, "Too many open files"), "app.two: its socket could not be taken away: "),
        ("change", OSError(24, "Too many open files"), "app.one: its sockets could not be changed: "),
        ("define", OSError(28, "No space left on device"), "changes of programs are not noticed: "),
        ("forget_recipes", ZeroDivisionError(), "internal error in Broken."),
    ],
)
def test_what_fails_half_way_is_a_warning(
    context: Context, tmp_path: Path, where: str, error: Exception, warning: str
) -> None:
    part: Any = Broken(where, error)
    dynamic: Any = SimpleNamespace(renewed=lambda new: new, applied=lambda: None, define=lambda: None)
    changes = Changes(context, part, part, part, {}, dynamic=dynamic, progress=part)
    applier = Applier(context, changes, part, dynamic, environ={}, foreground=True)
    (tmp_path / "apps.toml").write_text(f"{ONE}socket-mode = '0666'\n")
    ear: Any = context.reporter
    context.dispatch.hold(applier)
    applier.apply(wire.Apply(request=1))
    while not ear.heard:
        context.dispatch.step()
    os.wait()  # the reader of the file

    (applied,) = ear.heard
    assert applied.problems == ()
    assert len(applied.definitions.applications) == 1
    assert any(text.startswith(warning) for text in applied.warnings)
