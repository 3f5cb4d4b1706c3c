from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from unit.config.conftest import Files

from fcgipm.config.load import ConfigError, load
from fcgipm.config.option import options
from fcgipm.config.schema import MILLISECOND, SECOND, Application

APP = '[app.a]\ncommand = ["/bin/true"]\n'


def test_a_complete_application(files: Files) -> None:
    loaded = files.load(APP + 'processes = 4\nrestart-delay = "250ms"\n[external.e]\nhost = "h:1"\n')

    app = loaded.config.applications["a"]
    assert (app.name, app.command, app.processes) == ("a", ("/bin/true",), 4)
    assert app.restart_delay == 250 * MILLISECOND
    assert app.socket == f"{loaded.config.daemon.runtime_dir}/a.sock"
    assert (app.uri, app.directory, app.wrapper) == (("/a/",), "/bin", "off")
    assert app.user == loaded.identities["a"].user
    assert loaded.config.externals["e"].host == ("h:1",)
    assert loaded.config.externals["e"].uri == ("/e/",)
    assert loaded.path == str(files.place / "apps.toml")
    assert loaded.files == (loaded.path,)


def test_defaults_of_the_daemon(files: Files) -> None:
    loaded = files.load("", fore=True)
    daemon = loaded.config.daemon

    root = os.geteuid() == 0
    assert daemon.runtime_dir == ("/run/fcgipm" if root else str(files.place / "fcgipm"))
    assert daemon.pid_file == f"{daemon.runtime_dir}/fcgipm.pid"
    assert daemon.log == "stderr"
    assert files.load("", fore=False).config.daemon.log == "syslog"
    assert daemon.web_user
    assert loaded.written == frozenset()
    assert files.load('[fcgipm]\nmetrics-listen = "127.0.0.1:9753"').written == {"metrics_listen"}


def test_an_ordinary_users_runtime_directory_without_xdg(files: Files) -> None:
    path = files.write("apps.toml", "")

    if os.geteuid() != 0:
        daemon = load(path, environ={}, euid=os.geteuid()).config.daemon
        assert daemon.runtime_dir == f"/tmp/fcgipm-{os.geteuid()}"


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", ["restart-delay", "restart_delay", "restartDelay", "RESTARTDELAY", '"Restart_delay"'])
def test_the_spelling_of_a_key_does_not_matter(files: Files, key: str) -> None:
    assert files.load(f"{APP}{key} = 7").config.applications["a"].restart_delay == 7 * SECOND


def test_every_key_is_known_in_every_spelling(files: Files) -> None:
    for key, _option, _item in options(Application):
        for spelling in (key.upper(), key.replace("-", "_"), key.replace("-", "")):
            assert not [text for text in files.problems(f"{APP}{spelling} = nan") if "unknown" in text], spelling


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            f"{APP}restart-delay = 1\nrestartDelay = 2",
            "4: app.a.restartDelay: is written twice: also as app.a.restart-delay",
        ),
        (f"{APP}proceses = 2", "3: app.a.proceses: unknown key; did you mean 'processes'?"),
        (f"{APP}xyzzy = 2", "3: app.a.xyzzy: unknown key"),
        (f"{APP}runtime-dir = '/x'", "3: app.a.runtime-dir: unknown key here; it belongs into [fcgipm]"),
        ("[fcgipm]\ncommand = []", "2: fcgipm.command: unknown key here; it belongs into [app.NAME]"),
        (f"{APP}stand_by = 2", "3: app.a.stand_by: not in this version"),
        (f"{APP}probe = '/ping'", '3: app.a.probe: "/ping" is not allowed; allowed: a table'),
        (f"{APP}probe = {{ }}", "3: app.a.probe.uri: is required"),
        (f"{APP}probe = {{ uri = 'x' }}", '3: app.a.probe.uri: "x" is not allowed; allowed: a path with or without'),
        (f"{APP}[app.a.probe]\nuri = '/x'\nstatus = 9", "5: app.a.probe.status: 9 is out of range; allowed: 100"),
        (f"{APP}[app.a.probe]\nuri = '/x'\ntimout = 9", "5: app.a.probe.timout: unknown key here; did you mean 't"),
        ("[defaults]\nprobe = { uri = '/' }", "2: defaults.probe: [defaults] cannot give this; it belongs"),
        (f"{APP}spawn-burst = 2", "3: app.a.spawn-burst: not in this version"),
        (f"{APP}restart = true", "3: app.a.restart: unknown key here; it belongs into [dynamic]"),
        (f"{APP}roots = []", "3: app.a.roots: unknown key here; it belongs into [dynamic]"),
        ("[defaults]\nprocess-slack = 3", "2: defaults.process-slack: unknown key here; it belongs into [dynamic]"),
        (
            f"{APP}singleThreshhold = 2\nsingle-threshold = 2",
            "4: app.a.single-threshold: is written twice: also as app.a.singleThreshhold",
        ),
        ("[aps.x]", "1: aps: unknown table or key; did you mean 'app'?"),
        (
            "processes = 3",
            "1: processes: unknown table or key; 'processes' belongs into a table such as [app.NAME]",
        ),
        ("app = 3", "1: app: 3 is not a table"),
        ("[app]\nx = 3", "2: app.x: 3 is not a table; a key belongs into a table [app.NAME]"),
        ("[fcgipm]\n[Fcgipm]", "2: Fcgipm: is written twice, as 'fcgipm' and as 'Fcgipm'"),
        ("[app.a]", "1: app.a.command: is required"),
        ("[defaults]\ncommand = ['/bin/true']", "2: defaults.command: [defaults] cannot give this; it belongs"),
        ("[defaults]\nprocesses = 1", "2: defaults.processes: [defaults] cannot give this; it belongs"),
        ("[defaults]\nrestart-delay = -1", "2: defaults.restart-delay: -1 is out of range; allowed: at least 0s"),
        (
            '[app."a/b"]\ncommand = ["/bin/true"]',
            '1: app.a/b: "a/b" cannot name an application; allowed: letters, digits',
        ),
        (
            '[app.control]\ncommand = ["/bin/true"]',
            "1: app.control: 'control' is reserved for fcgipm itself; call it something else",
        ),
        (
            f"{APP}[app.a.initial-env]\nX = 1\nY = 1.5",
            "5: app.a.initial-env.Y: Y = 1.5: a text without NUL, a whole number, true or false is allowed",
        ),
        (f"{APP}fastcgi.debug = -1", "3: app.a.fastcgi.debug: -1 is out of range; allowed: 0 to 65535"),
        (f"{APP}x = [\n1,\n2 3]", "5: not TOML: Unclosed array"),
        ("a = 1\na = 2", "2: not TOML: Cannot overwrite a value"),
        ("include = 'x'", "1: include: 'x' is not a list of file names or patterns"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(files: Files, text: str, problem: str) -> None:
    (found,) = files.problems(text)
    assert found.startswith(problem)


def test_names_of_65_characters_are_too_long(files: Files) -> None:
    command = 'command = ["/bin/true"]'

    assert files.problems(f"[app.{'a' * 65}]\n{command}")[0].startswith(f"1: app.{'a' * 65}: ")


def test_the_same_name_in_app_and_external(files: Files) -> None:
    problems = files.problems(f"{APP}[external.a]\nhost = 'h:1'")

    assert problems == [f"3: external.a: is defined twice: here and as app.a in {files.place}/apps.toml:1"]


def test_all_mistakes_are_told_together_in_order(files: Files) -> None:
    files.write("more.toml", "[app.b]\nprocesses = 0\nport = 70000\n")

    problems = files.problems(f'include = ["more.toml"]\n[fcgipm]\nusr = 1\n{APP}processes = "x"\nfoo = 1')

    assert [text.split(": ")[:2] for text in problems] == [
        ["3", "fcgipm.usr"],
        ["6", "app.a.processes"],
        ["7", "app.a.foo"],
        ["more.toml:1", "app.b.command"],
        ["more.toml:2", "app.b.processes"],
        ["more.toml:3", "app.b.port"],
    ]


# ── [defaults] ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tables_of_defaults_merge_and_lists_replace(files: Files) -> None:
    app = files.load(
        '[defaults]\ninitial-env = { A = "1", B = "1" }\nrlimits = { core = 0 }\npass-env = ["X", "Y"]\nflush = true\n'
        f'{APP}pass-env = ["Z"]\nrlimits = {{ nofile = 5 }}\n[app.a.initial-env]\nB = "2"\nC = "2"\n'
    ).config.applications["a"]

    assert app.initial_env == {"A": "1", "B": "2", "C": "2"}
    assert app.rlimits == {"core": 0, "nofile": 5}
    assert app.pass_env == ("Z",)
    assert app.flush is True


def test_defaults_reach_external_applications(files: Files) -> None:
    loaded = files.load("[defaults]\nidle-timeout = 7\nflush = true\n[external.e]\nhost = 'h:1'\nflush = false")

    assert loaded.config.externals["e"].idle_timeout == 7 * SECOND
    assert loaded.config.externals["e"].flush is False


def test_a_default_above_a_written_maximum_becomes_that_maximum(files: Files) -> None:
    app = files.load(f'{APP}start-timeout = "1s"').config.applications["a"]

    assert app.ready_timeout == 1 * SECOND


def test_a_written_value_above_a_maximum_is_refused(files: Files) -> None:
    assert files.problems(f'{APP}start-timeout = "1s"\nready-timeout = "1500ms"') == [
        "4: app.a.ready-timeout: 1500ms is more than start-timeout, 1s; at most that is allowed"
    ]


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_include_is_relative_and_sorted(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "cab":
        files.write(f"apps.d/{name}.toml", f'[app.{name}]\ncommand = ["/bin/true"]')
    files.write("apps.d/other.txt", "not TOML")
    monkeypatch.chdir("/")

    loaded = files.load('include = ["apps.d/*.toml"]\n[app.z]\ncommand = ["/bin/true"]')

    assert list(loaded.config.applications) == ["z", "a", "b", "c"]
    assert [Path(file).name for file in loaded.files] == ["apps.toml", "a.toml", "b.toml", "c.toml"]


def test_a_pattern_may_match_the_file_itself_or_nothing(files: Files) -> None:
    assert list(files.load(f'include = ["*.toml", "none.d/*"]\n{APP}').config.applications) == ["a"]


def test_a_relative_path_becomes_absolute(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write("more.toml", APP)
    files.write("apps.toml", 'include = ["more.toml"]')
    monkeypatch.chdir(files.place)

    loaded = load("apps.toml", environ={"XDG_RUNTIME_DIR": str(files.place)}, euid=os.geteuid())

    assert loaded.files == (f"{files.place}/apps.toml", f"{files.place}/more.toml")


def test_what_is_wrong_with_included_files(files: Files) -> None:
    files.write("twice.toml", f"[fcgipm]\n{APP}")
    files.write("deep.toml", 'include = ["twice.toml"]')

    assert files.problems(f'include = ["gone.toml", "twice.toml", "deep.toml"]\n[fcgipm]\n{APP}') == [
        f"1: include: {files.place}/gone.toml: no such file",
        f"twice.toml:1: fcgipm: is defined twice: here and as fcgipm in {files.place}/apps.toml:2",
        f"twice.toml:2: app.a: is defined twice: here and as app.a in {files.place}/apps.toml:3",
        f"deep.toml:1: include: {files.place}/apps.toml includes this file, and includes go one level deep",
    ]


def test_files_that_cannot_be_read(files: Files) -> None:
    fifo = files.place / "fifo"
    os.mkfifo(fifo)
    (files.place / "latin1").write_bytes(b"\n\xe9 = 1")
    texts = []
    for name in ("gone", "fifo", ".", "latin1"):
        with pytest.raises(ConfigError) as caught:
            load(str(files.place / name), environ={}, euid=os.geteuid())
        texts.append(str(caught.value).removeprefix(f"{files.place}"))

    assert texts == [
        "/gone: cannot be read: no such file or directory",
        "/fifo: cannot be read: not a regular file",
        ": cannot be read: is a directory",
        "/latin1:2: byte 0xe9 is not UTF-8",
    ]


def test_monstrous_files_are_refused(files: Files) -> None:
    assert "nested too deeply" in files.problems("x = " + "[" * 100_000)[0]
    assert "not TOML" in files.problems("x = " + "1" * 10_000)[0]


@pytest.mark.root
def test_root_reads_only_what_root_wrote(files: Files) -> None:
    path = files.write("apps.toml", APP)

    os.chown(path, 1234, 0)
    assert "belongs to uid 1234; started by root, it must be root's" in str(refusal(path))
    os.chown(path, 0, 1234)
    Path(path).chmod(0o660)
    assert "mode 0660 lets others write" in str(refusal(path))
    Path(path).chmod(0o640)
    load(path, environ={}, euid=0)
    included = files.write("more.toml", "")
    Path(included).chmod(0o646)
    assert files.problems('include = ["more.toml"]') == [
        "more.toml: cannot be read: it mode 0646 lets others write; chmod go-w it".replace("it mode", "its mode")
    ]


def refusal(path: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, environ={}, euid=0)
    return caught.value


@pytest.mark.root
def test_root_is_warned_of_secrets_that_everybody_reads(files: Files) -> None:
    text = f'{APP}initial-env = {{ PASSWORD = "x" }}'
    assert files.load(text).warnings == ()

    path = files.write("world.toml", text, mode=0o644)
    warnings = load(path, environ={}, euid=0).warnings

    assert warnings == (
        f"{path}: has initial-env and can be read by everybody; chmod o-r it if there are secrets in it",
    )


# ── the environment ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_environment_is_exactly_what_is_written(files: Files) -> None:
    env_file = files.write("env", '# comment\n\nB = from file\nC="quoted # "\n  D=\'x\'\nE=a=b"\n')

    environment = files.load(
        f'{APP}pass-env = ["A", "B", "NONE"]\nenv-file = "{env_file}"\ninitial-env = {{ E = "own", F = 1 }}',
        environ={"A": "1", "B": "2", "SECRET": "3"},
    ).environments["a"]

    assert environment == {
        "A": "1", "B": "from file", "NONE": "", "C": "quoted # ", "D": "x", "E": "own", "F": "1",
    }  # fmt: skip


def test_allowed_clients_become_a_variable(files: Files) -> None:
    text = f'{APP}port = 9001\nallowed-clients = ["10.0.0.1", "::1"]'

    assert files.load(text).environments["a"] == {"FCGI_WEB_SERVER_ADDRS": "10.0.0.1,::1"}


@pytest.mark.parametrize(
    ("content", "text"),
    [("A=1\nnonsense\n", "line 2 is not NAME=VALUE"), ("=1", "cannot name a variable"), ("A=\0", "line 1 is not")],
)
def test_what_is_wrong_with_an_env_file(files: Files, content: str, text: str) -> None:
    path = files.write("env", content)

    (problem,) = files.problems(f'{APP}env-file = "{path}"')
    assert problem.startswith(f"3: app.a.env-file: {path}: ")
    assert text in problem


def test_an_env_file_that_is_not_there(files: Files) -> None:
    assert files.problems(f'{APP}env-file = "/nowhere/env"') == [
        "3: app.a.env-file: /nowhere/env: No such file or directory"
    ]


# ── a daemon that runs already ───────────────────────────────────────────────────────────────────────────────────────


def test_what_needs_a_restart_stays_as_it_is(files: Files) -> None:
    running = files.load(APP).config.daemon

    loaded = files.load(f'[fcgipm]\nruntime-dir = "{files.place}/new"\nlog-ring = 5\n{APP}', running=running)

    assert loaded.config.daemon.runtime_dir == running.runtime_dir
    assert loaded.config.daemon.log_ring == 5
    assert loaded.config.applications["a"].socket == f"{running.runtime_dir}/a.sock"
    assert set(loaded.pending) == {"runtime_dir", "pid_file"}


def test_the_keeper_stays_small() -> None:
    program = "import fcgipm.config.load, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()).isdisjoint({"difflib", "asyncio", "argparse", "json", "hashlib", "aiohttp"})
