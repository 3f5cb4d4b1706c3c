"""``fcgipm show FILE``: print a configuration with every default filled in."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcgipm.cli.reading import parser_of, run
from fcgipm.config.rendering import plain_config, render_config

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status: 0 done, 1 the file is not good, 2 wrong use.

    What it prints as TOML can be loaded again.  It reads the file as its caller, so that only who may read the file
    sees the values of its environment.
    """
    parser = parser_of("show", "Print a configuration with every default filled in.")
    parser.add_argument("--json", action="store_true", help="print JSON, durations in seconds")
    return run(parser, arguments, _lines, data_is_problems=False)


def _lines(loaded: Loaded, options: argparse.Namespace) -> list[str]:
    if options.json:
        return [json.dumps(plain_config(loaded.config), indent=2)]
    return [f"# {', '.join(loaded.files)}, with every default filled in", *render_config(loaded.config)]
