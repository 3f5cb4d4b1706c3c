"""Where Unix sockets are: a directory with their public names, and in it the private one where they are bound.

Both are held open, and everything is done through these descriptors: whoever owns the directory may rename it, or put
a link in its place, and root still acts where it has looked.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Container
from typing import Final

from fcgipm.config.socketnames import LONGEST_PATH
from fcgipm.keeper.listening.sockets import Attributes, FileId, SocketError, id_of
from fcgipm.linux.paths import open_directory

_PASSING: Final = ".link"
"""Ends the private name that is renamed to a public one."""
_LISTED: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Place:
    """One such directory; see `Places`."""

    def __init__(self, public: str, private: str, home: Place | None = None) -> None:
        """Open *public*, and *private* in it, which is made if missing and refused if anybody else's.

        With *home* the private directory is in that one's.  Raises OSError and `SocketError`.
        """
        self.public_path, self.private_path = public, private
        self.home = home
        self._name = os.path.basename(private)
        self.users = 0
        self.public = open_directory(public)
        self.private: int
        self._around = self.public if home is None else home.private
        """The directory where the private one is."""
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._name, 0o700, dir_fd=self._around)
            self.private = os.open(self._name, _LISTED, dir_fd=self._around)
        except OSError:
            os.close(self.public)
            raise
        found = os.fstat(self.private)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            self._close()
            raise SocketError(f"{private}: must be a directory of uid {os.geteuid()} with mode 0700")

    def is_at(self, public: str) -> bool:
        """Return whether the path *public* leads here, and the private directory is still in it."""
        try:
            descriptor = open_directory(public)
            try:
                same = os.path.samestat(os.fstat(descriptor), os.fstat(self.public))
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return same and self._has_private()

    def close(self) -> None:
        """Remove the private directory if it is empty, and hold nothing open any more."""
        if self._has_private():
            with contextlib.suppress(OSError):
                os.rmdir(self._name, dir_fd=self._around)
        self._close()

    def _close(self) -> None:
        os.close(self.private)
        os.close(self.public)

    def _has_private(self) -> bool:
        try:
            found = os.stat(self._name, dir_fd=self._around, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self.private))

    # ── private names ────────────────────────────────────────────────────────────────────────────────────────────

    def bind(self, name: str, attributes: Attributes, depth: int | None) -> socket.socket:
        """Return a socket that listens under the private *name*, with these attributes; raise `SocketError`.

        Where *depth* is None it takes datagrams, and the kernel says of each who sent it.
        """
        path = os.path.join(self.private_path, name)
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise SocketError(f"{path}: longer than the {LONGEST_PATH} bytes that a socket's name may have")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if depth is None else socket.SOCK_STREAM)
        try:
            if depth is None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)  # before anybody can send
            self._bind(sock, path, name)
            self.change(name, attributes)
            if depth is not None:
                sock.listen(depth)
        except OSError as error:
            sock.close()
            raise SocketError(f"{path}: {error.strerror}") from error
        except SocketError:
            sock.close()
            raise
        return sock

    def _bind(self, sock: socket.socket, path: str, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.private)  # nobody else has access here, so it is a predecessor's
        # By its whole path, because that is how the kernel names the socket and its connections from now on.  bind
        # never takes the place of anything, and what it made is looked for where it has to be.
        mask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        if self.bound(name) is None:
            raise SocketError(f"{path}: its directory was replaced meanwhile; the socket may be where that leads now")

    def bound(self, name: str) -> FileId | None:
        """Return which file the private *name* is, None where there is none."""
        return id_of(name, self.private)

    def names_of(self, file: FileId) -> list[str]:
        """Return the private names of *file*."""
        return sorted(name for name in os.listdir(self.private) if self.bound(name) == file)

    def change(self, name: str, attributes: Attributes) -> None:
        """Set owner, group and mode of the socket *name*, a private one; raise OSError."""
        found = os.stat(name, dir_fd=self.private, follow_symlinks=False)
        if (found.st_uid, found.st_gid) != (attributes.owner, attributes.group):
            os.chown(name, attributes.owner, attributes.group, dir_fd=self.private, follow_symlinks=False)
        os.chmod(name, attributes.mode, dir_fd=self.private)

    def remove(self, name: str) -> None:
        """Remove the private *name*."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self.private)

    def sweep(self, spared: Container[FileId], is_alive: Callable[[FileId, str], bool]) -> None:
        """Remove the private names that a keeper has left and that nobody needs; *is_alive* says where one listens."""
        for name in os.listdir(self.private):
            file = self.bound(name)
            path = os.path.join(self.private_path, name)
            if file is None or (file in spared and not name.endswith(_PASSING)):
                continue
            if name.endswith(_PASSING) or not is_alive(file, path):
                self.remove(name)

    # ── public names ─────────────────────────────────────────────────────────────────────────────────────────────

    def published(self, name: str) -> FileId | None:
        """Return which file the public *name* is (a symbolic link itself), None where there is none."""
        return id_of(name, self.public)

    def publish(self, private: str, public: str, file: FileId) -> None:
        """Make *public* a name of the socket *file*, whatever was there before; raise OSError."""
        passing = f"{private}{_PASSING}"
        self.remove(passing)
        os.link(private, passing, src_dir_fd=self.private, dst_dir_fd=self.private, follow_symlinks=False)
        try:
            if self.bound(passing) != file:
                raise OSError(0, f"{private} in {self.private_path} is not the socket that was bound there")
            os.rename(passing, public, src_dir_fd=self.private, dst_dir_fd=self.public)
        finally:
            # rename does nothing where both are names of one inode already.
            self.remove(passing)

    def unpublish(self, public: str, file: FileId) -> None:
        """Remove the name *public* if it still is the socket *file*."""
        if self.published(public) == file:
            with contextlib.suppress(OSError):
                os.unlink(public, dir_fd=self.public)


class Places:
    """The places that are in use; many sockets share one.

    Those of dynamic applications are not there from the start: they are directories of ours in the runtime directory,
    made as they are needed and removed when nothing is in them any more.
    """

    def __init__(self) -> None:
        self._all: list[Place] = []

    def take(self, public: str, private: str) -> Place:
        """Return the place of the directories *public* and *private*; raise `SocketError`.

        *private* is in *public*, or else in the private one of the runtime directory.  It is to be given back.
        """
        place = next((one for one in self._all if one.private_path == private and one.is_at(public)), None)
        if place is None:
            try:
                place = self._opened(public, private)
            except OSError as error:
                raise SocketError(f"{public}: {error.strerror}") from error
            self._all.append(place)
        place.users += 1
        return place

    def give_back(self, place: Place) -> None:
        """Close *place* when nobody uses it any more."""
        place.users -= 1
        if place.users:
            return
        self._all.remove(place)
        place.close()
        if place.home is not None:
            self._tidy(place.public_path, place.home)
            self.give_back(place.home)

    def _opened(self, public: str, private: str) -> Place:
        around = os.path.dirname(private)
        if around == public:
            return Place(public, private)
        home = self.take(os.path.dirname(around), around)
        try:
            _make(public, home)
            return Place(public, private, home)
        except BaseException:
            self._tidy(public, home)
            self.give_back(home)
            raise

    def _tidy(self, path: str, home: Place) -> None:
        """Remove the directory *path*, and those above it in *home*, as far as nothing is in them."""
        used = {one.public_path for one in self._all}
        relative = os.path.relpath(path, home.public_path)
        while relative and not any(one == path or one.startswith(f"{path}/") for one in used):
            try:
                os.rmdir(relative, dir_fd=home.public)
            except OSError:
                return
            relative, path = os.path.dirname(relative), os.path.dirname(path)


def _make(path: str, home: Place) -> None:
    """Make the directory *path* in *home*, and those above it, where they are missing."""
    made = ""
    for part in os.path.relpath(path, home.public_path).split("/"):
        made = os.path.join(made, part)
        try:
            os.mkdir(made, 0o700, dir_fd=home.public)
        except FileExistsError:
            continue
        os.chmod(made, 0o711, dir_fd=home.public)  # noqa: S103  visitors go through it
