"""Whose links are followed, and where root writes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fcgipm.linux.paths import UntrustedError, open_directory, open_path, open_to_write


def opened(path: Path) -> str:
    descriptor = open_path(str(path))
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def test_our_own_links_are_followed_wherever_they_lead(place: Path) -> None:
    (place / "deep" / "er").mkdir(parents=True)
    (place / "deep" / "file").write_text("")
    (place / "absolute").symlink_to(place / "deep" / "er")
    (place / "relative").symlink_to("absolute/../er/./..")

    assert opened(place / "relative" / "file") == f"{place}/deep/file"
    assert opened(place / "absolute" / ".." / "file") == f"{place}/deep/file"


def test_what_is_not_there_or_no_directory(place: Path) -> None:
    (place / "file").write_text("")
    (place / "loop").symlink_to("loop")

    with pytest.raises(FileNotFoundError):
        open_path(str(place / "none"))
    with pytest.raises(NotADirectoryError):
        open_directory(str(place / "file"))
    with pytest.raises(UntrustedError, match="too many symbolic links"):
        open_path(str(place / "loop"))


@pytest.mark.root
@pytest.mark.parametrize("whose", ["directory", "link", "group"])
def test_a_strangers_links_are_not_followed(place: Path, whose: str) -> None:
    (place / "open").mkdir()
    (place / "open" / "link").symlink_to("/etc")
    assert opened(place / "open" / "link") == "/etc"

    if whose == "directory":
        os.chown(place / "open", 4711, 0)
    elif whose == "link":
        (place / "open").chmod(0o1777)
        os.chown(place / "open" / "link", 4711, 0, follow_symlinks=False)
    else:
        os.chown(place / "open", 0, 4711)
        (place / "open").chmod(0o770)

    with pytest.raises(UntrustedError):
        open_path(str(place / "open" / "link" / "passwd"))


@pytest.mark.root
def test_with_owners_nobody_else_may_have_a_part_of_the_way(place: Path) -> None:
    (place / "his" / "deep").mkdir(parents=True)
    os.chown(place / "his", 4711, 0)

    with pytest.raises(UntrustedError, match="his belongs to uid 4711, who could replace what is in it"):
        open_directory(str(place / "his" / "deep"), {0})
    os.close(open_directory(str(place / "his" / "deep"), {0, 4711}))


def test_a_device_is_written_to_like_a_file(place: Path) -> None:
    (place / "null").symlink_to("/dev/null")
    for path in ("/dev/null", str(place / "null"), str(place / "new")):
        descriptor = open_to_write(path, os.O_WRONLY | os.O_APPEND, 0o640)
        os.write(descriptor, b"x")
        os.close(descriptor)
    assert (place / "new").read_text() == "x"


@pytest.mark.parametrize("flags", [os.O_WRONLY | os.O_APPEND, os.O_RDWR])
def test_a_fifo_or_a_socket_is_refused_at_once(place: Path, flags: int) -> None:
    os.mkfifo(place / "fifo")
    (place / "link").symlink_to("fifo")
    for path in (place / "fifo", place / "link"):
        with pytest.raises(OSError, match=r"it is a pipe \(fifo\); allowed: a file or a character device"):
            open_to_write(str(path), flags, 0o640)

    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place / "sock"))
        with pytest.raises(OSError, match="it is a socket; allowed"):
            open_to_write(str(place / "sock"), flags, 0o640)
    with pytest.raises(OSError, match="it is a directory; allowed"):
        open_to_write(str(place), flags, 0o640)


def test_what_was_opened_is_written_to_as_ever(place: Path) -> None:
    descriptor = open_to_write(str(place / "new"), os.O_WRONLY | os.O_APPEND, 0o640)

    assert os.get_blocking(descriptor)
    os.close(descriptor)
