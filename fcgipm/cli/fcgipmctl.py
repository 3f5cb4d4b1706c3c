"""fcgipmctl: looks at and steers a running fcgipm over its control socket.

It imports little, and nothing heavy, because a whole `fcgipmctl status` is to take less than 100 ms.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import TextIO

from fcgipm.cli import commands
from fcgipm.cli.client import ClientError
from fcgipm.cli.parser import parse, socket_path
from fcgipm.verbs import ExitCode


def main(arguments: Sequence[str] | None = None) -> int:
    """Run fcgipmctl and return its exit code."""
    # Ctrl-C and a reader that goes away (`| head`) end this program as they end others: at once, without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    _prepare_output()
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        code = commands.run(options, socket_path(options.socket, os.environ))
        sys.stdout.flush()
    except ClientError as error:
        sys.stdout.flush()
        commands.tell(str(error))
        return error.code
    except OSError as error:
        commands.tell(f"cannot write the output: {(error.strerror or str(error)).lower()}")
        sys.stdout = _nowhere()  # or what could not be written would be tried again at the end
        return ExitCode.FAILED
    return code


def _prepare_output() -> None:
    """Let no character that the terminal's encoding lacks, and no closed descriptor, end the program."""
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  # it stays open to the end


if __name__ == "__main__":
    sys.exit(main())
