from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from fcgipm.config.schema import External
from fcgipm.manager.observing.reach import Prober, Reach


def look(prober: Prober, *externals: External, within: float = 2) -> dict[str, Reach]:
    return asyncio.run(prober.look(externals, within=within))


def test_nobody_is_asked_about() -> None:
    assert look(Prober()) == {}


def test_all_hosts_of_an_application_must_be_there() -> None:
    with socket.socket() as there, socket.socket() as reserved:
        there.bind(("127.0.0.1", 0))
        there.listen()
        reserved.bind(("127.0.0.1", 0))  # bound, and does not listen
        good, bad = (f"127.0.0.1:{each.getsockname()[1]}" for each in (there, reserved))
        found = look(Prober(), External(name="one", host=(good,)), External(name="two", host=(good, bad)))

    assert found["one"] == Reach("reachable", "")
    assert found["two"] == Reach("unreachable", f"tcp:{bad}: connection refused")


def test_a_full_queue_is_somebody_who_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as visitor:
        listener.bind(path)
        listener.listen(0)
        visitor.connect(path)

        assert look(Prober(), External(name="one", socket=path))["one"].state == "reachable"


def test_who_has_no_time_gets_what_was_known_last() -> None:
    async def ask() -> None:
        prober, slow = Prober(), External(name="slow", host=(f"127.0.0.1:{port}",))
        first = await prober.look([slow], within=0.01)
        assert first == {"slow": Reach("unknown", "it has not answered yet")}
        whole = await prober.look([slow], within=5)
        assert whole["slow"].state == "unreachable"
        assert whole["slow"].reason.endswith("no connection within 1 s")
        assert await prober.look([slow], within=0.01) == whole

    # a TCP listener with a full queue lets connections hang
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            asyncio.run(ask())
