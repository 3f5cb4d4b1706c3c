"""An application that nobody manages, for what a configuration calls external."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def foreign(listener: socket.socket) -> Iterator[None]:
    """Run the demonstration application on *listener*, without any manager."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fcgipm.demo"], stdin=listener.fileno(), stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()
