"""Read the configuration file and the files it includes."""

from __future__ import annotations

import glob
import os
import re
import stat
from dataclasses import dataclass
from typing import Any

import tomli

from fcgipm.config.lines import KeyPath, line_numbers
from fcgipm.config.problems import Report, Where
from fcgipm.config.trust import demand_regular, demand_trusted

LARGEST_FILE = 16 * 1024 * 1024
"""Bytes; who needs more has named the wrong file."""

_DECODE_ERROR_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its content as plain values, and the line of each key."""

    file: str
    content: dict[str, Any]
    lines: dict[KeyPath, int]
    readable_by_all: bool

    def where(self, *keys: str | int) -> Where:
        """Return the place of the key path *keys*, or of the nearest table above that has a line."""
        line = None
        for length in range(len(keys), 0, -1):
            line = self.lines.get(keys[:length])
            if line is not None:
                break
        path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
        return Where(self.file, line, path[1:])


def read_sources(path: str, euid: int, report: Report) -> list[Source]:
    """Return the file *path* and the files it includes, sorted; what cannot be read goes to *report*."""
    main = _read(path, euid, report)
    if main is None:
        return []
    sources = [main]
    for file in _included(main, report):
        source = _read(file, euid, report)
        if source is None:
            continue
        if _include_key(source) is not None:
            report.problem(
                source.where(str(_include_key(source))), f"{path} includes this file, and includes go one level deep"
            )
        sources.append(source)
    return sources


def _included(source: Source, report: Report) -> list[str]:
    key = _include_key(source)
    if key is None:
        return []
    where, patterns = source.where(key), source.content[key]
    if not isinstance(patterns, list) or not all(isinstance(item, str) and item for item in patterns):
        report.problem(where, f"{patterns!r} is not a list of file names or patterns")
        return []
    files: list[str] = []
    for pattern in patterns:
        beside = os.path.dirname(source.file)
        found = sorted(glob.glob(os.path.join(glob.escape(beside), pattern)))
        if not found and not glob.has_magic(pattern):
            report.problem(where, f"{os.path.join(beside, pattern)}: no such file")
        files += [file for file in found if file not in files and not os.path.samefile(file, source.file)]
    return files


def _include_key(source: Source) -> str | None:
    return next((key for key in source.content if key.lower() == "include"), None)


def _read(path: str, euid: int, report: Report) -> Source | None:
    where = Where(path, None, "")
    try:
        data, mode = _bytes(path, euid)
        text = data.decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        report.problem(Where(path, line, ""), f"byte {error.object[error.start]:#04x} is not UTF-8")
        return None
    except OSError as error:
        report.problem(where, f"cannot be read: {(error.strerror or str(error)).lower()}")
        return None
    try:
        content = tomli.loads(text)
        lines = line_numbers(text)
    except tomli.TOMLDecodeError as error:
        report.problem(*_decode_error(path, text, str(error)))
        return None
    except ValueError as error:  # a number with thousands of digits
        report.problem(where, f"not TOML: {error}")
        return None
    except RecursionError:
        report.problem(where, "tables or lists are nested too deeply")
        return None
    return Source(path, content, lines, readable_by_all=bool(mode & stat.S_IROTH))


def _decode_error(path: str, text: str, message: str) -> tuple[Where, str]:
    found = _DECODE_ERROR_LINE.search(message)
    if found is None:
        return Where(path, None, ""), message
    line = int(found[1]) if found[1] else text.count("\n") + 1
    return Where(path, line, ""), f"not TOML: {message[: found.start()]}"


def _bytes(path: str, euid: int) -> tuple[bytes, int]:
    """Return content and mode of *path*; raise `OSError` where it must not be trusted."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        demand_regular(status)
        if euid == 0:
            demand_trusted(status)
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise OSError(0, f"larger than {LARGEST_FILE} bytes")
    return data, status.st_mode
