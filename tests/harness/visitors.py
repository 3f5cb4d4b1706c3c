"""Listening sockets and their visitors, made by the test itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from fcgipm.fastcgi import Response, ResponseParser

_ELSEWHERE = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""


def unix_listener(stack: ExitStack, name: str, backlog: int) -> socket.socket:
    """Return a Unix socket that listens at *name*."""
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(name)
    listener.listen(backlog)
    return listener


def tcp_listener(stack: ExitStack, address: str, backlog: int = 16) -> socket.socket:
    """Return a TCP socket that listens on *address*, at a port of the kernel's choice."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return stack.enter_context(
        socket.create_server((address, 0), family=family, backlog=backlog, dualstack_ipv6=address == "::")
    )


def connected(stack: ExitStack, listener: socket.socket, address: str | None = None) -> socket.socket:
    """Return a client that is connected to *listener*, over *address* where that is given."""
    name = listener.getsockname()
    if address is not None:
        return stack.enter_context(socket.create_connection((address, name[1])))
    client = stack.enter_context(socket.socket(listener.family))
    client.connect(name)
    return client


def accepted(stack: ExitStack, listener: socket.socket) -> int:
    """Accept one and return the inode of the new socket."""
    return inode_of(stack.enter_context(listener.accept()[0]))


def inode_of(sock: socket.socket) -> int:
    """Return the inode of *sock*."""
    return os.fstat(sock.fileno()).st_ino


def from_elsewhere(stack: ExitStack, path: Path) -> subprocess.Popen[str]:
    """Return a client of another network name space that is connected to the Unix socket *path*, until it `leave`s.

    As a web server in a container of its own has it; for tests that are root.
    """
    command = ["unshare", "--net", sys.executable, "-c", _ELSEWHERE, str(path)]
    visitor = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(leave, visitor)
    assert visitor.stdout is not None
    assert visitor.stdout.readline() == "connected\n"
    return visitor


def answer(connection: socket.socket) -> Response:
    """Return the next answer."""
    parser = ResponseParser()
    while data := connection.recv(1 << 16):
        response = parser.feed(data)
        if response is not None:
            return response
    return parser.close()


def leave(visitor: subprocess.Popen[str]) -> None:
    """Let a client of `from_elsewhere` go."""
    if visitor.poll() is None:
        visitor.communicate(timeout=10)
