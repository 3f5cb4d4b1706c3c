"""One FastCGI request to an application over its public socket, as a web server would send it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from fcgipm import __version__
from fcgipm.config.schema import Application, External
from fcgipm.exchange import exchange, reach
from fcgipm.fastcgi import FastCGIError, Response, Role, encode_request


class RequestError(Exception):
    """The request was not answered; *timed_out* says whether that was for want of time."""

    def __init__(self, text: str, *, timed_out: bool = False) -> None:
        super().__init__(text)
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class _Target:
    """A URI as CGI takes it apart."""

    script_name: str
    path_info: str
    script_filename: str


async def request(application: Application | External, address: str, uri: str, patience: float) -> Response:
    """Send a GET for *uri* to *application* at *address* (``unix:/path`` or ``tcp:HOST:PORT``) and return its answer.

    Raises `RequestError` where there is none within *patience* seconds.  It waits in the application's queue like any
    visitor, so a stopped application answers nothing.
    """
    name = application.name
    if not uri.startswith("/"):
        raise RequestError(f"cannot request {uri!r} from {name}: it does not begin with /")
    role = Role.AUTHORIZER if application.role == "authorizer" else Role.RESPONDER
    message = encode_request(params(application, uri), role=role)
    step = "connecting"
    try:
        async with asyncio.timeout(patience):
            reader, writer = await reach(address)
            step = "waiting for the answer"
            try:
                return await exchange(reader, writer, message)
            finally:
                writer.close()
    except TimeoutError:
        text = f"no answer from {name} to {uri} within {patience:g} s ({step} at {address})"
        raise RequestError(text, timed_out=True) from None
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise RequestError(f"cannot request {uri} from {name} at {address}: {step}: {reason}") from error
    except FastCGIError as error:
        raise RequestError(f"cannot request {uri} from {name} at {address}: {error}") from error


def params(application: Application | External, uri: str) -> dict[str, str]:
    """Return the CGI variables of a GET for *uri*; one character stands for one byte."""
    path, _, query = uri.encode("utf-8", "surrogateescape").decode("latin-1").partition("?")
    target = _take_apart(application, path)
    found = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": f"fcgipm/{__version__}",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost",
        "SERVER_ADDR": "127.0.0.1",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "0",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": f"{path}?{query}" if query else path,
        "DOCUMENT_URI": path,
        "QUERY_STRING": query,
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "",
        "SCRIPT_NAME": target.script_name,
        "PATH_INFO": target.path_info,
        "SCRIPT_FILENAME": target.script_filename,
        "REDIRECT_STATUS": "200",
        "HTTP_HOST": "localhost",
        "HTTP_USER_AGENT": f"fcgipm/{__version__}",
    }
    if application.document_root is not None:
        found["DOCUMENT_ROOT"] = application.document_root
    return found


def _take_apart(application: Application | External, path: str) -> _Target:
    root = application.document_root or ""
    for uri in application.uri:
        if uri.startswith("."):
            at = f"{path}/".find(f"{uri}/")
            if at >= 0:
                script = path[: at + len(uri)]
                return _Target(script, path[len(script) :], root + script)
    program = application.command[0] if isinstance(application, Application) else root + path
    for uri in sorted(application.uri, key=len, reverse=True):
        if uri.startswith("/") and path.startswith(uri):
            script = uri.rstrip("/")
            return _Target(script, path[len(script) :], program)
    return _Target("", path, program)
