"""Read one value of the configuration file, as its option says it is written.

Each reader takes what TOML gave and returns what the schema's dataclass holds, or raises `ValueError` with a text
that shows the value and says what is allowed.  `fcgipm.config.rendering` is the way back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fcgipm.config.addresses import is_address, split_host
from fcgipm.config.option import Kind, Option
from fcgipm.config.quantities import (
    duration_text,
    octal_text,
    read_duration,
    read_fraction,
    read_limit,
    read_octal,
    read_signal,
    read_size,
    refusal,
    shown,
    size_text,
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME = re.compile(r"[^\s\x00-\x1f\x7f\"'=,;$\\{}]+")
_ID = re.compile(r"#\d{1,10}", re.ASCII)
_PREFIX = re.compile(r"/[^\s\"'\\{};#?$]*")
_EXTENSION = re.compile(r"\.[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*")
_REQUEST = re.compile(r"/[\x21-\x22\x24-\x7e]*")
_LARGEST_ID = 2**32 - 2
_APP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
APP_NAMES = "letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"


def read(option: Option, value: Any) -> Any:
    """Return *value* as *option*'s field holds it; raise `ValueError` with the reason where it cannot."""
    result = _READERS[option.kind](option, value)
    if option.kind in _NUMBERS:
        _demand_bounds(option, value, result)
    return result


def bounds(option: Option) -> str:
    """Return the range of *option* in words, or an empty text."""
    write = _NUMBERS.get(option.kind)
    if write is None:
        return ""
    low, high = option.minimum, option.maximum
    if low is not None and high is not None:
        return f"{write(low)} to {write(high)}"
    if low is not None:
        return "more than 0" if option.kind is Kind.DURATION and low == 1 else f"at least {write(low)}"
    return f"at most {write(high)}" if high is not None else ""


_NUMBERS: Mapping[Kind, Callable[[int], str]] = {
    Kind.INTEGER: str,
    Kind.DURATION: duration_text,
    Kind.OCTAL: octal_text,
    Kind.SIGNAL: str,
    Kind.SIZE: size_text,
    Kind.FRACTION: str,
}


def may_be_named(name: str) -> bool:
    """Whether *name* has the form of an application's name."""
    return _APP_NAME.fullmatch(name) is not None


def _demand_bounds(option: Option, value: Any, number: float) -> None:
    too_low = option.minimum is not None and number < option.minimum
    if too_low or (option.maximum is not None and number > option.maximum):
        raise ValueError(f"{shown(value)} is out of range; allowed: {bounds(option)}")


def _text(option: Option, value: Any) -> str:
    if not isinstance(value, str):
        raise refusal(value, option.kind.value if option.kind is not Kind.TEXTS else "text")
    if "\0" in value:
        raise refusal(value, "text without NUL")
    return value


def _plain_text(option: Option, value: Any) -> str:
    """Return a text that can stand in a log line and in a web server's configuration."""
    text = _text(option, value)
    if not text or _CONTROL.search(text):
        raise refusal(value, f"{option.kind.value}, without control characters")
    return text


def _path(option: Option, value: Any) -> str:
    text = _plain_text(option, value)
    if not text.startswith("/"):
        raise refusal(value, "an absolute path")
    return _tidy(text)


def _socket_path(option: Option, value: Any) -> str:
    text = _plain_text(option, value)
    if text.startswith("/"):
        return _path(option, value)
    relative = _tidy(text).removeprefix("/")
    if not relative or ".." in relative.split("/"):
        raise refusal(value, "a path inside runtime-dir, or an absolute one")
    return relative


def _tidy(path: str) -> str:
    """Return *path* as an absolute one without needless slashes and dots; ".." stays, for links may be before it."""
    return "/" + "/".join(part for part in path.split("/") if part not in {"", "."})


def _integer(_option: Option, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise refusal(value, "a whole number")
    return value


def _boolean(_option: Option, value: Any) -> bool:
    if not isinstance(value, bool):
        raise refusal(value, "true or false")
    return value


def _choice(option: Option, value: Any) -> str:
    text = str(value) if type(value) is int else value
    allowed = ", ".join(f'"{choice}"' for choice in option.choices)
    if text in option.later:
        raise ValueError(f"{shown(value)} is not in this version; allowed: {allowed}")
    if not isinstance(text, str) or text not in option.choices:
        raise refusal(value, allowed)
    return text


def _texts(option: Option, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise refusal(value, option.kind.value)
    return tuple(_text(option, item) for item in value)


def _names(option: Option, value: Any) -> tuple[str, ...]:
    """Return a list of texts that can name a variable, a header or an address."""
    texts = _texts(option, value)
    for text in texts:
        if not _NAME.fullmatch(text):
            raise refusal(text, "a name without blanks, quotes and any of = , ; $ \\ { }")
    return texts


def _command(option: Option, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise refusal(value, option.kind.value)
    program = _path(option, value[0])
    return (program, *(_text(option, item) for item in value[1:]))


def _environment(option: Option, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise refusal(value, option.kind.value)
    return {variable_name(name): _variable(name, item) for name, item in value.items()}


def variable_name(name: str) -> str:
    """Return *name* if an environment variable can have it, else raise `ValueError`."""
    if not name or "=" in name or "\0" in name:
        raise ValueError(f'{shown(name)} cannot name a variable; allowed: text without "=" and NUL')
    return name


def _variable(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{name} = {shown(value)}: a text without NUL, a whole number, true or false is allowed")
    return value


def _limits(option: Option, value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        raise refusal(value, option.kind.value)
    return {name: read_limit(name, item) for name, item in value.items()}


def _identity(option: Option, value: Any) -> str:
    text = _plain_text(option, value)
    if text.startswith("#") and (not _ID.fullmatch(text) or int(text[1:]) > _LARGEST_ID):
        raise refusal(value, f"#id with a number from 0 to {_LARGEST_ID}")
    if " " in text or ":" in text or "/" in text:
        raise refusal(value, option.kind.value)
    return text


def _identities(option: Option, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise refusal(value, option.kind.value)
    return tuple(_identity(option, item) for item in value)


def _uris(option: Option, value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise refusal(value, option.kind.value)
    for item in items:
        if not isinstance(item, str) or not (_PREFIX.fullmatch(item) or _EXTENSION.fullmatch(item)):
            raise refusal(item, "a prefix such as /blog/ or an extension such as .php")
    return tuple(dict.fromkeys(items))


def _prefix(option: Option, value: Any) -> str:
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise refusal(value, f"a {option.kind.value}")
    return value if value.endswith("/") else f"{value}/"


def _pattern(option: Option, value: Any) -> str:
    text = _plain_text(option, value)
    if "/" in text:
        raise refusal(value, f'a {option.kind.value}, without "/"')
    return text


def _request(option: Option, value: Any) -> str:
    if not isinstance(value, str) or not _REQUEST.fullmatch(value):
        raise refusal(value, f"a {option.kind.value}")
    return value


def _globs(option: Option, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise refusal(value, option.kind.value)
    return tuple(dict.fromkeys(_glob(option, item) for item in value))


def _glob(option: Option, value: Any) -> str:
    path = _path(option, value)
    parts = path.split("/")
    if path == "/" or ".." in parts or any("**" in part and part != "**" for part in parts) or parts[-1] == "**":
        raise refusal(value, 'an absolute path of files, without ".."; "**" is a whole directory, as in "/srv/**/*.py"')
    return path


def _probe(option: Option, value: Any) -> Mapping[str, Any]:
    """Return what *value* has: its keys are read by `fcgipm.config.drafts`."""
    if not isinstance(value, dict):
        raise refusal(value, f"a {option.kind.value}")
    return value


def _name(_option: Option, value: Any) -> str:
    if not isinstance(value, str) or not may_be_named(value):
        raise refusal(value, APP_NAMES)
    return value


def _roots(option: Option, value: Any) -> tuple[Mapping[str, Any], ...]:
    """Return what *value* has: what the tables say is read by `fcgipm.config.drafts`, key by key."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise refusal(value, option.kind.value)
    return tuple(value)


def _extensions(option: Option, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise refusal(value, option.kind.value)
    for item in (*value, *value.values()):
        if not isinstance(item, str) or not _EXTENSION.fullmatch(item):
            raise refusal(item, "an extension such as .php")
    return dict(value)


def _hosts(option: Option, value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise refusal(value, option.kind.value)
    for item in items:
        split_host(_text(option, item))
    return tuple(items)


def _wrapper(option: Option, value: Any) -> str:
    return value if value in ("off", "on") else _allowing(_path, option, value)


def _log(option: Option, value: Any) -> str:
    return value if value in ("stderr", "syslog", "journal") else _allowing(_path, option, value)


def _allowing(reader: Callable[[Option, Any], str], option: Option, value: Any) -> str:
    """Return what *reader* reads; where it cannot, say what the option allows instead of what the reader does."""
    try:
        return reader(option, value)
    except ValueError:
        raise refusal(value, option.kind.value) from None


def _endpoint(option: Option, value: Any) -> str:
    text = _text(option, value)
    if not text:
        return text
    if text.startswith("unix:"):
        return "unix:" + _allowing(_path, option, text.removeprefix("unix:"))
    host, _port = split_host(text)
    if not is_address(host):
        raise refusal(value, option.kind.value)
    return text


def _address(option: Option, value: Any) -> str:
    text = _text(option, value)
    if not is_address(text):
        raise refusal(value, option.kind.value)
    return text


_READERS: Mapping[Kind, Callable[[Option, Any], Any]] = {
    Kind.TEXT: _plain_text,
    Kind.PATH: _path,
    Kind.SOCKET_PATH: _socket_path,
    Kind.INTEGER: _integer,
    Kind.BOOLEAN: _boolean,
    Kind.DURATION: lambda _option, value: read_duration(value),
    Kind.OCTAL: lambda _option, value: read_octal(value),
    Kind.ENUM: _choice,
    Kind.TEXTS: _names,
    Kind.COMMAND: _command,
    Kind.ENVIRONMENT: _environment,
    Kind.LIMITS: _limits,
    Kind.IDENTITY: _identity,
    Kind.IDENTITIES: _identities,
    Kind.SIGNAL: lambda _option, value: read_signal(value),
    Kind.URIS: _uris,
    Kind.EXTENSIONS: _extensions,
    Kind.HOSTS: _hosts,
    Kind.WRAPPER: _wrapper,
    Kind.LOG: _log,
    Kind.ENDPOINT: _endpoint,
    Kind.ADDRESS: _address,
    Kind.SIZE: lambda _option, value: read_size(value),
    Kind.FRACTION: lambda _option, value: read_fraction(value),
    Kind.ROOTS: _roots,
    Kind.PREFIX: _prefix,
    Kind.PATTERN: _pattern,
    Kind.NAME: _name,
    Kind.PROBE: _probe,
    Kind.REQUEST: _request,
    Kind.GLOBS: _globs,
}
