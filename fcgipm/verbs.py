"""The commands of fcgipmctl, once: the control server routes by this table, fcgipmctl parses by it.

A verb is a line in `VERBS`.  Its arguments travel as a query string (GET) or a JSON object (POST) under ``/v1/NAME``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class Access(enum.Enum):
    """Who may use a verb: `READ` everybody in readers and admins, `ADMIN` admins only."""

    READ = "read"
    ADMIN = "admin"


class Apps(enum.Enum):
    """Which application names a verb takes."""

    NONE = ""
    OPTIONAL_ONE = "[APP]"
    OPTIONAL = "[APP...]"
    ONE = "APP"
    SOME = "APP..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A positional argument after the application names."""

    name: str
    metavar: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """An option of a verb without a value, such as -f."""

    name: str
    short: str
    """Empty where it has only its long name."""
    summary: str
    sent: bool = True
    """Whether fcgipm must know of it, or only fcgipmctl, which prints the answer."""

    @property
    def spellings(self) -> tuple[str, ...]:
        """How it is written on a command line."""
        return (*((f"-{self.short}",) if self.short else ()), f"--{self.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """An option of a verb whose value is a whole number, such as --parallel."""

    name: str
    default: int
    minimum: int
    maximum: int
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An option of a verb with a value out of a list, such as --context."""

    name: str
    values: tuple[str, ...]
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One command."""

    name: str
    summary: str
    method: str
    access: Access
    apps: Apps = Apps.NONE
    first: Argument | None = None
    """A positional argument before the application names."""
    last: Argument | None = None
    """A positional argument after them."""
    switches: tuple[Switch, ...] = ()
    choices: tuple[Choice, ...] = ()
    numbers: tuple[Number, ...] = ()
    waits: bool = False
    """Whether it waits for the outcome, unless --no-wait is given."""
    repeatable: bool = False
    """Whether asking twice is asking once, so that the next manager may be asked where one dies over it."""


FOLLOW: Final = Switch(name="follow", short="f", summary="go on showing what comes")

VERBS: Final = {
    verb.name: verb
    for verb in (
        Verb(
            name="status", summary="show the applications, or the instances of those named", method="GET",
            access=Access.READ, apps=Apps.OPTIONAL,
        ),
        Verb(
            name="start", summary="start stopped applications; ends a back-off", method="POST", access=Access.ADMIN,
            apps=Apps.SOME, waits=True, repeatable=True,
        ),
        Verb(
            name="stop", summary="stop applications; their sockets stay, visitors wait", method="POST",
            access=Access.ADMIN, apps=Apps.SOME, waits=True, repeatable=True,
        ),
        Verb(
            name="restart", summary="replace every instance, the replacement first", method="POST",
            access=Access.ADMIN, apps=Apps.SOME, waits=True,
        ),
        Verb(
            name="scale", summary="set how many instances are kept; auto: as configured", method="POST",
            access=Access.ADMIN, apps=Apps.ONE, waits=True, repeatable=True,
            last=Argument(name="processes", metavar="N|auto", summary="how many, or auto"),
        ),
        Verb(
            name="apply", summary="read the configuration again and touch only what changed", method="POST",
            access=Access.ADMIN, waits=True,
        ),
        Verb(
            name="reload", summary="deploy: a new generation of every running application, or of those named, proved "
            "before visitors meet it", method="POST", access=Access.ADMIN, apps=Apps.OPTIONAL, waits=True,
            switches=(Switch(name="dry-run", short="", summary="only say what would be done"),),
            numbers=(
                Number(name="parallel", default=10, minimum=1, maximum=1000, summary="how many applications at once"),
            ),
        ),
        Verb(
            name="logs", summary="show the last lines of the applications' output", method="GET", access=Access.READ,
            apps=Apps.OPTIONAL_ONE, switches=(FOLLOW,),
        ),
        Verb(
            name="events", summary="show what happened lately", method="GET", access=Access.READ, switches=(FOLLOW,),
        ),
        Verb(
            name="explain", summary="say why an application has as many instances as it has, and what comes next",
            method="GET", access=Access.READ, apps=Apps.ONE,
        ),
        Verb(
            name="ensure", summary="wait until an application, or that of a script, has an instance that is ready",
            method="POST", access=Access.ADMIN, waits=True, repeatable=True,
            last=Argument(name="target", metavar="APP|PATH", summary="its name, or the absolute path of the script"),
        ),
        Verb(
            name="request", summary="send one FastCGI request and print the answer", method="POST",
            access=Access.ADMIN, apps=Apps.ONE,
            last=Argument(name="uri", metavar="URI", summary="path and query of the request, such as /ping?a=1"),
            switches=(Switch(name="verbose", short="v", summary="show status, headers and stderr, too", sent=False),),
        ),
        Verb(
            name="snippet", summary="print configuration for a web server", method="GET", access=Access.READ,
            apps=Apps.OPTIONAL, first=Argument(name="server", metavar="SERVER", summary="nginx, lighttpd or apache"),
            choices=(Choice(name="context", values=("http", "server"), summary="only what belongs there (nginx)"),),
        ),
        Verb(name="metrics", summary="print the metrics", method="GET", access=Access.READ),
        Verb(
            name="reopen-logs", summary="close and open the log file, after a rotation", method="POST",
            access=Access.ADMIN,
        ),
        Verb(
            name="upgrade", summary="go on as the program that is installed by now, without touching an instance",
            method="POST", access=Access.ADMIN, waits=True,
        ),
        Verb(
            name="shutdown", summary="stop every application, end the daemon, and tell how many connections it cut",
            method="POST", access=Access.ADMIN, waits=True, repeatable=True,
        ),
    )
}  # fmt: skip
"""All verbs by name, in the order of the documentation."""


class ExitCode(enum.IntEnum):
    """Exit codes of fcgipmctl."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    """`status`: a shown app is starting, in back-off or failed, a named one stopped, an external one unreachable."""
    NO_DAEMON = 4
    """No daemon there, or not allowed."""
    TIMED_OUT = 5
