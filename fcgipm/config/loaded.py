"""A configuration that can be run, without anything that is needed to read one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fcgipm.config.identity import Identity
    from fcgipm.config.schema import Config


@dataclass(frozen=True)
class Loaded:
    """A configuration that can be run: every application is complete, and everything it names exists."""

    path: str
    files: tuple[str, ...]
    """All files that were read, absolute, *path* first."""
    config: Config
    identities: Mapping[str, Identity]
    """As whom each application runs."""
    environments: Mapping[str, Mapping[str, str]]
    """The whole environment of an instance of each application."""
    dynamic_environment: Mapping[str, str]
    """The same for every dynamic application."""
    manager: Identity
    web: Identity
    warnings: tuple[str, ...]
    written: frozenset[str]
    """The fields of [fcgipm] that were written, not filled in."""
    pending: tuple[str, ...]
    """Fields of [fcgipm] that differ from those of the running daemon and need its restart; not in *config*."""
