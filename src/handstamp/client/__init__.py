"""For programs that call APIs on behalf of a person: authentication for `httpx` that keeps the session alive.

`pip install 'handstamp[client]'`. Read in this order: `tokens`, `file_tokens`, `freshness`, `flight`, `answers`, `endpoints`,
`renewal`, `session`, `second_step`, `accounts`; then `origins`, `challenge`, `auth`.
"""

from .accounts import Accounts, MailSent
from .auth import Auth
from .file_tokens import FileTokens
from .second_step import Proof
from .tokens import MemoryTokens, StoredTokens, TokenStore

__all__ = ["Accounts", "Auth", "FileTokens", "MailSent", "MemoryTokens", "Proof", "StoredTokens", "TokenStore"]
