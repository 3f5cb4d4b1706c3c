from __future__ import annotations

import dataclasses
import json

import pytest
from unit.config.conftest import Files

from fcgipm.config.definitions import application, dynamic, to_definition
from fcgipm.config.dynamic import application_of, containing, named, script_path, why_not_name
from fcgipm.config.identity import Identity
from fcgipm.config.plan import KeyChange, compare
from fcgipm.config.rendering import plain_config, render_config
from fcgipm.config.schema import SECOND, Application, Change, Dynamic, Root
from fcgipm.config.socketnames import dynamic_socket, private_path

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


def test_another_environment_is_a_change_that_no_key_shows(files: Files) -> None:
    text = f'{ROOT}pass-env = ["A"]'
    one, other = files.load(text, environ={"A": "1"}), files.load(text, environ={"A": "2"})

    assert compare(one, other) == (KeyChange("dynamic", "pass-env", Change.GENERATION),)
    assert compare(files.load(ROOT), one) == (KeyChange("dynamic", "pass-env", Change.GENERATION),)


# ── one application ──────────────────────────────────────────────────────────────────────────────────────────────────

IDENTITY = Identity(4711, 4712, (4712, 4713), "#4711", "#4712", None)
SCRIPTS = Root(path="/srv/fcgi-bin", name="fcgi-bin", match="*.fcgi", uri="/run/")


def made(table: Dynamic, environment: dict[str, str] | None = None) -> Application:
    return application_of(
        table, SCRIPTS, "blog/php-cgi.fcgi", identity=IDENTITY, runtime_dir="/run/fcgipm", environment=environment or {}
    )


def test_the_definition_of_a_script() -> None:
    table = Dynamic(initial_env={"A": "1"}, max_class_processes=7, stop_timeout=9 * SECOND, socket_group="www")

    app = made(table)

    assert (app.name, app.command) == ("fcgi-bin/blog/php-cgi.fcgi", ("/srv/fcgi-bin/blog/php-cgi.fcgi",))
    assert (app.directory, app.uri) == ("/srv/fcgi-bin/blog", ("/run/blog/php-cgi.fcgi",))
    assert (app.socket, app.port) == ("/run/fcgipm/dynamic/fcgi-bin/blog/php-cgi.fcgi.sock", None)
    assert (app.least, app.most, app.is_dynamic, app.is_flexible, app.processes) == (0, 7, True, True, None)
    assert (app.user, app.group, app.groups) == ("#4711", "#4712", ("#4712", "#4713"))
    assert (app.socket_owner, app.socket_group, app.concurrency) == ("#4711", "www", 1)
    assert (app.initial_env, app.stop_timeout, app.idle_stop) == ({"A": "1"}, 9 * SECOND, None)
    assert application(json.loads(json.dumps(to_definition(app)))).name == app.name


def test_what_the_table_says_of_sockets_and_concurrency_holds() -> None:
    assert made(Dynamic(socket_owner="bin")).socket_owner == "bin"
    assert made(Dynamic(), {"PHP_FCGI_CHILDREN": "4"}).concurrency == 4
    assert made(Dynamic(concurrency=2), {"PHP_FCGI_CHILDREN": "4"}).concurrency == 2


def test_inside_a_chroot_the_script_is_called_otherwise() -> None:
    app = made(Dynamic(chroot="/srv"))

    assert (app.command, app.directory) == (("/fcgi-bin/blog/php-cgi.fcgi",), "/fcgi-bin/blog")
    assert script_path(SCRIPTS, "a.fcgi") == "/srv/fcgi-bin/a.fcgi"


def test_every_option_of_the_table_reaches_its_applications() -> None:
    own = {item.name for item in dataclasses.fields(Dynamic)} - {item.name for item in dataclasses.fields(Application)}
    assert own == {"roots", "max_class_processes", "process_slack", "restart"}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("a.fcgi", None),
        ("a/b-c/_d.1.fcgi", None),
        ("", "its path is not the plain way from the root to the script"),
        ("/a.fcgi", "its path is not the plain way"),
        ("a//b.fcgi", "its path is not the plain way"),
        ("./a.fcgi", "its path is not the plain way"),
        ("a/../b.fcgi", "its path is not the plain way"),
        ("a.fcgi/", "its path is not the plain way"),
        ("..", "its path is not the plain way"),
        ("a b.fcgi", "its path has other characters than letters, digits, '.', '_', '-' and '/'"),
        ("a\n.fcgi", "its path has other characters"),
        ("ä.fcgi", "its path has other characters"),
        ("a%2e.fcgi", "its path has other characters"),
        ("a\0.fcgi", "its path has other characters"),
        ("\udcff.fcgi", "its path has other characters"),
        ("a.php", "its name does not match '*.fcgi' of the root fcgi-bin"),
        ("a.fcgi/b", "its name does not match '*.fcgi' of the root fcgi-bin"),
        ("A.FCGI", "its name does not match"),
    ],
)
def test_why_a_path_is_no_name(path: str, why: str | None) -> None:
    found = why_not_name(SCRIPTS, path, "/run/fcgipm")
    assert found is None if why is None else found is not None and found.startswith(why)


def test_a_path_that_is_too_long_for_a_socket() -> None:
    room = 107 - len("/run/fcgipm/dynamic/fcgi-bin/.fcgi.sock")
    longest = "x" * room + ".fcgi"

    assert why_not_name(SCRIPTS, longest, "/run/fcgipm") is None
    assert why_not_name(SCRIPTS, f"x{longest}", "/run/fcgipm") == (
        f"its socket's path /run/fcgipm/dynamic/fcgi-bin/x{longest}.sock is 1 byte too long"
    )


def test_a_root_that_is_not_recursive_has_scripts_in_itself_only() -> None:
    flat = dataclasses.replace(SCRIPTS, recursive=False)

    assert why_not_name(flat, "a.fcgi", "/run/fcgipm") is None
    assert why_not_name(flat, "b/a.fcgi", "/run/fcgipm") == (
        "it is not in /srv/fcgi-bin itself, and the root fcgi-bin is not recursive"
    )


def test_roots_are_found_by_name_and_by_path() -> None:
    inner = Root(path="/srv/fcgi-bin/inner", name="inner")
    table = Dynamic(roots=(SCRIPTS, inner))

    assert named(table, "fcgi-bin/a/b") == (SCRIPTS, "a/b")
    assert named(table, "inner/") == (inner, "")
    assert named(table, "inner") is None
    assert named(table, "other/a") is None
    assert containing(table, "/srv/fcgi-bin/inner/x") == ((inner, "x"), (SCRIPTS, "inner/x"))
    assert containing(table, "/srv/fcgi-bin/../etc") == ((SCRIPTS, "../etc"),)
    assert containing(table, "/srv/fcgi-binary") == ()
    assert containing(table, "/srv/fcgi-bin") == ()


def test_private_names_are_short() -> None:
    public = dynamic_socket("/run/fcgipm", "fcgi-bin", "a/b.fcgi")

    assert public == "/run/fcgipm/dynamic/fcgi-bin/a/b.fcgi.sock"
    assert private_path("/run/fcgipm", public, "17", 1) == "/run/fcgipm/private/.d/17.1"
    assert private_path("/run/fcgipm", "/run/fcgipm/blog.sock", "blog", 1) == "/run/fcgipm/private/blog.1"


def test_the_environment_of_scripts(files: Files) -> None:
    loaded = files.load(f'{ROOT}pass-env = ["A"]\ninitial-env = {{ B = 2 }}', environ={"A": "1", "C": "3"})

    assert loaded.dynamic_environment == {"A": "1", "B": "2"}
    assert files.load("").dynamic_environment == {}
    (found,) = files.problems(f"{ROOT}env-file = '/nowhere/env'")
    assert found == "3: dynamic.env-file: /nowhere/env: No such file or directory"
