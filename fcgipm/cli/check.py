"""``fcgipm check FILE``: say everything that is wrong with a configuration, and start nothing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fcgipm.cli.printing import print_lines
from fcgipm.config.load import ConfigError, Loaded, load


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status: 0 the file is good, 1 it is not, 2 wrong use."""
    parser = argparse.ArgumentParser(
        prog="fcgipm check", description="Read a configuration, say everything that is wrong with it, start nothing."
    )
    parser.add_argument("file", metavar="FILE", help="the configuration, such as /etc/fcgipm/apps.toml")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing if the file is good")
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        loaded = load(options.file, environ=os.environ, euid=os.geteuid())
    except ConfigError as error:
        print_lines(str(problem) for problem in error.problems)
        return 1
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not options.quiet:
        print_lines([f"{options.file}: ok: {_counts(loaded)}"])
    return 0


def _counts(loaded: Loaded) -> str:
    config = loaded.config
    processes = sum(app.processes for app in config.applications.values())
    parts = [_counted(len(config.applications), "application"), _counted(processes, "process", "processes")]
    if config.externals:
        parts.append(_counted(len(config.externals), "external application"))
    if len(loaded.files) > 1:
        parts.append(_counted(len(loaded.files), "file"))
    return ", ".join(parts)


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
