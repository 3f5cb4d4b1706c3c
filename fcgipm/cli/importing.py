"""``fcgipm import``: print apps.toml for what Apache, lighttpd or spawn-fcgi was told to run."""

from __future__ import annotations

import argparse
import glob
import os
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from typing import Final

from fcgipm.cli.printing import complain, print_lines
from fcgipm.config.problems import printable
from fcgipm.importing.apache import from_apache
from fcgipm.importing.files import read_main
from fcgipm.importing.found import Found, Unreadable
from fcgipm.importing.lighttpd import from_lighttpd
from fcgipm.importing.spawnfcgi import from_spawn_fcgi, is_spawn_fcgi
from fcgipm.importing.writer import render, summary

LARGEST_FILE: Final = 4 * 1024 * 1024
LARGEST_TOTAL: Final = 16 * 1024 * 1024

_MOST_MATCHES: Final = 2000
_LIGHTTPD: Final = re.compile(
    r"""^[ \t]*(?:
          [A-Za-z][\w-]*(?:\.[\w-]+)*[ \t]*(?:\+|:)?=      # server.port = 80
        | \$(?:HTTP|SERVER|REQUEST_HEADER)[ \t]*\[         # $HTTP["host"]
        | include(?:_shell)?[ \t]+"[^"\n]*"[ \t]*(?:\#.*)?$
    )""",
    re.VERBOSE | re.MULTILINE,
)
_APACHE: Final = re.compile(
    r"^[ \t]*(?:</?[A-Za-z]|(?:FastCgi|FCGIConfig|(?:External)?AppClass|Include(?:Optional)?[ \t]+[^\"\s]|ServerRoot"
    r"|DocumentRoot|LoadModule|Listen|User|Group)\w*[ \t]+[^=\s])",
    re.IGNORECASE | re.MULTILINE,
)


class Disk:
    """The files of this machine, up to a total size."""

    def __init__(self) -> None:
        self._left = LARGEST_TOTAL

    def read(self, path: str) -> str:
        """Return the text of *path*; bytes that are not UTF-8 become surrogates.

        Raises `OSError` where it cannot be read, `ValueError` where it is too much or no text.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)  # a fifo must not block
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ValueError("not a regular file")
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(min(LARGEST_FILE, self._left) + 1)
        if len(data) > LARGEST_FILE:
            raise ValueError(f"larger than {LARGEST_FILE} bytes")
        if len(data) > self._left:
            raise ValueError(f"all files together are larger than {LARGEST_TOTAL} bytes")
        self._left -= len(data)
        if b"\0" in data:
            line = data.count(b"\n", 0, data.index(b"\0")) + 1
            raise ValueError(f"not a text: line {line} has a NUL")
        return data.decode("utf-8", errors="surrogateescape")

    def expand(self, pattern: str) -> list[str]:
        """Return the files that *pattern* matches, sorted; of a directory all that is in it, of nothing nothing."""
        found: list[str] = []
        for path in sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]:
            if os.path.isdir(path):
                for directory, _names, files in os.walk(path):
                    found += [os.path.join(directory, name) for name in files]
                    _demand_few(found, pattern)
            elif os.path.lexists(path):
                found.append(path)
            _demand_few(found, pattern)
        return sorted(found, key=lambda path: path.split("/"))


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status: 0 done, 1 there is nothing to be printed, 2 wrong use."""
    parser = _parser()
    words = list(arguments)
    if words[:1] == ["--"]:
        if not is_spawn_fcgi(words[1:]):
            complain(parser.prog, "behind -- a command line of spawn-fcgi is expected")
            return 2
        return _print(lambda: from_spawn_fcgi(words[1:], shutil.which))
    try:
        options = parser.parse_args(words)
    except SystemExit as end:
        return int(end.code or 0)
    return _print(lambda: _from_file(options.file, options.source))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fcgipm import",
        usage="fcgipm import [-h] [--from {apache,lighttpd}] FILE\n       fcgipm import -- spawn-fcgi ...",
        description="Print an apps.toml for what Apache's mod_fastcgi, lighttpd or spawn-fcgi was told to run.  "
        "Nothing is changed; what has no counterpart is a comment.",
    )
    parser.add_argument(
        "--from",
        dest="source",
        choices=("apache", "lighttpd"),
        help="what kind of configuration FILE is (default: what it looks like)",
    )
    parser.add_argument("file", metavar="FILE", help="httpd.conf, apache2.conf or lighttpd.conf, with all it includes")
    return parser


def _from_file(path: str, source: str | None) -> Found:
    disk = Disk()
    path = os.path.abspath(path)  # a relative ServerRoot, or include, begins at its directory
    if source is None:
        source = "lighttpd" if is_lighttpd(path, read_main(disk, path)) else "apache"
    return (from_lighttpd if source == "lighttpd" else from_apache)(path, disk, os.environ)


def is_lighttpd(path: str, text: str) -> bool:
    """Whether *text*, the content of *path*, looks like a configuration of lighttpd; else like one of Apache."""
    lighttpd, apache = _LIGHTTPD.search(text), _APACHE.search(text)
    if lighttpd is None or apache is None:
        return lighttpd is not None or (apache is None and "lighttpd" in os.path.basename(path))
    return lighttpd.start() < apache.start()


def _print(read: Callable[[], Found]) -> int:
    try:
        found = read()
    except Unreadable as error:
        complain("fcgipm", str(error))
        return 1
    if found.is_empty:
        for remark in found.all_remarks():
            complain("fcgipm", printable(remark.text))
        complain("fcgipm", f"{found.source}: there is no FastCGI application in it; nothing is printed")
        return 1
    print_lines(render(found))
    complain("fcgipm", summary(found))
    return 0


def _demand_few(found: list[str], pattern: str) -> None:
    if len(found) > _MOST_MATCHES:
        raise ValueError(f"{pattern} matches more than {_MOST_MATCHES} files")
