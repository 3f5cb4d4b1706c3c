"""Where something is written, and what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    r"""Return *text* with control characters written as ``\x1b``: a message is one line and moves no cursor."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a configuration: file, line (None where no line is to blame), key path."""

    file: str
    line: int | None
    path: str

    def key(self, name: str) -> Where:
        """Return the place of *name* below this one, for lack of a line of its own."""
        return Where(self.file, self.line, f"{self.path}.{name}" if self.path else name)


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a configuration is refused; its text prints as ``apps.toml:12: app.blog.processes: …``."""

    file: str
    line: int | None
    path: str
    text: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return printable(f"{place}: {self.path}: {self.text}" if self.path else f"{place}: {self.text}")


class ConfigError(Exception):
    """A configuration is refused; *problems* are all that is wrong with it, in the order of the files."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(slots=True)
class Report:
    """What has been found so far: problems refuse the configuration, warnings do not."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def problem(self, where: Where, text: str) -> None:
        """Note that *text* is wrong at *where*."""
        problem = Problem(where.file, where.line, where.path, text)
        if problem not in self.problems:
            self.problems.append(problem)

    def warning(self, where: Where, text: str) -> None:
        """Note that *text* should be known about *where*."""
        self.warnings.append(str(Problem(where.file, where.line, where.path, text)))

    def refuse(self, files: tuple[str, ...]) -> None:
        """Raise `ConfigError` with all problems, ordered by *files* and line, if there are any."""
        if self.problems:
            order = {file: number for number, file in enumerate(files)}
            ordered = sorted(self.problems, key=lambda item: (order.get(item.file, len(order)), item.line or 0))
            raise ConfigError(tuple(ordered))
