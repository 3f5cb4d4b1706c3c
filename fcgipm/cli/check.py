"""``fcgipm check FILE``: say everything that is wrong with a configuration, and start nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcgipm.cli.reading import parser_of, run
from fcgipm.counting import counted

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status: 0 the file is good, 1 it is not, 2 wrong use."""
    parser = parser_of("check", "Read a configuration, say everything that is wrong with it, start nothing.")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing if the file is good")
    return run(
        parser,
        arguments,
        lambda loaded, options: [] if options.quiet else [f"{options.file}: ok: {_counts(loaded)}"],
        data_is_problems=True,
    )


def _counts(loaded: Loaded) -> str:
    config = loaded.config
    least = sum(app.least for app in config.applications.values())
    most = sum(app.most for app in config.applications.values())
    processes = counted(most, "process", "processes")
    parts = [
        counted(len(config.applications), "application"),
        processes if least == most else f"{least} to {processes}",
    ]
    if config.dynamic is not None:
        roots, limit = len(config.dynamic.roots), config.dynamic.max_processes
        parts.append(f"{counted(roots, 'root')} of scripts with at most {counted(limit, 'process', 'processes')}")
    if config.externals:
        parts.append(counted(len(config.externals), "external application"))
    if len(loaded.files) > 1:
        parts.append(counted(len(loaded.files), "file"))
    return ", ".join(parts)
