"""What each command of fcgipmctl does with the answer of the control socket: print it, and choose the exit code."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any, Final

from fcgipm.cli import explain, status
from fcgipm.cli.client import Answer, Client, ClientError, Lost
from fcgipm.cli.printing import complain
from fcgipm.cli.words import printable, wants_colour
from fcgipm.verbs import VERBS, ExitCode

_GRACE: Final = 5.0
"""Seconds that the daemon has beyond --timeout to say that the time is up."""
_GONE_PAUSE: Final = 0.02
"""Seconds between two looks whether the daemon is gone: a socket's end cannot be waited for."""
_LOST_PAUSE: Final = 0.1
"""Seconds until a manager is asked after one has died: the control socket takes the question at any time."""
_FATES: Final = {
    "restart": "a restart that was under way is given up, and the old instances serve on; restart it again; on a port, "
    "where they were being replaced one by one, it goes on; `fcgipmctl status` says which",
    "reload": "what was published by then serves, and everything else as before; `fcgipmctl status` says which, and "
    "another reload does no harm",
    "apply": "if the configuration was read already, the next manager brings it into force; "
    "`fcgipmctl events` says what it did, and another apply does no harm",
}
"""What became of a wish whose manager died."""


def run(options: Namespace, path: str) -> ExitCode:
    """Carry out the command of *options* by the control socket at *path*; raises `ClientError`."""
    verb = VERBS[options.verb]
    command = _COMMANDS.get(verb.name, _steer)
    with Client(path, options.timeout + (_GRACE if verb.method == "POST" else 0.0)) as client:
        try:
            return _asked_again(client, options, command) if verb.method == "GET" else command(client, options)
        except Lost as lost:
            client.check_fcgipm(lost, options.timeout)
            if not client.is_there():
                raise ClientError(f"{lost}: fcgipm has ended", lost.code) from None
            fate = _FATES.get(verb.name, "ask again")
            raise ClientError(
                f"{lost}: its manager has ended, and the daemon starts another; {fate}", lost.code
            ) from None


def _asked_again(client: Client, options: Namespace, command: Callable[[Client, Namespace], ExitCode]) -> ExitCode:
    """Carry out a *command* that shows something; where a manager ends over it without a byte, the next one is asked.

    Once, as over an upgrade: where managers end again and again that has to be said.
    """
    try:
        return command(client, options)
    except Lost as lost:
        if not lost.mute:
            raise
        time.sleep(_LOST_PAUSE)  # noqa: TID251  # as below
        if not client.is_there():
            raise
    return command(client, options)


def tell(text: str) -> None:
    """Say something to the person, apart from the data."""
    complain("fcgipmctl", printable(text))


def print_failure(text: str, code: ExitCode) -> None:
    """Print *text* as JSON: what `--json` has in place of data.  It is one line, as it may end a stream of lines."""
    print(json.dumps({"version": 1, "error": text, "exit": int(code)}, ensure_ascii=False))


def _status(client: Client, options: Namespace) -> ExitCode:
    answer = _checked(client, client.get("status", [("app", name) for name in options.apps]))
    found = client.document(answer)
    apps = found["apps"]
    if options.json:
        _print_json(found)
        return status.exit_code(apps, options.apps)
    look: dict[str, Any] = {"width": _width(), "colour": wants_colour(sys.stdout, os.environ)}
    if options.apps:
        blocks = ["\n".join(status.details(app, **look)) for app in apps]
        print("\n\n".join(blocks))
    elif apps:
        print("\n".join(status.overview(apps, **look)))
    else:
        tell("no applications are configured")
    return status.exit_code(apps, options.apps)


def _steer(client: Client, options: Namespace) -> ExitCode:
    """Do start, stop, restart, reopen-logs: the answer has an outcome for each application."""
    return _report(client, options, {"apps": options.apps} if options.apps else {})


def _scale(client: Client, options: Namespace) -> ExitCode:
    processes: int | str = options.processes
    if processes != "auto":
        if not (options.processes.isascii() and options.processes.isdigit()):
            text = f"cannot scale {options.apps[0]}: {processes!r} is neither a number nor auto"
            raise ClientError(text, ExitCode.USAGE)
        processes = int(options.processes)
    return _report(client, options, {"apps": options.apps, "processes": processes})


def _ensure(client: Client, options: Namespace) -> ExitCode:
    return _report(client, options, {"target": options.target})


def _apply(client: Client, options: Namespace) -> ExitCode:
    return _report(client, options, {})


def _reload(client: Client, options: Namespace) -> ExitCode:
    from fcgipm.cli import reload  # noqa: PLC0415  # no other command needs it

    body = {"apps": options.apps, "parallel": options.parallel, "dry_run": options.dry_run, "timeout": options.timeout}
    answer = client.post("reload", {**body, "wait": not options.no_wait})
    if answer.status >= 400 or options.no_wait or options.dry_run:
        found = client.document(answer)
        if answer.status < 400 and options.dry_run and not options.json:
            reload.show_plan(found, tell)
            return ExitCode.DONE
        reload.tell_pending({"pending": (), **found}, tell)
        return _show(options, answer, found)
    return reload.follow(client, answer, options, tell)


def _report(client: Client, options: Namespace, body: Mapping[str, Any]) -> ExitCode:
    """Send *body*, and show what came of it: outcomes to standard output, what went wrong to standard error."""
    return _show(options, *_asked(client, options, body))


def _show(options: Namespace, answer: Answer, found: Mapping[str, Any]) -> ExitCode:
    for text in (*found.get("warnings", ()), *found.get("problems", ())):
        print(printable(text), file=sys.stderr)
    if options.json:
        _print_json(found)
    else:
        _print_changes(found.get("changes"))
        for outcome in found.get("apps", ()):
            if outcome["state"] == "done" or options.no_wait:
                print(printable(outcome["text"]))
    if answer.status < 400:
        return ExitCode.DONE
    tell(_error(answer, found))
    return _code(found)


def _asked(client: Client, options: Namespace, body: Mapping[str, Any]) -> tuple[Answer, dict[str, Any]]:
    """Return the answer to *body*; where a manager dies over it, the next one's, if asking twice is asking once."""
    deadline = time.monotonic() + options.timeout
    left = options.timeout
    former: Lost | None = None
    while True:
        try:
            answer = client.post(options.verb, {**body, "wait": not options.no_wait, "timeout": left})
            return answer, client.document(answer)
        except Lost as lost:
            left = deadline - time.monotonic()
            if not VERBS[options.verb].repeatable or left <= 0 or not client.is_there():
                raise
            client.check_fcgipm(lost, left)
            if former is None:
                tell("the manager of fcgipm has ended; asking the next one")
            former = lost
        except ClientError as error:
            if former is not None and error.code is ExitCode.NO_DAEMON and not client.is_there():
                raise former from None  # the daemon has followed its manager
            raise
        time.sleep(_LOST_PAUSE)  # noqa: TID251  # as below
        left = max(_LOST_PAUSE, deadline - time.monotonic())


def _print_changes(changes: list[Mapping[str, Any]] | None) -> None:
    for change in changes or ():
        what = ".".join(filter(None, (change["app"] or "fcgipm", change["key"])))
        print(printable(f"{what}: {change['effect']}"))
    if changes == []:
        tell("nothing has changed")


def _logs(client: Client, options: Namespace) -> ExitCode:
    return _stream(client, options, [("app", name) for name in options.apps], _log_line)


def _events(client: Client, options: Namespace) -> ExitCode:
    return _stream(client, options, [], _event_line)


def _stream(
    client: Client, options: Namespace, query: list[tuple[str, str]], line_of: Callable[[Mapping[str, Any]], str]
) -> ExitCode:
    if not options.follow:
        _print_lines(client, options, query, line_of)
        return ExitCode.DONE
    managers = 0
    while True:
        with Client(client.path, client.timeout) as one:
            try:
                _print_lines(one, options, [*query, ("follow", "1")], line_of)
            except Lost as lost:
                one.check_fcgipm(lost, options.timeout)
            except ClientError as error:
                if managers and error.code is ExitCode.NO_DAEMON:
                    raise ClientError("fcgipm has ended", ExitCode.FAILED) from None
                raise
            time.sleep(_LOST_PAUSE)  # noqa: TID251  # as below; the daemon ends after its manager
            if not one.is_there():
                raise ClientError("fcgipm has ended", ExitCode.FAILED)
        # As over an upgrade; what the next one shows first has come since.
        tell("the manager of fcgipm has ended; following the next one")
        managers += 1


def _print_lines(
    client: Client, options: Namespace, query: list[tuple[str, str]], line_of: Callable[[Mapping[str, Any]], str]
) -> None:
    answer = _checked(client, client.get(options.verb, query, endless=options.follow))
    for line in client.lines(answer):
        if options.json:
            print(line.decode("utf-8", "replace"), flush=options.follow)
            continue
        item = client.item(line)
        if "lost" in item:
            tell(f"{item['lost']} lines were lost: they came faster than they could be shown")
        else:
            print(line_of(item), flush=options.follow)


def _log_line(item: Mapping[str, Any]) -> str:
    pid = f"[{item['pid']}]" if item.get("pid") else ""
    mark = "" if item["stream"] == "stdout" else f" {item['stream']}"
    return printable(f"{_clock(item['time'])} {item['app']}{pid}{mark}: {item['text']}")


def _event_line(item: Mapping[str, Any]) -> str:
    head = printable(f"{_clock(item['time'])} {item['severity']} {item['topic']}: {item['text']}")
    return "\n".join([head, *(f"    | {printable(line)}" for line in item.get("lines", ()))])


def _clock(unix: float) -> str:
    """Return the local time of *unix* to the millisecond."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix)) + f".{int(unix * 1000) % 1000:03}"


def _explain(client: Client, options: Namespace) -> ExitCode:
    found = client.document(_checked(client, client.get("explain", [("app", name) for name in options.apps])))
    if options.json:
        _print_json(found)
    else:
        print("\n".join(explain.page(found, width=_width(), colour=wants_colour(sys.stdout, os.environ))))
    return ExitCode.DONE


def _request(client: Client, options: Namespace) -> ExitCode:
    body = {"apps": options.apps, "uri": options.uri, "timeout": options.timeout}
    found = client.document(_checked(client, client.post("request", body)))
    if options.json:
        _print_json(found)
        return ExitCode.DONE if found["status"] < 500 else ExitCode.FAILED
    stderr = found["stderr"]
    if options.verbose:
        print(f"Status: {found['status']}", file=sys.stderr)
        for name, value in found["headers"]:
            print(printable(f"{name}: {value}"), file=sys.stderr)
        for line in stderr.splitlines():
            print(f"stderr: {printable(line)}", file=sys.stderr)
    sys.stdout.flush()
    sys.stdout.buffer.write(base64.b64decode(found["body"]))
    sys.stdout.flush()
    if found["status"] >= 500:
        tell(f"{options.apps[0]} answered {found['status']}" + ("" if options.verbose else "; -v shows more"))
        return ExitCode.FAILED
    return ExitCode.DONE


def _snippet(client: Client, options: Namespace) -> ExitCode:
    from fcgipm.cli import snippet  # noqa: PLC0415  # it loads the schema, which no other command needs

    found = client.document(_checked(client, client.get("definitions")))
    text = snippet.render(found, options.server, options.apps, options.context)
    if options.json:
        _print_json({"version": 1, "server": options.server, "text": text})
    else:
        print(text, end="" if text.endswith("\n") else "\n")
    return ExitCode.DONE


def _metrics(client: Client, options: Namespace) -> ExitCode:
    answer = _checked(client, client.get_path("/metrics"))
    text = client.body(answer).decode("utf-8", "replace")
    if options.json:
        _print_json({"version": 1, "text": text})
    else:
        print(text, end="")
    return ExitCode.DONE


def _upgrade(client: Client, options: Namespace) -> ExitCode:
    from fcgipm.cli.upgrade import upgrade  # noqa: PLC0415  # no other command needs it

    text, document = upgrade(client, options, _checked)
    if options.json:
        _print_json(document)
    else:
        print(printable(text))
    return ExitCode.DONE


def _shutdown(client: Client, options: Namespace) -> ExitCode:
    """Ask for the end, then wait until nobody listens any more: the answer comes before the daemon is gone."""
    deadline = time.monotonic() + options.timeout
    try:
        answer, found = _asked(client, options, {})
    except Lost:
        if client.is_there():
            raise
        return ExitCode.DONE
    while answer.status < 400 and not options.no_wait and client.is_there():
        if time.monotonic() > deadline:
            text = f"fcgipm is still there after {options.timeout:g} s; it goes on stopping"
            raise ClientError(text, ExitCode.TIMED_OUT)
        time.sleep(_GONE_PAUSE)  # noqa: TID251  # there is no loop here that could be blocked
    if answer.status < 400 and not options.json and "text" in found:
        print(printable(found["text"]))
    return _show(options, answer, found)


def _checked(client: Client, answer: Answer) -> Answer:
    """Return *answer* if it is a good one; raise `ClientError` with what the daemon says if not."""
    if answer.status < 400:
        return answer
    found = client.document(answer)
    raise ClientError(_error(answer, found), _code(found))


def _error(answer: Answer, found: Mapping[str, Any]) -> str:
    return str(found.get("error", f"the answer of fcgipm has the status {answer.status}"))


def _code(found: Mapping[str, Any]) -> ExitCode:
    try:
        return ExitCode(found.get("exit", ExitCode.FAILED))
    except ValueError:
        return ExitCode.FAILED


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _width() -> int | None:
    """Return the columns of the terminal; None where there is none, and then nothing is cut."""
    if not sys.stdout.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except OSError:
        return None


_COMMANDS: Final[Mapping[str, Callable[[Client, Namespace], ExitCode]]] = {
    "status": _status,
    "scale": _scale,
    "apply": _apply,
    "reload": _reload,
    "logs": _logs,
    "events": _events,
    "explain": _explain,
    "ensure": _ensure,
    "request": _request,
    "snippet": _snippet,
    "metrics": _metrics,
    "upgrade": _upgrade,
    "shutdown": _shutdown,
}
"""What is not here is `_steer`."""
