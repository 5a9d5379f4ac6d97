"""Authentication for `httpx2`, the successor of `httpx`.

```python
from handstamp.client.httpx2 import Auth

auth = Auth("https://auth.example.com", FileTokens("tokens.json"), origins=["https://api.example.com"])
with httpx2.Client(auth=auth, base_url="https://api.example.com") as client:
    client.get("/orders")
```

Needs `httpx2` beside `handstamp[client]`.
"""

from __future__ import annotations

import httpx2

from . import auth

__all__ = ["Auth"]


class Auth(auth.Auth, httpx2.Auth):  # type: ignore[misc]  # each declares the flow with requests of its own
    """Does the same as `handstamp.client.Auth`, for clients of `httpx2` and of `httpx`."""

    _streams_in_memory = (*auth.Auth._streams_in_memory, httpx2.ByteStream)  # noqa: SLF001 - its own subclass
