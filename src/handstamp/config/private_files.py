"""Which files others on this machine may read or change.

The owner decides who belongs to a group. So a group may read, and the process's own group may also write: on many systems each
user has a group of their own, and the usual umask lets it write.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import ConfigurationError
from ..logger import Logger

_SECRET = 0o037
"""Permissions that a file with a secret must not have. A group may read: Kubernetes mounts secrets as 0440 for a group."""
_LOGS = ("-wal", "-shm", "-journal")
"""What SQLite writes beside a file."""
_log = Logger("handstamp.config")


def require_secret(file: Path, what: str) -> None:
    """Raise `ConfigurationError` if others can read or change a file that holds a secret. Raise `OSError` if there is none."""
    if stat.S_IMODE(file.stat().st_mode) & _SECRET:
        raise ConfigurationError(f"Others on this machine can read or change the {what} {file}: chmod 600 {file}")


def require_unchangeable(file: Path, what: str) -> None:
    """Raise `ConfigurationError` if others can change a file. Raise `OSError` if there is none."""
    if _can_others_write(found := file.stat()):
        raise ConfigurationError(f"Others on this machine can change the {what} {file}: chmod go-w {file}")
    folder = file.absolute().parent
    if folder.stat().st_mode & stat.S_ISVTX and found.st_uid not in (os.geteuid(), 0):
        raise ConfigurationError(
            f"The {what} {file} belongs to another user, in a folder where every user can create files. Use a folder of your own."
        )


def require_database(path: Path) -> None:
    """Raise `ConfigurationError` if others can change a SQLite file, its log or its folder: they could give themselves roles.

    Files that do not exist are passed over.
    """
    try:
        path = path.resolve()
        if path.is_symlink():
            raise ConfigurationError(f"The database {path} cannot be used: its symbolic links lead in a circle.")
        folder = path.parent
        if folder.is_dir() and _can_others_write(found := folder.stat()) and not found.st_mode & stat.S_ISVTX:
            raise ConfigurationError(f"Others on this machine can replace the files in {folder}: chmod go-w {folder}")
        for file in (path, *(path.with_name(path.name + log) for log in _LOGS)):
            if file.exists():
                require_unchangeable(file, "database file")
    except (OSError, RuntimeError) as problem:  # RuntimeError: a circle of links, before Python 3.13
        raise ConfigurationError(f"The database {path} cannot be used: {problem}") from None


def warn_if_readable(file: Path) -> None:
    """Log a warning if every user of this machine can read a file. Raise `OSError` if there is none."""
    if file.stat().st_mode & stat.S_IROTH:
        _log.warning("file_readable_by_others", file=str(file.absolute()), do=f"chmod o-r {file.absolute()}")


def _can_others_write(found: os.stat_result) -> bool:
    own_group = found.st_gid == os.getegid()
    return bool(found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not own_group))
