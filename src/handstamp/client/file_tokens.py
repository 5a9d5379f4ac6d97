"""Tokens in a file that only its owner can read, shared by any number of processes on one machine.

The file is replaced in one step (written beside, `fsync`, `rename`): a reader sees the old tokens or the new ones, also after a
crash or a power cut. A second file, `….lock`, carries the lock; the kernel releases it when its process ends.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

import msgspec

from ..clock import monotonic_ms
from ..errors import ConfigurationError, Unavailable
from ..forking import call_in_child
from ..waiting import pause
from .tokens import StoredTokens

if sys.platform != "win32":
    import fcntl

_MAX_BYTES = 64 * 1024
_PAUSES_S = (0.005, 0.01, 0.02, 0.04)
_held: set[int] = set()
"""The descriptors of the locks that this process has or waits for."""


class FileTokens:
    """Stores the tokens in a file with mode 0600 (RFC 6819 §5.3.3). Threads and processes of one user may share it.

    A file that another user could have read or written is refused with a `ConfigurationError` that says what to do. A file that
    cannot be parsed is never overwritten. The folder must exist, on a disk of this machine. Not for Windows.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Use the file at `path`; `~` is the home of the user. Nothing is opened yet.

        Raises `ConfigurationError` on Windows, and if the user of `~` has no home.
        """
        if sys.platform == "win32":
            raise ConfigurationError("FileTokens needs file modes and locks of POSIX: use another TokenStore on Windows.")
        try:
            self._path = Path(path).expanduser().absolute()
        except RuntimeError:
            raise ConfigurationError(f"{path} cannot be used: the user has no home. Write the whole path.") from None
        self._fresh = self._path.with_name(f"{self._path.name}.new")
        self._lock = self._path.with_name(f"{self._path.name}.lock")

    def __repr__(self) -> str:
        return f"FileTokens({str(self._path)!r})"

    def load(self) -> StoredTokens | None:
        """Return the tokens, None if there is no file.

        Raises:
            ConfigurationError: The file is damaged, not a regular file, another user's, or accessible to others.
            Unavailable: It cannot be read.
        """
        try:
            descriptor = _open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            _require_private(self._path, descriptor)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError as problem:
            raise Unavailable(f"{self._path} cannot be read: {problem.strerror}") from None
        finally:
            os.close(descriptor)
        try:
            return msgspec.json.decode(data, type=StoredTokens)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise ConfigurationError(
                f"{self._path} is damaged or was not written by Handstamp; it is left as it is. Delete it and sign in again."
            ) from None

    def save(self, tokens: StoredTokens) -> None:
        """Replace the tokens in one step and durably. Call it while holding the lock.

        Raises as `load` for the file that is there, and `Unavailable` if it cannot be written; the old content stays then.
        """
        self.load()
        try:
            with suppress(FileNotFoundError):
                self._fresh.unlink()  # of a process that was killed
            with os.fdopen(os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(tokens))
                file.flush()
                os.fsync(file.fileno())
            self._fresh.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as problem:
            raise Unavailable(f"{self._path} cannot be written: {problem.strerror}") from None

    def clear(self) -> None:
        """Delete the file, whatever it contains. Raises `Unavailable` if that fails."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as problem:
            raise Unavailable(f"{self._path} cannot be deleted: {problem.strerror}") from None

    @contextmanager
    def locked(self, patience_s: float) -> Iterator[None]:
        """Hold the lock under which tokens are renewed or replaced, for the length of a `with` block.

        Raises `Unavailable` if it is not free within `patience_s` seconds, and `ConfigurationError` if it is another user's.
        """
        deadline_ms = monotonic_ms() + int(patience_s * 1000)
        descriptor = self._acquire(deadline_ms)
        while not _is_same_file(self._lock, descriptor):  # the file was deleted, and others lock a new one
            _release(descriptor)
            descriptor = self._acquire(deadline_ms)
        try:
            yield
        finally:
            _release(descriptor)

    def _acquire(self, deadline_ms: int) -> int:
        try:
            descriptor = _open(self._lock, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            raise ConfigurationError(f"There is no folder {self._lock.parent}: make it, with mode 0700.") from None
        _held.add(descriptor)
        try:
            _require_private(self._lock, descriptor)
            _wait_for(self._lock, descriptor, deadline_ms)
        except BaseException:
            _release(descriptor)
            raise
        return descriptor


def _open(path: Path, flags: int) -> int:
    """Open a file without following a symbolic link, which `rename` would replace, and without blocking on a pipe."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            raise ConfigurationError(f"{path} is a symbolic link. Use the path of the file that it points to.") from None
        if isinstance(problem, PermissionError):
            raise ConfigurationError(f"{path} cannot be opened with your permissions. Choose a file of your own.") from None
        raise Unavailable(f"{path} cannot be opened: {problem.strerror}") from None


def _require_private(path: Path, descriptor: int) -> None:
    """Raise `ConfigurationError` for a file that another user owns or can access: the tokens may be copied or not ours."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"{path} is not a regular file. Choose another path.")
    if found.st_uid != os.geteuid():
        raise ConfigurationError(f"{path} belongs to user {found.st_uid}. Choose a file of your own.")
    if found.st_mode & 0o077:
        raise ConfigurationError(
            f"{path} is open to other users of this machine (mode {stat.S_IMODE(found.st_mode):04o}). "
            f"If another user may have read it, delete it and sign in again; otherwise: chmod 600 {path}"
        )


def _wait_for(path: Path, descriptor: int, deadline_ms: int) -> None:
    """Try the lock until it is free or the deadline has passed. Waiting in the kernel has no timeout."""
    pauses_s = chain(_PAUSES_S, repeat(_PAUSES_S[-1]))
    while not _try_lock(path, descriptor):
        if monotonic_ms() >= deadline_ms:
            raise Unavailable(f"another process has held {path} for too long")
        pause(next(pauses_s))


def _try_lock(path: Path, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as problem:
        raise Unavailable(f"{path} cannot be locked: {problem.strerror}") from None
    return True


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _release(descriptor: int) -> None:
    """Unlock explicitly. A child forked meanwhile shares the descriptor, so closing it would not release the lock."""
    _held.discard(descriptor)
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _close_inherited() -> None:
    """Close the inherited descriptors of locks: the forked process would hold the lock if its parent died."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


call_in_child(_close_inherited)
