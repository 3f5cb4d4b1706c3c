"""The runtime directory: whose it must be, and how it is locked."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from fcgipm.config.schema import Daemon
from fcgipm.keeper.daemon.runtime import Runtime, StartError
from fcgipm.keeper.keeping.heritage import LOCK, Heritage


def daemon(place: Path) -> Daemon:
    return replace(Daemon(), runtime_dir=f"{place}/run", pid_file=f"{place}/run/fcgipm.pid")


def test_it_is_made_for_web_servers_to_go_through_and_removed_again(place: Path) -> None:
    runtime = Runtime(daemon(place))
    runtime.write_pid()

    assert stat.S_IMODE((place / "run").stat().st_mode) == 0o711
    assert (place / "run" / "fcgipm.pid").read_text() == f"{os.getpid()}\n"
    runtime.close()
    assert os.listdir(place) == []


def test_a_link_is_no_runtime_directory_even_to_one_of_ours(place: Path) -> None:
    (place / "real").mkdir(mode=0o711)
    (place / "run").symlink_to("real")

    with pytest.raises(StartError, match="is a link or a file, not a directory"):
        Runtime(daemon(place))


def test_a_directory_that_others_may_write_is_refused(place: Path) -> None:
    (place / "run").mkdir()
    (place / "run").chmod(0o775)

    with pytest.raises(StartError, match="writable by nobody else"):
        Runtime(daemon(place))


def test_the_lock_is_the_directorys_not_the_pid_files(place: Path) -> None:
    first = Runtime(daemon(place))
    (place / "run" / "fcgipm.pid").unlink()

    with pytest.raises(StartError, match=f"already running in {place}/run: pid {os.getpid()}$"):
        Runtime(daemon(place))
    first.close()
    Runtime(daemon(place)).close()


def test_a_pid_file_that_is_another_by_now_stays(place: Path) -> None:
    first = Runtime(daemon(place))
    (place / "run" / "fcgipm.pid").unlink()
    (place / "run" / "fcgipm.pid").write_text("another's")

    first.close()

    assert (place / "run" / "fcgipm.pid").read_text() == "another's"


@pytest.mark.root
def test_root_overwrites_nothing_by_a_hard_link(place: Path) -> None:
    (place / "open").mkdir()
    (place / "open").chmod(0o1777)
    (place / "target").write_text("root's")
    os.link(place / "target", place / "open" / "pid")

    with pytest.raises(StartError, match="it has 2 names"):
        Runtime(replace(daemon(place), pid_file=f"{place}/open/pid"))

    assert (place / "target").read_text() == "root's"
    assert not (place / "run").exists()


def test_what_is_inherited_is_locked_all_the_time(place: Path) -> None:
    first = Runtime(daemon(place))
    first.write_pid()
    heritage = Heritage({name: os.dup(number) for name, number in first.descriptors().items()})
    os.close(first.descriptors()[LOCK])

    second = Runtime(daemon(place), heritage, made=first.made)
    with pytest.raises(StartError, match=f"already running in {place}/run: pid {os.getpid()}$"):
        Runtime(daemon(place))
    second.close()
    assert heritage.left() == []
    assert os.listdir(place) == []
