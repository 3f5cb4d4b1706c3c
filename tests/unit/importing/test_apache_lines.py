from __future__ import annotations

import pytest

from fcgipm.importing.apache_lines import first_word, logical_lines, resolved, words


def test_comments_and_empty_lines_are_left_out_and_the_others_keep_their_numbers() -> None:
    assert list(logical_lines("# one\n\n  User a  \r\n\t#two\nGroup b")) == [(3, "User a"), (5, "Group b")]


def test_a_backslash_joins_lines_and_the_number_is_the_first_ones() -> None:
    assert list(logical_lines("A b \\\n  c\\\nd\nE")) == [(1, "A b   cd"), (4, "E")]


def test_a_comment_goes_on_behind_a_backslash() -> None:
    assert list(logical_lines("# no \\\nUser a\nGroup b\\")) == [(3, "Group b")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("\"a b\" 'c d'", ["a b", "c d"]),
        (r'"a\"b" ' + r"'it\'s' x\y z\\w", ['a"b', "it's", r"x\y", r"z\w"]),
        (r"'a\"b' ", [r"a\"b"]),
        ('A="b c"', ['A="b', 'c"']),
        ('"" x', ["", "x"]),
        ('"open to the end', ["open to the end"]),
        ('"a"b', ["a", "b"]),
        ("", []),
    ],
)
def test_words_are_those_of_apache(line: str, expected: list[str]) -> None:
    assert words(line) == expected


def test_the_first_word_leaves_the_rest_as_it_is() -> None:
    assert first_word('FastCgiServer "/a b"  -flush') == ("FastCgiServer", '"/a b"  -flush')
    assert first_word("") == ("", "")


def test_variables_are_replaced_and_what_is_missing_is_told() -> None:
    missing: list[str] = []

    line = resolved("${A} $B ${C} ${C?=d} ${rewrite:map} ${", {"A": "x y"}, missing.append)

    assert line == "x y $B ${C} d ${rewrite:map} ${"
    assert missing == ["C"]
