"""Write the parts of the documents that are made from the code: options, commands, events, metrics.

``python docs/generate.py`` rewrites them, ``--check`` says what is not up to date and exits 1.  A generated part lies
between two comment lines, ``begin generated: NAME`` and ``end generated: NAME``.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from fcgipm.config.option import Kind, Option, options
from fcgipm.config.rendering import render_value
from fcgipm.config.schema import (
    LATER_KEYS,
    RESERVED_NAMES,
    Application,
    Daemon,
    Dynamic,
    External,
    InstanceOptions,
    Probe,
    Root,
    ServerOptions,
)
from fcgipm.config.values import bounds
from fcgipm.core.commands import Topic
from fcgipm.manager.serving.arguments import fields_of
from fcgipm.manager.telling import families
from fcgipm.verbs import VERBS, Access, Apps, ExitCode, Verb

ROOT: Final = Path(__file__).parents[1]

TOPICS: Final = MappingProxyType(
    {
        Topic.APP_STARTED: "an operator started an application that was stopped",
        Topic.APP_STOPPING: "an operator stops it: from here on visitors wait",
        Topic.APP_STOPPED: "its last instance is gone: how long that took, and how many connections were cut",
        Topic.APP_RESTARTING: "an operator wants every instance replaced",
        Topic.APP_RESTARTED: "every instance was replaced, after that or after a changed definition: how long that "
        "took, and how many connections were cut",
        Topic.APP_RELOADING: "an application is to run what its definition and its files are now: why",
        Topic.APP_RELOADED: "visitors meet that, and the instances before have gone: how long that took, and how many "
        "connections were cut",
        Topic.APP_SCALED: "an operator set the number of instances",
        Topic.APP_ADDED: "a changed configuration has a new application",
        Topic.APP_REMOVED: "a changed configuration no longer has it: its instances finish what they have begun",
        Topic.APP_GONE: "the last instance of a removed application is gone",
        Topic.APP_CHANGED: "a changed configuration defines it differently",
        Topic.APP_OPENED: "a dynamic application was asked for, or its script found, and has its socket now",
        Topic.APP_FORGOTTEN: "a dynamic application is not known any more: unused for longest, or its script is gone",
        Topic.INSTANCE_STARTED: "an instance was started, and why",
        Topic.INSTANCE_READY: "it accepts connections, and how long that took",
        Topic.INSTANCE_ENDED: "it ended, by itself or by a signal, and what happens next; its last lines are attached",
        Topic.INSTANCE_REMOVED: "one that has to go was killed while idle, asked, or cut; cannot go yet; or is gone",
        Topic.INSTANCE_SPARED: "one that was to go because of little load is busy, and stays",
        Topic.OVERLOADED: "visitors are answered 503 from here on, and why",
        Topic.START_FAILED: "an instance could not be started: the step, the error, and when it is tried again",
        Topic.START_DENIED: "a start was due and not allowed: the reason, once until it changes",
        Topic.BACKOFF_ENTERED: "instances ended too early again and again; starts are rare now",
        Topic.BACKOFF_HEALED: "that is over",
        Topic.APP_FAILED: "it will not be tried again until told",
        Topic.GENERATION_PUBLISHED: "visitors reach a new generation",
        Topic.GENERATION_ABANDONED: "a new generation was given up; the old one serves on",
        Topic.REQUESTS_CUT: "stop-timeout was over, and so many connections were cut",
        Topic.SHUTDOWN: "the daemon is ending",
    }
)

EXITS: Final = MappingProxyType(
    {
        ExitCode.DONE: "Done.",
        ExitCode.FAILED: "Failed; standard error says why.",
        ExitCode.USAGE: "Wrong use.",
        ExitCode.NOT_RUNNING: (
            "Only\n.Ic status :\nan application that is shown is starting, in back-off or failed,\n"
            "one that was named is stopped, or an external one cannot be reached."
        ),
        ExitCode.NO_DAEMON: "No daemon is there, or it does not allow it.",
        ExitCode.TIMED_OUT: "The outcome was not there in time; what was begun goes on.",
    }
)


BASES: Final = (Application, InstanceOptions, ServerOptions)
"""Tables whose options may also be in [defaults] and [dynamic]."""

UNWRITABLE: Final = {item.name for item in fields(Application) if "option" in item.metadata} - {
    item.name for _key, _option, item in options(Dynamic)
}
"""Fields of an application's options that [dynamic] cannot have."""


# ── mdoc ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def mdoc(text: str) -> str:
    """Return *text* for a text line of a manual page: nothing in it is a request, each sentence on its own line."""
    text = text.replace("\\", "\\e").replace('"', "\\(dq")
    text = re.sub(r"(?<=[a-z0-9)])\. (?=[A-Z])", ".\n", text)
    lines = (piece for line in text.split("\n") for piece in textwrap.wrap(line, 78, break_on_hyphens=False))
    return "\n".join(f"\\&{line}" if line[:1] in {".", "'"} else line for line in lines)


def word(text: str) -> str:
    """Return *text* as one argument of a macro."""
    return '"' + text.replace("\\", "\\e").replace('"', '""') + '"' if not re.fullmatch(r"[a-z-]{4,}", text) else text


def sentence(text: str) -> str:
    """Return *text* with a capital and a full stop."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def option_list(table: type, without: type | None = None) -> Iterator[str]:
    """Yield the list of the options of *table*, without those that it has from its base *without*."""
    elsewhere = {item.name for _key, _option, item in options(without)} if without else set()
    yield ".Bl -tag -width Ds"
    for key, option, item in options(table):
        if item.name not in elsewhere:
            yield from described(key, option, item, table)
    yield ".El"


def described(key: str, option: Option, item: Field[Any], table: type) -> Iterator[str]:
    """Yield the paragraph of one option of *table*."""
    yield f".It Ic {word(key)}"
    yield mdoc(sentence(option.meaning))
    yield mdoc(f"Value: {value_text(option)}.")
    yield mdoc(f"Default: {default(option, item)}.")
    yield mdoc(f"When changed: {option.change.value}.")
    if table in BASES and (not option.inherits or item.name in UNWRITABLE):
        fits = {"[defaults]": option.inherits, "[dynamic]": item.name not in UNWRITABLE}
        yield mdoc(f"Not in {', not in '.join(name for name, fit in fits.items() if not fit)}.")
    names = [f"{who}: {name}" for who, name in (("mod_fastcgi", option.fcgi), ("lighttpd", option.lighttpd)) if name]
    if names:
        yield mdoc(f"({'; '.join(names)})")


def value_text(option: Option) -> str:
    """Return what an option takes, as words."""
    if option.kind is Kind.ENUM:
        return " or ".join(f'"{choice}"' for choice in option.choices)
    if option.kind is Kind.FRACTION:
        return str(option.kind.value)
    return "; ".join(filter(None, (str(option.kind.value), bounds(option))))


def default(option: Option, item: Field[Any]) -> str:
    """Return an option's default, as the file would have it."""
    if option.default_text:
        return option.default_text
    value: Any = item.default_factory() if item.default_factory is not MISSING else item.default
    if value is MISSING:
        return "none, it is required"
    if value is None or value in ({}, (), ""):
        return "none"
    return render_value(option, value)


# ── the parts ────────────────────────────────────────────────────────────────────────────────────────────────────


def synopsis(verb: Verb) -> tuple[str, ...]:
    """Return the words that follow *verb* on a command line."""
    flags = [f"[{switch.spellings[0]}]" for switch in verb.switches]
    flags += [f"[--{number.name} N]" for number in verb.numbers]
    flags += [f"[--{choice.name} {'|'.join(choice.values)}]" for choice in verb.choices]
    first = [verb.first.metavar] if verb.first else []
    apps = [verb.apps.value] if verb.apps is not Apps.NONE else []
    last = [verb.last.metavar] if verb.last else []
    return (*flags, *first, *apps, *last)


def commands_markdown() -> Iterator[str]:
    """Yield the rows of README.md's table."""
    for verb in VERBS.values():
        words = " ".join(("fcgipmctl", verb.name, *synopsis(verb))).replace("|", "\\|")
        yield f"| `{words}` | {verb.summary} |"


def endpoints_markdown() -> Iterator[str]:
    """Yield the table of the control protocol's requests."""
    yield "| request | for | fields | what it does |"
    yield "|---|---|---|---|"
    for verb in VERBS.values():
        fields = ", ".join(f"`{field}`" for field in fields_of(verb))
        who = "admins" if verb.access is Access.ADMIN else "readers"
        yield f"| `{verb.method} /v1/{verb.name}` | {who} | {fields} | {verb.summary} |"


def commands_mdoc() -> Iterator[str]:
    """Yield the list of fcgipmctl(1)'s commands."""
    yield ".Bl -tag -width Ds"
    for verb in VERBS.values():
        words = " ".join(word(item) for item in synopsis(verb))
        yield f".It Ic {word(verb.name)}" + (f" Ar {words}" if words else "")
        yield mdoc(sentence(verb.summary))
        details = [(", ".join(item.spellings), item.summary) for item in verb.switches]
        details += [(f"--{item.name} N", f"{item.summary}; {item.default} by default") for item in verb.numbers]
        details += [(f"--{item.name} {'|'.join(item.values)}", item.summary) for item in verb.choices]
        details += [(item.metavar, item.summary) for item in (verb.first, verb.last) if item]
        yield from (mdoc(sentence(f"{name}: {text}")) for name, text in details)
        yield mdoc("For admins." if verb.access is Access.ADMIN else "For readers, too.")
    yield ".El"


def exits_mdoc() -> Iterator[str]:
    """Yield the list of exit codes."""
    yield ".Bl -tag -width Ds"
    for code in ExitCode:
        yield f".It {code.value}"
        yield EXITS[code]
    yield ".El"


def topics_mdoc() -> Iterator[str]:
    """Yield the list of events."""
    yield '.Bl -tag -width "generation-published"'
    for topic in Topic:
        yield f".It Cm {topic.value}"
        yield mdoc(sentence(TOPICS[topic]))
    yield ".El"


def keys_mdoc(keys: Iterable[str]) -> Iterator[str]:
    """Yield names, separated by commas, as one paragraph."""
    yield from (f".Ic {word(key)} ," for key in sorted(keys)[:-1])
    yield f".Ic {word(max(keys))} ."


def reserved_mdoc() -> Iterator[str]:
    """Yield the sentence about reserved names."""
    yield "Reserved are"
    yield from keys_mdoc(RESERVED_NAMES)


PARTS: Final[Mapping[tuple[str, str], Callable[[], Iterable[str]]]] = MappingProxyType(
    {
        ("README.md", "commands"): commands_markdown,
        ("docs/control-protocol.md", "endpoints"): endpoints_markdown,
        ("man/fcgipm.8", "topics"): topics_mdoc,
        ("man/fcgipmctl.1", "commands"): commands_mdoc,
        ("man/fcgipmctl.1", "exits"): exits_mdoc,
        ("man/apps.toml.5", "reserved"): reserved_mdoc,
        ("man/apps.toml.5", "later"): lambda: keys_mdoc(LATER_KEYS),
        ("man/apps.toml.5", "daemon"): lambda: option_list(Daemon),
        ("man/apps.toml.5", "application"): lambda: option_list(Application, InstanceOptions),
        ("man/apps.toml.5", "instance"): lambda: option_list(InstanceOptions, ServerOptions),
        ("man/apps.toml.5", "dynamic"): lambda: option_list(Dynamic, InstanceOptions),
        ("man/apps.toml.5", "root"): lambda: option_list(Root),
        ("man/apps.toml.5", "probe"): lambda: option_list(Probe),
        ("man/apps.toml.5", "server"): lambda: option_list(ServerOptions),
        ("man/apps.toml.5", "external"): lambda: option_list(External, ServerOptions),
    }
)


def map_markdown() -> str:
    """Return docs/map.md: what each module is for, as its first line says."""
    lines = ["# The map", "", "Every module, in its own words."]
    for package in [ROOT / "fcgipm", *sorted(path.parent for path in (ROOT / "fcgipm").rglob("*/__init__.py"))]:
        lines += ["", f"## {package.relative_to(ROOT)}", "", "| module | |", "|---|---|"]
        for path in sorted(package.glob("*.py")):
            words = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
            if words:
                lines.append(f"| `{path.name}` | {' '.join(words.split()).replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def documents() -> Iterator[tuple[Path, str]]:
    """Yield each document with generated parts and what it should be."""
    for name in dict.fromkeys(name for name, _ in PARTS):
        text = (ROOT / name).read_text(encoding="utf-8")
        for part in (part for document, part in PARTS if document == name):
            text = filled(text, part, "".join(f"{line}\n" for line in PARTS[name, part]()), name)
        yield ROOT / name, text
    yield ROOT / "docs/metrics.md", families.document()
    yield ROOT / "docs/map.md", map_markdown()


def filled(text: str, part: str, content: str, name: str) -> str:
    """Return *text* with *content* between the marks of *part*; raises SystemExit where they are missing."""
    pattern = re.compile(rf"(^.*begin generated: {part}\b.*\n)(?:.*\n)*?(^.*end generated: {part}\b.*\n)", re.MULTILINE)
    new, count = pattern.subn(lambda found: found[1] + content + found[2], text)
    if count != 1:
        raise SystemExit(f"{name}: not exactly one generated part {part}")
    return new


def main(arguments: list[str]) -> int:
    """Write or check the documents; return the exit status."""
    stale = [
        (path, text) for path, text in documents() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is not up to date; make fix writes it")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} written")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
