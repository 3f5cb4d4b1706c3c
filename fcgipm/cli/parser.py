"""The command line of fcgipmctl, made from `fcgipm.verbs.VERBS`."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from fcgipm import __version__
from fcgipm.verbs import VERBS, Apps, Number, Verb

DEFAULTS: Final = {"socket": None, "json": False, "timeout": 60.0, "no_wait": False}
"""What the options hold that are allowed before and after the command."""

_NARGS: Final = {Apps.OPTIONAL_ONE: "?", Apps.OPTIONAL: "*", Apps.ONE: None, Apps.SOME: "+"}


class Misuse(Exception):
    """The command line is wrong; *parser* is the one that says how it should be."""

    def __init__(self, text: str, parser: argparse.ArgumentParser) -> None:
        super().__init__(text)
        self.parser = parser


class _Parser(argparse.ArgumentParser):
    """Leaves it to its caller to tell what is wrong, and how."""

    def error(self, message: str) -> NoReturn:
        """Raise `Misuse`."""
        raise Misuse(message, self)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options and arguments of the command line; raises `Misuse` if it is wrong.

    Beside those in `DEFAULTS` it has ``verb``, ``apps`` (a list) and what the verb's line in `VERBS` names.
    """
    parser = build()
    found = parser.parse_args(arguments)
    for name, value in DEFAULTS.items():
        if not hasattr(found, name):
            setattr(found, name, value)
    apps = getattr(found, "apps", None)
    found.apps = [apps] if isinstance(apps, str) else list(apps or [])
    return found


def build() -> argparse.ArgumentParser:
    """Return the parser."""
    shared = _shared()
    parser = _Parser(
        prog="fcgipmctl",
        description="Look at and steer a running fcgipm.",
        parents=[shared],
        allow_abbrev=False,
        epilog="fcgipmctl COMMAND --help says more.  Exit codes: 0 done, 1 failed, 2 wrong use, 3 (status) something "
        "is not running, 4 no daemon there or not allowed, 5 timed out.",
    )
    parser.add_argument("--version", action="version", version=f"fcgipmctl {__version__}")
    commands = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    for verb in VERBS.values():
        command = commands.add_parser(
            verb.name,
            help=verb.summary,
            description=_sentence(verb.summary),
            parents=[shared],
            allow_abbrev=False,
        )
        _add(command, verb)
    return parser


def _shared() -> _Parser:
    """Return the options that may stand before and after the command; without defaults, so that none hides another."""
    shared = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = shared.add_argument_group("everywhere")
    group.add_argument("-s", "--socket", metavar="PATH", help="the control socket (default: $FCGIPM_SOCKET, or found)")
    group.add_argument("--json", action="store_true", help="print JSON")
    group.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="how long to wait (default: 60)")
    group.add_argument("--no-wait", action="store_true", help="do not wait for the outcome")
    return shared


def _add(parser: argparse.ArgumentParser, verb: Verb) -> None:
    if verb.first is not None:
        parser.add_argument(verb.first.name, metavar=verb.first.metavar, help=verb.first.summary)
    if verb.apps is not Apps.NONE:
        apps = parser.add_argument("apps", nargs=_NARGS[verb.apps], metavar="APP", help="name of an application")
        apps.required = verb.apps not in {Apps.OPTIONAL, Apps.OPTIONAL_ONE}  # argparse names "*" among what is missing
    if verb.last is not None:
        parser.add_argument(verb.last.name, metavar=verb.last.metavar, help=verb.last.summary)
    for switch in verb.switches:
        parser.add_argument(*switch.spellings, action="store_true", help=switch.summary)
    for number in verb.numbers:
        parser.add_argument(
            f"--{number.name}",
            type=functools.partial(_whole, number),
            metavar="N",
            default=number.default,
            help=f"{number.summary} (default: {number.default})",
        )
    for choice in verb.choices:
        parser.add_argument(f"--{choice.name}", choices=choice.values, default=None, help=choice.summary)


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


def _whole(number: Number, text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else -1
    if not number.minimum <= value <= number.maximum:
        message = f"{text!r} is not a number from {number.minimum} to {number.maximum}"
        raise argparse.ArgumentTypeError(message)
    return value


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        message = f"{text!r} is not a number of seconds above 0"
        raise argparse.ArgumentTypeError(message)
    return seconds


def socket_path(given: str | None, environ: Mapping[str, str]) -> str:
    """Return the control socket to use: *given*, $FCGIPM_SOCKET, the user's own if it exists, the system's."""
    if given:
        return given
    if named := environ.get("FCGIPM_SOCKET"):
        return named
    directory = environ.get("XDG_RUNTIME_DIR")
    if directory and os.path.exists(own := f"{directory}/fcgipm/control.sock"):
        return own
    return "/run/fcgipm/control.sock"
