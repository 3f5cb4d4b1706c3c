"""Numbers that no process can have are nobody's, and end no start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fcgipm.keeper.keeping import recognise
from fcgipm.keeper.keeping.state import KeptInstance, State

KEPT = KeptInstance(
    number=7, app="one", generation=1, pid=1, start_time=1, listener=1, executed=True, started_at=1,
)  # fmt: skip


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**70])
def test_no_number_of_a_process_is_doubtful(pid: int) -> None:
    kept = replace(KEPT, pid=pid)
    state = State(
        boot_id="", name_space=1, program="", pid=1, started_at=1, started_unix=1.0, instances=(kept,),
    )  # fmt: skip

    found = recognise.find(state)

    assert not found.survivors
    assert found.doubtful.keys() | {one.kept.number for one in found.departed} == {7}
