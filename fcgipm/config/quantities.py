"""Read and write what is measured: spans of time, sizes, resource limits, permissions, signals.

Each reader takes what TOML gave, and raises `ValueError` with the value and what is allowed.
"""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Mapping
from typing import Any

from fcgipm.config.option import Kind
from fcgipm.config.problems import printable
from fcgipm.config.schema import MILLISECOND, SECOND, Duration
from fcgipm.linux.rlimits import LIMIT_NUMBERS

UNITS: Mapping[str, Duration] = {"ms": MILLISECOND, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
LONGEST: Duration = 366 * 24 * 3600 * SECOND
"""More than a year is a mistake, and further up timers overflow."""

SIZES: Mapping[str, int] = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
UNLIMITED = -1
LARGEST_LIMIT = 2**63 - 1

_BYTE_LIMITS = frozenset({"as", "core", "data", "fsize", "memlock", "msgqueue", "rss", "stack"})
_LIMIT_NAMES = ", ".join(sorted(LIMIT_NUMBERS))
_NOT_FOR_STOPPING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT})

_DURATION = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?\s*(ms|s|m|h)?", re.ASCII)
_SIZE = re.compile(r"(\d{1,19})\s*([KMG]?)(?:i?B)?", re.ASCII | re.IGNORECASE)
_OCTAL = re.compile(r"(?:0o)?([0-7]{1,6})")


def shown(value: Any) -> str:
    """Return *value* as a message shows it: near to how it was written, and short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    text = printable(text)
    return text if len(text) <= 80 else f"{text[:77]}..."


def refusal(value: Any, allowed: str) -> ValueError:
    """Return the error that says that *value* is not what is *allowed*."""
    return ValueError(f"{shown(value)} is not allowed; allowed: {allowed}")


def read_duration(value: Any) -> Duration:
    """Return a number of seconds, or a text such as ``250ms``, in nanoseconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise refusal(value, Kind.DURATION.value)
    if isinstance(value, str):
        found = _DURATION.fullmatch(value.strip())
        if found is None:
            raise refusal(value, Kind.DURATION.value)
        unit = UNITS[found[3] or "s"]
        fraction = found[2] or ""
        span: Duration = int(found[1]) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
    elif not math.isfinite(value):
        raise refusal(value, Kind.DURATION.value)
    else:
        span = round(max(-1, min(value, LONGEST)) * SECOND)  # the greatest floats would overflow
    if span > LONGEST:
        raise ValueError(f"{shown(value)} is out of range; at most a year (8784h) is allowed")
    return span


def duration_text(span: Duration) -> str:
    """Return *span* as the file writes it: ``90s``, ``250ms``, or a fraction of a second where it must be."""
    if span % SECOND == 0:
        return f"{span // SECOND}s"
    if span % MILLISECOND == 0:
        return f"{span // MILLISECOND}ms"
    whole, rest = divmod(span, SECOND)
    return f"{whole}.{rest:09d}".rstrip("0") + "s"


def read_size(value: Any) -> int:
    """Return the bytes that a number, or a text such as ``256M``, says."""
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    number = int(found[1]) * SIZES[found[2].upper()] if found else value
    if isinstance(number, bool) or not isinstance(number, int):
        raise refusal(value, Kind.SIZE.value)
    if number > LARGEST_LIMIT:
        raise ValueError(f"{shown(value)} is out of range; at most {LARGEST_LIMIT} bytes are allowed")
    return number


def size_text(size: int) -> str:
    """Return *size* as the file writes it: ``256M``, or the number of bytes where nothing shorter says the same."""
    for unit, factor in reversed([*SIZES.items()]):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def read_fraction(value: Any) -> float:
    """Return a part of 1 as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:  # noqa: PLR0124  nan
        raise refusal(value, Kind.FRACTION.value)
    return float(max(-1, min(value, 2)))  # the greatest integers are no floats


def read_octal(value: Any) -> int:
    """Return the permissions that a text such as ``0660`` writes."""
    found = _OCTAL.fullmatch(value) if isinstance(value, str) else None
    if found is None:  # a number is refused: 660 would mean 01224, and 0o660 cannot be told from 432
        raise refusal(value, 'octal digits as a text, such as "0660"')
    return int(found[1], 8)


def octal_text(mode: int) -> str:
    """Return *mode* as the file writes it: ``0660``."""
    return f"{mode:04o}"


def read_limit(name: str, value: Any) -> int:
    """Return the resource limit *name*, `UNLIMITED` for "unlimited"; sizes such as ``256M`` where bytes are limited."""
    if name not in LIMIT_NUMBERS:
        raise ValueError(f"{shown(name)} is not a limit; allowed: {_LIMIT_NAMES}")
    if value == "unlimited" or (type(value) is int and value == UNLIMITED):
        return UNLIMITED
    number = value
    if isinstance(value, str) and name in _BYTE_LIMITS and (found := _SIZE.fullmatch(value.strip())):
        number = int(found[1]) * SIZES[found[2].upper()]
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= LARGEST_LIMIT:
        size = ', a size such as "256M"' if name in _BYTE_LIMITS else ""
        raise ValueError(f'{name} = {shown(value)}: a number from 0{size} or "unlimited" is allowed')
    return number


def read_signal(value: Any) -> int:
    """Return the number of the signal that *value*, a name with or without SIG or a number, means."""
    number = value
    if isinstance(value, str):
        name = value.upper().removeprefix("SIG")
        known = {item.name.removeprefix("SIG"): item.value for item in signal.Signals}
        number = int(name) if name.isdecimal() and len(name) < 4 else known.get(name)
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 64:
        raise refusal(value, "a signal's name, such as TERM, or its number from 1 to 64")
    if number in _NOT_FOR_STOPPING:
        raise ValueError(f"{shown(value)} does not ask a process to finish; allowed: signals such as TERM, USR1, INT")
    return number


def signal_name(number: int) -> str:
    """Return the name of signal *number* without SIG, or the number where it has none."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
