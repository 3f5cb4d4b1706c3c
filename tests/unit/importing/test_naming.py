from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcgipm.config.tables import is_usable_name
from fcgipm.importing.naming import Names


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("/srv/echo", "echo"),
        ("/srv/echo.fcgi", "echo"),
        ("/usr/bin/php-cgi8.2", "php-cgi8.2"),
        ("/usr/lib/cgi-bin/php5-fcgi", "php5-fcgi"),
        (".php", "php"),
        ("/remote_scripts/", "remote_scripts"),
        ("/", "app"),
        ("", "app"),
        ("/srv/a b", "a-b"),
        ("/srv/größe", "gr-e"),
        ("/srv/.hidden", "hidden"),
        ("/srv/" + "x" * 100, "x" * 40),
        ("/srv/control", "control-2"),
    ],
)
def test_a_name_is_made_from_the_last_component(wish: str, name: str) -> None:
    assert Names().give(wish) == name


def test_nothing_gets_a_name_twice() -> None:
    names = Names()

    assert [names.give(wish) for wish in ("a", "a-2", "/x/a", "a.fcgi", "a-2")] == ["a", "a-2", "a-3", "a-4", "a-2-2"]


@given(st.lists(st.text() | st.sampled_from(["a", "a-2", "state", "Dynamic"]), max_size=8))
def test_every_name_is_usable_and_given_once(wishes: list[str]) -> None:
    names = Names()
    given_names = [names.give(wish) for wish in wishes]

    assert all(is_usable_name(name) for name in given_names)
    assert len(set(given_names)) == len(wishes)
