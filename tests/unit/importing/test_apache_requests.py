"""Which requests an application gets: uri and document-root."""

from __future__ import annotations

from typing import Any

import pytest
from unit.importing.conftest import apache, document, only, said


def requests(text: str) -> tuple[list[str] | None, str | None]:
    table: dict[str, Any] = only(apache(text))
    return table.get("uri"), table.get("document-root")


@pytest.mark.parametrize(
    ("text", "uris"),
    [
        ("Alias /f/ /srv/f/\nFastCgiServer /srv/f/x", ["/f/x"]),
        ("Alias /f /srv/f\nFastCgiServer /srv/f/a/x", ["/f/a/x"]),
        ("ScriptAlias /f/ /srv/f/\nFastCgiServer /srv/f/x.fcgi", ["/f/x.fcgi"]),
        ("FastCgiServer /srv/f/x\nAlias /y /srv/f/x", ["/y"]),
        ("Alias /a /srv/f\nAlias /b /srv/f/x\nFastCgiServer /srv/f/x", ["/b", "/a/x"]),
        ("DocumentRoot /srv/www\nFastCgiServer /srv/www/a/x.fcgi", ["/a/x.fcgi"]),
        ("DocumentRoot /srv/www\nAlias /f /srv/www/f\nFastCgiServer /srv/www/f/x", ["/f/x"]),
        ("DocumentRoot /\nFastCgiServer /srv/x", ["/srv/x"]),
        ("Alias / /srv/f/\nFastCgiServer /srv/f/x", ["/x"]),
        ("ServerRoot /srv\nAlias /f/ f/\nFastCgiServer f/x", ["/f/x"]),
        ("DocumentRoot /srv/www\nFastCgiServer /srv/www-other/x", None),
    ],
)
def test_the_uri_is_what_leads_to_the_file(text: str, uris: list[str] | None) -> None:
    assert requests(text) == (uris, None)


def test_what_leads_nowhere_is_told() -> None:
    found = apache("FastCgiServer /srv/x")

    assert "no Alias, DocumentRoot or Action leads to /srv/x; write uri, or it is /x/" in said(found)


def test_a_virtual_hosts_own_alias_comes_before_those_of_others() -> None:
    text = "<VirtualHost a>\nAlias /a /srv/f\n{}</VirtualHost>\n<VirtualHost b>\nAlias /b /srv/f\n</VirtualHost>\n{}"

    assert requests(text.format("FastCgiServer /srv/f/x\n", ""))[0] == ["/a/x"]
    assert requests(text.format("", "FastCgiServer /srv/f/x"))[0] == ["/a/x", "/b/x"]
    assert requests(text.format("", "FastCgiServer /srv/f/x\nAlias /c /srv/f"))[0] == ["/a/x", "/b/x", "/c/x"]


ACTION = "Alias /php /usr/lib/php-fcgi\nAction php-fcgi /php\nDocumentRoot /srv/www\nFastCgiServer /usr/lib/php-fcgi\n"


@pytest.mark.parametrize(
    ("bound", "uris"),
    [
        ("AddHandler php-fcgi .php phtml", [".php", ".phtml"]),
        ("AddHandler PHP-FCGI .php", [".php"]),
        ("AddType php-fcgi .php", [".php"]),
        ('<FilesMatch "\\.php$">\nSetHandler php-fcgi\n</FilesMatch>', [".php"]),
        ('<FilesMatch ".+\\.ph(ar|p|tml)$">\nSetHandler php-fcgi\n</FilesMatch>', [".phar", ".php", ".phtml"]),
        ('<Files ~ "\\.(php|inc)$">\nSetHandler php-fcgi\n</Files>', [".php", ".inc"]),
        ("<Files *.php>\nSetHandler php-fcgi\n</Files>", [".php"]),
    ],
)
def test_an_action_gives_a_program_the_extensions_of_its_handler(bound: str, uris: list[str]) -> None:
    assert requests(ACTION + bound) == (uris, "/srv/www")


def test_an_action_may_be_for_a_place() -> None:
    assert requests(f"{ACTION}<Location /app>\nSetHandler php-fcgi\n</Location>")[0] == ["/app"]
    assert requests(f"{ACTION}<Directory /srv/www/app>\nSetHandler php-fcgi\n</Directory>")[0] == ["/app/"]


def test_an_action_that_leads_nowhere_means_the_program_whose_name_ends_alike() -> None:
    found = apache("FastCgiServer /export/cgi-bin/php\nAction php /cgi-bin/php\nAddHandler php .php")

    assert only(found)["uri"] == [".php"]
    assert any("is taken to mean this program: its name ends alike" in text for text in said(found))
    assert "no DocumentRoot is seen; write document-root = the directory of the scripts" in said(found)


def test_the_document_root_is_that_of_the_virtual_host_with_the_action() -> None:
    text = (
        "<VirtualHost a>\nDocumentRoot /srv/a\nAction h /p/a\nAlias /p/a /bin/a\n"
        "FastCgiExternalServer /bin/a -host h:1\n</VirtualHost>\n"
        "<VirtualHost b>\nDocumentRoot /srv/b\nAction h /p/b\nAlias /p/b /bin/b\n"
        "FastCgiExternalServer /bin/b -host h:2\n</VirtualHost>\nAddHandler h .php"
    )

    externals = document(apache(text))["external"]
    assert [table["document-root"] for table in externals.values()] == ["/srv/a", "/srv/b"]
    assert [table["uri"] for table in externals.values()] == [[".php"], [".php"]]


def test_a_handler_of_another_virtual_host_is_not_this_actions() -> None:
    text = (
        "<VirtualHost a>\nDocumentRoot /srv/a\nAction h /p\nAlias /p /bin/p\nAddHandler h .a\n</VirtualHost>\n"
        "<VirtualHost b>\nDocumentRoot /srv/b\nAddHandler h .b\n</VirtualHost>\nFastCgiServer /bin/p"
    )

    assert requests(text) == ([".a"], "/srv/a")


def test_of_several_document_roots_none_is_guessed() -> None:
    hosts = "".join(f"<VirtualHost {name}>\nDocumentRoot /srv/{name}\n</VirtualHost>\n" for name in "ab")
    text = "Action h /p\nAlias /p /bin/p\nAddHandler h .a\nFastCgiServer /bin/p\n"

    assert requests(hosts + text) == ([".a"], None)
    assert requests(text + hosts.replace("/srv/b", "/srv/a")) == ([".a"], "/srv/a")


def test_another_document_root_and_a_narrower_section_are_told() -> None:
    text = (
        f"{ACTION}<Directory /srv/www/a>\nAddHandler php-fcgi .php\n</Directory>\n"
        "<VirtualHost b>\nDocumentRoot /srv/b\nAddHandler php-fcgi .php\n</VirtualHost>"
    )

    told = said(apache(text))
    assert any(line.endswith("only in <directory /srv/www/a>") for line in told)
    assert any(line.endswith("another DocumentRoot is /srv/b") for line in told)


def test_a_uri_that_a_snippet_cannot_have_is_told() -> None:
    found = apache('Alias "/a b" /srv/x\nFastCgiServer /srv/x')

    assert "uri" not in only(found)
    assert any(text.startswith("uri /a b: ") for text in said(found))
