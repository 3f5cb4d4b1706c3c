"""The directories of sockets: what is done there hits what was looked at."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fcgipm.keeper.listening.place import Place, Places
from fcgipm.keeper.listening.sockets import Attributes, FileId, SocketError

ATTRIBUTES = Attributes(os.geteuid(), os.getegid(), 0o660)


@pytest.fixture
def bound(place: Path) -> Iterator[tuple[Place, socket.socket, FileId]]:
    """Give a place with one socket, "one.1"."""
    there = Place(str(place), str(place / "private"))
    sock = there.bind("one.1", ATTRIBUTES, 5)
    file = there.bound("one.1")
    assert file is not None
    yield there, sock, file
    sock.close()
    there.close()


def test_the_kernel_knows_the_socket_by_its_whole_private_path(
    bound: tuple[Place, socket.socket, FileId], place: Path
) -> None:
    there, sock, file = bound
    there.publish("one.1", "one.sock", file)

    assert sock.getsockname() == f"{place}/private/one.1"
    assert there.published("one.sock") == file
    assert there.names_of(file) == ["one.1"]
    there.unpublish("one.sock", file)
    assert there.published("one.sock") is None


def test_nothing_but_the_socket_that_was_bound_is_published(
    bound: tuple[Place, socket.socket, FileId], place: Path
) -> None:
    there, _, file = bound
    (place / "private" / "one.1").unlink()
    (place / "private" / "one.1").write_text("something else")

    with pytest.raises(OSError, match="is not the socket that was bound there"):
        there.publish("one.1", "one.sock", file)

    assert sorted(os.listdir(place)) == ["private"]
    assert os.listdir(place / "private") == ["one.1"]


def test_what_is_published_by_somebody_else_is_not_removed(
    bound: tuple[Place, socket.socket, FileId], place: Path
) -> None:
    there, _, file = bound
    (place / "one.sock").write_text("")

    there.unpublish("one.sock", file)

    assert (place / "one.sock").exists()


def test_a_private_directory_that_is_exchanged_is_not_bound_in(
    bound: tuple[Place, socket.socket, FileId], place: Path
) -> None:
    there, _, _ = bound
    (place / "private").rename(place / "was")
    (place / "elsewhere").mkdir()
    (place / "private").symlink_to("elsewhere")

    with pytest.raises(SocketError, match="its directory was replaced meanwhile"):
        there.bind("one.2", ATTRIBUTES, 5)
    there.remove("one.1")

    assert os.listdir(place / "was") == []
    with pytest.raises(SocketError, match=r"Not a directory"):
        Places().take(str(place), str(place / "private"))


def test_a_place_is_shared_while_it_is_the_same(place: Path) -> None:
    places = Places()
    (place / "a").mkdir()
    first = places.take(f"{place}/a", f"{place}/a/private")

    assert places.take(f"{place}/a", f"{place}/a/private") is first
    (place / "a").rename(place / "b")
    (place / "a").mkdir()
    other = places.take(f"{place}/a", f"{place}/a/private")

    assert other is not first
    for taken in (first, first, other):
        places.give_back(taken)
    assert [os.listdir(place / name) for name in "ab"] == [[], []]


@pytest.mark.root
def test_somebody_elses_private_directory_is_refused(place: Path) -> None:
    (place / "private").mkdir(0o700)
    os.chown(place / "private", 4711, 0)

    with pytest.raises(SocketError, match="must be a directory of uid 0 with mode 0700"):
        Places().take(str(place), str(place / "private"))


def test_places_of_dynamic_sockets_are_made_as_needed_and_vanish_when_nothing_is_in_them(place: Path) -> None:
    places = Places()
    private = str(place / "private" / ".d")
    first = places.take(str(place / "dynamic" / "r" / "sub"), private)
    second = places.take(str(place / "dynamic" / "r"), private)
    assert first.private_path == second.private_path
    assert (place / "dynamic" / "r" / "sub").stat().st_mode & 0o7777 == 0o711
    assert Path(private).stat().st_mode & 0o7777 == 0o700
    sock = first.bind("1.1", ATTRIBUTES, 5)
    file = first.bound("1.1")
    assert file is not None
    first.publish("1.1", "x.sock", file)
    assert (place / "dynamic" / "r" / "sub" / "x.sock").is_socket()

    places.give_back(second)
    assert (place / "dynamic" / "r" / "sub" / "x.sock").is_socket()
    first.unpublish("x.sock", file)
    first.remove("1.1")
    places.give_back(first)
    sock.close()
    assert os.listdir(place) == []


def test_a_directory_that_another_place_still_uses_stays(place: Path) -> None:
    places = Places()
    private = str(place / "private" / ".d")
    above = places.take(str(place / "dynamic" / "r"), private)
    below = places.take(str(place / "dynamic" / "r" / "sub"), private)
    places.give_back(below)
    assert os.listdir(place / "dynamic" / "r") == []
    places.give_back(above)
    assert os.listdir(place) == []


@pytest.mark.parametrize("what", ["dynamic", "dynamic/r"])
def test_what_is_in_the_way_of_a_directory_is_an_error_and_nothing_stays(place: Path, what: str) -> None:
    (place / what).parent.mkdir(exist_ok=True)
    (place / what).write_text("a file")
    before = sorted(place.rglob("*"))

    with pytest.raises(SocketError):
        Places().take(str(place / "dynamic" / "r" / "sub"), str(place / "private" / ".d"))

    assert sorted(place.rglob("*")) == before
