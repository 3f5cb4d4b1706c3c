"""Put definitions of dynamic applications among the declared ones, and take them out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fcgipm.config.dynamic import application_of

if TYPE_CHECKING:
    from fcgipm.config.identity import Identity
    from fcgipm.config.loaded import Loaded
    from fcgipm.config.schema import Application, Root


def definition_of(loaded: Loaded, root: Root, path: str, identity: Identity) -> Application:
    """Return the definition of the script *path* of *root*, which runs as *identity*."""
    dynamic = loaded.config.dynamic
    assert dynamic is not None, root.name
    return application_of(
        dynamic, root, path, identity=identity, runtime_dir=loaded.config.daemon.runtime_dir,
        environment=loaded.dynamic_environment,
    )  # fmt: skip


def with_applications(loaded: Loaded, apps: Mapping[str, Application], identities: Mapping[str, Identity]) -> Loaded:
    """Return *loaded* with *apps*, which are dynamic and run as *identities*."""
    if not apps:
        return loaded
    return _replaced(
        loaded,
        applications={**loaded.config.applications, **apps},
        identities={**loaded.identities, **identities},
        environments={**loaded.environments, **dict.fromkeys(apps, loaded.dynamic_environment)},
    )


def without_application(loaded: Loaded, name: str) -> Loaded:
    """Return *loaded* without the application *name*."""

    def others(table: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in table.items() if key != name}

    return _replaced(
        loaded,
        applications=others(loaded.config.applications),
        identities=others(loaded.identities),
        environments=others(loaded.environments),
    )


def _replaced(loaded: Loaded, applications: Mapping[str, Application], **others: Any) -> Loaded:
    return replace(loaded, config=replace(loaded.config, applications=applications), **others)
