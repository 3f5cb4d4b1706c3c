"""The command ``fcgipm``: start the daemon; check, show or import a configuration."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcgipm import __version__

if TYPE_CHECKING:
    import argparse

# Only what a command needs is imported: what the daemon has in memory is copied at every fork.  So argparse must not
# be there when the daemon runs, and the plain forms of `start` are told without it.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 it could not be, 2 wrong use."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["-t"]:
        words[0] = "check"
    match words:
        case ["start", file] if not file.startswith("-"):
            return _start(file, foreground=False)
        case ["start", "--foreground", file] | ["start", file, "--foreground"] if not file.startswith("-"):
            return _start(file, foreground=True)
        case ["resume", memory] if memory.isdigit():
            from fcgipm.cli.start import resume  # noqa: PLC0415

            return resume(int(memory))
        case ["trial", what, configuration] if what.isdigit() and configuration.isdigit():
            from fcgipm.cli.trial import trial  # noqa: PLC0415

            return trial(int(what), int(configuration))
    from fcgipm.cli.printing import exit_status  # noqa: PLC0415

    wanted: list[argparse.Namespace] = []
    status = exit_status("fcgipm", lambda: _tell(words, wanted))
    for options in wanted:
        return _start(options.file, foreground=options.foreground)
    return status


def _tell(words: list[str], to_be_started: list[argparse.Namespace]) -> int:
    """Do what only prints; what starts the daemon is left in *to_be_started*."""
    if words[:1] == ["import"]:  # argparse would take away its --
        from fcgipm.cli import importing  # noqa: PLC0415

        return importing.main(words[1:])
    options = _parser().parse_args(words)
    if options.command == "start":
        to_be_started.append(options)
        return 0
    if options.command == "check":
        from fcgipm.cli import check  # noqa: PLC0415

        return check.main(words[1:])
    from fcgipm.cli import show  # noqa: PLC0415

    return show.main(words[1:])


def _start(file: str, *, foreground: bool) -> int:
    from fcgipm.cli.start import start  # noqa: PLC0415

    return start(file, foreground=foreground)


def _parser() -> argparse.ArgumentParser:
    import argparse  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        prog="fcgipm",
        description="Run FastCGI applications beside a web server.  A running daemon is talked to by fcgipmctl.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fcgipm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    start = commands.add_parser("start", help="start the daemon and wait until every application serves")
    start.add_argument("--foreground", action="store_true", help="stay, and log to standard error")
    start.add_argument("file", metavar="FILE", help="the configuration")
    for name, text in (
        ("check", "check a configuration and say everything that is wrong with it (also: fcgipm -t FILE)"),
        ("show", "print a configuration with all defaults filled in"),
        ("import", "print a configuration for what Apache, lighttpd or spawn-fcgi was told to run"),
    ):
        commands.add_parser(name, help=text, add_help=False, prefix_chars="\0").add_argument("rest", nargs="*")
    return parser


if __name__ == "__main__":
    sys.exit(main())
