"""What is found below a root, and where going through it ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fcgipm.config.schema import Root
from fcgipm.keeper.roots.listing import Listing


def listed(place: Path, **options: Any) -> tuple[Listing, list[str]]:
    entered: list[str] = []

    def enter(path: str, directory: int) -> None:
        assert os.path.samestat(os.fstat(directory), (place / path).stat())
        entered.append(path)

    before = os.listdir("/proc/self/fd")
    listing = Listing(Root(path=str(place), name="r", **options), enter)
    listing.run()
    assert os.listdir("/proc/self/fd") == before
    return listing, entered


def test_files_whose_names_match_are_found_at_any_depth_and_links_not_followed(place: Path) -> None:
    (place / "sub" / "deep").mkdir(parents=True)
    for path in ("a.fcgi", "b.txt", "sub/c.fcgi", "sub/deep/d.fcgi", ".hidden.fcgi"):
        (place / path).touch()
    (place / "e.fcgi").symlink_to("a.fcgi")
    (place / "elsewhere").symlink_to("sub")

    listing, entered = listed(place, match="*.fcgi")

    assert listing.found == {"a.fcgi", ".hidden.fcgi", "e.fcgi", "sub/c.fcgi", "sub/deep/d.fcgi"}
    assert entered == ["", "sub", "sub/deep"]
    assert listing.left_out == []
    assert listed(place, match="*.fcgi", recursive=False)[0].found == {"a.fcgi", ".hidden.fcgi", "e.fcgi"}


def test_there_is_an_end_to_it(place: Path) -> None:
    for number in range(20_010):
        os.link(place / "f0", place / f"f{number}") if number else (place / "f0").touch()

    listing, _ = listed(place)

    assert len(listing.found) == 20_000
    assert listing.left_out == [f"{place} has more than 20000 files; the rest is not looked at"]


def test_directories_of_directories_have_an_end_too(place: Path) -> None:
    deep = place.joinpath(*("d" * 40))
    deep.mkdir(parents=True)

    assert len(listed(place)[1]) == 33


def test_a_directory_that_may_not_be_entered_is_named_and_the_others_are_gone_through(place: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may enter everything")
    (place / "closed").mkdir(mode=0)
    (place / "open").mkdir()
    (place / "open" / "a").touch()
    try:
        listing, _ = listed(place)
    finally:
        (place / "closed").chmod(0o755)

    assert listing.found == {"open/a"}
    assert listing.left_out == [f"cannot look into {place}/closed/: Permission denied"]


def test_without_the_root_there_is_nothing_to_list(place: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Listing(Root(path=f"{place}/nothing", name="r"), lambda _path, _directory: None).run()
