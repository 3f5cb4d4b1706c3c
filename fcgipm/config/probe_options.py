"""The probe of an application: the request that a new generation must answer before visitors meet it."""

from __future__ import annotations

from dataclasses import dataclass

from fcgipm.config.option import SECOND, Change, Duration, Kind, instance_option


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The value of the key `probe`; a part of `fcgipm.config.schema`."""

    uri: str = instance_option(
        Kind.REQUEST,
        "path and query of the request, a GET; required",
        change=Change.IN_PLACE,
        inherits=False,
    )
    status: int = instance_option(
        Kind.INTEGER,
        "the status that the answer must have",
        default=200,
        minimum=100,
        maximum=599,
        change=Change.IN_PLACE,
        inherits=False,
    )
    timeout: Duration = instance_option(
        Kind.DURATION,
        "how long it may take until the answer is complete",
        default=5 * SECOND,
        minimum=1,
        change=Change.IN_PLACE,
        inherits=False,
    )
