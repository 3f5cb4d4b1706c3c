"""What Apache needs for applications whose number of instances follows demand: scripts below roots, and reports.

A script is a file that Apache has found below its root, and the name of its socket follows from its path, which
mod_rewrite compares letter by letter with what fcgipm allows.  Apache cannot ask for an instance: the socket must be
there, and whoever waits at it is seen.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Final

from fcgipm.reporting import APACHE
from fcgipm.webserver.apache_language import block, host, quote, regex
from fcgipm.webserver.target import Scripts, Site, SnippetError

APPLICATION: Final = "FCGIPM_APP"
"""The variable with the name of the application that a request is for; the application sees it, too."""
_COMPONENT: Final = r"/(?!\.\.?(?:/|\z))[A-Za-z0-9._-]+"


def worker(scripts: Scripts) -> str:
    """Return the address of the worker of a root; the socket is another one for each script."""
    return f"fcgi://{host(scripts.name)}/"


def directory(scripts: Scripts, told: Iterable[str]) -> Iterator[str]:
    """Yield the section for the files of a root; *told* is what its scripts are told."""
    many = "+" if scripts.root.recursive else ""
    name = rf"^{regex(scripts.directory)}(?=.{{1,{scripts.longest}}}\z)((?:{_COMPONENT}){many})\z"
    matching = rf"/(?=[^/]*\z){scripts.name_pattern}\z"
    handler = f"proxy:unix:{_socket(scripts)}%1.sock|{worker(scripts).removesuffix('/')}"
    yield from block(f"<Directory {quote(scripts.directory)}>", [
        "Require all granted",
        "AllowOverride None",
        "Options FollowSymLinks",  # mod_rewrite wants it; fcgipm runs nothing behind a link
        "RewriteEngine On",
        "RewriteCond %{REQUEST_FILENAME} -f",
        f"RewriteCond %{{REQUEST_FILENAME}} {quote(matching)}",
        f"RewriteCond %{{REQUEST_FILENAME}} {quote(name)}",
        f"RewriteRule ^ - {quote(f'[H={handler},E={APPLICATION}:{scripts.name}%1,END]')}",
        "RewriteRule ^ - [R=404,END]",
        *told,
    ])  # fmt: skip


def reports(site: Site) -> Iterator[str]:
    """Yield what tells fcgipm of finished requests."""
    command = f"|{shlex.quote(site.reporter)} -s {shlex.quote(site.report)}"
    yield ""
    yield "# One line to fcgipm for each finished request of an application that follows demand, beside all your logs."
    yield "# Within a <VirtualHost> the word is CustomLog."
    yield f"GlobalLog {quote(command)} {quote(f'{APACHE}%{{{APPLICATION}}}e')} env={APPLICATION}"


def _socket(scripts: Scripts) -> str:
    if any(character in scripts.sockets for character in ' %|,[]\\$"'):
        raise SnippetError(f"{scripts.name}: Apache cannot name sockets in this directory: {scripts.sockets}")
    return scripts.sockets
