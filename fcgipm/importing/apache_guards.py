"""Authorizers of an Apache configuration: programs that are asked whether a request may pass."""

from __future__ import annotations

from typing import Final

from fcgipm.config.schema import Application
from fcgipm.importing.apache_dynamic import TOTALS
from fcgipm.importing.apache_sites import Sites, host_of, is_pattern
from fcgipm.importing.apache_tree import Directive, Tree, sections
from fcgipm.importing.found import Found, Table, why_not
from fcgipm.importing.naming import Names

GUARDS: Final = frozenset({"fastcgiauthenticator", "fastcgiauthorizer", "fastcgiaccesschecker"})

_ASKED_AS: Final = {"fastcgiauthorizer": "AUTHORIZER", "fastcgiaccesschecker": "ACCESS_CHECKER"}
_MOST_OF_A_CLASS: Final = 10


def read_guards(found: Found, tree: Tree, sites: Sites, programs: dict[str, Table], names: Names) -> None:
    """Give those of *programs* that authorize their role, and declare those that nobody has declared."""
    for directive in tree.directives:
        if directive.key in GUARDS:
            _guard(found, directive, sites, programs, names)
        elif directive.key.removesuffix("authoritative") in GUARDS:
            _authoritative(found, directive)


def _guard(found: Found, directive: Directive, sites: Sites, programs: dict[str, Table], names: Names) -> None:
    if not directive.words:
        found.lose(directive.place, str(directive), "names no program")
        return
    path = sites.absolute(directive.words[0])
    table = programs.get(path)
    if table is None:
        table = _on_demand(found, directive, path, names)
        programs[path] = table
        found.applications.append(table)
    if table.get("role") is None:
        for uri in table.get("uri") or ():
            table.lose(f"uri {uri}", "it authorizes, and answers no requests of its own")
        table.drop("uri")
        table.put("role", "authorizer")
    _protect(table, directive, sites)
    for word in directive.words[1:]:
        table.lose(f"{directive.place}: {word}", "the web server decides which of its headers become variables")
    if directive.key in _ASKED_AS:
        table.note(
            f"{directive.place}: {directive}: mod_fastcgi asks it with FCGI_APACHE_ROLE={_ASKED_AS[directive.key]}; "
            "`fcgipmctl snippet apache` says how it is asked there"
        )


def _protect(table: Table, directive: Directive, sites: Sites) -> None:
    """Give *table* the requests that *directive* lets it decide about."""
    section = next(sections(directive, "location", "directory", "locationmatch", "directorymatch"), None)
    uris: list[str] = []
    if section is not None and not is_pattern(section):
        if section.kind == "location":
            uris = [section.argument]
        else:
            uris = [f"{uri.rstrip('/')}/" for uri in sites.uris(sites.absolute(section.argument), host_of(directive))]
    for uri in uris:
        table.add("uri", uri, f"uri {uri}")
    if not uris:
        where = "the whole server" if section is None else str(section)
        table.lose(f"{directive.place}: {directive} in {where}", "which requests these are is not seen; write uri")


def _on_demand(found: Found, directive: Directive, path: str, names: Names) -> Table:
    """Return a table for the authorizer *path*, which mod_fastcgi starts as a dynamic application."""
    table = Table(Application, ("app", names.give(path)), directive.place, str(directive))
    if not table.put("command", [path], path):
        table.unusable = "its program cannot be written down"
    table.put("min-processes", 0)
    table.put("max-processes", _MOST_OF_A_CLASS)
    if found.dynamic is not None:
        most = found.dynamic.get("max-processes") or _MOST_OF_A_CLASS
        table.put("max-processes", found.dynamic.get("max-class-processes") or min(most, _MOST_OF_A_CLASS))
        for key, value in found.dynamic.pairs():
            if key not in TOTALS and why_not(Application, key, value) is None:
                table.put(key, value)
        table.environment |= found.dynamic.environment
    table.note("mod_fastcgi starts it when it is first asked, with what FastCgiConfig says")
    return table


def _authoritative(found: Found, directive: Directive) -> None:
    if [word.lower() for word in directive.words] != ["on"]:
        why = "what an authorizer refuses is refused; no other module is asked after it"
        found.lose(directive.place, str(directive), why)
