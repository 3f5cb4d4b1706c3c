"""Which files are found, and where it is noticed that others may come: every way by which a path leads elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fcgipm.keeper.instances import surveying
from fcgipm.keeper.instances.surveying import Made, Survey, survey


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a directory without links on the way."""
    return tmp_path.resolve()


def touch(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.name)
    return str(path)


def found(tree: Path, survey: Survey) -> set[str]:
    return {os.path.relpath(path, tree) for path in survey.marks}


def places(tree: Path, survey: Survey) -> dict[str, set[str]]:
    """Return the places in *tree*, without the way there."""
    return {
        os.path.relpath(path, tree): names
        for path, names in survey.places.items()
        if path == str(tree) or path.startswith(f"{tree}/")
    }


def test_a_program_and_the_files_among_its_arguments(tree: Path) -> None:
    program, argument = touch(tree / "bin/app"), touch(tree / "lib/main.py")

    seen = survey(Made(program, (argument, str(tree / "lib"), str(tree / "later"), "/api/[v1]")))

    assert found(tree, seen) == {"bin/app", "lib/main.py"}
    assert seen.has_program
    assert places(tree, seen) == {"bin": {"app"}, "lib": {"main.py"}, ".": {"lib", "later"}}


def test_a_path_is_no_pattern(tree: Path) -> None:
    program = touch(tree / "[a]/p*")
    touch(tree / "a/px")

    assert found(tree, survey(Made(program))) == {"[a]/p*"}


def test_patterns(tree: Path) -> None:
    for name in ("a/x.py", "a/y.pyc", "a/.z.py", "b/x.py", "b/c/d/w.py", ".git/v.py", "u.py"):
        touch(tree / name)

    def of(pattern: str) -> set[str]:
        return found(tree, survey(Made("/nothing", patterns=(f"{tree}/{pattern}",))))

    assert of("*/*.py") == {"a/x.py", "b/x.py"}
    assert of("a/.*.py") == {"a/.z.py"}
    assert of("[ab]/?.py*") == {"a/x.py", "a/y.pyc", "b/x.py"}
    assert of("**/*.py") == {"a/x.py", "b/x.py", "b/c/d/w.py", "u.py"}
    assert of("b/**/d/*") == {"b/c/d/w.py"}
    assert of("*") == {"u.py"}
    assert of("nothing/*") == set()


def test_where_others_may_come(tree: Path) -> None:
    touch(tree / "a/b/x.py")

    seen = survey(Made("/nothing", patterns=(f"{tree}/a/**/*.py",)))
    assert places(tree, seen) == {".": set(), "a": {""}, "a/b": {"", "x.py"}}
    assert places(tree, survey(Made(f"{tree}/a/c/app"))) == {".": set(), "a": {"c"}}


def test_links_are_followed_and_each_is_a_place(tree: Path) -> None:
    touch(tree / "releases/42/app.py")
    (tree / "releases/latest").symlink_to("42")
    (tree / "current").symlink_to(tree / "releases/latest")

    seen = survey(Made(f"{tree}/current/app.py"))

    assert found(tree, seen) == {"current/app.py"}
    assert places(tree, seen) == {".": {"current"}, "releases": {"latest", "42"}, "current": {"app.py"}}

    touch(tree / "releases/43/app.py")
    (tree / "next").symlink_to("43")
    (tree / "next").replace(tree / "releases/latest")
    assert survey(Made(f"{tree}/current/app.py")).marks != seen.marks


def test_links_that_lead_nowhere_or_round_are_no_trouble(tree: Path) -> None:
    (tree / "round").symlink_to("round")
    (tree / "gone").symlink_to("nothing/app")
    (tree / "d").mkdir()
    (tree / "d/up").symlink_to("..")
    touch(tree / "d/x")

    seen = survey(Made(f"{tree}/round", (f"{tree}/gone",), (f"{tree}/**/x",)))

    assert found(tree, seen) == {"d/x"}
    assert not seen.has_program
    assert "nothing" in places(tree, seen)["."]


def test_what_makes_a_file_another_one(tree: Path) -> None:
    program = touch(tree / "app")
    seen = survey(Made(program))
    assert survey(Made(program)) == seen

    os.chmod(program, 0o700)
    assert survey(Made(program)).marks != seen.marks
    seen = survey(Made(program))
    os.utime(program, ns=(0, 1))
    assert survey(Made(program)).marks != seen.marks


def test_too_many_files_are_too_many(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "MOST_FILES", 3)
    for number in range(5):
        touch(tree / f"{number}/x")

    seen = survey(Made("/nothing", patterns=(f"{tree}/*/x",)))

    assert not seen.is_complete
    assert len(seen.marks) <= 4


def test_one_directory_is_too_many_files_as_well(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "MOST_FILES", 3)
    for number in range(5):
        touch(tree / f"{number}")

    seen = survey(Made("/nothing", patterns=(f"{tree}/*",)))

    assert not seen.is_complete
    assert len(seen.marks) == 3


def test_names_that_are_no_files_are_looked_at_only_so_often(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "MOST_NAMES", 10)
    for number in range(20):
        (tree / f"{number}").symlink_to("nothing")

    seen = survey(Made("/nothing", patterns=(f"{tree}/*",)))

    assert not seen.is_complete
    assert len(places(tree, seen)["."]) <= 12


def test_directories_made_too_deep_do_not_stop_the_keeper(tree: Path) -> None:
    program = touch(tree / "app")
    (tree / "/".join(["d"] * 700)).mkdir(parents=True)

    seen = survey(Made(program, patterns=(f"{tree}/**/*.py",)))

    assert not seen.is_complete
    assert seen.has_program
