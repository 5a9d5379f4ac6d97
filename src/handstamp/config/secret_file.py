"""Load the master secret, and create its file at the first start."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from ..crypto.seal import MasterSecret
from ..errors import ConfigurationError
from .private_files import require_secret
from .settings import Settings

_NAME = "handstamp.secret"


def load_master_secret(settings: Settings, *, may_create: bool = True) -> MasterSecret:
    """Return the master secret with the previous ones beside it.

    If neither its file nor a database exists yet, the file is created with mode 0600. A missing file beside an existing
    database is never replaced: a new secret would void every session. With `may_create=False` none is ever created.

    Raises:
        ConfigurationError: If there is no secret, one is weak, or others can read the file of one.
    """
    previous = [*settings.previous_secrets, *(_read(file) for file in settings.previous_secret_files)]
    return _load_current(settings, may_create=may_create).beside(previous)


def _load_current(settings: Settings, *, may_create: bool) -> MasterSecret:
    if settings.secret is not None:
        if settings.secret_file is not None:
            raise ConfigurationError("Both HANDSTAMP_SECRET and HANDSTAMP_SECRET_FILE are set: keep one.")
        return settings.secret
    file, database = settings.secret_file, settings.database_path
    if file is None and database is not None:
        file = database.with_name(_NAME)
    if file is None:
        raise ConfigurationError(
            "With PostgreSQL every node needs the same master secret: set HANDSTAMP_SECRET, or HANDSTAMP_SECRET_FILE. "
            "Make one with:  openssl rand -hex 32"
        )
    try:
        if may_create and database is not None and not file.exists():
            _create(file, database)
    except OSError as problem:
        raise ConfigurationError(f"The secret file {file} cannot be created: {problem}") from None
    return _read(file)


def _read(file: Path) -> MasterSecret:
    try:
        require_secret(file, "secret file")
        text = file.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"The secret file {file} cannot be read: {problem}") from None
    return MasterSecret(text.encode())


def _create(file: Path, database: Path) -> None:
    if database.exists() and database.stat().st_size > 0:
        if file.exists():  # another process has just created both
            return
        raise ConfigurationError(
            f"The secret file {file} is missing, but the database {database} was created with it. "
            "Restore the file from your backup, or set HANDSTAMP_SECRET."
        )
    # A name that is not taken: in a container every process is number 1, and a killed start leaves its draft behind.
    descriptor, name = tempfile.mkstemp(prefix=f"{file.name}.", dir=file.parent)  # mode 0600
    draft = Path(name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(MasterSecret.generate_text() + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    with suppress(FileExistsError):  # another process was faster, and its secret stays
        os.link(draft, file)
    draft.unlink()
