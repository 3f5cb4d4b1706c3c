"""The runtime directory and the pid file: one daemon for a directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

from fcgipm.config.schema import Daemon
from fcgipm.keeper.keeping.heritage import LOCK, PID_FILE, Heritage
from fcgipm.linux import procfs
from fcgipm.linux.paths import open_to_write


class StartError(Exception):
    """The daemon cannot start; the text says why."""


class Runtime:
    """Holds the lock of the runtime directory until `close`."""

    def __init__(self, daemon: Daemon, heritage: Heritage | None = None, *, made: bool = False) -> None:
        """Make the directory where it is missing, and lock it; raise `StartError`, naming who has it.

        What is in *heritage* is locked already; *made*: that directory was made by this daemon.
        """
        self.directory = daemon.runtime_dir
        self._pid_path = daemon.pid_file
        self._pid_file: int | None = None
        lock = None if heritage is None else heritage.take_key(LOCK)
        if heritage is not None and lock is not None:
            self._lock, self.made, self._pid_file = lock, made, heritage.take_key(PID_FILE)
            return
        self._lock, self.made = _locked_directory(self.directory)
        try:
            self._pid_file = _open_pid_file(self._pid_path)
        except StartError:
            self.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor of the directory, by which it is used: it may be renamed meanwhile."""
        return self._lock

    def descriptors(self) -> dict[str, int]:
        """Return what the next program in this process inherits."""
        pid_file = {} if self._pid_file is None else {PID_FILE: self._pid_file}
        return {LOCK: self._lock, **pid_file}

    def write_pid(self) -> None:
        """Write our process id into the pid file; raise `StartError`."""
        assert self._pid_file is not None, self._pid_path
        try:
            os.ftruncate(self._pid_file, 0)
            os.pwrite(self._pid_file, b"%d\n" % os.getpid(), 0)
            os.fchmod(self._pid_file, 0o644)  # whatever the umask
        except OSError as error:
            raise StartError(f"cannot write the pid file {self._pid_path}: {error.strerror}") from error

    def close(self) -> None:
        """Remove the pid file, the directory too if it was made here and is empty, and give the lock back."""
        if self._pid_file is not None:
            if _is_still(self._pid_path, self._pid_file):
                with contextlib.suppress(OSError):
                    os.unlink(self._pid_path)
            os.close(self._pid_file)
            self._pid_file = None
        if self.made and _is_still(self.directory, self._lock):
            with contextlib.suppress(OSError):
                os.rmdir(self.directory)
        os.close(self._lock)


def _locked_directory(path: str) -> tuple[int, bool]:
    """Return a descriptor of the directory *path*, locked, and whether it was made.

    The lock is on the directory itself, which no cleaner of /tmp takes away while it is locked; a file in it could be
    deleted, and a second daemon would lock a new one.
    """
    made = False
    while True:
        try:
            os.mkdir(path, 0o700)
            made = True
        except FileExistsError:
            pass
        except OSError as error:
            raise StartError(f"cannot make the runtime directory {path}: {error.strerror}") from error
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a predecessor has just ended
        except NotADirectoryError:
            raise StartError(f"the runtime directory {path} is a link or a file, not a directory") from None
        except OSError as error:
            raise StartError(f"cannot open the runtime directory {path}: {error.strerror}") from error
        try:
            _demand_own(path, os.fstat(descriptor))
            _lock(path, descriptor)
        except StartError:
            os.close(descriptor)
            raise
        if _is_still(path, descriptor):
            # Web servers go through it.  What an ordinary user has in /tmp by default is nobody else's business.
            if made and path != f"/tmp/fcgipm-{os.geteuid()}":
                os.fchmod(descriptor, 0o711)
            return descriptor, made
        os.close(descriptor)


def _demand_own(path: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        who = f"owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
        raise StartError(f"the runtime directory {path} must be owned by uid {os.geteuid()} alone and writable by "
                         f"nobody else ({who})")  # fmt: skip


def _lock(path: str, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _holder(descriptor) or "not known"
        raise StartError(f"fcgipm is already running in {path}: pid {pid}") from None
    except OSError as error:
        raise StartError(f"cannot lock the runtime directory {path}: {error.strerror}") from error


def _holder(descriptor: int) -> str | None:
    """Return who has locked the directory, None where the kernel does not say; the pid file may be gone."""
    found = os.fstat(descriptor)
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in procfs.read("/proc/locks").decode().splitlines():
            # 1: FLOCK  ADVISORY  WRITE 4711 00:1b:12345 0 EOF; some file systems show stat another device
            fields = line.split()
            if fields[1] == "FLOCK" and int(fields[5].rpartition(":")[2]) == found.st_ino and int(fields[4]) > 0:
                return fields[4]
    with contextlib.suppress(OSError), open("fcgipm.pid", opener=lambda name, _: _opened_in(descriptor, name)) as file:
        return file.read(32).strip() or None
    return None


def _opened_in(directory: int, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def _open_pid_file(path: str) -> int:
    """Return a descriptor of the pid file *path*, locked: with one of its own elsewhere, it is one daemon's as well."""
    while True:
        try:
            descriptor = open_to_write(path, os.O_RDWR, 0o644)
        except OSError as error:
            raise StartError(f"cannot open the pid file {path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise StartError(f"the pid file {path} is that of another fcgipm: pid {pid or 'not yet known'}") from None
        # A predecessor may have removed the file between our open and our lock.
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is_still(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False
