"""fcgipmctl: looks at and steers a running fcgipm over its control socket.

It imports little, and nothing heavy, because a whole `fcgipmctl status` is to take less than 100 ms.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from fcgipm.cli import commands
from fcgipm.cli.client import ClientError
from fcgipm.cli.parser import Misuse, parse, socket_path
from fcgipm.cli.printing import complain, exit_status
from fcgipm.verbs import ExitCode


def main(arguments: Sequence[str] | None = None) -> int:
    """Run fcgipmctl and return its exit code."""
    # Ctrl-C and a reader that goes away (`| head`) end this program as they end others: at once, without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    words = sys.argv[1:] if arguments is None else arguments
    return exit_status("fcgipmctl", lambda: _run(words))


def _run(words: Sequence[str]) -> int:
    try:
        options = parse(words)
    except Misuse as misuse:
        if "--json" in words:
            commands.print_failure(str(misuse), ExitCode.USAGE)
            sys.stdout.flush()
        misuse.parser.print_usage(sys.stderr)
        complain(misuse.parser.prog, f"error: {misuse}")
        return ExitCode.USAGE
    try:
        return commands.run(options, socket_path(options.socket, os.environ))
    except ClientError as error:
        if options.json:
            commands.print_failure(str(error), error.code)
        sys.stdout.flush()
        commands.tell(str(error))
        return error.code


if __name__ == "__main__":
    sys.exit(main())
