from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from unit.importing.conftest import Texts

from fcgipm.importing.found import Found, Unreadable
from fcgipm.importing.lighttpd_tree import read_tree
from fcgipm.importing.lighttpd_values import Array, Scope, Unknown, Value


def scopes(text: str, found: Found | None = None, files: Mapping[str, str] | None = None) -> list[Scope]:
    others = {f"/etc/{name}": content for name, content in (files or {}).items()}
    around = {"HOME": "/home"}
    return read_tree("/etc/l.conf", Texts({"/etc/l.conf": text, **others}), around, found or Found(""))


def plain(value: Value) -> Any:
    match value:
        case Array(items):
            return [plain(item.value) if item.key is None else (item.key, plain(item.value)) for item in items]
        case Unknown(why):
            return f"? {why}"
        case _:
            return value


def values(text: str, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {key: plain(value) for key, (value, _place) in scopes(text, files=files)[0].values.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a.b = "c"', "c"),
        ("a.b = 12", 12),
        (r'a.b = "c\"d\\e"', 'c"d\\\\e'),
        ("a.b = ()", []),
        ('a.b = ( "c", 1, )', ["c", 1]),
        ('a.b = ( "c" => 1, "d" => ( "e" => "f" ) )', [("c", 1), ("d", [("e", "f")])]),
        ('a.b = ( "c",\n# comment\n  "d" )', ["c", "d"]),
        ('a.b = "c" + "d" + 1', "cd1"),
        ("a.b = 1 + 2", 3),
        ('a.b = ( "c" ) + ( "d" )', ["c", "d"]),
        ('var.x = "c"\na.b = var.x + x', "cc"),
        ('x = "c"\nA.B = X', "c"),
        ("a.b = env.HOME", "/home"),
        ("a.b = env.NOPE", "? env.NOPE is not in the environment"),
        ('a.b = "c" + unheard', "? var.unheard is not known here"),
        ('a.b = unheard + "c" + env.NOPE', "? var.unheard is not known here"),
        ('a.b = "c"\na.b += "d"', "cd"),
        ('a.b += "d"', "d"),
        ('a.b = "c"\na.b := "d"', "d"),
        ('a.b = "c" # and more', "c"),
        ('global { a.b = "c" }', "c"),
        ('a.b = ( "x" + "y" => 2, 5 => 6 )', [("xy", 2), ("5", 6)]),
        ('a.b = "two\nlines"', "two\nlines"),
    ],
)
def test_values(text: str, expected: object) -> None:
    assert values(text)["a.b"] == expected


def test_conditions_have_scopes_of_their_own() -> None:
    whole, first, inner, second, third = scopes(
        'a.b = "0"\n$HTTP["host"] == "x" {\n a.b = "1"\n $SERVER["socket"] =~ ":80" { a.b = "2" }\n}\n'
        'else $HTTP["host"] =^ "y" { a.b = "3" }\nelse {\n a.b = "4"\n}'
    )

    assert [scope.find("a.b") for scope in (whole, first, inner, second, third)] == ["0", "1", "2", "3", "4"]
    assert inner.conditions() == ['$HTTP["host"] == "x"', '$SERVER["socket"] =~ ":80"']
    assert second.conditions() == ['$HTTP["host"] =^ "y", else of $HTTP["host"] == "x"']
    assert third.conditions() == ['else of $HTTP["host"] == "x"']


def test_a_condition_that_comes_again_is_the_same_scope() -> None:
    found = scopes('$HTTP["host"] == "x" { a.b = ("1") }\n$HTTP["host"] == "x" { a.b += ("2") }')

    assert len(found) == 2
    assert plain(found[1].find("a.b") or 0) == ["1", "2"]


def test_what_a_condition_adds_to_is_inherited() -> None:
    whole, inner = scopes('a.b = ( "x" )\nif $HTTP["url"] != "/" {\n a.b += ( "y" )\n}')

    before, after = whole.find("a.b"), inner.find("a.b")
    assert isinstance(before, Array)
    assert isinstance(after, Array)
    assert after.items[0] is before.items[0]
    assert [item.value for item in after.items] == ["x", "y"]


def test_files_are_included_from_the_directory_of_the_main_file() -> None:
    files = {"sub/one.conf": 'a.b = "1"\ninclude "sub/two.conf"', "sub/two.conf": 'c.d = "2"'}

    assert values('include "sub/" + "one.conf"', files) == {"a.b": "1", "c.d": "2"}
    assert values('include "sub/t*.conf"\na.x = 1', files) == {"c.d": "2", "a.x": 1}


def test_what_cannot_be_included_is_told() -> None:
    found = Found("")

    scopes('include "gone.conf"\ninclude "none/*.conf"\ninclude_shell "x " + 1\ninclude env.NOPE\n', found)

    assert [remark.text for remark in found.remarks] == [
        "/etc/l.conf:1: include gone.conf: /etc/gone.conf: no such file",
        "/etc/l.conf:3: include_shell x 1: programs are not run; what it prints is missing here",
        "/etc/l.conf:4: include: env.NOPE is not in the environment",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a.b = \n", "l.conf:1: the end of the line where a value should be"),
        ('a.b = "x', "l.conf:1: a text begins here and does not end"),
        ('a.b "x"', 'l.conf:1: "x" where = should be'),
        ('a.b = "x" "y"', 'l.conf:1: "y" is not expected here'),
        ("a.b = ( 1 2 )", "'2' where , should be"),
        ("a.b = ( 1", "the end of the file where , should be"),
        ("\n\n%", "l.conf:3: '%' is not expected here"),
        ('a.b = "two\nlines"\n%', "l.conf:3: '%' is not expected here"),
        ('a.b = (\r\n"x" # y\n)\r%', "l.conf:4: '%' is not expected here"),
        ('$HTTP["host"] == "x" {\n', "l.conf:2: a block is not closed in this file"),
        ("}", "'}' is not expected here"),
        ('$HTTP["host"] = "x" { }', "a condition such as"),
        ("else { a.b = 1 }", "else has no condition before it"),
        ('a.b = ( 1 ) + "x"', "a list and a text cannot be added"),
        (f"a.b = {'9' * 30}", "is too large a number"),
        (f"a.b = {'(' * 200}", "parentheses are nested more than 100 deep"),
        ('$HTTP["host"] == "x" {' * 200, "blocks are nested more than 100 deep"),
        ('include "l.conf"', "files include each other more than 20 deep"),
        ('x = "0123456789"\n' + "x += x\n" * 30, "a text gets longer than"),
        ("x = (1, 2)\n" + "x += x\n" * 30, "a list gets more than"),
    ],
)
def test_what_lighttpd_would_not_take_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(Unreadable) as refused:
        scopes(text)

    assert why in str(refused.value)
