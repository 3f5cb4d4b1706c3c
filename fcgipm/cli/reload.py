"""What `fcgipmctl reload` prints while the applications get their new generations, and when they have them."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any, Final

from fcgipm.cli.client import Answer, Client, ClientError, Lost
from fcgipm.cli.words import printable
from fcgipm.verbs import ExitCode

Tell = Callable[[str], None]
"""Says something to the person, apart from the data."""


_GOES_ON: Final = {
    "rolling": "replaced one by one, and the next manager goes on (`fcgipmctl status` says how far)",
    "complete": "reloaded, while old instances still finish or new ones start",
}
"""What is said of those that are pending where nobody has to ask again, by their phase."""


class Progress:
    """What is known by now: outcomes go to standard output as they come, all else to *tell*."""

    def __init__(self, options: Namespace, tell: Tell) -> None:
        self._json: bool = options.json
        self._tell = tell
        self.states: dict[str, str] = {}
        """``pending``, ``done`` or ``failed`` of each application."""
        self._phases: dict[str, str | None] = {}
        """How far the generation of each one is that is pending."""

    def take(self, outcome: Mapping[str, Any]) -> None:
        """Tell how far one application is."""
        self.states[outcome["name"]] = outcome["state"]
        self._phases[outcome["name"]] = outcome.get("phase")
        if outcome["state"] == "done" and not self._json:
            print(printable(outcome["text"]), flush=True)
        else:
            self._tell(outcome["text"])

    def named(self, *states: str) -> list[str]:
        """Return the applications that are in one of *states*."""
        return [name for name, state in self.states.items() if state in states]

    def so_far(self) -> str:
        """Return which have been reloaded and which have not, where nobody tells any more."""
        if not self.states:
            return "nobody knows whether anything was reloaded; `fcgipmctl status` and `fcgipmctl events` say it"
        by_phase: dict[str | None, list[str]] = {}
        for name in self.named("pending"):
            by_phase.setdefault(self._phases[name] if self._phases[name] in _GOES_ON else None, []).append(name)
        parts = [
            f"{what}: {', '.join(names)}"
            for what, names in (
                ("reloaded", self.named("done")),
                ("failed, the old generation serves on", self.named("failed")),
                *((what, by_phase.get(phase, [])) for phase, what in _GOES_ON.items()),
                ("not reloaded, the old generation serves on; reload again", by_phase.get(None, [])),
            )
            if names
        ]
        return "; ".join(parts)


def follow(client: Client, answer: Answer, options: Namespace, tell: Tell) -> ExitCode:
    """Show the stream in *answer* until its last line, which is the outcome; return the exit code."""
    progress = Progress(options, tell)
    found: dict[str, Any] = {}
    try:
        for line in client.lines(answer):
            found = client.item(line)
            if "name" in found:
                progress.take(found)
    except Lost as lost:
        raise _lost(client, progress, lost) from None
    if "version" not in found:
        raise _lost(client, progress, None)
    for text in found["warnings"]:
        tell(f"warning: {text}")
    tell_pending(found, tell)
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    if len(progress.states) != 1 or "error" in found:
        tell(found["text"])
    return ExitCode(found.get("exit", ExitCode.DONE))


def show_plan(found: Mapping[str, Any], tell: Tell) -> None:
    """Print what a dry run has found out."""
    for change in found["changes"]:
        print(printable(f"{_name(change)}: {change['effect']}"))
    for outcome in found["apps"]:
        print(printable(outcome["text"]))
    if not found["changes"] and not found["apps"]:
        tell("no application is running, so nothing would be reloaded")
    tell_pending(found, tell)
    tell("a dry run: nothing was changed")


def tell_pending(found: Mapping[str, Any], tell: Tell) -> None:
    """Say what of the file is not in force yet, because others were named."""
    pending = [f"{_name(change)} ({change['effect']})" for change in found["pending"]]
    if pending:
        tell(f"pending, not named: {', '.join(pending)}; `fcgipmctl apply` brings it into force")


def _name(change: Mapping[str, Any]) -> str:
    return ".".join(filter(None, (change["app"] or "fcgipm", change["key"])))


def _lost(client: Client, progress: Progress, lost: Lost | None) -> ClientError:
    who = "its manager has ended, and the daemon starts another" if client.is_there() else "fcgipm has ended"
    head = f"{client.path} closed the connection in the middle of the reload" if lost is None else str(lost)
    return ClientError(f"{head}: {who}; {progress.so_far()}", ExitCode.FAILED)
