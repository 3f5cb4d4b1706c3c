"""Check a configuration against this system, before anything is started."""

from __future__ import annotations

from fcgipm.config.problems import Report
from fcgipm.config.resolve import Drafts
from fcgipm.config.schema import Daemon


def check_system(drafts: Drafts, daemon: Daemon, euid: int, report: Report) -> None:
    """Report everything in *drafts* that this system does not have or allow."""
