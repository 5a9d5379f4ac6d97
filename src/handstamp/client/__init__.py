"""For programs that call APIs with a person's tokens: `httpx` with everything that keeps a session alive.

`pip install 'handstamp[client]'`. Read in this order: `tokens`, `file_tokens`, `freshness`, `flight`, `service`, `renewal`; then
`origins`, `challenge`, `auth`.
"""

from .auth import Auth
from .file_tokens import FileTokens
from .tokens import MemoryTokens, Tokens, TokenStore

__all__ = ["Auth", "FileTokens", "MemoryTokens", "TokenStore", "Tokens"]
