from __future__ import annotations

import string
from typing import Any

import tomli
from hypothesis import given
from hypothesis import strategies as st

from fcgipm.config.lines import KeyPath, line_numbers
from fcgipm.config.rendering import key_text, value_text


def test_each_way_of_writing_a_key() -> None:
    text = '''# a comment with [brackets] and "quotes
[fcgipm] # [not.this]
log = "a # b"

[app.blog]
command = [
  "/bin/x", # ] not the end
  """two
lines"]""",
]
"quoted key" = 'lit # eral'
dotted.inner . deep = { one = 1, "two" = [ { three = 3 } ] }
when = 1979-05-27 07:32:00
[ app . "with.dot" ]
x = \'\'\'
[no.table]
\'\'\'\'\'
y = 1
'''
    tomli.loads(text)

    assert line_numbers(text) == {
        ("fcgipm",): 2,
        ("fcgipm", "log"): 3,
        ("app",): 5,
        ("app", "blog"): 5,
        ("app", "blog", "command"): 6,
        ("app", "blog", "command", 0): 7,
        ("app", "blog", "command", 1): 8,
        ("app", "blog", "quoted key"): 11,
        ("app", "blog", "dotted"): 12,
        ("app", "blog", "dotted", "inner"): 12,
        ("app", "blog", "dotted", "inner", "deep"): 12,
        ("app", "blog", "dotted", "inner", "deep", "one"): 12,
        ("app", "blog", "dotted", "inner", "deep", "two"): 12,
        ("app", "blog", "dotted", "inner", "deep", "two", 0): 12,
        ("app", "blog", "dotted", "inner", "deep", "two", 0, "three"): 12,
        ("app", "blog", "when"): 13,
        ("app", "with.dot"): 14,
        ("app", "with.dot", "x"): 15,
        ("app", "with.dot", "y"): 18,
    }


def test_arrays_of_tables_are_counted() -> None:
    text = "[[a]]\nx = 1\n[a.b]\ny = 2\n[[a]]\nx = 3\n[[a.c]]\nz = 1\r\n"

    lines = line_numbers(text)

    assert lines["a", 0, "x"] == 2
    assert lines["a", 0, "b", "y"] == 4
    assert lines["a", 1, "x"] == 6
    assert lines["a", 1, "c", 0, "z"] == 8


def test_escapes_in_quoted_keys() -> None:
    text = r'"a\u0041\n\"\\b" = 1'

    assert line_numbers(text) == {('aA\n"\\b',): 1}


class Writer:
    """Writes a table as TOML in one of many ways and notes on which line each key is."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def put(self, text: str) -> None:
        self.text += text

    def choose(self, *ways: str) -> str:
        return self.data.draw(st.sampled_from(ways))

    def note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def table(self, path: KeyPath, table: dict[str, Any]) -> None:
        inner = {key: value for key, value in table.items() if isinstance(value, dict)}
        headed = [key for key in inner if self.choose("header", "inline") == "header"]
        for key, value in table.items():
            if key in headed:
                continue
            self.put(self.choose("", "\n", "  # x = 1 ]\n", "\t"))
            self.note((*path, key))
            self.put(key_text(key) + self.choose(" = ", "=", "\t=  "))
            self.value((*path, key), value)
            self.put(self.choose("\n", " # y = [\n", "\r\n", "\n\n"))
        for key in headed:
            self.put(self.choose("", "\n", "# [z]\n"))
            self.note((*path, key))
            dot = self.choose(".", " . ")
            self.put(f"[{dot.join(key_text(str(part)) for part in (*path, key))}]" + self.choose("\n", " # ]\n"))
            self.table((*path, key), inner[key])

    def value(self, path: KeyPath, value: Any) -> None:
        if isinstance(value, dict):
            self.inline_table(path, value)
        elif isinstance(value, list):
            self.array(path, value)
        elif isinstance(value, str):
            self.string(value)
        else:
            self.put(value_text(value))

    def inline_table(self, path: KeyPath, value: dict[str, Any]) -> None:
        self.put("{ ")
        for number, (key, item) in enumerate(value.items()):
            self.put(", " if number else "")
            self.note((*path, key))
            self.put(f"{key_text(key)} = ")
            self.inline(path, key, item)
        self.put(" }")

    def inline(self, path: KeyPath, key: str, item: Any) -> None:
        if isinstance(item, dict):
            self.inline_table((*path, key), item)
        else:
            self.value((*path, key), item)

    def array(self, path: KeyPath, value: list[Any]) -> None:
        self.put("[" + self.choose("", "\n", " # [\n"))
        for index, item in enumerate(value):
            self.note((*path, index))
            self.value((*path, index), item)
            self.put(self.choose(", ", ",\n", " # ,]\n,"))
        self.put("]")

    def string(self, text: str) -> None:
        way = self.choose("basic", "long", "literal", "long literal")
        if way == "long":
            self.put('"""' + text.replace("\\", "\\\\").replace('"""', '""\\"').removesuffix('"') + '"""')
        elif way == "literal" and "'" not in text and "\n" not in text:
            self.put(f"'{text}'")
        elif way == "long literal" and "'" not in text:
            self.put(f"'''\n{text}'''")
        else:
            self.put(value_text(text))


texts = st.text(string.ascii_letters + " \n#[]{}=,.\"'\\é", max_size=12)
scalars = st.one_of(st.integers(), st.booleans(), texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(texts, values, max_size=4), st.data())
def test_every_key_is_found_on_its_line(table: dict[str, Any], data: st.DataObject) -> None:
    writer = Writer(data)
    writer.table((), table)
    tomli.loads(writer.text)

    assert line_numbers(writer.text) == writer.lines
