"""``python -m fcgipm.manager``: started by the keeper, with the wire as descriptor 3."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys

import setproctitle

from fcgipm.manager.loop import Manager

_WIRE = 3
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_THE_KEEPERS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def _shut_in() -> None:
    """Let nobody look into this process, and this process gain nothing by exec; the keeper did so too."""
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))) < 0:
            raise OSError(ctypes.get_errno(), f"prctl({option}): {os.strerror(ctypes.get_errno())}")


def main() -> int:
    """Run the manager; return its exit status."""
    _shut_in()
    setproctitle.setproctitle("fcgipm: manager")
    for number in _THE_KEEPERS:  # a terminal or an init system sends them to all; the wire's end is the manager's
        signal.signal(number, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return Manager(socket.socket(fileno=_WIRE)).run()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a name look-up may still hang in a thread, and nothing here outlives the wire
