"""The runtime directory and the pid file: one daemon for a directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

from fcgipm.config.schema import Daemon


class StartError(Exception):
    """The daemon cannot start; the text says why."""


class Runtime:
    """Holds the lock of the runtime directory until `close`."""

    def __init__(self, daemon: Daemon) -> None:
        """Make the directory where it is missing, and lock it; raise `StartError`, naming who has it."""
        self.directory = daemon.runtime_dir
        self._made = _make_directory(self.directory)
        self._locks: list[tuple[str, int]] = []
        try:
            # The lock in the directory is the one that counts; a pid file elsewhere is one more.
            for path in dict.fromkeys((os.path.join(self.directory, "fcgipm.pid"), daemon.pid_file)):
                self._locks.append((path, _locked(path, self.directory)))
        except StartError:
            self.close()
            raise

    def write_pid(self) -> None:
        """Write our process id into the pid files; raise `StartError`."""
        for path, descriptor in self._locks:
            try:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
                os.fchmod(descriptor, 0o644)  # whatever the umask
            except OSError as error:
                raise StartError(f"cannot write the pid file {path}: {error.strerror}") from error

    def close(self) -> None:
        """Remove the pid files, the directory too if it was made here and is empty, and give the lock back."""
        for path, descriptor in self._locks:
            with contextlib.suppress(OSError):
                os.unlink(path)
            os.close(descriptor)
        self._locks.clear()
        if self._made:
            with contextlib.suppress(OSError):
                os.rmdir(self.directory)


def _make_directory(path: str) -> bool:
    """Make sure of the directory *path*; return whether it was made."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        made = False
    except OSError as error:
        raise StartError(f"cannot make the runtime directory {path}: {error.strerror}") from error
    else:
        made = True
        # Web servers go through it.  What an ordinary user has in /tmp by default is nobody else's business.
        if path != f"/tmp/fcgipm-{os.geteuid()}":
            os.chmod(path, 0o711)  # noqa: S103  entering is all that others may
    found = os.stat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise StartError(f"the runtime directory {path} is not a directory")
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        who = f"owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
        raise StartError(f"the runtime directory {path} must be owned by uid {os.geteuid()} alone and writable by "
                         f"nobody else ({who})")  # fmt: skip
    return made


def _locked(path: str, directory: str) -> int:
    """Return a descriptor of the file *path*, locked."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StartError(f"cannot open the pid file {path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise StartError(f"fcgipm is already running in {directory}: pid {pid or 'not yet known'}") from None
        # A predecessor may have removed the file between our open and our lock.
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is_still(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
