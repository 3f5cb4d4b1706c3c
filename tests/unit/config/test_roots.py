"""Roots of [dynamic]: which names and directories can be one, and as whom scripts run."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from unit.config.conftest import Files, list_access

from fcgipm.config.check_roots import why_not_root
from fcgipm.config.identity import make_identity, script_identity, user_name, why_not_run_as
from fcgipm.config.load import ConfigError, load
from fcgipm.config.schema import Daemon, Dynamic, Root

OWN = {0, os.geteuid()}
ORDINARY = os.geteuid() or 12345
"""The ordinary user of a test: who runs it, or one without an account."""
STRANGER = 4711
PUT = "lets others put scripts there; chmod go-w it, or write another directory"


def roots(*items: str, more: str = "") -> str:
    return f"[dynamic]\nroots = [{', '.join(items)}]\n{more}"


@pytest.fixture
def scripts(place: Path) -> Path:
    path = place / "scripts"
    path.mkdir(0o755)
    return path


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_name_space(files: Files) -> None:
    app = '[app.bin]\ncommand = ["/bin/true"]\n[external.lib]\nhost = "h:1"\n'
    text = app + roots('{ path = "/usr/bin" }', '{ path = "/usr", name = "lib" }', '{ path = "/usr/lib", name = "b" }',
                       '{ path = "/usr/sbin", name = "b" }')  # fmt: skip

    place = f"{files.place}/apps.toml"
    end = "already; applications and roots share one name space, so write another name"
    assert files.problems(text) == [
        f"6: dynamic.roots[0].name: 'bin' is the name of app.bin in {place}:1 {end}",
        f"6: dynamic.roots[1].name: 'lib' is the name of external.lib in {place}:3 {end}",
        f"6: dynamic.roots[3].name: 'b' is the name of dynamic.roots[2].name in {place}:6 {end}",
    ]


@pytest.mark.parametrize(
    ("root", "problem"),
    [
        ('{ path = "/usr/bin", name = "a/b" }', '.name: "a/b" is not allowed; allowed: letters, digits'),
        ('{ path = "/usr/bin", name = "control" }', ".name: 'control' is reserved for fcgipm itself; write another"),
        ('{ path = "/" , name = "x" }', ".path: the whole file system cannot be a root; write the directory where"),
        ('{ path = "/usr/../bin", name = "x" }', '.path: /usr/../bin: write the directory without ".."'),
        ('{ path = "/nowhere/x" }', ".path: /nowhere: no such file or directory"),
        ('{ path = "/etc/passwd" }', ".path: /etc/passwd is not a directory"),
        ('{ path = "/etc/passwd/x" }', ".path: /etc/passwd is not a directory"),
        ('{ path = "/usr/bin", user = "nosuch" }', ".user: there is no user 'nosuch'"),
        ('{ path = "/usr/bin", group = "nosuch" }', ".group: there is no group 'nosuch'"),
        ('{ path = "/usr/bin", owners = ["root", "nosuch"] }', ".owners: there is no user 'nosuch'"),
        ('{ path = "/usr/bin", recursive = "no" }', '.recursive: "no" is not allowed; allowed: true or false'),
        ('{ path = "/usr/bin", listen = 1 }', ".listen: 1 is not allowed; allowed: true or false"),
        ('{ path = "/usr/bin", Uri = ".fcgi" }', '.Uri: ".fcgi" is not allowed; allowed: a prefix such as /fcgi-bin/'),
        ('{ path = "/usr/bin", restart = true }', ".restart: unknown key here; it belongs into [dynamic]"),
    ],
)
def test_what_cannot_be_a_root(files: Files, root: str, problem: str) -> None:
    (found,) = files.problems(roots(root))
    assert found.startswith(f"2: dynamic.roots[0]{problem}")


def test_the_last_component_of_a_path_may_be_no_name(files: Files) -> None:
    path = files.place / "my scripts"
    path.mkdir(0o755)

    (found,) = files.problems(roots(f'{{ path = "{path}" }}'))
    assert found.startswith(
        '2: dynamic.roots[0].name: "my scripts", the last component of path, cannot be its name; write name = with '
    )
    assert files.problems(roots(f'{{ path = "{path}", name = "mine" }}')) == []


def test_a_prefix_ends_in_a_slash(files: Files) -> None:
    table = files.load(roots('{ path = "/usr/bin", uri = "/x/y" }')).config.dynamic

    assert table is not None
    assert table.roots[0].uri == "/x/y/"


def test_a_name_that_leaves_no_room_for_a_socket(files: Files) -> None:
    name = "n" * 64
    deep = files.place / ("d" * 40)
    deep.mkdir()

    (found,) = files.problems(
        f'[fcgipm]\nruntime-dir = "{deep}"\n' + roots(f'{{ path = "/usr/bin", name = "{name}" }}')
    )
    excess = len(f"{deep}/dynamic/{name}/x.sock") - 107
    assert found == (
        f"4: dynamic.roots[0].name: {deep}/dynamic/{name}/x.sock is {excess} bytes too long for a socket; shorten "
        "runtime-dir or the root's name"
    )


def test_a_table_without_roots_is_warned_about(files: Files) -> None:
    (warning,) = files.load("[dynamic]").warnings
    assert warning == f"{files.place}/apps.toml:1: dynamic: there are no roots, so no script will ever be started"


# ── directories ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_good_root(scripts: Path) -> None:
    assert why_not_root(str(scripts), OWN, {0}, is_anybodys=False) is None


def test_no_link_leads_to_a_root(scripts: Path) -> None:
    (scripts / "real" / "deep").mkdir(parents=True)
    (scripts / "link").symlink_to(scripts / "real")

    for path in (scripts / "link", scripts / "link" / "deep"):
        assert why_not_root(str(path), OWN, {0}, is_anybodys=False) == (
            f"{scripts}/link is a symbolic link; write where it leads, {os.path.realpath(path)}"
        )


def test_nobody_else_may_exchange_what_leads_to_a_root(scripts: Path) -> None:
    root = scripts / "a" / "b"
    root.mkdir(parents=True)

    (scripts / "a").chmod(0o757)
    why = f"{scripts}/a: mode 0757 lets others exchange what is in it; chmod go-w it"
    assert why_not_root(str(root), OWN, {0}, is_anybodys=False) == why
    assert why_not_root(str(root), OWN, {0}, is_anybodys=True) == why
    (scripts / "a").chmod(0o1777)
    assert why_not_root(str(root), OWN, {0}, is_anybodys=False) is None
    root.chmod(0o757)
    why = f"{root}: mode 0757 {PUT}"
    assert why_not_root(str(root), OWN, {0}, is_anybodys=False) == why
    assert why_not_root(str(root), OWN, {0}, is_anybodys=True) == why
    root.chmod(0o1777)
    assert "lets others put scripts there" in str(why_not_root(str(root), OWN, {0}, is_anybodys=False))


def test_the_own_group_may_write_and_another_may_not(scripts: Path) -> None:
    own = os.getegid() or STRANGER
    os.chown(scripts, -1, own)
    scripts.chmod(0o775)

    assert why_not_root(str(scripts), OWN, {0, own}, is_anybodys=False) is None
    assert why_not_root(str(scripts), OWN, {0}, is_anybodys=False) == (f"{scripts}: mode 0775 {PUT}")


def test_an_access_list_lets_others_write(scripts: Path) -> None:
    list_access(scripts, user=STRANGER, permission=7)

    own = scripts.stat().st_gid
    why = why_not_root(str(scripts), OWN, {0, own}, is_anybodys=False)
    assert why == f"{scripts}: mode 0770 {PUT}"


@pytest.mark.root
def test_the_group_of_the_scripts_may_write_their_root(files: Files, scripts: Path) -> None:
    os.chown(scripts, 0, 54321)
    scripts.chmod(0o775)

    assert files.problems(roots(f'{{ path = "{scripts}", user = "bin", group = "#54321" }}')) == []
    (found,) = files.problems(roots(f'{{ path = "{scripts}", user = "bin" }}'))
    assert found == f"2: dynamic.roots[0].path: {scripts}: mode 0775 {PUT}"


@pytest.mark.root
def test_a_root_belongs_to_those_who_are_trusted(scripts: Path) -> None:
    root = scripts / "a"
    root.mkdir(0o755)
    allowed = "allowed: root, who starts fcgipm, who the scripts run as, and owners"

    os.chown(root, STRANGER, 0)
    assert why_not_root(str(root), {0}, {0}, is_anybodys=False) == f"{root} belongs to uid {STRANGER}; {allowed}"
    assert why_not_root(str(root), {0}, {0}, is_anybodys=True) is None
    assert why_not_root(str(root), {0, STRANGER}, {0}, is_anybodys=False) is None
    scripts.chmod(0o1777)
    assert why_not_root(str(root), {0}, {0}, is_anybodys=True) == (
        f"{scripts}: anybody may write there, and uid {STRANGER} did; {allowed}"
    )
    os.chown(scripts, STRANGER, 0)
    scripts.chmod(0o755)
    assert why_not_root(str(root), {0}, {0}, is_anybodys=True) == (
        f"{scripts} belongs to uid {STRANGER}, who could exchange what is in it; {allowed}"
    )


def test_who_runs_the_scripts_must_get_there(files: Files, scripts: Path) -> None:
    scripts.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(scripts, 0, 0)
        (found,) = files.problems(roots(f'{{ path = "{scripts}" , user = "daemon" }}'))
        assert found.startswith(f"2: dynamic.roots[0].path: {scripts}/.: daemon may not enter {scripts} (owner 0:0")
    else:
        assert files.problems(roots(f'{{ path = "{scripts}" }}')) == []


def test_roots_lie_inside_the_chroot(files: Files, scripts: Path) -> None:
    text = roots('{ path = "/usr/bin" }', more=f'chroot = "{scripts}"')
    found = [text for text in files.problems(text) if "path" in text]
    assert found == [
        f"2: dynamic.roots[0].path: /usr/bin is not inside the chroot {scripts}, so no script in it could be started"
    ]


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_user_is_that_of_the_root_or_of_the_table() -> None:
    table, daemon = Dynamic(user="daemon", group="#12", groups=("#13",)), Daemon()
    plain, own = Root(path="/x", name="x"), Root(path="/x", name="x", user="bin")

    found = script_identity(table, plain, daemon, 0)
    assert (found.user, found.gid, found.groups) == ("daemon", 12, (13,))
    found = script_identity(table, own, daemon, 0)
    assert (found.user, found.gid) == ("bin", pwd.getpwnam("bin").pw_gid)
    assert 13 not in found.groups
    found = script_identity(Dynamic(), Root(path="/x", name="x", group="#7"), Daemon(web_user="bin"), 0)
    assert (found.user, found.gid) == ("bin", 7)
    assert script_identity(table, own, daemon, 4711).uid == 4711


def test_with_a_wrapper_it_is_the_owner_of_the_script_unless_the_root_says_another() -> None:
    table, daemon = Dynamic(user="daemon", wrapper="/usr/lib/apache2/suexec"), Daemon()

    found = script_identity(table, Root(path="/x", name="x"), daemon, 0, owner=(2, 4711))
    assert (found.uid, found.gid, found.user) == (2, 4711, pwd.getpwuid(2).pw_name)
    assert script_identity(table, Root(path="/x", name="x", group="#9"), daemon, 0, owner=(2, 4711)).gid == 9
    assert script_identity(table, Root(path="/x", name="x", user="daemon"), daemon, 0, owner=(2, 4711)).uid == 1
    stranger = script_identity(table, Root(path="/x", name="x"), daemon, 0, owner=(54321, 54322))
    assert (stranger.user, stranger.group, stranger.groups) == ("#54321", "#54322", (54322,))
    with pytest.raises(LookupError, match="scripts of x run as their owners"):
        script_identity(table, Root(path="/x", name="x"), daemon, 0)


def test_nothing_runs_as_root_or_as_the_manager() -> None:
    manager, root = make_identity("#61184", "#61184", ()), make_identity("root", None, ())
    operator = make_identity("bin", "root", ())

    assert why_not_run_as(root, manager, 0, allow_root=False) == "it would run as root, which needs allow-root = true"
    assert why_not_run_as(operator, manager, 0, allow_root=False) == (
        "it would have root's group, which needs allow-root = true"
    )
    member = make_identity("bin", "bin", ("#0",))
    assert why_not_run_as(member, manager, 0, allow_root=False) == (
        "it would have root's group, which needs allow-root = true"
    )
    assert why_not_run_as(root, manager, 0, allow_root=True) is None
    assert why_not_run_as(manager, manager, 0, allow_root=True) == (
        "'#61184' is the manager's user, as which no application may run"
    )
    assert why_not_run_as(manager, manager, 61184, allow_root=False) is None
    assert why_not_run_as(make_identity("bin", "bin", ()), manager, 0, allow_root=False) is None


@pytest.mark.root
@pytest.mark.parametrize(
    ("root", "more", "problem"),
    [
        ('user = "root"', "", "2: dynamic.roots[0].user: a script of bin cannot be started: it would run as root"),
        ('group = "root"', "", "2: dynamic.roots[0].group: a script of bin cannot be started: it would have root's gr"),
        ('match = "*"', "user = 'root'", "3: dynamic.user: a script of bin cannot be started: it would run as root"),
        ('match = "*"', "user = '#4711'", "3: dynamic.user: user '#4711' has no account, so its group must be given"),
    ],
)  # fmt: skip
def test_who_may_not_run_scripts(files: Files, root: str, more: str, problem: str) -> None:
    (found,) = files.problems(roots(f'{{ path = "/usr/bin", {root} }}', more=more))
    assert found.startswith(problem)


@pytest.mark.root
def test_whose_the_directory_is_does_not_matter_before_it_is_known_who_runs_the_scripts(
    files: Files, scripts: Path
) -> None:
    os.chown(scripts, 4711, 4711)
    (found,) = files.problems(roots(f"{{ path = '{scripts}', user = '#4711' }}"))
    assert "user '#4711' has no account, so its group must be given as well" in found


@pytest.mark.root
def test_a_wrapper_and_the_user_of_the_table(files: Files) -> None:
    wrapper = files.write("wrapper", "#!/bin/sh\n", mode=0o755)
    loaded = files.load(roots('{ path = "/usr/bin" }', more=f'wrapper = "{wrapper}"\nuser = "bin"'))

    (warning,) = loaded.warnings
    assert warning == (
        f"{files.place}/apps.toml:4: dynamic.user: is not used: with a wrapper scripts run as the user of their root, "
        "or else as their owner"
    )
    quiet = files.load('[defaults]\nuser = "bin"\n' + roots('{ path = "/usr/bin" }', more=f'wrapper = "{wrapper}"'))
    assert quiet.warnings == ()


def of_ordinary_user(files: Files, text: str) -> list[str]:
    """Return what is wrong with *text* for an ordinary user, also when root runs the test."""
    path = files.write("apps.toml", text)
    try:
        load(path, environ={"XDG_RUNTIME_DIR": str(files.place)}, euid=ORDINARY)
    except ConfigError as error:
        return [str(problem).removeprefix(f"{path}:") for problem in error.problems]
    return []


def test_an_ordinary_users_scripts_run_as_that_user(files: Files) -> None:
    text = roots(
        f'{{ path = "/usr/bin", user = "#{ORDINARY}" }}', '{ path = "/usr/sbin", user = "root", group = "#54321" }'
    )

    found = of_ordinary_user(files, text)
    assert [problem.split(": ")[1] for problem in found] == ["dynamic.roots[1].user", "dynamic.roots[1].group"]
    assert all("needs root, and fcgipm is started by " in problem for problem in found)
    path = files.write("apps.toml", roots('{ path = "/usr/bin" }'))
    table = load(path, environ={"XDG_RUNTIME_DIR": str(files.place)}, euid=ORDINARY).config.dynamic
    assert table is not None
    assert table.user == user_name(ORDINARY)


@pytest.mark.parametrize("line", ["priority = -1", "oom-score-adjust = -1", 'user = "root"', 'socket-owner = "root"'])
def test_what_an_ordinary_user_cannot_give_to_scripts(files: Files, line: str) -> None:
    (found,) = of_ordinary_user(files, roots('{ path = "/usr/bin" }', more=line))
    assert found.startswith(f"3: dynamic.{line.split(' = ', maxsplit=1)[0]}: needs root, and fcgipm is started by ")


def test_a_wrapper_needs_root(files: Files) -> None:
    (found,) = of_ordinary_user(files, roots('{ path = "/usr/bin" }', more="wrapper = '/bin/true'"))
    assert found.startswith("3: dynamic.wrapper: a wrapper needs root, and fcgipm is started by ")


@pytest.mark.root
def test_a_wrapper_that_cannot_be_started(files: Files) -> None:
    (found,) = files.problems(roots('{ path = "/usr/bin" }', more="wrapper = '/nowhere/wrapper'"))
    assert found == (
        "3: dynamic.wrapper: /nowhere/wrapper: no such file or directory; the wrapper is started as web-user"
    )


def test_a_queue_that_the_kernel_would_cut(files: Files) -> None:
    (warning,) = files.load(roots('{ path = "/usr/bin" }', more="listen-queue-depth = 2147483647")).warnings
    assert f"{files.place}/apps.toml:3: dynamic.listen-queue-depth: 2147483647 is more than net.core" in warning


def test_an_unknown_web_user_is_the_daemons_fault(files: Files) -> None:
    text = '[fcgipm]\nweb-user = "nosuch"\nmetrics-listen = ""\n' + roots('{ path = "/usr/bin" }')
    found = files.problems(text)
    assert [problem.split(": ")[:2] for problem in found] == [["2", "fcgipm.web-user"]]


@pytest.mark.root
def test_root_is_warned_of_the_secrets_of_scripts(files: Files) -> None:
    path = files.write("world.toml", roots('{ path = "/usr/bin" }', more='initial-env = { A = "x" }'), mode=0o644)
    (warning,) = load(path, environ={}, euid=0).warnings
    assert "has initial-env and can be read by everybody" in warning
