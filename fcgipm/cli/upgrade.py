"""`fcgipmctl upgrade`: ask for it, and wait for the manager that comes with the new program and tells of it."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from fcgipm.cli.client import Answer, Client, ClientError, Lost
from fcgipm.counting import counted
from fcgipm.verbs import ExitCode

Checked = Callable[[Client, Answer], Answer]
"""Raises `ClientError` with what the daemon says where the answer is a refusal."""


def upgrade(client: Client, options: Namespace, checked: Checked) -> tuple[str, dict[str, Any]]:
    """Have the daemon go on as the program that is installed; return what to say of it, and the same as JSON.

    Raises `ClientError` where the daemon refuses, has ended, or is not done within the time of *options*.
    """
    deadline = time.monotonic() + options.timeout
    before = client.document(checked(client, client.get("status")))
    while True:
        wish = {"wait": not options.no_wait, "timeout": max(0.1, deadline - time.monotonic())}
        try:
            checked(client, client.post("upgrade", wish))
        except Lost as lost:
            client.check_fcgipm(lost, options.timeout)
            after = _next_status(client, checked, before, deadline)
            if _count(after) > _count(before):
                return _told(before, after)
        else:
            return "the upgrade is asked for; `fcgipmctl events` and the log say what became of it", {"version": 1}


def _next_status(client: Client, checked: Checked, before: Mapping[str, Any], deadline: float) -> dict[str, Any]:
    """Return the status that the next manager tells; the control socket keeps the question until there is one."""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ClientError("the upgrade has begun, and the new program does not answer yet", ExitCode.TIMED_OUT)
        with Client(client.path, left) as another:
            try:
                after = another.document(checked(another, another.get("status")))
            except Lost:
                continue  # the manager before has taken the question along
            except ClientError as error:
                if error.code is ExitCode.NO_DAEMON:
                    text = f"fcgipm has ended over its upgrade, its log says why; its instances serve on: {error}"
                    raise ClientError(text, ExitCode.FAILED) from None
                raise
        if after["pid"] != before["pid"]:
            text = f"fcgipm has ended over its upgrade, and another runs: pid {before['pid']} → {after['pid']}"
            raise ClientError(text, ExitCode.FAILED)
        return after


def _count(status: Mapping[str, Any]) -> int:
    upgraded = status.get("upgraded") or {}
    return int(upgraded.get("count", 0))


def _told(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    done = after["upgraded"]
    versions = f"fcgipm {done['before']} → {after['program_version']}"
    pause = "not known" if done["pause"] is None else f"{done['pause']:.2f} s"
    text = f"{versions}, pid unchanged, {counted(done['instances'], 'instance')} untouched, pause {pause}"
    document = {
        "version": 1, "text": text, "pid": before["pid"], "before": done["before"], "after": after["program_version"],
        "instances": done["instances"], "pause": done["pause"],
    }  # fmt: skip
    return text, document
