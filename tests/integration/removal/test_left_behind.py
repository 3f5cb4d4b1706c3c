"""Who waits behind requests that a stop has cut is not forgotten: the next start, or overload-response, answers him."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import pytest
from harness.daemon import Daemon
from harness.visitors import answer
from harness.waiting import ended, until

from fcgipm.fastcgi import encode_request

Start = Callable[..., Daemon]

PROMPTLY: Final = 20
"""Seconds; the keeper tells again after a minute who waits."""


def definition(**keys: str) -> str:
    more = "".join(f'{key.replace("_", "-")} = "{value}"\n' for key, value in keys.items())
    return f"""
[app.demo]
command = ["{sys.executable}", "-m", "fcgipm.demo"]
directory = "/"
processes = 2
stop-timeout = "1s"
{more}"""


def visit(stack: ExitStack, daemon: Daemon, where: str, query: str = "") -> socket.socket:
    visitor = stack.enter_context(socket.socket(socket.AF_UNIX))
    visitor.settimeout(PROMPTLY)
    visitor.connect(str(daemon.socket("demo")))
    asked = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": where, "QUERY_STRING": query}
    visitor.sendall(encode_request({**asked, "REQUEST_URI": f"{where}?{query}"}))
    return visitor


def left_behind(stack: ExitStack, daemon: Daemon) -> socket.socket:
    """Return who waits behind two requests that a stop has cut."""
    busy = [visit(stack, daemon, "/slow", "seconds=60") for _ in range(2)]
    until(lambda: daemon.app("demo")["busy"] == 2, what="both instances are busy")
    waiting = visit(stack, daemon, "/ping")
    until(lambda: daemon.app("demo")["queue"] == 1, what="the third one waits")
    stopped = daemon.ctl("stop", "demo")
    assert "2 connections cut, after stop-timeout; 1 earlier visitor still waits" in stopped.stdout + stopped.stderr
    assert [one.recv(1) for one in busy] == [b"", b""]
    return waiting


@pytest.mark.parametrize("dies", ["nobody", "manager"])
def test_the_next_start_serves_him_at_once(start_daemon: Start, stack: ExitStack, dies: str) -> None:
    daemon = start_daemon(definition())
    waiting = left_behind(stack, daemon)
    if dies == "manager":
        manager = daemon.manager
        os.kill(manager, signal.SIGKILL)
        ended(manager)
        until(daemon.answering, what="another manager answers")
    begun = time.monotonic()
    assert daemon.ctl("start", "demo").returncode == 0
    assert answer(waiting).status == 200
    assert time.monotonic() - begun < PROMPTLY
    until(lambda: len(daemon.instances("demo", state=None)) == 2, what="the one that was started for him has gone")


def test_where_visitors_are_turned_away_he_is_too(start_daemon: Start, stack: ExitStack) -> None:
    daemon = start_daemon(definition(overload_response="503"))
    assert answer(left_behind(stack, daemon)).status == 503
    assert daemon.app("demo")["state"] == "stopped"
    assert "visitors who had come before are answered 503: demo is stopped by an operator" in daemon.log()
