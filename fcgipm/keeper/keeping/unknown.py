"""Who serves at a socket that a keeper has left, and is in no book of it: its last state could not be written.

Nothing proves whose such a process is, so it is sent no signal; but it takes requests, of whatever code it runs.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from fcgipm.keeper.keeping.recognise import Found
from fcgipm.keeper.keeping.state import State
from fcgipm.linux import procfs


def unknown(state: State, found: Found, inodes: Container[int]) -> Iterator[tuple[int, int]]:
    """Yield pid and inode of each unknown process that has one of *inodes* as its fd 0, as instances have theirs."""
    sessions = {one.pid for one in state.instances}
    strays = {one.process.pid for one in found.strays}
    for stat in procfs.processes():
        if stat.session in sessions or stat.pid in strays:
            continue
        inode = procfs.socket_at_input(stat.pid)  # what may not be looked at is not ours
        if inode is not None and inode in inodes:
            yield stat.pid, inode
