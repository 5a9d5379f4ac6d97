"""For programs that call APIs on behalf of a person: authentication for `httpx` that keeps the session alive.

`pip install 'handstamp[client]'`. Read in this order: `tokens`, `file_tokens`, `freshness`, `flight`, `endpoints`, `renewal`;
then `origins`, `challenge`, `auth`.
"""

from .auth import Auth
from .file_tokens import FileTokens
from .tokens import MemoryTokens, StoredTokens, TokenStore

__all__ = ["Auth", "FileTokens", "MemoryTokens", "StoredTokens", "TokenStore"]
