from __future__ import annotations

import dataclasses
import json
import os
import string
import tempfile
from pathlib import Path
from typing import Any

import tomli
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.config.conftest import Files

from fcgipm.config.definitions import application, daemon, dynamic, external, to_definition
from fcgipm.config.load import Loaded, load
from fcgipm.config.option import Kind, Option, options
from fcgipm.config.rendering import key_text, plain_config, render_config, value_text
from fcgipm.config.schema import Application, Dynamic, External, Probe, Root
from fcgipm.linux.rlimits import LIMIT_NUMBERS

OWN_GROUP = f"#{os.getegid()}"

words = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=8)
texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)
paths = st.lists(words, max_size=3).map(lambda parts: "/" + "/".join(parts))
extensions = words.map(lambda word: f".{word}")


def numbers(option: Option) -> st.SearchStrategy[int]:
    return st.integers(min_value=option.minimum, max_value=min(option.maximum or 10**9, 10**9))


def durations(option: Option) -> st.SearchStrategy[str]:
    return st.integers(min_value=option.minimum or 0, max_value=10**16).map(
        lambda span: f"{span // 10**9}.{span % 10**9:09d}s"
    )


def written(option: Option) -> st.SearchStrategy[Any]:
    """Return what may be written for *option* anywhere, whatever the system."""
    ways: dict[Kind, st.SearchStrategy[Any]] = {
        Kind.PATH: paths,
        Kind.SOCKET_PATH: words.map(lambda word: f"{word}.s"),
        Kind.BOOLEAN: st.booleans(),
        Kind.OCTAL: st.integers(min_value=0, max_value=0o777).map(lambda mode: f"{mode:04o}"),
        Kind.ENUM: st.sampled_from(option.choices or ("",)),
        Kind.TEXTS: st.lists(words, max_size=2),
        Kind.COMMAND: st.lists(texts, max_size=3).map(lambda rest: ["/bin/true", *rest]),
        Kind.ENVIRONMENT: st.dictionaries(
            texts.filter(lambda name: bool(name) and "=" not in name),
            texts | st.booleans() | st.integers(min_value=-10, max_value=10),
            max_size=3,
        ),
        Kind.LIMITS: st.dictionaries(st.sampled_from(sorted(LIMIT_NUMBERS)), st.just(0), max_size=3),
        Kind.IDENTITY: st.just(OWN_GROUP),
        Kind.SIGNAL: st.sampled_from(["TERM", "USR1", 2, "SIGHUP", 40]),
        Kind.URIS: st.lists(extensions | paths, min_size=1, max_size=3),
        Kind.EXTENSIONS: st.dictionaries(extensions, extensions, max_size=2),
        Kind.SIZE: st.integers(1, 2**40) | st.sampled_from(["256M", "1 GiB", "7k"]),
        Kind.NAME: words.filter(lambda word: word[0] not in "-_").map(lambda word: f"r.{word}"),
        Kind.PREFIX: paths,
        Kind.PATTERN: texts.filter(lambda text: bool(text) and "/" not in text and text.isprintable()),
        Kind.FRACTION: st.floats(0, 1) | st.sampled_from([0, 1]),
        Kind.GLOBS: st.lists(paths.map(lambda path: f"{path}/**/*.p[hy]"), max_size=2),
        Kind.REQUEST: words.map(lambda word: f"/{word}?x=%20"),
        Kind.HOSTS: st.lists(st.sampled_from(["h:1", "[::1]:2", "10.1.1.1:3"]), min_size=1, max_size=2),
    }
    if option.kind is Kind.INTEGER:
        return numbers(option)
    if option.kind is Kind.PROBE:
        required = {key: written(of_probe) for key, of_probe, _item in options(Probe)}
        return st.fixed_dictionaries({"uri": required.pop("uri")}, optional=required)
    return durations(option) if option.kind is Kind.DURATION else ways[option.kind]


# These depend on the system, on root, or on each other.
SPECIAL = {
    "command", "port", "address", "allowed-clients", "socket-owner", "user", "group", "groups", "allow-root", "wrapper",
    "chroot", "directory", "env-file", "ready-timeout", "start-timeout", "priority", "oom-score-adjust", "host",
    "socket", "processes", "min-processes", "max-processes", "idle-stop", "roots", "owners", "max-class-processes",
    "process-slack",
}  # fmt: skip


def tables(kind: type) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={key: written(option) for key, option, _item in options(kind) if key not in SPECIAL}
    )


@st.composite
def applications(draw: st.DrawFn) -> dict[str, Any]:
    table = draw(tables(Application))
    by_key = {key: option for key, option, _item in options(Application)}
    table["command"] = draw(written(by_key["command"]))
    if draw(st.booleans()):
        table |= {"port": draw(st.integers(1024, 9000)), "address": draw(st.sampled_from(["::1", "127.0.0.1"]))}
        table["allowed-clients"] = draw(st.lists(st.sampled_from(["::1", "10.0.0.1"]), max_size=2))
    table |= draw(
        st.sampled_from(
            [
                {}, {"processes": 3}, {"min-processes": 2}, {"max-processes": 7},
                {"min-processes": 2, "max-processes": 2}, {"min-processes": 0, "max-processes": 5, "idle-stop": "90s"},
            ]
        )
    )  # fmt: skip
    if draw(st.booleans()):
        table |= {"ready-timeout": 0.5, "start-timeout": "1m", "directory": "/tmp", "priority": 3}
    return table


@st.composite
def dynamics(draw: st.DrawFn) -> dict[str, Any]:
    table = draw(tables(Dynamic))
    paths = st.sampled_from(["/usr/bin", "/usr/lib", "/usr//share/."])
    roots = draw(st.lists(st.tuples(paths, tables(Root)), max_size=3))
    return {
        **table,
        "roots": [{**root, "path": path, "name": f"r{number}"} for number, (path, root) in enumerate(roots)],
        **draw(
            st.sampled_from([{}, {"max-processes": 3}, {"max-processes": 9, "min-processes": 0, "process-slack": 9}])
        ),
    }


@st.composite
def externals(draw: st.DrawFn) -> dict[str, Any]:
    table = draw(tables(External))
    return {**table, **draw(st.sampled_from([{"host": ["h:1", "[::1]:2"]}, {"host": "h:1"}, {"socket": "/x/y"}]))}


def lines_of(path: tuple[str, ...], table: dict[str, Any]) -> list[str]:
    header = f"[{'.'.join(key_text(part) for part in path)}]"
    return [header, *(f"{key} = {value_text(value)}" for key, value in table.items())]


def load_text(directory: Path, text: str) -> Loaded:
    with tempfile.NamedTemporaryFile("w", dir=directory, suffix=".toml", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        return load(file.name, environ={"XDG_RUNTIME_DIR": str(directory)}, euid=os.geteuid())


@settings(max_examples=50)
@given(applications(), externals(), dynamics(), words.filter(lambda word: word[0] not in "-_"))
def test_what_show_prints_is_the_same_configuration(
    territory: Path, app: dict[str, Any], elsewhere: dict[str, Any], scripts: dict[str, Any], name: str
) -> None:
    tables = {("app", f"{name}.x"): app, ("external", "other"): elsewhere, ("dynamic",): scripts}
    text = "\n".join(line for path, table in tables.items() for line in lines_of(path, table))
    first = load_text(territory, text)

    shown = "\n".join(render_config(first.config)) + "\n"
    second = load_text(territory, shown)

    assert second.config == first.config
    assert second.identities == first.identities
    assert second.environments == first.environments
    assert second.dynamic_environment == first.dynamic_environment
    assert "\n".join(render_config(second.config)) + "\n" == shown


@settings(max_examples=50)
@given(applications(), externals(), dynamics())
def test_definitions_come_back_without_the_values_of_the_environment(
    territory: Path, app: dict[str, Any], elsewhere: dict[str, Any], scripts: dict[str, Any]
) -> None:
    tables = {("app", "a"): app, ("external", "e"): elsewhere, ("dynamic",): scripts}
    config = load_text(
        territory, "\n".join(line for path, table in tables.items() for line in lines_of(path, table))
    ).config
    before = config.applications["a"]

    after = application(json.loads(json.dumps(to_definition(before))))

    assert after.initial_env == dict.fromkeys(before.initial_env, "")
    for _key, _option, item in options(Application):
        if item.name != "initial_env":
            assert getattr(after, item.name) == getattr(before, item.name), item.name
    assert external(to_definition(config.externals["e"])) == config.externals["e"]
    assert daemon(to_definition(config.daemon)) == config.daemon
    assert config.dynamic is not None
    bare = dataclasses.replace(config.dynamic, initial_env=dict.fromkeys(config.dynamic.initial_env, ""))
    assert dynamic(json.loads(json.dumps(to_definition(config.dynamic)))) == bare


def test_the_secret_is_not_in_the_definition(files: Files) -> None:
    loaded = files.load('[app.a]\ncommand = ["/bin/true"]\ninitial-env = { PASSWORD = "hunter2" }')

    definition = json.dumps(to_definition(loaded.config.applications["a"]))
    assert "PASSWORD" in definition
    assert "hunter2" not in definition


def test_plain_data_has_numbers_and_texts(files: Files) -> None:
    loaded = files.load(
        '[app.a]\ncommand = ["/bin/true", "x"]\nrestart-delay = "250ms"\nrlimits = { core = "unlimited" }\n'
        'stop-signal = 10\nfastcgi.map-extensions = { ".a" = ".b" }'
    )

    plain = plain_config(loaded.config)
    app = plain["app"]["a"]
    assert json.loads(json.dumps(plain)) == plain
    assert (app["restart-delay"], app["stop-timeout"], app["socket-mode"]) == (0.25, 30, "0660")
    assert (app["rlimits"], app["stop-signal"], app["port"]) == ({"core": "unlimited"}, "USR1", None)
    assert app["fastcgi.map-extensions"] == {".a": ".b"}
    assert set(plain) == {"fcgipm", "app", "dynamic", "external"}
    assert plain["fcgipm"]["log-ring"] == 200


@given(st.dictionaries(texts, texts, max_size=3))
def test_toml_that_is_written_is_read_the_same(table: dict[str, str]) -> None:
    assert tomli.loads(f"x = {value_text(table)}") == {"x": table}
