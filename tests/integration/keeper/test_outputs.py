"""An instance whose output nobody reads is not blocked for long."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from harness.keeper import Rig, python
from harness.rest import at_rest
from harness.waiting import readable, until

from fcgipm import wire

CHATTY = """
import os, sys
count = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o666)
for number in range(40):
    os.write(1, b"x" * 3999 + b"\\n")
    os.pwrite(count, b"%d" % number, 0)
import socket
listener = socket.socket(fileno=0)
while True:
    listener.accept()
    os.write(1, b"more\\n")
"""
"""Writes more than its pipe takes, and then a line for each visitor."""


def test_output_that_nobody_reads_is_drained_and_counted(rig: Callable[..., Rig], place: Path) -> None:
    (place / "made").mkdir()
    (place / "made").chmod(0o777)
    count = place / "made" / "count"
    keeper = rig(f"[app.one]\n{python(CHATTY, str(count))}\nready-timeout = '20s'\n")
    puppet = keeper.puppet()
    puppet.order(wire.Spawn(instance=1, app="one", generation=1))
    puppet.expect(wire.Spawned)
    until(lambda: count.exists() and count.read_text() == "15")  # 16 pages: the pipe takes no more

    assert puppet.expect(wire.Drained).bytes == 0  # the question whether we hear
    assert count.read_text() == "15"
    drained = puppet.expect(wire.Drained, within=10)
    until(lambda: count.read_text() == "39")
    puppet.order(wire.Heard(count=puppet.heard))

    total = drained.bytes + puppet.expect(wire.Drained).bytes
    assert total % 1000 == 0
    assert total > 16 * 4000
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(keeper.socket("one")))
        readable(puppet.descriptors[1][0])
        at_rest(keeper.pid, seconds=1.5)  # a second after something came, it would throw it away
        text = b""
        while not text.endswith(b"more\n"):  # it is the manager's again
            readable(puppet.descriptors[1][0])
            text += os.read(puppet.descriptors[1][0], 65536)


def test_output_that_is_read_is_left_alone(rig: Callable[..., Rig], place: Path) -> None:
    code = (
        "import os\nfor _ in range(40):\n    os.write(1, b'x' * 4000)\nimport socket\nsocket.socket(fileno=0).accept()"
    )
    puppet = rig(f"[app.one]\n{python(code)}\n").puppet()
    puppet.order(wire.Spawn(instance=1, app="one", generation=1))
    puppet.expect(wire.Spawned)
    stdout = puppet.descriptors[1][0]
    os.set_blocking(stdout, True)

    assert sum(len(os.read(stdout, 4000)) for _ in range(40)) == 160_000


def test_a_flood_that_is_read_is_not_taken_for_one_that_is_not(rig: Callable[..., Rig]) -> None:
    """It fills its pipe again to the same number of bytes at once; but the manager hears, and so it reads."""
    code = "import os\nwhile True: os.write(1, b'x' * 4000)"
    keeper = rig(f"[app.one]\n{python(code)}\nready-timeout = '20s'\n")
    puppet = keeper.puppet()
    puppet.order(wire.Spawn(instance=1, app="one", generation=1))
    puppet.expect(wire.Spawned)
    for _ in range(2):
        puppet.expect(wire.Drained, bytes=0, within=15)
        puppet.order(wire.Heard(count=puppet.heard))

    assert "is not read" not in keeper.log()
