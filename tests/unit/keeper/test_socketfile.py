"""Whoever owns the directory of a socket does not decide to whom the keeper connects."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from fcgipm.keeper.listening import socketfile
from fcgipm.keeper.listening.guard import Guard
from fcgipm.keeper.listening.place import Places
from fcgipm.keeper.listening.sockets import Attributes


def test_a_replaced_directory_leads_nobody_astray(place: Path, guard: Guard) -> None:
    (place / "run").mkdir(mode=0o711)
    (place / "apps").mkdir()
    ours, names = socketfile.bind(
        Places(), guard, runtime_dir=str(place / "run"), public=str(place / "apps/one.sock"), name="one.1",
        attributes=Attributes(os.geteuid(), os.getegid(), 0o600), depth=5, check=lambda *_: None,
    )  # fmt: skip
    (place / "apps").rename(place / "moved")
    os.makedirs(os.path.dirname(names.private))
    with ours, socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as visitor:
        other.bind(names.private)
        other.listen()

        names.meet(visitor)

        ours.settimeout(5)
        ours.accept()[0].close()
    names.remove()
