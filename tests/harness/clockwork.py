"""The manager's parts on a loop whose clock the test moves, without any process."""

from __future__ import annotations

import asyncio

from fcgipm import wire
from fcgipm.codec import to_json
from fcgipm.config.schema import SECOND, Application, Daemon


class Clockwork(asyncio.SelectorEventLoop):
    """A loop whose clock the test may put forward."""

    forward = 0.0

    def time(self) -> float:
        """Return what its clock shows."""
        return super().time() + self.forward


async def pass_time(seconds: float) -> None:
    """Let *seconds* pass, and what is due then happen."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Clockwork)
    loop.forward += seconds
    for _ in range(3):
        await asyncio.sleep(0)


def snapshot(*applications: Application) -> wire.Snapshot:
    """Return what a manager begins with that has *applications* and no instance."""
    listeners = tuple(
        wire.ListenerFact(
            app=each.name, generation=1, address=f"unix:/{each.name}.sock", bound=f"/p/{each.name}.1", published=True
        )
        for each in applications
    )
    definitions = wire.Definitions(
        daemon=to_json(Daemon()),
        applications=tuple(to_json(each) for each in applications),
        externals=(),
        dynamic=None,
        access={},
    )
    return wire.Snapshot(
        version="0", pid=1, uid=0, started_at=0, started_unix=0.0, definitions=definitions, instances=(),
        listeners=listeners, notes={}, next_instance=1, ending=None,
    )  # fmt: skip


def on_demand(name: str = "blog", *, start_timeout: int = 30 * SECOND) -> Application:
    """Return an application that is started when somebody comes."""
    return Application(
        name=name, command=("/bin/true",), socket=f"/{name}.sock", processes=None, min_processes=0, max_processes=1,
        start_timeout=start_timeout, ready_timeout=min(start_timeout, 2 * SECOND),
    )  # fmt: skip
