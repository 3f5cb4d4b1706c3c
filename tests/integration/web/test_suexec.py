"""Applications of other users, started through Debian's suexec."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.components import absent
from harness.daemon import Daemon
from integration.web.applications import app, script
from integration.web.servers import WebServer

CONFIGURATION = Path("/etc/apache2/suexec/www-data")
LOG = Path("/var/log/apache2/suexec.log")

pytestmark = [pytest.mark.root, pytest.mark.needs("suexec")]


@pytest.fixture
def account() -> pwd.struct_passwd:
    """Give an account that suexec accepts: uid and gid of 100 or more."""
    found = [entry for entry in pwd.getpwall() if entry.pw_uid >= 100 and entry.pw_gid >= 100]
    if not found:
        absent("no account with uid and gid of at least 100")
    return found[0]


@pytest.fixture
def home(account: pwd.struct_passwd) -> Iterator[Path]:
    """Give a directory of the account's own where suexec permits programs; nothing of it stays."""
    lines = CONFIGURATION.read_text().splitlines() if CONFIGURATION.exists() else [""]
    base = Path(lines[0])
    if not lines[0].startswith("/") or not base.is_dir():
        absent(f"{CONFIGURATION} names no directory that exists")
    had_log = LOG.exists()
    path = Path(tempfile.mkdtemp(prefix="fcgipm-test.", dir=base))
    path.chmod(0o755)
    os.chown(path, account.pw_uid, account.pw_gid)
    yield path
    shutil.rmtree(path)
    if not had_log:
        LOG.unlink(missing_ok=True)


def starter(home: Path, account: pwd.struct_passwd, mode: int = 0o755) -> Path:
    """Write the program that suexec starts.  It names its interpreter whole: suexec clears the environment."""
    path = script(home / "demo.fcgi", f"#!/bin/sh\nMARK=mine exec {sys.executable} -m fcgipm.demo\n")
    path.chmod(mode)
    os.chown(path, account.pw_uid, account.pw_gid)
    return path


def test_an_instance_runs_as_its_user_with_suexecs_environment(
    start_daemon: Callable[..., Daemon], web: Callable[..., WebServer], home: Path, account: pwd.struct_passwd
) -> None:
    table = app("demo", [str(starter(home, account))], f'user = "{account.pw_name}"', "processes = 2")
    daemon = start_daemon(table, daemon='wrapper = "on"\nweb-user = "www-data"\nweb-group = "www-data"')

    seen = web(daemon).page("/demo/env").json()

    assert (seen["uid"], seen["gid"]) == (account.pw_uid, account.pw_gid)
    assert seen["process"]["MARK"] == "mine"
    assert seen["process"]["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert seen["directory"] == str(home)
    assert seen["pid"] in daemon.instances("demo")


def test_what_suexec_refuses_is_told_and_not_tried_for_ever(
    start_daemon: Callable[..., Daemon], home: Path, account: pwd.struct_passwd
) -> None:
    table = app("demo", [str(starter(home, account, 0o777))], f'user = "{account.pw_name}"', "restart-delay = 0")
    daemon = start_daemon(
        table,
        daemon='wrapper = "/usr/lib/apache2/suexec"\nweb-user = "www-data"\nweb-group = "www-data"',
        wait="answering",
    )

    daemon.wait_state("demo", "failed")
    assert "the wrapper refused it: the program is writable by others" in daemon.app("demo")["reason"]


@pytest.mark.parametrize("named", [False, True])
def test_a_script_that_nobody_declared_runs_as_its_owner_or_as_the_user_of_its_root(
    start_daemon: Callable[..., Daemon], home: Path, account: pwd.struct_passwd, named: bool
) -> None:
    starter(home, account)
    user = f", user = '{account.pw_name}'" if named else ""
    daemon = start_daemon(
        f"[dynamic]\nroots = [{{ path = '{home}', name = 's', match = '*.fcgi', listen = true{user} }}]\n",
        daemon='wrapper = "on"\nweb-user = "www-data"\nweb-group = "www-data"',
        wait="answering",
    )

    done = daemon.ctl("request", "s/demo.fcgi", "/env")

    assert done.returncode == 0, done
    process = json.loads(done.stdout)
    assert (process["uid"], process["gid"]) == (account.pw_uid, account.pw_gid)
    assert process["directory"] == str(home)
    os.chown(home / "demo.fcgi", 0, 0)
    restarted = daemon.ctl("restart", "s/demo.fcgi")
    assert restarted.returncode == 1
    assert ("the wrapper refused it" if named else "belongs to uid 0 by now") in restarted.stderr
