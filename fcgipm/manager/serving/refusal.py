"""Answers that say no: an HTTP status, a sentence for people, and fcgipmctl's exit code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from fcgipm.verbs import ExitCode


class Refused(Exception):
    """A request is not carried out; becomes the answer with *status*."""

    def __init__(self, status: int, text: str, code: ExitCode, **more: Any) -> None:
        super().__init__(text)
        self.status = status
        self.body: Mapping[str, Any] = {"version": 1, "error": text, "exit": int(code), **more}

    def response(self) -> web.Response:
        """Return the answer."""
        return web.json_response(self.body, status=self.status)


def misused(text: str, status: int = 400) -> Refused:
    """Return the refusal of a request that is wrong in itself."""
    return Refused(status, text, ExitCode.USAGE)
