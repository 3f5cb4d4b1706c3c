"""What is worked out before a fork."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from fcgipm.config.identity import Identity
from fcgipm.config.load import load
from fcgipm.config.loaded import Loaded
from fcgipm.config.schema import Application
from fcgipm.keeper.instances.recipe import Limit, Recipe, recipe_of, recipe_of_refuser, wrapper_arguments
from fcgipm.keeper.roots.definitions import definition_of, with_applications
from fcgipm.linux.rlimits import LIMIT_NUMBERS

BLOG = Identity(1000, 1001, (1001,), "blog", "staff", "/home/blog")


@pytest.mark.parametrize(
    ("identity", "command", "arguments"),
    [
        (BLOG, ("/var/www/app.fcgi",), ("blog", "staff", "app.fcgi")),
        (BLOG, ("/var/www/app.fcgi", "-x"), ("blog", "staff", "app.fcgi", "-x")),
        (BLOG, ("/home/blog/public_html/app.fcgi",), ("~blog", "staff", "app.fcgi")),
        (BLOG, ("/home/blogger/app.fcgi",), ("blog", "staff", "app.fcgi")),
        (Identity(1000, 1001, (), "#1000", "#1001", None), ("/srv/app",), ("1000", "1001", "app")),
        (Identity(2, 2, (), "bin", "bin", "/"), ("/srv/app",), ("bin", "bin", "app")),
    ],
)
def test_wrapper_arguments(identity: Identity, command: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    assert wrapper_arguments("/usr/lib/suexec", command, identity) == ("/usr/lib/suexec", *arguments)


def made(place: Path, text: str, **changes: object) -> Recipe:
    """Return the recipe of app ``x`` of the configuration *text*."""
    path = place / "apps.toml"
    user = "" if os.geteuid() else 'user = "www-data"\n'
    path.write_text(f'[fcgipm]\nruntime-dir = "{place}/run"\nmetrics-listen = ""\n[app.x]\n{user}{text}')
    path.chmod(0o600)
    loaded = load(str(path), environ={}, euid=os.geteuid())
    nofile = changes.get("nofile")
    assert nofile is None or isinstance(nofile, tuple)
    return recipe_of(loaded.config.applications["x"], loaded, nofile=nofile)


def test_defaults(place: Path) -> None:
    recipe = made(place, 'command = ["/bin/sleep", "1"]\n')
    assert (recipe.program, recipe.arguments) == ("/bin/sleep", ("/bin/sleep", "1"))
    assert (recipe.directory, recipe.directory_first, recipe.chroot) == ("/bin", False, None)
    assert (recipe.umask, recipe.priority, recipe.oom_score_adjust) == (0o022, 0, 0)
    assert recipe.limits == ()
    assert recipe.owner == recipe.become.uid == (os.geteuid() or 33)
    assert not recipe.no_new_privs


def test_limits_come_after_those_of_the_daemon(place: Path) -> None:
    text = 'command = ["/bin/sleep"]\nrlimits = { nofile = 100, core = "unlimited" }\n'
    recipe = made(place, text, nofile=(1024, 4096))
    assert recipe.limits == (
        Limit("nofile", resource.RLIMIT_NOFILE, 1024, 4096),
        Limit("nofile", resource.RLIMIT_NOFILE, 100, 100),
        Limit("core", resource.RLIMIT_CORE, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    )


def test_environment_is_the_one_of_the_configuration(place: Path) -> None:
    recipe = made(place, 'command = ["/bin/sleep"]\ninitial-env = { A = "b" }\n')
    assert dict(recipe.environment) == {"A": "b"}


def test_names_of_limits() -> None:
    """Those of setrlimit(2), as the configuration knows them."""
    assert {"core", "cpu", "data", "fsize", "nofile", "nproc", "stack", "as", "memlock"} <= set(LIMIT_NUMBERS)
    assert Application(name="x", command=("/x",), rlimits={"core": -1}).rlimits["core"] == resource.RLIM_INFINITY


@pytest.mark.root
@pytest.mark.needs("suexec")
def test_wrapped(place: Path) -> None:
    (place / "app").write_text("#!/bin/sh\n")
    (place / "app").chmod(0o755)
    recipe = made(place, f'command = ["{place}/app"]\nwrapper = "/usr/lib/apache2/suexec"\ndirectory = "/"\n')
    assert recipe.program == recipe.arguments[0] == "/usr/lib/apache2/suexec"
    assert recipe.arguments[1:] == ("www-data", "www-data", "app")
    assert (recipe.directory, recipe.directory_first) == (str(place), True)
    assert recipe.become.user == "www-data"


def opened(place: Path, table: str = "") -> tuple[Application, Loaded]:
    """Return the application that the script ``r/sub/x`` is, and a configuration with it."""
    script = place / "r" / "sub" / "x"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    path = place / "apps.toml"
    roots = f"roots = [{{ path = '{place}/r' }}]"
    path.write_text(f"[fcgipm]\nruntime-dir = '{place}/run'\n[dynamic]\n{table}\n{roots}\n")
    path.chmod(0o600)
    loaded = load(str(path), environ={}, euid=os.geteuid())
    app = definition_of(loaded, loaded.config.dynamic.roots[0], "sub/x", BLOG)  # type: ignore[union-attr]  # it has one
    return app, with_applications(loaded, {app.name: app}, {app.name: BLOG})


def test_a_script_is_executed_by_its_name_in_the_directory_that_was_checked(place: Path) -> None:
    app, loaded = opened(place, "umask = '027'\ninitial-env = { A = 'b' }")
    recipe = recipe_of(app, loaded)
    assert (recipe.program, recipe.arguments) == ("./x", (f"{place}/r/sub/x",))
    assert (recipe.directory, recipe.become, recipe.owner) == (f"{place}/r/sub", BLOG, 1000)
    assert (recipe.umask, recipe.environment) == (0o027, {"A": "b"})


@pytest.mark.root
def test_with_a_wrapper_that_is_executed_in_the_scripts_directory(place: Path) -> None:
    app, loaded = opened(place, "wrapper = '/bin/true'")
    recipe = recipe_of(app, loaded)
    assert (recipe.program, recipe.arguments) == ("/bin/true", ("/bin/true", "blog", "staff", "x"))
    assert (recipe.directory, recipe.become, recipe.owner) == (f"{place}/r/sub", loaded.web, 1000)


def test_what_turns_visitors_away_is_the_same_for_all_applications(place: Path) -> None:
    _, loaded = opened(place)
    recipe = recipe_of_refuser(loaded, 17, 5, nofile=(1024, 4096))
    assert recipe.arguments[1:] == ("-I", "-m", "fcgipm.turnaway", "17", "5")
    assert (recipe.become.uid, recipe.become.groups) == (loaded.manager.uid, ())
    assert recipe.no_new_privs
    assert recipe.limits == (Limit("nofile", resource.RLIMIT_NOFILE, 1024, 4096),)
