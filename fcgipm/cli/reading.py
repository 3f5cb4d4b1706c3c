"""The frame of the commands that read a configuration and print what they make of it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from fcgipm.cli.printing import print_lines
from fcgipm.config.load import load
from fcgipm.config.problems import ConfigError

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded

Render = Callable[["Loaded", argparse.Namespace], Iterable[str]]
"""Takes a good configuration and the options of the command line; returns the lines to be printed."""


def parser_of(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser that takes the file; options may be added to it."""
    parser = argparse.ArgumentParser(prog=f"fcgipm {name}", description=description)
    parser.add_argument("file", metavar="FILE", help="the configuration, such as /etc/fcgipm/apps.toml")
    return parser


def run(parser: argparse.ArgumentParser, arguments: Sequence[str], render: Render, *, data_is_problems: bool) -> int:
    """Print what *render* makes of the file; return the exit status: 0 done, 1 the file is not good, 2 wrong use.

    Problems go to standard output where they are what the command is asked for, else to standard error.
    """
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        loaded = load(options.file, environ=os.environ, euid=os.geteuid())
    except ConfigError as error:
        if data_is_problems:
            print_lines(str(problem) for problem in error.problems)
        else:
            for problem in error.problems:
                print(problem, file=sys.stderr)
        return 1
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print_lines(render(loaded, options))
    return 0
