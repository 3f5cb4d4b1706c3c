"""A manager without a will: it gives its wire to the test, which says what it says, and ends when the test wants."""

from __future__ import annotations

import array
import socket
import sys


def main() -> int:
    """Connect to the socket that is named, send the wire and our standard error there, wait for the exit status."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as test:
        test.connect(sys.argv[1])
        test.sendmsg([b"w"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [3, 2]))])
        status = test.recv(1)
        return status[0] if status else 0


if __name__ == "__main__":
    sys.exit(main())
