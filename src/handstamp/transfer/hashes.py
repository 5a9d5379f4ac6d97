"""What the file of `--hashes` contains: password hashes by id, or the parameters of Firebase's."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import ConfigurationError
from .fields import Unusable
from .notes import Notes
from .reading import Row, read_rows
from .sources import MakeHash, Values

_PARAMETER = re.compile(r"(base64_signer_key|base64_salt_separator|rounds|mem_cost)\"?\s*[:=]\s*\"?([A-Za-z0-9+/=_-]{1,400})")


def note_hashes(file: Path, read_hash: Callable[[Values], tuple[str, str]], notes: Notes) -> None:
    """Note the hashes of a file by the ids of their accounts. Rows that have none are passed over.

    Raises:
        ConfigurationError: If the file is of another kind.
        OSError: If it cannot be read.
    """
    with file.open("rb", buffering=0) as opened:
        for row in read_rows(opened):
            with suppress(Unusable):
                account_id, password_hash = read_hash(row.values) if isinstance(row, Row) else ("", "")
                if account_id and password_hash:
                    notes.add_hash(account_id, password_hash)


def read_firebase_parameters(text: str) -> MakeHash:
    """Return what makes a hash from an account's salt and digest, with the parameters that Firebase's console shows.

    Raises:
        ConfigurationError: If a parameter is missing.
    """
    found = {name: _to_base64(value) for name, value in _PARAMETER.findall(text)}
    missing = {"base64_signer_key", "rounds", "mem_cost"} - found.keys()
    if missing:
        raise ConfigurationError(
            f"The file of --hashes lacks {', '.join(sorted(missing))}. Copy the hash parameters from Firebase's console: "
            "Authentication, Users, the three dots, Password hash parameters."
        )
    costs = f"n={found['mem_cost']},r={found['rounds']},p=1"
    start = f"$fbscrypt$v=1,{costs},ss={found.get('base64_salt_separator', '')},sk={found['base64_signer_key']}"
    return lambda salt, digest: f"{start}${_to_base64(salt)}${_to_base64(digest)}"


def _to_base64(text: str) -> str:
    """Return base64 in its standard alphabet (RFC 4648 §4)."""
    return text.replace("-", "+").replace("_", "/")
