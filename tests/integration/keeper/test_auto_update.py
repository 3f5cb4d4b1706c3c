"""Files that an application is made of: when they change it is told once, as soon as they rest."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from harness.keeper import SERVE, Puppet, Rig
from harness.waiting import until

from fcgipm import wire

Start = Callable[..., Rig]

QUIET = 0.5
"""Seconds."""
LONG = 1.5
"""Seconds after which nothing is told any more, if nothing was."""


@pytest.fixture
def files(place: Path) -> Path:
    """Return a directory with a program and a module."""
    path = place / "files"
    (path / "lib").mkdir(parents=True)
    (path / "main.py").write_text(SERVE)
    (path / "lib" / "a.py").write_text("a = 1")
    return path


def watching(files: Path, *, more: str = "auto-update = true", name: str = "one", program: str = "main.py") -> str:
    command = ["/usr/bin/python3", "-I", "-S", f"{files}/{program}"]
    return f"[app.{name}]\ncommand = {json.dumps(command)}\n{more}\nwatch = ['{files}/lib/**/*.py']\n"


def changes(puppet: Puppet) -> list[str]:
    return [report.app for report in puppet.reports() if isinstance(report, wire.ProgramChanged)]


def told_once(puppet: Puppet, app: str = "one", *, pauses: int = 0) -> float:
    """Wait until *app* is told to have changed, and then long enough for a second time; return when it was.

    Once more it may be told for each of *pauses* in the writing.
    """
    puppet.expect(wire.ProgramChanged, app=app)
    at = time.monotonic()
    until(lambda: time.monotonic() > at + QUIET * 1.5, what="time passes")
    more = changes(puppet)
    assert len(more) <= pauses
    for each in more:
        puppet.expect(wire.ProgramChanged, app=each)
    return at


def pauses_in(times: Sequence[float]) -> int:
    """Return how often who wrote at these *times* may have rested for half a second, on a machine that is busy."""
    return sum(after - before > QUIET * 0.6 for before, after in pairwise(times))


def told_nothing(puppet: Puppet) -> None:
    end = time.monotonic() + LONG
    until(lambda: time.monotonic() > end or changes(puppet), what="time passes")
    assert changes(puppet) == []


def replace(path: Path, text: str) -> None:
    """Write *path* as editors do: another file, renamed over it."""
    other = path.with_name(f".{path.name}.swp")
    other.write_text(text)
    other.replace(path)


def test_a_written_file_is_told_after_half_a_second_of_rest(rig: Start, files: Path) -> None:
    puppet = rig(watching(files)).puppet()

    began = time.monotonic()
    (files / "main.py").write_text(SERVE + "# new\n")

    assert told_once(puppet) - began >= QUIET


@pytest.mark.parametrize("name", ["main.py", "lib/a.py", "lib/new.py", "lib/deep/er/new.py"])
def test_all_that_is_named_is_watched(rig: Start, files: Path, name: str) -> None:
    puppet = rig(watching(files)).puppet()

    (files / name).parent.mkdir(parents=True, exist_ok=True)
    replace(files / name, "new = 1")

    told_once(puppet)


def test_a_deleted_module_is_a_change_and_a_deleted_program_is_one_when_it_is_back(rig: Start, files: Path) -> None:
    program = files / "app"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    text = f"[app.one]\ncommand = ['{program}']\nauto-update = true\nwatch = ['{files}/lib/*.py']\nautostart = false\n"
    puppet = rig(text).puppet()
    (files / "lib/a.py").unlink()
    told_once(puppet)

    program.unlink()
    told_nothing(puppet)
    program.write_text("#!/bin/sh\nexec sleep 601\n")
    program.chmod(0o755)

    told_once(puppet)


def test_what_is_not_named_or_not_new_is_no_change(rig: Start, files: Path) -> None:
    puppet = rig(watching(files)).puppet()
    status = os.stat(files / "main.py")

    (files / "other.py").write_text("x")
    (files / "lib" / "a.txt").write_text("x")
    (files / "lib" / ".a.py.swp").write_text("x")
    with (files / "main.py").open("ab"):
        pass
    (files / "main.py").chmod(0o600)
    (files / "main.py").chmod(status.st_mode & 0o777)

    told_nothing(puppet)


def test_many_files_at_once_are_one_change(rig: Start, files: Path) -> None:
    puppet = rig(watching(files)).puppet()

    written = [time.monotonic()]
    for number in range(300):
        path = files / f"lib/d{number % 7}/m{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(number))
        written.append(time.monotonic())

    told_once(puppet, pauses=pauses_in(written))
    replace(files / "lib/d3/m3.py", "again")  # its directory has come since, and is watched, too
    told_once(puppet)


def test_a_file_that_is_still_written_is_waited_for(rig: Start, files: Path) -> None:
    puppet = rig(watching(files)).puppet()
    began = time.monotonic()
    written = [began]
    with (files / "lib" / "new.py").open("ab", buffering=0) as file:
        for number in range(8):
            file.write(b"# more\n")
            until(lambda: time.monotonic() > began + 0.2 * (number + 1), what="a slow writer")  # noqa: B023  at once
            written.append(time.monotonic())
            assert len(changes(puppet)) <= pauses_in(written)
        ended = time.monotonic()

    assert told_once(puppet, pauses=pauses_in(written)) >= ended or pauses_in(written)


def test_a_release_directory_that_is_pointed_elsewhere(rig: Start, files: Path) -> None:
    for release in ("41", "42"):
        (files / "releases" / release).mkdir(parents=True)
        (files / "releases" / release / "main.py").write_text(SERVE + f"# {release}\n")
    (files / "current").symlink_to("releases/41")
    puppet = rig(watching(files, program="current/main.py")).puppet()

    (files / "next").symlink_to("releases/42")
    (files / "next").replace(files / "current")
    told_once(puppet)

    replace(files / "releases" / "42" / "main.py", SERVE + "# 42b\n")
    told_once(puppet)
    replace(files / "releases" / "41" / "main.py", "nobody's any more")
    told_nothing(puppet)


def test_a_directory_that_is_exchanged(rig: Start, files: Path) -> None:
    (files / "site").mkdir()
    (files / "site" / "main.py").write_text(SERVE)
    puppet = rig(watching(files, program="site/main.py")).puppet()

    (files / "new").mkdir()
    (files / "new" / "main.py").write_text(SERVE + "# new\n")
    (files / "site").rename(files / "old")
    (files / "new").rename(files / "site")
    told_once(puppet)

    replace(files / "site" / "main.py", SERVE + "# newer\n")
    told_once(puppet)


def test_without_auto_update_only_the_program_matters(rig: Start, files: Path) -> None:
    program = files / "app"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    text = f"[app.one]\ncommand = ['{program}', '{files}/main.py']\nwatch = ['{files}/lib/*']\nautostart = false\n"
    puppet = rig(text).puppet()

    (files / "main.py").write_text("x")
    (files / "lib" / "a.py").write_text("x")
    told_nothing(puppet)
    replace(program, "x")

    told_once(puppet)


def test_a_generation_that_begins_has_what_has_changed_until_then(rig: Start, files: Path) -> None:
    puppet = rig(watching(files)).puppet()
    puppet.spawn("one", 1)

    (files / "main.py").write_text(SERVE + "# new\n")
    puppet.spawn("one", 2, generation=2)
    told_nothing(puppet)

    (files / "main.py").write_text(SERVE + "# newer\n")
    puppet.spawn("one", 3, generation=2)  # of a generation that has begun before
    told_once(puppet)


def test_an_apply_changes_what_is_watched(rig: Start, files: Path) -> None:
    keeper = rig(watching(files, more=""))
    puppet = keeper.puppet()
    keeper.configure(watching(files))
    puppet.order(wire.Apply(request=1))
    puppet.expect(wire.Applied)

    (files / "lib/a.py").write_text("new")
    puppet.order(wire.Apply(request=2))  # which forgets nothing
    puppet.expect(wire.Applied)

    told_once(puppet)


def test_two_applications_of_one_file_are_told_of_both(rig: Start, files: Path) -> None:
    puppet = rig(watching(files) + watching(files, name="two", more="")).puppet()

    (files / "lib/a.py").write_text("new")
    told_once(puppet)
    (files / "main.py").write_text(SERVE + "# new\n")

    told_once(puppet)


def test_rest_costs_nothing(rig: Start, files: Path) -> None:
    keeper = rig(watching(files))
    keeper.puppet()
    until(lambda: "has started" in keeper.log())
    before = keeper.switches()
    end = time.monotonic() + 1
    (files / "other").write_text("noise in the same directory is read, and that is all")
    until(lambda: time.monotonic() > end, what="time passes")

    assert keeper.switches() - before < 10
