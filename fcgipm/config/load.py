"""Read a configuration file into a complete, checked `Loaded`, or say everything that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from fcgipm.config import resolve
from fcgipm.config.check import check_system
from fcgipm.config.concurrency import concurrency_of
from fcgipm.config.drafts import Draft, Reader
from fcgipm.config.environment import environment_of
from fcgipm.config.identity import Identity, identity_of, manager_identity, web_identity
from fcgipm.config.loaded import Loaded
from fcgipm.config.once import Once
from fcgipm.config.option import options
from fcgipm.config.problems import ConfigError, Problem, Report, Where
from fcgipm.config.schema import Application, Change, Config, Daemon, Dynamic, External, InstanceOptions, Root
from fcgipm.config.sources import Source, read_sources
from fcgipm.config.tables import gather

__all__ = ["ConfigError", "Loaded", "Problem", "load"]


def load(
    path: str,
    *,
    environ: Mapping[str, str],
    euid: int,
    foreground: bool = True,
    running: Daemon | None = None,
) -> Loaded:
    """Return the configuration in file *path*, checked against this system; raise `ConfigError` with all problems.

    *environ* and *euid* are those of who starts the daemon.  *running* is the table of a daemon that runs already:
    its options that need a restart stay as they are, and are named in `Loaded.pending` where the file differs.
    """
    report = Report()
    sources = read_sources(path, euid, report)
    files = tuple(source.file for source in sources)
    tables = gather(sources, report)
    reader = Reader(tables.defaults, report)
    drafts = resolve.Drafts(
        daemon=reader.draft("fcgipm", tables.daemon, Daemon, inherits=False),
        applications={name: reader.draft(name, table, Application) for name, table in tables.applications.items()},
        externals={name: reader.draft(name, table, External) for name, table in tables.externals.items()},
        dynamic=None if tables.dynamic is None else reader.draft("dynamic", tables.dynamic, Dynamic),
    )
    if not sources:
        report.refuse(files)
    written = frozenset(drafts.daemon.places)
    resolve.fill_daemon(drafts.daemon, environ, euid, foreground=foreground)
    pending = _keep_running(drafts.daemon, running)
    once = Once()
    daemon = _built(Daemon, drafts.daemon, once)
    resolve.fill_applications(drafts, daemon, euid, report)
    check_system(drafts, daemon, euid, report)
    config = Config(
        daemon=daemon,
        applications={name: _built(Application, draft, once) for name, draft in drafts.applications.items()},
        externals={name: _built(External, draft, once) for name, draft in drafts.externals.items()},
        dynamic=None if drafts.dynamic is None else _built(Dynamic, drafts.dynamic, once),
    )
    environments = _environments(config, drafts, environ, euid, report)
    dynamic_environment = _dynamic_environment(config, drafts, environ, euid, report)
    report.refuse(files)
    config = _with_concurrency(config, environments)
    if euid == 0:
        _warn_of_secrets(sources, drafts, report)
    return Loaded(
        path=os.path.abspath(path),
        files=tuple(os.path.abspath(file) for file in files),
        config=config,
        identities={name: once(identity_of(app, daemon, euid)) for name, app in config.applications.items()},
        environments={name: once(environment) for name, environment in environments.items()},
        dynamic_environment=dynamic_environment,
        manager=manager_identity(daemon, euid),
        web=web_identity(daemon),
        warnings=tuple(report.warnings),
        written=written,
        pending=pending,
    )


def _built(kind: type[Any], draft: Draft, once: Once) -> Any:
    names = {item.name for item in fields(kind)} - {"roots"}
    values = {name: once(value) for name, value in draft.values.items() if name in names}
    if "name" in names:
        values["name"] = draft.name
    if kind is Dynamic:
        values["roots"] = tuple(_built(Root, part, once) for part in draft.parts)
    return kind(**values)


def _keep_running(draft: Draft, running: Daemon | None) -> tuple[str, ...]:
    if running is None:
        return ()
    pending = []
    for _key, option, item in options(Daemon):
        value = getattr(running, item.name)
        if option.change is Change.RESTART and draft.values[item.name] != value:
            draft.values[item.name] = value
            pending.append(item.name)
    return tuple(pending)


def _warn_of_secrets(sources: Sequence[Source], drafts: resolve.Drafts, report: Report) -> None:
    written = {draft.places["initial_env"].file for draft in drafts.of_instances() if draft.values["initial_env"]}
    for source in sources:
        if source.readable_by_all and source.file in written:
            text = "has initial-env and can be read by everybody; chmod o-r it if there are secrets in it"
            report.warning(Where(source.file, None, ""), text)


def _environments(
    config: Config, drafts: resolve.Drafts, environ: Mapping[str, str], euid: int, report: Report
) -> dict[str, dict[str, str]]:
    environments = {}
    for name, app in config.applications.items():
        try:
            identity = identity_of(app, config.daemon, euid)
        except LookupError:
            continue  # as whom it runs is a problem that has been told
        environments[name] = _environment(app, drafts.applications[name], identity, environ, report)
    return environments


def _dynamic_environment(
    config: Config, drafts: resolve.Drafts, environ: Mapping[str, str], euid: int, report: Report
) -> dict[str, str]:
    """Return the environment of every script; for its env-file [dynamic] is an application like another."""
    table, draft = config.dynamic, drafts.dynamic
    if table is None or draft is None:
        return {}
    names: dict[str, Any] = {name: getattr(table, name) for name in ("user", "group", "groups")}
    try:
        identity = identity_of(Application(name="dynamic", command=("/",), **names), config.daemon, euid)
    except LookupError:
        return {}
    return _environment(table, draft, identity, environ, report)


def _environment(
    table: InstanceOptions, draft: Draft, identity: Identity, environ: Mapping[str, str], report: Report
) -> dict[str, str]:
    try:
        return environment_of(table, environ, identity)
    except OSError as error:
        report.problem(draft.at("env_file"), f"{table.env_file}: {error.strerror}")
    except ValueError as error:
        report.problem(draft.at("env_file"), f"{table.env_file}: {error}")
    return {}


def _with_concurrency(config: Config, environments: Mapping[str, Mapping[str, str]]) -> Config:
    """Return *config* with the concurrency of each application; that of a script follows from its name."""
    applications = {
        name: app
        if app.concurrency is not None
        else replace(app, concurrency=concurrency_of(app.command[0], environments[name], app.wrapper))
        for name, app in config.applications.items()
    }
    return replace(config, applications=applications)
