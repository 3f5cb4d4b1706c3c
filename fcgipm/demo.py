"""The demonstration application: ``python -m fcgipm.demo``, a small FastCGI program on file descriptor 0.

One connection at a time, blocking, standard library only: an application as plain as they come.  It asks for nothing
but a listening socket as its standard input, which is how fcgipm, spawn-fcgi and mod_fastcgi start applications.

As an authorizer (also where nginx plays that role with ``FCGI_ROLE``) it lets pass who says ``allow=yes`` in the query
or ``X-Allow: yes`` in the request.
"""

from __future__ import annotations

import html
import itertools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from fcgipm.fastcgi import (
    FastCGIError,
    Kind,
    Request,
    RequestParser,
    Role,
    encode_end,
    encode_response,
    encode_stream,
)

_COUNTER = itertools.count(1)

_PAGES = {
    "/ping": "answers pong",
    "/pid": "the process id of the instance that answers",
    "/env": "what the web server sent, and the instance's own environment, as JSON",
    "/echo": "sends a request's body back",
    "/slow?seconds=1": "answers after a while",
    "/drip?pieces=3&seconds=1": "answers in pieces, with a pause between them",
    "/status?code=404": "answers with this status",
    "/stderr?text=hello": "writes a line to the log",
    "/crash": "ends the instance in the middle of a request",
}


def main() -> int:
    """Serve requests on file descriptor 0 until a signal comes; return the exit status when it is not a socket."""
    try:
        listener = socket.socket(fileno=os.dup(0))
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError("not a listening socket")
    except OSError as error:
        print(f"fcgipm.demo: standard input: {error}; start it by fcgipm or spawn-fcgi", file=sys.stderr)  # noqa: T201
        return 2
    with listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                serve(connection)


def serve(connection: socket.socket) -> None:
    """Answer the requests of one connection, until it is closed or one came that does not want it kept."""
    parser = RequestParser()
    try:
        while data := connection.recv(1 << 16):
            requests = parser.feed(data)
            connection.sendall(parser.replies())
            for request in requests:
                answer(request, connection.sendall)
                if not request.keep_conn:
                    return
    except (OSError, FastCGIError) as error:
        _log(f"gave up a connection: {error}")


def answer(request: Request, send: Callable[[bytes], None]) -> None:
    """Send the whole answer to *request*."""
    count = next(_COUNTER)
    path = request.params.get("PATH_INFO") or "/"
    query = {name: values[-1] for name, values in parse_qs(request.params.get("QUERY_STRING", "")).items()}
    if request.role == Role.AUTHORIZER or request.params.get("FCGI_ROLE") == "AUTHORIZER":
        send(encode_response(request.request_id, _authorize(request.params, query)))
    elif path == "/drip":
        _drip(request, query, send)
    elif path == "/stderr":
        text = query.get("text", "hello")
        _log(text)
        send(encode_response(request.request_id, _page("written\n"), stderr=text.encode() + b"\n"))
    else:
        send(encode_response(request.request_id, _respond(request, path, query, count)))


def _authorize(params: Mapping[str, str], query: Mapping[str, str]) -> bytes:
    if "yes" in (query.get("allow"), params.get("HTTP_X_ALLOW")):
        return b"Status: 200 OK\r\nVariable-DEMO_USER: demo\r\n\r\n"
    return _page("not allowed\n", status="403 Forbidden")


def _respond(request: Request, path: str, query: Mapping[str, str], count: int) -> bytes:
    match path:
        case "/":
            return _page(_welcome(request.params.get("SCRIPT_NAME", ""), count), kind="text/html")
        case "/ping":
            return _page("pong\n")
        case "/pid":
            return _page(f"{os.getpid()}\n")
        case "/env":
            return _page(_environment(request.params), kind="application/json")
        case "/echo":
            return _head(request.params.get("CONTENT_TYPE") or "application/octet-stream") + request.body
        case "/slow":
            time.sleep(_number(query.get("seconds"), 1.0))  # noqa: TID251 - to be slow is what was asked for
            return _page(f"{os.getpid()}\n")
        case "/status":
            return _page("as you wish\n", status=f"{int(_number(query.get('code'), 404))} As You Wish")
        case "/crash":
            os._exit(int(_number(query.get("status"), 1)))
        case _:
            name = path.encode("latin-1").decode("utf-8", "replace")
            return _page(f"no such page: {name}\n", status="404 Not Found")


def _drip(request: Request, query: Mapping[str, str], send: Callable[[bytes], None]) -> None:
    send(encode_stream(Kind.STDOUT, request.request_id, _head("text/plain; charset=utf-8")))
    for piece in range(int(_number(query.get("pieces"), 3))):
        if piece:
            time.sleep(_number(query.get("seconds"), 1.0))  # noqa: TID251 - to be slow is what was asked for
        send(encode_stream(Kind.STDOUT, request.request_id, f"piece {piece + 1}\n".encode()))
    send(encode_stream(Kind.STDOUT, request.request_id, b"", end=True) + encode_end(request.request_id))


def _welcome(prefix: str, count: int) -> str:
    base = html.escape(prefix)
    links = "".join(
        f'<li><a href="{base}{html.escape(link)}">{html.escape(link)}</a>: {html.escape(text)}</li>\n'
        for link, text in _PAGES.items()
    )
    return (
        "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n<title>It works</title>\n"
        "<h1>It works</h1>\n"
        f"<p>This page comes from process <b>{os.getpid()}</b>; it has answered <b>{count}</b> requests.</p>\n"
        f"<ul>\n{links}</ul>\n</html>\n"
    )


def _environment(params: Mapping[str, str]) -> str:
    facts = {
        "request": dict(sorted(params.items())),
        "process": dict(sorted(os.environ.items())),
        "pid": os.getpid(),
        "uid": os.geteuid(),
        "gid": os.getegid(),
        "groups": sorted(os.getgroups()),
        "directory": os.getcwd(),
    }
    return json.dumps(facts, indent=2) + "\n"


def _page(text: str, *, status: str = "200 OK", kind: str = "text/plain") -> bytes:
    return _head(f"{kind}; charset=utf-8", status) + text.encode()


def _head(kind: str, status: str = "200 OK") -> bytes:
    return f"Status: {status}\r\nContent-Type: {kind}\r\n\r\n".encode("latin-1")


def _number(text: str | None, otherwise: float) -> float:
    try:
        return min(max(float(text or otherwise), 0.0), 3600.0)
    except ValueError:
        return otherwise


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - standard error is an application's log


if __name__ == "__main__":
    sys.exit(main())
