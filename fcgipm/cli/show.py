"""``fcgipm show FILE``: print a configuration with every default filled in."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from fcgipm.cli.printing import print_lines
from fcgipm.config.load import ConfigError, load
from fcgipm.config.rendering import plain_config, render_config


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status: 0 done, 1 the file is not good, 2 wrong use.

    What it prints as TOML can be loaded again.  It reads the file as its caller, so that only who may read the file
    sees the values of its environment.
    """
    parser = argparse.ArgumentParser(
        prog="fcgipm show", description="Print a configuration with every default filled in."
    )
    parser.add_argument("file", metavar="FILE", help="the configuration, such as /etc/fcgipm/apps.toml")
    parser.add_argument("--json", action="store_true", help="print JSON, durations in seconds")
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        loaded = load(options.file, environ=os.environ, euid=os.geteuid())
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if options.json:
        print_lines([json.dumps(plain_config(loaded.config), indent=2)])
    else:
        title = f"# {', '.join(loaded.files)}, with every default filled in"
        print_lines([title, *render_config(loaded.config)])
    return 0
