"""Fixtures of the keeper's unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.listening.guard import Guard
from fcgipm.log import FileSink, Logger, open_file


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    """Give a guard that watches nothing yet."""
    log = Logger(FileSink(open_file(str(tmp_path / "log"))))
    dispatch = Dispatch(log)
    watching = Guard(dispatch)
    yield watching
    watching.close()
    dispatch.close()
    log.sink.close()
