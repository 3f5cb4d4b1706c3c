"""How many requests an instance serves at once, where its concurrency is not written."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from fcgipm.config.option import options
from fcgipm.config.schema import InstanceOptions

_NUMBER = re.compile(r"\s*\+?(\d{1,9})", re.ASCII)
_MOST = next(option.maximum or 1 for key, option, _field in options(InstanceOptions) if key == "concurrency")


def concurrency_of(program: str, environment: Mapping[str, str], wrapper: str | None) -> int:
    """Return how many requests an instance of *program* serves at once; *environment* is all that it is given.

    A php-cgi has as many children as PHP_FCGI_CHILDREN says, and each serves one; everything else is taken to serve
    one.  An Apache's suexec removes that variable.
    """
    is_php = posixpath.basename(program).startswith("php-cgi")
    if not is_php or posixpath.basename(wrapper or "").startswith("suexec"):
        return 1
    found = _NUMBER.match(environment.get("PHP_FCGI_CHILDREN", ""))
    return min(max(1, int(found[1])), _MOST) if found else 1
