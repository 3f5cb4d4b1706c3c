from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from unit.config.conftest import Files

from fcgipm.config.load import ConfigError, load

APP = '[app.a]\ncommand = ["/bin/true"]\n'
ORDINARY = os.geteuid() or 12345
"""The ordinary user of a test: who runs it, or one without an account."""


def problems_of_ordinary_user(files: Files, text: str) -> list[str]:
    """Return what is wrong with *text* for an ordinary user, also when root runs the test."""
    path = files.write("apps.toml", text)
    try:
        load(path, environ={"XDG_RUNTIME_DIR": str(files.place)}, euid=ORDINARY)
    except ConfigError as error:
        return [str(problem).removeprefix(f"{path}:") for problem in error.problems]
    return []


def one(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    return problems[0]


# ── [fcgipm] ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_runtime_directory_that_is_there(files: Files) -> None:
    path = files.place / "run"
    path.mkdir(0o711)
    text = f'[fcgipm]\nruntime-dir = "{path}"'
    assert files.problems(text) == []

    path.chmod(0o775)
    assert one(files.problems(text)) == (
        f"2: fcgipm.runtime-dir: {path}: mode 0775 lets others write; allowed: 0755 or less, as 0711"
    )


def test_a_runtime_directory_that_can_be_made(files: Files) -> None:
    assert files.problems(f'[fcgipm]\nruntime-dir = "{files.place}/new"') == []

    path = f"{files.place}/new/deeper"
    assert f"{path}: cannot be made in {files.place}/new: no such file" in one(
        files.problems(f'[fcgipm]\nruntime-dir = "{path}"')
    )


def test_a_runtime_directory_that_is_something_else(files: Files) -> None:
    path = files.write("file", "")
    assert one(files.problems(f'[fcgipm]\nruntime-dir = "{path}"')) == (
        f"2: fcgipm.runtime-dir: {path}: not a directory"
    )
    link = files.place / "link"
    link.symlink_to("/tmp")
    assert "not a directory" in one(files.problems(f'[fcgipm]\nruntime-dir = "{link}"'))


def test_a_runtime_directory_that_anybody_could_take_away(files: Files) -> None:
    directory = files.place / "open"
    directory.mkdir()
    directory.chmod(0o777)
    text = f'[fcgipm]\nruntime-dir = "{directory}/run"'

    assert f"mode 0777 of {directory} lets anybody take the directory away" in one(files.problems(text))
    directory.chmod(0o1777)
    assert files.problems(text) == []


@pytest.mark.root
def test_a_runtime_directory_of_somebody_else(files: Files) -> None:
    path = files.place / "run"
    path.mkdir(0o711)
    os.chown(path, 1234, 0)

    assert "belongs to uid 1234; it must belong to uid 0" in one(files.problems(f'[fcgipm]\nruntime-dir = "{path}"'))
    problem = one(files.problems(f'[fcgipm]\nruntime-dir = "{path}/inside"'))
    assert f"{path} belongs to uid 1234, who could take the directory away" in problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('admins = ["nosuchuser"]', "admins: there is no user 'nosuchuser'"),
        ('admins = ["%nosuchgroup"]', "admins: there is no group 'nosuchgroup'"),
        ('readers = ["root", "nosuchuser"]', "readers: there is no user 'nosuchuser'"),
        ('web-user = "nosuchuser"', "web-user: there is no user 'nosuchuser'"),
        ('web-group = "nosuchgroup"', "web-group: there is no group 'nosuchgroup'"),
        ('log = "/nowhere/log"', "log: /nowhere/log: there is no directory /nowhere"),
        ('log = "/tmp"', "log: /tmp: is a directory"),
        ('pid-file = "/nowhere/pid"', "pid-file: /nowhere/pid: there is no directory /nowhere"),
        (
            'metrics-listen = "unix:/nowhere/m.sock"',
            "metrics-listen: /nowhere/m.sock: there is no directory /nowhere",
        ),
    ],
)
def test_what_the_daemons_table_names_exists(files: Files, line: str, problem: str) -> None:
    assert files.problems(f"[fcgipm]\n{line}") == [f"2: fcgipm.{problem}"]


def test_people_who_exist(files: Files) -> None:
    assert files.problems('[fcgipm]\nadmins = ["root", "%root", "#12345"]\nreaders = ["%#1"]') == []


@pytest.mark.root
@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ("root", "the manager never runs as root"),
        ("nobody", "nobody is shared by too many"),
        ("www-data", "'www-data' is also web-user"),
    ],
)
def test_whom_the_manager_may_not_be(files: Files, user: str, problem: str) -> None:
    assert problem in one(files.problems(f'[fcgipm]\nuser = "{user}"'))


# ── as whom instances run ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('user = "nosuchuser"', "user: there is no user 'nosuchuser'"),
        ('group = "nosuchgroup"', "group: there is no group 'nosuchgroup'"),
        ('groups = ["nosuchgroup"]', "groups: there is no group 'nosuchgroup'"),
        ('socket-owner = "nosuchuser"', "socket-owner: there is no user 'nosuchuser'"),
        ('socket-group = "nosuchgroup"', "socket-group: there is no group 'nosuchgroup'"),
    ],
)
def test_who_does_not_exist(files: Files, line: str, problem: str) -> None:
    assert files.problems(APP + line) == [f"3: app.a.{problem}"]
    assert problems_of_ordinary_user(files, APP + line) == [f"3: app.a.{problem}"]


@pytest.mark.root
def test_root_needs_allow_root(files: Files) -> None:
    assert one(files.problems(f'{APP}user = "root"')) == (
        "3: app.a.user: the instances would run as root; write allow-root = true, or another user"
    )
    assert "would have root's group" in one(files.problems(f'{APP}group = "root"'))
    assert "would have root's group" in one(files.problems(f'{APP}groups = ["root"]'))
    assert files.problems(f'{APP}user = "root"\nallow-root = true') == []


@pytest.mark.root
def test_no_application_runs_as_the_manager(files: Files) -> None:
    uid = files.load(APP).manager.uid

    problem = one(files.problems(f'{APP}user = "#{uid}"\ngroup = "daemon"'))
    assert "is the manager's user, as which no application may run" in problem
    assert files.problems(f'{APP}user = "#{uid + 1}"\ngroup = "daemon"') == []


@pytest.mark.root
def test_an_id_without_an_account_needs_a_group(files: Files) -> None:
    assert one(files.problems(f'{APP}user = "#4711"')) == (
        "3: app.a.user: user '#4711' has no account, so its group must be given as well"
    )
    identity = files.load(f'{APP}user = "#4711"\ngroup = "#4712"').identities["a"]
    assert (identity.uid, identity.gid, identity.groups, identity.user) == (4711, 4712, (4712,), "#4711")


@pytest.mark.parametrize(
    "line",
    [
        'user = "root"', 'user = "#4711"', 'group = "#4711"', 'groups = ["#4711"]', "priority = -1",
        "oom-score-adjust = -1", 'chroot = "/tmp"', 'socket-owner = "root"',
    ],
)  # fmt: skip
def test_what_needs_root(files: Files, line: str) -> None:
    problem = next(text for text in problems_of_ordinary_user(files, APP + line) if "needs root" in text)

    assert problem.startswith(f"3: app.a.{line.split(' ', maxsplit=1)[0]}: needs root, and fcgipm is started by ")


def test_a_wrapper_needs_root(files: Files) -> None:
    assert "3: app.a.wrapper: a wrapper needs root" in one(problems_of_ordinary_user(files, APP + 'wrapper = "/bin/x"'))
    assert "2: fcgipm.wrapper: a wrapper needs root" in one(
        problems_of_ordinary_user(files, f'[fcgipm]\nwrapper = "/bin/x"\n{APP}')
    )


def test_a_socket_group_that_only_root_can_give(files: Files) -> None:
    problem = one(problems_of_ordinary_user(files, f'{APP}socket-group = "#4711"'))

    assert problem.startswith("3: app.a.socket-group: sockets can be given to group '#4711' by root or a member of it")


def test_what_an_ordinary_user_may(files: Files) -> None:
    uid = f"#{ORDINARY}"

    text = f'user = "{uid}"\nsocket-owner = "{uid}"\npriority = 5\noom-score-adjust = 100\nsocket-group = "#'
    gid = os.getegid()
    assert problems_of_ordinary_user(files, f'{APP}{text}{gid}"\ngroup = "#{gid}"') == []


def test_limits_above_the_hard_one(files: Files) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    assert problems_of_ordinary_user(files, f"{APP}rlimits = {{ nofile = {hard} }}") == []
    problem = one(problems_of_ordinary_user(files, f"{APP}rlimits = {{ nofile = {hard + 1} }}"))
    assert problem == f"3: app.a.rlimits.nofile: above the hard limit {hard}, which only root can raise"


# ── programs and directories ─────────────────────────────────────────────────────────────────────────────────────────


def test_programs_that_cannot_be_executed(files: Files) -> None:
    text = files.write("text", "", mode=0o644)

    def problem(program: str) -> str:
        return one(files.problems(f'[app.a]\ncommand = ["{program}"]')).removeprefix("2: app.a.command: ")

    assert problem("/nowhere/x") == "/nowhere/x: no such file or directory"
    assert problem("/tmp") == "/tmp: is a directory"
    assert problem("/dev/null") == "/dev/null: not a regular file"
    assert f"{text}: " in problem(text)
    assert "may not execute it (owner " in problem(text)
    assert problem(f"{text}/x") == f"{text}/x: not a directory"


@pytest.mark.root
def test_a_program_that_its_user_cannot_reach(files: Files) -> None:
    program = files.write("private/x", "", mode=0o755)
    directory = Path(program).parent
    directory.chmod(0o700)

    problem = one(files.problems(f'[app.a]\ncommand = ["{program}"]\nuser = "www-data"'))
    assert problem == (f"2: app.a.command: {program}: www-data may not enter {directory} (owner 0:0, mode 0700)")
    directory.chmod(0o711)
    assert files.problems(f'[app.a]\ncommand = ["{program}"]\nuser = "www-data"') == []


def test_directories(files: Files) -> None:
    assert files.problems(f'{APP}directory = "/tmp"') == []
    assert files.problems(f'{APP}directory = "/nowhere"') == ["3: app.a.directory: /nowhere: no such file or directory"]
    assert files.problems(f'{APP}directory = "/etc/passwd"') == ["3: app.a.directory: /etc/passwd: not a directory"]


@pytest.mark.root
def test_chroot(files: Files) -> None:
    files.write("jail/bin/true", "", mode=0o755)
    jail = files.place / "jail"
    (jail / "bin/link").symlink_to("/bin/true")

    assert files.problems(f'{APP}chroot = "{jail}"\ndirectory = "/bin"') == []
    assert files.problems(f'[app.a]\ncommand = ["/bin/link"]\nchroot = "{jail}"') == []
    assert files.problems(f'{APP}chroot = "{files.place}"') == [
        f"2: app.a.command: {files.place}/bin/true: no such file or directory"
    ]
    assert f"4: app.a.directory: {jail}/srv: no such file or directory" == one(
        files.problems(f'{APP}chroot = "{jail}"\ndirectory = "/srv"')
    )
    assert "3: app.a.chroot: /nowhere: no such directory" in files.problems(f'{APP}chroot = "/nowhere"')


@pytest.mark.root
def test_an_env_file_that_anybody_may_write(files: Files) -> None:
    path = files.write("env", "A=1", mode=0o644)
    assert files.problems(f'{APP}env-file = "{path}"') == []

    Path(path).chmod(0o646)
    assert "its mode 0646 lets others write; chmod go-w it" in one(files.problems(f'{APP}env-file = "{path}"'))


@pytest.mark.root
def test_the_env_file_of_an_applications_user_is_read_with_that_users_rights(files: Files) -> None:
    home = files.place / "home"
    home.mkdir()
    own = files.write("home/env", "A=1", mode=0o600)
    for path in (home, own):
        os.chown(path, 4711, 4711)

    text = f'{APP}user = "#4711"\ngroup = "#4711"\nenv-file = "{own}"'

    assert files.load(text).environments["a"] == {"A": "1"}


@pytest.mark.root
@pytest.mark.parametrize("way", ["link", "directory", "hard link"])
def test_an_applications_user_cannot_have_roots_files_read(files: Files, way: str) -> None:
    secret = files.write("secrets/env", "PASSWORD=x", mode=0o600)
    home = files.place / "home"
    home.mkdir()
    os.chown(home, 4711, 4711)
    if way == "link":
        (home / "env").symlink_to(secret)
    elif way == "directory":
        (home / "sub").symlink_to(files.place / "secrets")
    else:
        os.link(secret, home / "env")
    path = home / ("sub/env" if way == "directory" else "env")

    problem = one(files.problems(f'{APP}user = "#4711"\ngroup = "#4711"\nenv-file = "{path}"'))

    assert f"{path}: Permission denied; it is read as #4711, because {home} belongs to uid 4711" in problem


@pytest.mark.root
def test_an_env_file_of_roots_is_for_everybodys_application(files: Files) -> None:
    path = files.write("env", "PASSWORD=x", mode=0o600)
    (files.place / "link").symlink_to("env")

    text = f'{APP}user = "#4711"\ngroup = "#4711"\nenv-file = "{files.place}/link"'
    for configuration in (text, text.replace("link", "env")):
        assert files.load(configuration).environments["a"] == {"PASSWORD": "x"}
    os.chown(path, 4712, 0)
    assert "belongs to uid 4712" in one(files.problems(text))


@pytest.mark.root
def test_an_env_file_for_a_process_of_roots_is_roots(files: Files) -> None:
    path = files.write("env", "A=1")
    os.chown(path, 4711, 0)

    problem = one(files.problems(f'{APP}user = "root"\nallow-root = true\nenv-file = "{path}"'))

    assert "belongs to uid 4711" in problem
    assert "must be root's" in problem


@pytest.mark.root
def test_wrappers(files: Files) -> None:
    wrapper = files.write("wrap", "", mode=0o755)
    missing = '[app.a]\ncommand = ["/not/checked"]\nuser = "nobody"\n'

    assert files.problems(f'{missing}wrapper = "{wrapper}"') == []
    assert files.load(f'[fcgipm]\nwrapper = "{wrapper}"\n{APP}').config.applications["a"].wrapper == wrapper
    assert one(files.problems(f'{missing}wrapper = "/nowhere/w"')) == (
        "4: app.a.wrapper: /nowhere/w: no such file or directory; the wrapper is started as web-user"
    )
    Path(wrapper).chmod(0o700)
    assert "may not execute it" in one(files.problems(f'[fcgipm]\nwrapper = "{wrapper}"\n{missing}'))
    Path(wrapper).chmod(0o755)
    together = files.problems(f'{missing}wrapper = "{wrapper}"\nno-new-privs = true')
    assert together == [f"5: app.a.no-new-privs: cannot be together with the wrapper {wrapper}"]


@pytest.mark.root
def test_a_wrapper_does_not_use_the_directory(files: Files) -> None:
    wrapper = files.write("wrap", "", mode=0o755)

    (warning,) = files.load(f'{APP}wrapper = "{wrapper}"\ndirectory = "/nowhere"').warnings
    assert warning.endswith(":4: app.a.directory: is not used: a wrapper is started in the program's own directory")


@pytest.mark.root
def test_what_suexec_will_not_do_is_warned_of(files: Files) -> None:
    wrapper = files.write("suexec", "", mode=0o755)
    text = f'{APP}wrapper = "{wrapper}"\ninitial-env = {{ TZ = "UTC", PHPRC = "x" }}\npass-env = ["LANG"]\n'

    lost, refused = files.load(f'{text}user = "daemon"').warnings
    assert "app.a.initial-env: suexec lets few variables through; these get lost: PHPRC, LANG" in lost
    assert "app.a.user: suexec refuses ids below 100, and this is 1:1" in refused
    assert files.load(f'{APP}wrapper = "{wrapper}"\nuser = "#4711"\ngroup = "#4711"').warnings == ()


# ── where applications listen ────────────────────────────────────────────────────────────────────────────────────────


def test_names_that_are_too_long_for_a_socket(files: Files) -> None:
    room = 107 - len(f"{files.place}/.fcgipm-123456/a.999999")
    fits = files.place / ("x" * room)
    fits.mkdir()
    assert files.problems(f'{APP}socket = "{fits.parent}/s"') == []

    directory = files.place / ("x" * room + "y")
    directory.mkdir()
    problem = one(files.problems(f'{APP}socket = "{directory}/s"'))
    assert problem.startswith(f"3: app.a.socket: {directory}/.fcgipm-")
    assert "/a.999999 is 2 bytes too long for a socket (at most 107)" in problem


def test_directories_of_sockets(files: Files) -> None:
    directory = files.place / "socks"
    directory.mkdir(0o755)
    text = f'{APP}socket = "{directory}/s"'
    assert files.problems(text) == []
    assert files.problems(f'{APP}socket = "/tmp/fcgipm-test-{os.getpid()}.sock"') == []

    directory.chmod(0o777)
    assert f"{directory}: mode 0777 lets anybody replace the socket; chmod o-w it" in one(files.problems(text))
    assert "/nowhere: no such file" in one(files.problems(f'{APP}socket = "/nowhere/s"'))
    assert "/etc/passwd is not a directory" in one(files.problems(f'{APP}socket = "/etc/passwd/s"'))
    files.write("there", "")
    assert "is there already, and not a socket" in one(files.problems(f'{APP}socket = "{files.place}/there"'))


@pytest.mark.root
def test_whose_directories_may_hold_sockets(files: Files) -> None:
    directory = files.place / "socks"
    directory.mkdir(0o755)
    os.chown(directory, 4711, 0)
    text = f'{APP}socket = "{directory}/s"\n'

    assert f"{directory} belongs to uid 4711; allowed: root's directories" in one(files.problems(text))
    assert files.problems(f'{text}user = "#4711"\ngroup = "#4711"') == []


@pytest.mark.root
def test_whose_directories_lie_above_a_socket(files: Files) -> None:
    above = files.place / "above"
    (above / "socks").mkdir(0o755, parents=True)
    text = f'{APP}user = "#4711"\ngroup = "#4711"\nsocket = "{above}/socks/s"\n'
    assert files.problems(text) == []

    (above / "socks").chmod(0o775)
    os.chown(above / "socks", 0, 4712)
    assert "socks: mode 0775 lets group #4712 replace the socket; chmod g-w it" in one(files.problems(text))
    os.chown(above / "socks", 0, 0)
    os.chown(above, 4712, 0)
    assert f"{above} belongs to uid 4712, who could replace what is in it" in one(files.problems(text))
    os.chown(above, 4711, 0)
    assert files.problems(text) == []
    above.chmod(0o777)
    assert f"{above}: mode 0777 lets others replace what is in it" in one(files.problems(text))


@pytest.mark.root
@pytest.mark.parametrize("key", ["log", "pid-file"])
def test_root_writes_to_no_file_that_others_have_linked(files: Files, key: str) -> None:
    (files.place / "open").mkdir()
    (files.place / "open").chmod(0o1777)
    target = files.write("open/target", "")
    text = f'[fcgipm]\n{key} = "{files.place}/open/it"'
    assert files.problems(text) == []

    os.link(target, files.place / "open" / "it")
    assert "it has 2 names (hard links)" in one(files.problems(text))
    (files.place / "open" / "it").unlink()
    (files.place / "open" / "it").symlink_to("target")
    assert files.problems(text) == []
    os.chown(files.place / "open" / "it", 4711, 0, follow_symlinks=False)
    problem = one(files.problems(text))
    # The kernel itself may refuse to follow it (fs.protected_symlinks), which is Debian's default.
    assert "anybody may write there, and uid 4711 did" in problem or problem.endswith("it: Permission denied")


@pytest.mark.parametrize("key", ["log", "pid-file"])
def test_a_fifo_is_no_file_to_write_to(files: Files, key: str) -> None:
    os.mkfifo(files.place / "fifo")

    problem = one(files.problems(f'[fcgipm]\n{key} = "{files.place}/fifo"'))
    assert f"{key}: {files.place}/fifo: it is a pipe (fifo); allowed: a file or a character device" in problem


def test_two_applications_on_one_socket(files: Files) -> None:
    second = '[app.b]\ncommand = ["/bin/true"]\nsocket = "a.sock"\n'

    problem = one(files.problems(APP + second))
    assert problem.startswith("5: app.b.socket: socket /")
    assert problem.endswith("/a.sock is taken by a; each needs one of its own")


def test_two_names_of_one_socket(files: Files) -> None:
    (files.place / "link").symlink_to(files.place)
    other = APP.replace("app.a", "app.b")

    problem = one(files.problems(f'{APP}socket = "{files.place}/s"\n{other}socket = "{files.place}/link/s"'))
    assert problem == f"6: app.b.socket: socket {files.place}/s is taken by a; each needs one of its own"


@pytest.mark.parametrize("name", ["control.sock", "connector.sock", "report.sock", "fcgipm.pid", "state.json"])
def test_fcgipms_own_files_are_its_own(files: Files, name: str) -> None:
    assert f"{name} is taken by fcgipm itself" in one(files.problems(f'{APP}socket = "{name}"'))
    runtime_dir = files.load("").config.daemon.runtime_dir
    assert f"{name} is taken by fcgipm itself" in one(files.problems(f'{APP}socket = "{runtime_dir}/{name}"'))


@pytest.mark.parametrize("name", ["private/x", "dynamic/x"])
def test_fcgipms_own_directories_are_its_own(files: Files, name: str) -> None:
    assert "that directory is fcgipm's own" in one(files.problems(f'{APP}socket = "{name}"'))


def test_two_applications_on_one_port(files: Files) -> None:
    def problems(first: str, second: str) -> list[str]:
        other = APP.replace("app.a", "app.b")
        return files.problems(f'{APP}port = 9001\naddress = "{first}"\n{other}port = 9001\naddress = "{second}"')

    taken = "7: app.b.port: port 9001 is taken by a; each needs one of its own"
    assert problems("127.0.0.1", "127.0.0.1") == [taken]
    assert problems("0.0.0.0", "127.0.0.1") == [taken]
    assert problems("127.0.0.1", "0.0.0.0") == [taken]
    assert problems("::1", "0:0:0:0:0:0:0:1") == [taken]
    assert problems("127.0.0.1", "127.0.0.2") == []
    assert problems("0.0.0.0", "::") == []


def test_ports_of_others(files: Files) -> None:
    assert "port 9753 is taken by metrics-listen" in one(files.problems(f"{APP}port = 9753"))
    text = f'{APP}port = 9001\n[external.e]\nhost = ["10.0.0.1:1", "127.0.0.1:9001"]'
    assert "external.e.host: port 9001 is taken by a" in one(files.problems(text))
    assert "external.e.socket: socket /tmp/x.sock is taken by a" in one(
        files.problems(f'{APP}socket = "/tmp/x.sock"\n[external.e]\nsocket = "/tmp/x.sock"')
    )
    several = '[external.e]\nhost = "127.0.0.1:9001"\n[external.f]\nhost = "127.0.0.1:9001"'
    assert files.problems(several) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'{APP}port = 9001\nsocket = "x"', "4: app.a.socket: cannot be together with port"),
        (f'{APP}address = "::1"', "3: app.a.address: needs port beside it"),
        (f'{APP}allowed-clients = ["::1"]', "3: app.a.allowed-clients: needs port beside it"),
        (f'{APP}port = 9001\nallowed-clients = ["x"]', "4: app.a.allowed-clients: 'x' is not an IPv4 or IPv6 address"),
        ("[external.e]", "1: external.e: needs host or socket"),
        ("[external.e]\nhost = 'h:1'\nsocket = '/x'", "3: external.e.socket: cannot be together with host"),
    ],
)
def test_what_goes_together(files: Files, text: str, problem: str) -> None:
    assert one(files.problems(text)).startswith(problem)


def test_allowed_clients_of_defaults_are_for_those_with_a_port(files: Files) -> None:
    assert files.problems(f'[defaults]\nallowed-clients = ["::1"]\n{APP}') == []


def test_a_queue_that_the_kernel_clips_is_warned_of(files: Files) -> None:
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())

    assert files.load(f"{APP}listen-queue-depth = {most}").warnings == ()
    (warning,) = files.load(f"{APP}listen-queue-depth = {most + 1}").warnings
    assert warning.endswith(
        f":3: app.a.listen-queue-depth: {most + 1} is more than net.core.somaxconn, {most}; "
        f"the kernel will make it {most}"
    )


def test_a_low_port_is_warned_of(files: Files) -> None:
    path = files.write("apps.toml", f"{APP}port = 1")
    least = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    loaded = load(path, environ={"XDG_RUNTIME_DIR": str(files.place)}, euid=ORDINARY)

    expected = (f"{path}:3: app.a.port: ports below {least} usually need root",) if least > 1 else ()
    assert loaded.warnings == expected
