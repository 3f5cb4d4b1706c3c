"""What a command line of spawn-fcgi starts, as a table of apps.toml."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from fcgipm.config.schema import Application
from fcgipm.importing.apache_options import read_number
from fcgipm.importing.files import joined
from fcgipm.importing.found import Found, Place, Table, Unreadable, why_not
from fcgipm.importing.naming import Names
from fcgipm.importing.settling import settle

SOURCE: Final = "spawn-fcgi"

_WITH_VALUE: Final = frozenset("cdfgapbuCFsPUGM")
_WITHOUT_VALUE: Final = frozenset("?hnvS")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.ASCII | re.DOTALL)
_MODE: Final = re.compile(r"0*[0-7]{1,4}", re.ASCII)
_SHELL: Final = frozenset("|&;<>()$`\\\"'*?[]#~=%!{}\n")
_DEFAULT_BACKLOG: Final = 1024

Locate = Callable[[str], str | None]
"""Returns where the program of a name is, None where it is not found."""


@dataclass(slots=True)
class _Line:
    """A command line, taken apart."""

    variables: dict[str, str] = field(default_factory=dict)
    is_clean: bool = False
    """Whether env emptied the environment."""
    options: dict[str, str] = field(default_factory=dict)
    """By letter; the last of each, as spawn-fcgi takes it."""
    unknown: list[str] = field(default_factory=list)
    program: list[str] = field(default_factory=list)


def is_spawn_fcgi(words: Sequence[str]) -> bool:
    """Whether *words* are a command line of spawn-fcgi, perhaps with variables or env before it."""
    return [posixpath.basename(word) for word in _without_env(list(words), _Line())[:1]] == [SOURCE]


def from_spawn_fcgi(words: Sequence[str], locate: Locate) -> Found:
    """Return what the command line *words* has for apps.toml; raise `Unreadable` where it would start nothing."""
    line = _Line()
    _take_apart(_without_env(list(words), line)[1:], line)
    for letter in "hv?":
        if letter in line.options:
            raise Unreadable(Place(SOURCE), f"-{letter} starts nothing")
    found = Found(SOURCE)
    table = Table(Application, ("app", ""), origin=shlex.join(words))
    _command(line, table, locate)
    table.keys = ("app", Names().give(table.get("command")[0]))
    table.place = Place(SOURCE)
    _listen(line, table)
    _identity(line, table)
    _rest(line, table)
    _environment(line, table)
    table.note(f"the web server knows which requests come here; write uri, or it is /{table.name}/")
    found.applications.append(table)
    settle(found)
    return found


def _without_env(words: list[str], line: _Line) -> list[str]:
    """Return *words* from the program on; variables set before it go to *line*."""
    if words[:1] and posixpath.basename(words[0]) == "env":
        words = words[1:]
        while words[:1] and words[0] in ("-", "-i", "--ignore-environment"):
            line.is_clean = True
            words = words[1:]
    while words[:1] and _ASSIGNMENT.fullmatch(words[0]):
        name, _, value = words[0].partition("=")
        line.variables[name] = value
        words = words[1:]
    return words


def _take_apart(words: list[str], line: _Line) -> None:
    """Read options as getopt does: bundled or not, also behind other words, up to ``--``."""
    left = iter(words)
    for word in left:
        if word == "--":
            line.program += left
        elif word.startswith("-") and word != "-":
            _bundle(word[1:], left, line)
        else:
            line.program.append(word)


def _bundle(letters: str, left: Iterator[str], line: _Line) -> None:
    for index, letter in enumerate(letters):
        if letter in _WITH_VALUE:
            value = letters[index + 1 :] or next(left, None)
            if value is None:
                raise Unreadable(Place(SOURCE), f"-{letter} has no value")
            line.options[letter] = value
            return
        if letter in _WITHOUT_VALUE:
            line.options[letter] = ""
        else:
            line.unknown.append(f"-{letter}")


def _command(line: _Line, table: Table, locate: Locate) -> None:
    command = list(line.program)
    if command and "f" in line.options:
        table.lose(f"-f {line.options['f']}", "spawn-fcgi does not look at it where a program is given without -f")
    elif "f" in line.options:
        command = _through_shell(line.options["f"], locate)
    if not command:
        raise Unreadable(Place(SOURCE), "no FastCGI application is given")
    directory = line.options.get("d", "/" if "c" in line.options else "")
    if not command[0].startswith("/") and directory.startswith("/"):
        command[0] = joined(directory, command[0])
    why = why_not(Application, "command", command)
    if why is not None:
        raise Unreadable(Place(SOURCE), f"{command[0]}: {why}")
    table.put("command", command)


def _through_shell(text: str, locate: Locate) -> list[str]:
    """Return the command that ``sh -c 'exec text'`` executes; a shell is left out where it has nothing to do."""
    words = text.split()
    if not words or not _SHELL.isdisjoint(text):
        return ["/bin/sh", "-c", f"exec {text}"] if words else []
    if "/" not in words[0]:
        words[0] = locate(words[0]) or words[0]
    return words


def _listen(line: _Line, table: Table) -> None:
    options = line.options
    if "s" in options:
        socket = options["s"]
        if "c" in options and "S" not in options:
            socket = joined(options["c"], socket.lstrip("/"))
            table.lose("-c without -S", f"the socket is made from outside the new root, as {socket}")
        if socket.startswith("/"):
            table.put("socket", socket, f"-s {socket}")
        else:
            table.lose(f"-s {socket}", "is relative to where spawn-fcgi is started; write the whole path")
        for letter in "pa":
            if letter in options:
                table.lose(f"-{letter} {options[letter]}", "does not go together with -s")
    elif "p" in options:
        _number(table, "port", f"-p {options['p']}", options["p"])
        if table.get("port") is not None:
            table.put("address", options.get("a", "0.0.0.0"), f"-a {options.get('a')}")
        if table.get("port") is not None and "a" not in options:
            table.note("without -a spawn-fcgi listens on every address; 127.0.0.1 is enough for this machine")
    else:
        table.note(f"neither -s nor -p is written; the socket is {table.name}.sock")
    _number(table, "listen-queue-depth", "-b", options.get("b", str(_DEFAULT_BACKLOG)))


def _identity(line: _Line, table: Table) -> None:
    options = line.options
    for letter, key in (("u", "user"), ("g", "group"), ("U", "socket-owner"), ("G", "socket-group")):
        if letter in options:
            name = options[letter]
            table.put(key, f"#{name}" if name.isdecimal() else name, f"-{letter} {name}")
    if "u" not in options:
        table.note("without -u it keeps the rights of who starts spawn-fcgi, also root's; here it runs as web-user")
    if "s" in options and "G" not in options and table.get("group") is not None:
        table.put("socket-group", table.get("group"))
    if "M" in options:
        mode = options["M"]
        if _MODE.fullmatch(mode):
            table.put("socket-mode", mode, f"-M {mode}")
        else:
            table.lose(f"-M {mode}", "is no octal number")


def _rest(line: _Line, table: Table) -> None:
    options = line.options
    if "F" in options:
        _number(table, "processes", f"-F {options['F']}", options["F"])
    if "c" in options:
        table.put("chroot", options["c"], f"-c {options['c']}")
    if "d" in options:
        table.put("directory", options["d"], f"-d {options['d']}")
    elif "c" in options:
        table.put("directory", "/")
    else:
        table.note("without -d it starts in the directory of who calls, here in the program's own; directory says it")
    if "n" in options:
        table.lose("-n", "fcgipm does not need it: `fcgipm start --foreground` is for supervisors")
    if "P" in options:
        table.lose(f"-P {options['P']}", "fcgipm needs no file of process ids; `fcgipmctl status` has them")
    for option in line.unknown:
        table.lose(option, "spawn-fcgi has no such option")


def _environment(line: _Line, table: Table) -> None:
    for name, value in line.variables.items():
        table.put("initial-env", {name: value}, f"{name}={value}")
    children = line.options.get("C")
    if children is not None:
        number = read_number(children)
        if number is None or number < 0:
            table.lose(f"-C {children}", "is no number of children")
        else:
            table.put("initial-env", {"PHP_FCGI_CHILDREN": str(number)})
    if not line.is_clean:
        table.note(
            "spawn-fcgi gives its whole environment; fcgipm gives nothing that is not written. "
            'pass-env = ["PATH"] copies what is needed'
        )


def _number(table: Table, key: str, said: str, value: str) -> None:
    number = read_number(value)
    if number is None:
        table.lose(said, f"{value} is not a number")
    else:
        table.put(key, number, said)
