"""No two applications listen in one place."""

from __future__ import annotations

from typing import Any

import pytest
from unit.importing.conftest import apache, document, lighttpd, lost, said


def places(text: str) -> list[tuple[Any, Any, Any]]:
    apps = document(apache(text))["app"]
    return [(app.get("socket"), app.get("port"), app.get("address")) for app in apps.values()]


def test_the_second_of_two_with_one_socket_loses_it() -> None:
    text = "FastCgiServer /srv/x -socket s\nFastCgiServer /srv/y -socket s"

    assert places(text) == [("s", None, None), (None, None, None)]
    assert lost(apache(text)) == ["socket s: it is x's already; without it the socket is y.sock"]


def test_a_socket_is_the_same_however_it_is_written() -> None:
    text = "FastCgiIpcDir /run/f\nFastCgiServer /srv/x -socket /run/f//s\nFastCgiServer /srv/y -socket ./s"

    assert places(text)[1] == (None, None, None)


@pytest.mark.parametrize("socket", ["control.sock", "/run/fcgipm/state.json", "private/x", "dynamic/y/z.sock"])
def test_fcgipms_own_files_are_no_sockets_of_applications(socket: str) -> None:
    text = f"FastCgiServer /srv/x -socket {socket}"

    assert places(text) == [(None, None, None)]
    assert lost(apache(text)) == [f"socket {socket}: that is fcgipm's own; without it the socket is x.sock"]


def test_who_has_no_socket_gets_one_that_nobody_has() -> None:
    assert places(
        "FastCgiServer /srv/x\nFastCgiServer /srv/y -socket x.sock\nFastCgiServer /srv/z -socket x-2.sock"
    ) == [
        ("x-3.sock", None, None),
        ("x.sock", None, None),
        ("x-2.sock", None, None),
    ]


def test_the_second_of_two_with_one_port_loses_it() -> None:
    text = "FastCgiServer /srv/x -port 9\nFastCgiServer /srv/y -port 9\nFastCgiServer /srv/z -port 10"

    assert places(text) == [(None, 9, "0.0.0.0"), (None, None, None), (None, 10, "0.0.0.0")]
    assert "port 9: it is x's already; without it there is the socket y.sock" in lost(apache(text))


@pytest.mark.parametrize(
    ("one", "other", "second"),
    [
        ("0.0.0.0", "127.0.0.1", None),
        ("127.0.0.1", "0.0.0.0", None),
        ("127.0.0.1", "127.0.0.2", 9),
        ("0.0.0.0", "::", 9),
        ("::1", "::", None),
    ],
)
def test_a_port_on_every_address_is_on_each(one: str, other: str, second: int | None) -> None:
    hosts = ", ".join(
        f'"/{name}/" => (( "bin-path" => "/srv/{name}", "host" => "{address}", "port" => 9 ))'
        for name, address in (("x", one), ("y", other))
    )

    assert document(lighttpd(f"fastcgi.server = ( {hosts} )"))["app"]["y"].get("port") == second


def test_the_port_of_the_metrics_is_left_to_the_application() -> None:
    found = apache("FastCgiServer /srv/x -port 9753")

    assert document(found)["fcgipm"] == {"metrics-listen": ""}
    assert "metrics-listen: port 9753, its default, is that of x" in said(found)


@pytest.mark.parametrize(
    ("declared", "external"),
    [
        ("-port 9", "-host 127.0.0.1:9"),
        ("-port 9", "-host localhost:9"),
        ("-socket /run/s", "-socket /run/./s"),
        ("-socket s", "-socket s"),
    ],
)
def test_an_external_application_that_is_declared_here_is_that_one(declared: str, external: str) -> None:
    found = apache(
        f"FastCgiIpcDir /run\nFastCgiServer /srv/x {declared}\nAlias /v /virtual\n"
        f"FastCgiExternalServer /virtual {external} -flush"
    )

    (app,) = document(found)["app"].values()
    assert app["uri"] == ["/v"]
    assert "external" not in document(found)
    assert any(text.endswith("this is the same application; there it has another flush") for text in said(found))


def test_another_port_or_host_is_another_application() -> None:
    text = (
        "FastCgiServer /srv/x -port 9\nFastCgiExternalServer /v -host 127.0.0.1:8\nFastCgiExternalServer /w -host h:9"
    )

    assert list(document(apache(text))["external"]) == ["v", "w"]
