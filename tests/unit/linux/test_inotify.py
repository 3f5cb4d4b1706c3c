"""inotify tells what happened to watched files and directories."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

import pytest

from fcgipm.linux import inotify
from fcgipm.linux.inotify import Inotify


def test_a_name_in_a_directory_is_told(tmp_path: Path) -> None:
    watcher = Inotify()
    number = watcher.add(str(tmp_path), inotify.MOVED_TO | inotify.ONLYDIR)
    (tmp_path / "a").write_text("")
    (tmp_path / "a").rename(tmp_path / "b")

    assert select.select([watcher], [], [], 5)[0]
    assert [(event.watch, event.name) for event in watcher.read()] == [(number, "b")]
    assert watcher.read() == []
    watcher.close()


def test_a_lost_name_of_a_socket_is_told_by_any_other_name(tmp_path: Path) -> None:
    watcher = Inotify()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "private"))
    os.link(tmp_path / "private", tmp_path / "public")
    number = watcher.add(str(tmp_path / "private"), inotify.ATTRIB | inotify.MOVE_SELF)
    (tmp_path / "unrelated").write_text("")
    assert watcher.read() == []

    (tmp_path / "public").unlink()

    assert {(event.watch, event.mask) for event in watcher.read()} == {(number, inotify.ATTRIB)}
    watcher.remove(number)
    watcher.close()


def test_what_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    watcher = Inotify()

    with pytest.raises(FileNotFoundError):
        watcher.add(str(tmp_path / "nothing"), inotify.ATTRIB)
    watcher.close()
