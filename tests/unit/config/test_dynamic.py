from __future__ import annotations

import dataclasses
import json

import pytest
from unit.config.conftest import Files

from fcgipm.config.definitions import dynamic, to_definition
from fcgipm.config.plan import KeyChange, compare
from fcgipm.config.rendering import plain_config, render_config
from fcgipm.config.schema import SECOND, Change, Root

ROOT = '[dynamic]\nroots = [{ path = "/usr/bin" }]\n'


def test_a_table_with_everything_left_out(files: Files) -> None:
    table = files.load(ROOT).config.dynamic

    assert table is not None
    assert table.roots == (Root(path="/usr/bin", name="bin", uri="/bin/"),)
    assert (table.max_processes, table.max_class_processes, table.min_processes, table.process_slack) == (50, 10, 5, 5)
    assert (table.gain_value, table.update_interval, table.kill_interval) == (0.5, 300 * SECOND, 300 * SECOND)
    assert (table.single_threshold, table.multi_threshold, table.start_delay) == (0, 50, 3 * SECOND)
    assert (table.restart, table.wrapper, table.uri) == (False, "off", ())
    assert files.load("").config.dynamic is None


def test_what_describes_an_instance_comes_from_defaults(files: Files) -> None:
    table = files.load(
        f'[defaults]\ninitial-env = {{ A = "1" }}\nflush = true\n{ROOT}initial-env = {{ B = "2" }}'
    ).config.dynamic

    assert table is not None
    assert (table.initial_env, table.flush) == ({"A": "1", "B": "2"}, True)


def test_the_table_comes_back_from_what_show_prints_and_from_the_wire(files: Files) -> None:
    roots = '[{ path = "/usr/bin", name = "b", match = "*.fcgi", listen = true, uri = "/x/", owners = ["root"], '
    roots += 'recursive = false }, { path = "/usr/lib" }]'
    first = files.load(f'[dynamic]\nroots = {roots}\nmax-memory = "1G"\ngain-value = 0.25\nrestart = true')
    table = first.config.dynamic
    assert table is not None

    assert files.load("\n".join(render_config(first.config))).config == first.config
    assert plain_config(first.config)["dynamic"]["max-memory"] == 1 << 30
    assert plain_config(first.config)["dynamic"]["roots"][1]["name"] == "lib"
    assert dynamic(json.loads(json.dumps(to_definition(table)))) == table


@pytest.mark.parametrize("header", ["[[dynamic.roots]]", "[[Dynamic.Roots]]"])
def test_roots_may_be_tables_of_their_own(files: Files, header: str) -> None:
    table = files.load(f'{header}\nPath = "/usr/bin"\n{header}\npath = "/usr/lib"').config.dynamic

    assert table is not None
    assert [root.name for root in table.roots] == ["bin", "lib"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[dynamic]\nroots = [\n{ path = "/usr/bin", mach = "*" },\n]', "3: dynamic.roots[0].mach: unknown key; did"),
        ('[dynamic]\nroots = [{ match = "*" }]', "2: dynamic.roots[0].path: is required"),
        ('[dynamic]\nroots = [{ path = "bin" }]', '2: dynamic.roots[0].path: "bin" is not allowed; allowed: an abs'),
        ('[dynamic]\nroots = ["/usr/bin"]', "2: dynamic.roots: ['/usr/bin'] is not allowed; allowed: list of tables"),
        ('[dynamic]\nroots = [{ path = "/usr/bin", path = "/" }]', "2: not TOML: "),
        ('[dynamic]\nroots = [{ path = "/usr/bin", PATH = "/" }]', "2: dynamic.roots[0].PATH: is written twice"),
        ("dynamic = 1", "1: dynamic: 1 is not a table"),
        ("[dynamic]\nmax-proceses = 3", "2: dynamic.max-proceses: unknown key; did you mean 'max-processes'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(files: Files, text: str, problem: str) -> None:
    (found,) = files.problems(text)
    assert found.startswith(problem)


def test_its_changes_are_those_of_dynamic(files: Files) -> None:
    before, after = files.load(ROOT), files.load(f"{ROOT}start-delay = 9\numask = '077'")

    assert compare(before, after) == (
        KeyChange("dynamic", "umask", Change.GENERATION), KeyChange("dynamic", "start-delay", Change.IN_PLACE)
    )  # fmt: skip
    assert compare(files.load(""), before) == (KeyChange("dynamic", "", "added"),)
    assert compare(before, files.load("")) == (KeyChange("dynamic", "", "removed"),)
    assert compare(before, dataclasses.replace(before)) == ()
