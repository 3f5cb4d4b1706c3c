"""What a request asks for, checked: query strings and JSON bodies by the table of verbs."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from multidict import MultiMapping

from fcgipm.manager.serving.refusal import Refused, misused
from fcgipm.verbs import Apps, Number, Switch, Verb

DEFAULT_TIMEOUT: Final = 60.0
MAX_TIMEOUT: Final = 86_400.0
_MANY: Final = {Apps.OPTIONAL, Apps.SOME}
_NEEDED: Final = {Apps.ONE, Apps.SOME}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The arguments of one request."""

    apps: tuple[str, ...] = ()
    wait: bool = True
    timeout: float = DEFAULT_TIMEOUT
    """Seconds."""
    follow: bool = False
    word: str | int | None = None
    """The verb's own argument: the number of processes, or the URI."""
    parallel: int = 1
    dry_run: bool = False


def from_query(verb: Verb, query: MultiMapping[str]) -> Arguments:
    """Return the arguments of a GET request; raise `Refused`."""
    _check_fields(verb, query.keys())
    if len(query.getall("follow", [])) > 1:
        raise misused("follow: given twice")
    follow = query.get("follow", "0")
    if follow not in ("0", "1"):
        raise misused(f"follow: 0 or 1 expected, got {follow!r}")
    return Arguments(apps=_apps(verb, query.getall("app", [])), follow=follow == "1")


def from_body(verb: Verb, body: bytes) -> Arguments:
    """Return the arguments of a POST request; raise `Refused`."""
    try:
        fields = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise misused(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise misused("the body is not a JSON object")
    _check_fields(verb, fields.keys())
    return Arguments(
        apps=_apps(verb, fields.get("apps", [])),
        wait=_wait(fields),
        timeout=_timeout(fields),
        word=_word(verb, fields),
        **_options(verb, fields),
    )


def fields_of(verb: Verb) -> tuple[str, ...]:
    """Return the names of the fields, or of the query's parameters, that *verb* takes."""
    if verb.method == "GET":
        switches = tuple(switch.name for switch in verb.switches)
        first = (verb.first.name,) if verb.first is not None else ()
        return (*(("app",) if verb.apps is not Apps.NONE else ()), *first, *switches)
    own = [verb.last.name] if verb.last is not None else []
    own += [_field(switch) for switch in verb.switches if switch.sent]
    own += [number.name for number in verb.numbers]
    return (*(("apps",) if verb.apps is not Apps.NONE else ()), *own, "wait", "timeout")


def _check_fields(verb: Verb, given: Collection[str]) -> None:
    known = fields_of(verb)
    for name in given:
        if name not in known:
            takes = ", ".join(known) or "nothing"
            raise misused(f"unknown field {name[:100]!r}{nearest(name, known)}; {verb.name} takes {takes}")


def _apps(verb: Verb, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise misused("apps: a list of names expected")
    if verb.apps in _NEEDED and not given:
        raise misused(f"{verb.name}: name an application")
    if len(given) > 1 and verb.apps not in _MANY:
        raise misused(f"{verb.name}: name one application only")
    return tuple(dict.fromkeys(given))


def _wait(fields: Mapping[str, Any]) -> bool:
    wait = fields.get("wait", True)
    if not isinstance(wait, bool):
        raise misused("wait: true or false expected")
    return wait


def _options(verb: Verb, fields: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {number.name: _number(fields, number) for number in verb.numbers}
    return found | {_field(switch): _switch(fields, switch) for switch in verb.switches if switch.sent}


def _field(switch: Switch) -> str:
    return switch.name.replace("-", "_")


def _switch(fields: Mapping[str, Any], switch: Switch) -> bool:
    name = _field(switch)
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise misused(f"{name}: true or false expected")
    return value


def _number(fields: Mapping[str, Any], number: Number) -> int:
    value = fields.get(number.name, number.default)
    if isinstance(value, bool) or not isinstance(value, int) or not number.minimum <= value <= number.maximum:
        raise misused(f"{number.name}: a number from {number.minimum} to {number.maximum} expected")
    return value


def _timeout(fields: Mapping[str, Any]) -> float:
    timeout = fields.get("timeout", DEFAULT_TIMEOUT)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= MAX_TIMEOUT:
        raise misused(f"timeout: seconds above 0 and up to {MAX_TIMEOUT:.0f} expected")
    return float(timeout)


def _word(verb: Verb, fields: Mapping[str, Any]) -> str | int | None:
    if verb.last is None:
        return None
    name = verb.last.name
    if name not in fields:
        raise misused(f"{verb.name}: {name} is missing ({verb.last.summary})")
    word = fields[name]
    if isinstance(word, bool) or not isinstance(word, (str, int)):
        raise misused(f"{name}: {verb.last.summary} expected, got {type(word).__name__}")
    return word


def processes(word: str | int | None) -> int | None:
    """Return how many processes *word* asks for, None for as many as configured; raise `Refused`."""
    if word == "auto":
        return None
    try:
        number = int(word) if word is not None else -1
    except ValueError:
        number = -1
    if not 1 <= number <= 10_000:
        raise misused(f"processes: a number from 1 to 10000 or auto expected, got {str(word)[:100]!r}")
    return number


def nearest(name: str, known: Collection[str]) -> str:
    """Return a hint at the one of *known* that may have been meant."""
    found = difflib.get_close_matches(name[:100], known, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def unknown_app(name: str, known: Collection[str]) -> Refused:
    """Return the refusal of an application that nobody defined."""
    return misused(f"unknown application {name[:100]!r}{nearest(name, known)}", 404)
