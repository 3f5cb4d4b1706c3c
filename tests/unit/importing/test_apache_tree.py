from __future__ import annotations

import pytest
from unit.importing.conftest import Texts, apache, document, lost, only, said

from fcgipm.importing.apache_tree import Tree, read_tree
from fcgipm.importing.found import Found, Unreadable

SERVER = "FastCgiServer /srv/x\n"


def tree(text: str, more: str = "") -> Tree:
    return read_tree("/conf/httpd.conf", Texts({"/conf/httpd.conf": text, "/conf/more.conf": more}), {}, Found(""))


def seen(text: str) -> list[str]:
    return [str(directive) for directive in tree(text).directives]


def test_directives_keep_their_file_line_and_sections() -> None:
    (first, second) = tree(
        '<VirtualHost *:80>\n<Directory "/a b">\nSetHandler fastcgi-script\n</Directory>\n</VirtualHost>\n'
        "Include conf/more.conf",
        more="\nUser w",
    ).directives

    assert [str(section) for section in first.within] == ["<virtualhost *:80>", "<directory /a b>"]
    assert (str(first.place), str(second.place)) == ("/conf/httpd.conf:3", "/conf/more.conf:2")
    assert (first.key, first.words, second.within) == ("sethandler", ["fastcgi-script"], ())


def test_what_has_nothing_to_do_with_applications_is_left_out() -> None:
    assert seen("Listen 80\nKeepAlive On\nDocumentRoot /srv\n") == ["DocumentRoot /srv"]


@pytest.mark.parametrize("name", ["FastCgiServer", "fastcgiserver", "APPCLASS", "AppClass"])
def test_names_have_no_case_and_old_ones_are_known(name: str) -> None:
    assert [directive.key for directive in tree(f"{name} /srv/x").directives] == ["fastcgiserver"]


def test_what_holds_without_mod_fastcgi_alone_is_not_taken_and_told() -> None:
    found = apache(f"<IfModule !mod_fastcgi.c>\n{SERVER}</IfModule>\n<IfModule fastcgi_module>\n{SERVER}</IfModule>")

    assert list(document(found)["app"]) == ["x"]
    (told,) = lost(found)
    assert "apache2.conf:2: FastCgiServer /srv/x: <ifmodule !mod_fastcgi.c> holds only without that module" in told


def test_another_modules_absence_is_believed_until_it_is_loaded() -> None:
    assert seen(f"<IfModule !mod_php.c>\n{SERVER}</IfModule>") == [SERVER.rstrip()]
    assert seen(f"LoadModule php_module x.so\n<IfModule !mod_php.c>\n{SERVER}</IfModule>") == []


def test_what_is_defined_decides() -> None:
    text = f"<IfDefine X>\n{SERVER}</IfDefine>\n<IfDefine !X>\nFastCgiServer /srv/y\n</IfDefine>"

    assert seen(f"Define X\n{text}") == ["FastCgiServer /srv/x"]
    assert seen(text) == ["FastCgiServer /srv/y"]
    assert seen(f"Define X\nUnDefine X\n{text}") == ["FastCgiServer /srv/y"]
    assert "<ifdefine X> does not hold: X is not defined in these files" in lost(apache(text))[0]


def test_a_condition_that_cannot_be_known_is_taken_to_hold_and_told() -> None:
    found = apache(f"<IfVersion >= 2.4>\n{SERVER}</IfVersion>")

    assert only(found)["command"] == ["/srv/x"]
    assert any("<ifversion >= 2.4> is taken to hold" in text for text in said(found))


def test_a_macro_is_not_followed_and_told() -> None:
    found = apache(f"<Macro M $a>\n{SERVER}</Macro>\nUse M 1\nFastCgiServer /srv/y")

    assert list(document(found)["app"]) == ["y"]
    assert "write down what Use makes of it" in lost(found)[0]


def test_variables_come_from_define_and_from_the_environment() -> None:
    found = apache("Define WHERE /srv/${X}\nFastCgiServer ${WHERE}/x", {"X": "a"})

    assert only(found)["command"] == ["/srv/a/x"]


def test_what_is_no_longer_defined_has_no_value() -> None:
    assert "X is not defined here" in lost(apache(f"Define X /srv\nUnDefine X\nDocumentRoot ${{X}}\n{SERVER}"))[0]


def test_a_user_that_only_the_environment_knows_is_asked_for() -> None:
    found = apache(f"User ${{APACHE_RUN_USER}}\n{SERVER}")

    assert "fcgipm" not in document(found)
    assert "APACHE_RUN_USER is not defined here" in lost(found)[0]
    assert document(apache(f"User ${{U}}\n{SERVER}", {"U": "www-data"}))["fcgipm"] == {"web-user": "www-data"}


def test_files_are_included_from_server_root_by_pattern_and_by_directory() -> None:
    text = "Include sub\nIncludeOptional nothing/*.conf\nInclude sites/*.conf"

    files = {
        "sub/2": "FastCgiServer /srv/b",
        "sub/10": "FastCgiServer /srv/a",
        "sites/x.conf": "FastCgiServer /srv/c",
        "sites/x.off": "FastCgiServer /srv/d",
    }

    found = apache(text, files=files)

    assert list(document(found)["app"]) == ["a", "b", "c"]
    assert lost(found) == []


def test_a_file_that_is_not_there_is_told_unless_it_is_optional() -> None:
    found = apache(f"Include gone.conf\nIncludeOptional away.conf\n{SERVER}")

    (told,) = lost(found)
    assert told == "/etc/apache2/apache2.conf:1: Include gone.conf: /etc/apache2/gone.conf: no such file"


def test_files_that_include_themselves_end_somewhere() -> None:
    with pytest.raises(Unreadable, match="include each other more than 20 deep"):
        tree("Include conf/more.conf", more="Include conf/more.conf")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<VirtualHost *>\nUser a\n", "httpd.conf:1: <virtualhost \\*> is not closed in this file"),
        ("User a\n</VirtualHost>", "httpd.conf:2: </virtualhost> closes nothing"),
        ("<Directory />\n\n</Location>", "httpd.conf:3: </location> where <directory /> of line 1 should end"),
        ("<If x>\n" * 200, "nested more than 100 deep"),
    ],
)
def test_sections_that_do_not_match_are_refused_with_their_line(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        tree(text)


@pytest.mark.parametrize(
    ("path", "root"),
    [("/etc/apache2/apache2.conf", "/etc/apache2"), ("/usr/local/apache/conf/httpd.conf", "/usr/local/apache")],
)
def test_who_writes_no_server_root_gets_the_usual_one(path: str, root: str) -> None:
    assert read_tree(path, Texts({path: ""}), {}, Found("")).server_root == root


@pytest.mark.parametrize(
    ("line", "module"),
    [("FcgidWrapper /x .php", "mod_fcgid"), ('SetHandler "proxy:unix:/x|fcgi://localhost/"', "mod_proxy_fcgi")],
)
def test_applications_of_other_modules_are_told(line: str, module: str) -> None:
    assert f"is {module}'s; only what mod_fastcgi does is imported" in lost(apache(f"{line}\n{SERVER}"))[0]
