"""fcgipmctl as a program against a real manager; the test plays the keeper."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from harness.daemon import FCGIPMCTL, Daemon
from harness.stage import Stage
from harness.waiting import until

from fcgipm import wire
from fcgipm.config.schema import Application, External

Ctl = Callable[..., subprocess.CompletedProcess[str]]


def application(name: str, place: Path, processes: int = 1) -> Application:
    return Application(
        name=name, command=("/usr/bin/true",), socket=f"{place}/{name}.sock", uri=(f"/{name}/",), processes=processes,
        init_start_delay=0, directory="/", wrapper="off",
    )  # fmt: skip


@pytest.fixture
def stage(place: Path) -> Iterator[Stage]:
    stage = Stage(place, applications=[application("blog", place, 2), application("shop", place)])
    stage.raise_curtain()
    try:
        stage.wait_ready("blog", 2)
        stage.wait_ready("shop", 1)
        yield stage
    finally:
        stage.close()


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **more}


@pytest.fixture
def ctl(stage: Stage) -> Ctl:
    def run(*arguments: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [FCGIPMCTL, "-s", str(stage.control), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, user=user,
            env=environment(),
        )  # fmt: skip

    return run


def start(stage: Stage, *arguments: str) -> subprocess.Popen[str]:
    command = [FCGIPMCTL, "-s", str(stage.control), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=environment())


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 20)[0], "nothing was printed"
    return process.stdout.readline()


# ── status ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_status_is_a_table_of_all_applications(ctl: Ctl, stage: Stage) -> None:
    done = ctl("status")
    titles, *rows = [row.split() for row in done.stdout.splitlines()]
    assert titles[:3] == ["APP", "STATE", "INSTANCES"]
    assert [row[:3] for row in rows] == [["blog", "running", "2/2"], ["shop", "running", "1/1"]]
    assert f"unix:{stage.place}/blog.sock" in rows[0]
    assert (done.returncode, done.stderr) == (0, "")


def test_the_status_of_one_application_has_a_row_for_each_instance(ctl: Ctl, stage: Stage) -> None:
    done = ctl("status", "blog")
    assert done.stdout.startswith("blog: running\n")
    for instance in stage.instances.values():
        assert (f"{instance.pid} " in done.stdout) is (instance.app == "blog")


def test_a_stopped_application_is_3_only_if_it_was_asked_for(ctl: Ctl) -> None:
    ctl("stop", "blog")
    assert ctl("status").returncode == 0
    named = ctl("status", "blog", "shop")
    assert named.returncode == 3
    assert "why         by an operator" in named.stdout


def test_an_external_application_that_cannot_be_reached_is_3(place: Path) -> None:
    stage = Stage(place, externals=[External(name="old", socket=f"{place}/nobody")])
    stage.raise_curtain()
    try:
        command = [FCGIPMCTL, "-s", str(stage.control), "status"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        stage.close()
    assert done.returncode == 3
    assert "unreachable" in done.stdout
    assert "no such file" in done.stdout


def test_json_is_what_the_manager_says(ctl: Ctl, stage: Stage) -> None:
    found = json.loads(ctl("status", "--json", "blog").stdout)
    assert found["version"] == 1
    assert [app["name"] for app in found["apps"]] == ["blog"]
    assert {each["pid"] for each in found["apps"][0]["instances"]} <= {each.pid for each in stage.instances.values()}


def shown_on_a_terminal(stage: Stage, columns: int, **environ: str) -> str:
    """Return what `fcgipmctl status` writes to a terminal."""
    ours, its = pty.openpty()
    try:
        subprocess.run(
            [FCGIPMCTL, "-s", str(stage.control), "status"], stdin=its, stdout=its, stderr=its, check=True,
            env=environment(COLUMNS=str(columns), **environ),
        )  # fmt: skip
    finally:
        os.close(its)
    text = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):  # as a terminal's end is told
        while piece := terminal.read(65536):
            text += piece
    return text.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colours_and_lines_that_fit(stage: Stage) -> None:
    text = shown_on_a_terminal(stage, 50, TERM="xterm")
    assert "\x1b[32mrunning" in text
    assert max(map(len, text.replace("\x1b[32m", "").replace("\x1b[0m", "").splitlines())) <= 50


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_a_terminal_that_wants_no_colours_gets_none(stage: Stage, environ: dict[str, str]) -> None:
    assert "\x1b" not in shown_on_a_terminal(stage, 80, **environ)


# ── start, stop, restart, scale, apply, shutdown ─────────────────────────────────────────────────────────────────────


def test_each_command_waits_for_its_outcome_and_says_it(ctl: Ctl, stage: Stage) -> None:
    stopped = ctl("stop", "blog", "shop")
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (0, "blog: stopped\nshop: stopped\n", "")
    assert not stage.instances
    started = ctl("start", "blog")
    assert (started.returncode, started.stderr) == (0, "")
    assert started.stdout.startswith("blog: running")
    until(lambda: len(stage.instances) == 2, what="two instances")
    scaled = ctl("scale", "blog", "3")
    assert (scaled.returncode, scaled.stdout) == (0, "blog: 3 instances\n")
    assert len(stage.instances) == 3
    before = set(stage.instances)
    restarted = ctl("restart", "blog")
    assert (restarted.returncode, restarted.stderr) == (0, "")
    assert restarted.stdout.startswith("blog: restarted")
    assert not before & set(stage.instances)
    assert ctl("scale", "blog", "auto").stdout == "blog: 2 instances\n"


def test_json_of_an_outcome_names_the_application(ctl: Ctl) -> None:
    found = json.loads(ctl("--json", "stop", "blog").stdout)
    assert found["apps"] == [{"name": "blog", "state": "done", "text": "blog: stopped"}]


def test_what_is_not_done_in_time_is_5_and_goes_on(ctl: Ctl, stage: Stage) -> None:
    stage.deaf = True
    done = ctl("stop", "blog", "--timeout", "0.2")
    assert (done.returncode, done.stdout) == (5, "")
    assert "after 0.2 s; it goes on" in done.stderr


def test_with_no_wait_it_is_only_ordered(ctl: Ctl, stage: Stage) -> None:
    stage.deaf = True
    assert ctl("stop", "blog", "--no-wait").returncode == 0
    until(lambda: stage.given(wire.Publish, app="blog"), what="the order")


@pytest.mark.parametrize(
    "arguments", [("stop", "bloq"), ("status", "bloq"), ("request", "bloq", "/"), ("logs", "bloq")]
)
def test_an_application_that_is_not_known_is_2(ctl: Ctl, arguments: Sequence[str]) -> None:
    done = ctl(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fcgipmctl: unknown application 'bloq'; did you mean 'blog'?\n"


@pytest.mark.parametrize("processes", ["many", "-1", "1.5", "99999"])
def test_a_number_of_processes_that_is_none_is_2(ctl: Ctl, processes: str) -> None:
    done = ctl("scale", "blog", processes)
    assert done.returncode == 2
    assert processes in done.stderr


@pytest.mark.parametrize(
    "line",
    ["status nobody", "logs nobody", "logs -f nobody", "snippet moon", "snippet nginx nobody", "scale blog x",
     "start nobody", "request nobody /", "request blog x", "dance", "status --timeout x", "", "-s /none status",
     "-s /none stop blog"],
)  # fmt: skip
def test_with_json_what_went_wrong_is_json_too(ctl: Ctl, line: str) -> None:
    done = ctl("--json", *line.split())
    found = json.loads(done.stdout)
    assert found["version"] == 1
    assert found["exit"] == done.returncode == (4 if "none" in line else 2)
    assert found["error"]
    assert done.stderr.endswith(f": {found['error']}\n")


def test_without_json_there_is_none(ctl: Ctl) -> None:
    done = ctl("dance")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: fcgipmctl ")


def test_an_apply_shows_what_changed(ctl: Ctl, stage: Stage) -> None:
    def applied(request: int) -> wire.Applied:
        changes = (wire.ChangedKey(app="blog", key="idle-timeout", effect="in place"),)
        return wire.Applied(
            request=request, problems=(), warnings=("beware",), changes=changes, definitions=stage.definitions(),
            listeners=stage.listeners(),
        )  # fmt: skip

    stage.applied = applied
    done = ctl("apply")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "blog.idle-timeout: in place"
    assert done.stderr == "beware\n"


def test_a_bad_configuration_is_1_with_all_its_problems(ctl: Ctl, stage: Stage) -> None:
    stage.applied = lambda request: wire.Applied(
        request=request, problems=("apps.toml:3: a", "apps.toml:9: b"), warnings=(), changes=(), definitions=None,
        listeners=(),
    )  # fmt: skip
    done = ctl("apply")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("apps.toml:3: a\napps.toml:9: b\nfcgipmctl: the configuration has 2 problems")


def test_shutdown_waits_until_nobody_is_there(stage: Stage) -> None:
    process = start(stage, "shutdown")
    until(lambda: stage.given(wire.Shutdown, finished=True), what="the order to end")
    assert process.poll() is None
    stage.lower_curtain()
    assert process.poll() is None  # the manager is gone, but the keeper still listens
    stage.control.unlink()
    assert process.communicate(timeout=20) == ("every application is stopped; 0 connections cut\n", "")
    assert process.returncode == 0


def test_a_shutdown_that_is_not_finished_is_5(stage: Stage, ctl: Ctl) -> None:
    stage.deaf = True
    done = ctl("shutdown", "--json", "--timeout", "0.2")
    assert done.returncode == json.loads(done.stdout)["exit"] == 5


UNWRITABLE = [("> /dev/full", "no space left on device"), (">&-", "standard output is closed")]

# ── logs, events ─────────────────────────────────────────────────────────────────────────────────────────────────────


def write(stage: Stage, app: str, text: str) -> None:
    instance = next(each for each in stage.instances.values() if each.app == app)
    os.write(instance.stderr, text.encode())


def test_logs_are_shown_with_time_application_and_pid(ctl: Ctl, stage: Stage) -> None:
    write(stage, "blog", "first\n")
    write(stage, "shop", "other\n")
    until(lambda: len(ctl("logs").stdout.splitlines()) == 2, what="two lines")
    found = ctl("logs", "blog").stdout
    pid = next(each.pid for each in stage.instances.values() if each.app == "blog")
    assert found.rstrip("\n").endswith(f" blog[{pid}] stderr: first")
    assert json.loads(ctl("logs", "shop", "--json").stdout)["text"] == "other"


def test_following_logs_shows_each_line_as_it_comes_and_ends_by_ctrl_c_without_a_word(stage: Stage) -> None:
    write(stage, "blog", "before\n")
    process = start(stage, "logs", "-f", "blog")
    assert line(process).endswith("before\n")
    write(stage, "blog", "\x1b[2Jnow\n")
    assert "\x1b" not in (shown := line(process))
    assert shown.endswith("now\n")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_following_ends_with_the_daemon_and_says_so(stage: Stage) -> None:
    process = start(stage, "events", "-f")
    assert " instance-started: " in line(process)
    stage.strike()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.endswith("fcgipmctl: fcgipm has ended\n")


def test_following_goes_on_with_the_next_manager(stage: Stage) -> None:
    process = start(stage, "events", "-f", "--json")
    assert "instance-started" in line(process)
    stage.lower_curtain()
    assert process.stderr is not None
    assert process.stderr.readline() == "fcgipmctl: the manager of fcgipm has ended; following the next one\n"
    stage.strike()
    _, err = process.communicate(timeout=20)
    assert err == "fcgipmctl: fcgipm has ended\n"


def test_events_tell_what_an_operator_did(ctl: Ctl) -> None:
    ctl("stop", "shop")
    assert "info app-stopping: shop: stopping, by an operator" in ctl("events").stdout


def test_a_reader_that_goes_away_ends_it_without_a_word(stage: Stage) -> None:
    ours, its = os.pipe()
    os.close(ours)
    command = [FCGIPMCTL, "-s", str(stage.control), "status"]
    done = subprocess.run(command, stdout=its, stderr=subprocess.PIPE, check=False, env=environment())
    os.close(its)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def redirected(stage: Stage, redirection: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = f"exec {FCGIPMCTL} -s {stage.control} status {redirection}"
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=environment(**environ)
    )


def test_output_that_cannot_be_written_is_1_and_says_why(stage: Stage) -> None:
    done = redirected(stage, "> /dev/full")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "fcgipmctl: cannot write the output: no space left on device\n"


@pytest.mark.parametrize(("redirection", "reason"), UNWRITABLE)
def test_whatever_cannot_be_written_is_1_and_says_why(stage: Stage, redirection: str, reason: str) -> None:
    write(stage, "blog", "a line\n")
    until(lambda: subprocess.check_output([FCGIPMCTL, "-s", str(stage.control), "logs", "blog"]))
    lines = ("status blog", "--json status", "start blog", "logs blog", "events", "snippet nginx", "metrics",
             "--json stop shop", "--json stop nobody", "--json", "--version", "status --help")  # fmt: skip
    for line in lines:
        command = f"exec {FCGIPMCTL} -s {stage.control} {line} {redirection}"
        done = subprocess.run(
            ["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False, env=environment()
        )
        assert done.returncode == 1, line
        assert done.stderr.splitlines()[-1] == f"fcgipmctl: cannot write the output: {reason}", line
        assert "Traceback" not in done.stderr


def test_closed_descriptors_and_poor_locales_do_no_harm(stage: Stage, place: Path) -> None:
    assert redirected(stage, ">&- 2>&-").returncode == 1
    assert redirected(stage, "<&- 2>&-").returncode == 0
    assert redirected(stage, "nobody 2>/dev/full").returncode == 2
    strange = redirected(stage, "größe", PYTHONIOENCODING="ascii")
    assert (strange.returncode, strange.stderr) == (2, "fcgipmctl: unknown application 'gr\\xf6\\xdfe'\n")
    bytes_of_no_text = redirected(stage, "$'\\xff'")
    assert bytes_of_no_text.returncode == 2
    assert bytes_of_no_text.stderr.startswith("fcgipmctl: unknown application ")


# ── request, snippet, metrics ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def demo(stage: Stage) -> Iterator[None]:
    """Let the demonstration application answer at blog's socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{stage.place}/blog.sock")
        listener.listen(5)
        with subprocess.Popen([sys.executable, "-m", "fcgipm.demo"], stdin=listener.fileno()) as process:
            yield
            process.kill()


@pytest.mark.usefixtures("demo")
def test_a_request_prints_the_body_and_nothing_else(ctl: Ctl) -> None:
    done = ctl("request", "blog", "/blog/ping")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "pong", "")


@pytest.mark.usefixtures("demo")
def test_a_verbose_request_tells_status_headers_and_stderr_beside_it(ctl: Ctl) -> None:
    done = ctl("request", "-v", "blog", "/blog/stderr?text=oh-dear")
    assert done.stderr.startswith("Status: 200\n")
    assert "content-type: text/plain" in done.stderr.lower()
    assert "stderr: " in done.stderr
    assert "oh-dear" in done.stderr
    assert json.loads(ctl("request", "--json", "blog", "/blog/ping").stdout)["status"] == 200


@pytest.mark.usefixtures("demo")
def test_an_answer_of_500_is_1(ctl: Ctl) -> None:
    done = ctl("request", "blog", "/blog/status?code=503")
    assert done.returncode == 1
    assert "fcgipmctl: blog answered 503" in done.stderr
    assert ctl("request", "blog", "/blog/status?code=404").returncode == 0


def test_a_request_that_nobody_answers_says_why(ctl: Ctl) -> None:
    done = ctl("request", "blog", "/")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no such file" in done.stderr


def test_a_snippet_is_for_the_applications_that_are_named(ctl: Ctl, stage: Stage) -> None:
    done = ctl("snippet", "nginx", "blog", "--context", "http")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"unix:{stage.place}/blog.sock" in done.stdout
    assert "shop" not in done.stdout
    assert "location" not in done.stdout
    assert "location" in ctl("snippet", "nginx").stdout
    assert f'"{stage.place}/shop.sock"' in ctl("snippet", "lighttpd").stdout


@pytest.mark.parametrize("arguments", [("apache1",), ("lighttpd", "--context", "http"), ("nginx", "bloq")])
def test_a_snippet_that_cannot_be_is_2(ctl: Ctl, arguments: Sequence[str]) -> None:
    done = ctl("snippet", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fcgipmctl: ")


def test_metrics_are_printed_as_they_are(ctl: Ctl) -> None:
    done = ctl("metrics")
    assert 'fcgipm_app_state{app="blog",state="running"} 1.0\n' in done.stdout
    assert 'fcgipm_spawns_total{app="blog",reason="initial"} 2.0\n' in done.stdout


def test_logs_are_opened_anew(ctl: Ctl, stage: Stage) -> None:
    done = ctl("reopen-logs")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    until(lambda: stage.given(wire.ReopenLogs), what="the order")


# ── who, and where ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.root
def test_who_may_not_is_4(ctl: Ctl) -> None:
    done = ctl("stop", "blog", user=65533)
    assert (done.returncode, done.stdout) == (4, "")
    assert "may not use stop" in done.stderr


def test_the_whole_daemon_obeys_and_ends(start_daemon: Callable[..., Daemon]) -> None:
    command = f'["{sys.executable}", "-m", "fcgipm.demo"]'
    daemon = start_daemon(f'[app.demo]\ncommand = {command}\nprocesses = 2\ndirectory = "/"\n')
    assert daemon.ctl("request", "demo", "/demo/ping").stdout.strip() == "pong"
    before = daemon.instances("demo")
    assert daemon.ctl("restart", "demo").returncode == 0
    assert not set(before) & set(daemon.instances("demo"))
    assert daemon.ctl("stop", "demo").stdout == "demo: stopped\n"
    assert daemon.ctl("status", "demo").returncode == 3
    ended = daemon.ctl("shutdown")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert daemon.ctl("status").returncode == 4
    assert daemon.process.wait(20) == 0


# ── a manager that dies over it ──────────────────────────────────────────────────────────────────────────────────────


def replace_manager(stage: Stage, order: type[wire.Order], count: int = 1, **fields: object) -> None:
    """Kill the manager once it has given *order*, which nobody obeys, *count* times, and start the next one."""
    until(lambda: len(stage.given(order, **fields)) == count)
    stage.manager.kill()
    stage.lower_curtain()
    stage.deaf = False
    stage.raise_curtain()


@pytest.mark.parametrize(
    ("words", "order", "count", "outcome"),
    [
        (("stop", "shop"), wire.Publish, 1, "shop: stopped\n"),
        (("scale", "shop", "3"), wire.Spawn, 3, "shop: 3 instances\n"),
    ],
)
def test_a_wish_outlives_the_manager_that_heard_it(
    stage: Stage, words: Sequence[str], order: type[wire.Order], count: int, outcome: str
) -> None:
    stage.deaf = True
    process = start(stage, *words)
    replace_manager(stage, order, count, app="shop")
    out, err = process.communicate(timeout=20)

    assert (process.returncode, out) == (0, outcome)
    assert err == "fcgipmctl: the manager of fcgipm has ended; asking the next one\n"


def test_a_restart_that_died_with_its_manager_is_1_and_says_what_became_of_it(ctl: Ctl, stage: Stage) -> None:
    before = {number for number, each in stage.instances.items() if each.app == "shop"}
    stage.deaf = True
    process = start(stage, "restart", "shop")
    replace_manager(stage, wire.Spawn, generation=2)
    out, err = process.communicate(timeout=20)

    assert (process.returncode, out) == (1, "")
    assert "its manager has ended, and the daemon starts another; a restart that was under way is given up" in err
    assert ctl("status", "shop").returncode == 0
    assert {number for number, each in stage.instances.items() if each.app == "shop"} == before


def test_a_shutdown_is_waited_for_whoever_carries_it_out(start_daemon: Callable[..., Daemon]) -> None:
    command = f'["{sys.executable}", "-m", "fcgipm.demo"]'
    daemon = start_daemon(f'[app.demo]\ncommand = {command}\ndirectory = "/"\n')
    manager = daemon.manager
    process = subprocess.Popen(
        [FCGIPMCTL, "-s", str(daemon.control), "shutdown"], stderr=subprocess.PIPE, text=True, env=environment()
    )
    until(lambda: "shutting down" in daemon.log())
    with contextlib.suppress(ProcessLookupError):
        os.kill(manager, signal.SIGKILL)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 0, err
    assert daemon.process.wait(20) == 0


@pytest.mark.parametrize(
    "words",
    [["status"], ["logs", "-f"], ["start", "blog"], ["restart", "blog"], ["shutdown"], ["--json", "start", "x"]],
)
def test_a_socket_where_somebody_else_is_is_4(place: Path, words: list[str]) -> None:
    """Such as an application, which takes HTTP for a broken FastCGI record."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "app.sock"))
        listener.listen()
        command = [FCGIPMCTL, "-s", str(place / "app.sock"), "--timeout", "20", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            listener.settimeout(0.05)
            asked = 0
            while process.poll() is None:
                with contextlib.suppress(TimeoutError):
                    listener.accept()[0].close()
                    asked += 1
            _, err = process.communicate()
    told = f"no fcgipm answers at {place}/app.sock: it closes connections without a word"
    assert (process.returncode, err) == (4, f"fcgipmctl: {told}; is it the control.sock of fcgipm?\n")
    assert asked <= 5


def test_no_daemon_is_4(place: Path) -> None:
    command = [FCGIPMCTL, "status"]
    environ = environment(FCGIPM_SOCKET=str(place / "none"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == f"fcgipmctl: cannot reach fcgipm at {place}/none: no such file; is it running?\n"


def test_nothing_heavy_is_imported() -> None:
    """A whole `fcgipmctl status` is to take less than 100 ms."""
    names = "import sys, fcgipm.cli.fcgipmctl; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True)
    heavy = {"asyncio", "aiohttp", "http.client", "email", "ssl", "psutil", "prometheus_client", "tomli", "subprocess",
             "logging", "fcgipm.config.schema", "fcgipm.webserver.nginx"}  # fmt: skip
    assert not heavy & set(done.stdout.splitlines())
