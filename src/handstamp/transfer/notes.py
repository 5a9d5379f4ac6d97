"""Notes about the rows of a file, so that memory does not grow with their number."""

from __future__ import annotations

import sqlite3


class Notes:
    """Texts and numbers by key, in a temporary file that is deleted with the process at the latest."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE note (key TEXT PRIMARY KEY, value) WITHOUT ROWID")

    def find_first(self, key: str, line: int) -> int:
        """Return the line that was first asked about with this key, which is `line` at the first time."""
        self._database.execute("INSERT OR IGNORE INTO note VALUES (?, ?)", (key, line))
        return int(self._find(key))

    def add_hash(self, account_id: str, password_hash: str) -> None:
        """Note the password hash of an account. The first one of an id stays."""
        self._database.execute("INSERT OR IGNORE INTO note VALUES (?, ?)", (f"hash {account_id}", password_hash))

    def find_hash(self, account_id: str) -> str:
        """Return the password hash of an account, "" if none was noted."""
        return str(self._find(f"hash {account_id}"))

    def close(self) -> None:
        """Delete the notes."""
        self._database.close()

    def _find(self, key: str) -> str | int:
        row: tuple[str | int] | None = self._database.execute("SELECT value FROM note WHERE key = ?", (key,)).fetchone()
        return row[0] if row else ""
