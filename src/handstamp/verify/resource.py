"""Tells clients where an API's tokens come from (RFC 9728: OAuth 2.0 Protected Resource Metadata)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from ..domain.binding import PROOF_ALGORITHMS
from ..domain.issuer import is_private
from ..errors import ConfigurationError

WELL_KNOWN = "/.well-known/oauth-protected-resource"


class Resource:
    """An API that accepts access tokens."""

    def __init__(self, url: str) -> None:
        """Describe the API at `url`. Raises `ConfigurationError` unless it is https, or http on this machine, without query."""
        parts = urlsplit(url)
        if not is_private(url) or parts.query or parts.fragment or set(url) & set('"\\ '):
            raise ConfigurationError(f"resource must be written as 'https://api.example.com/orders', not {url!r}.")
        self.url = url
        self.path: str = WELL_KNOWN + parts.path.rstrip("/")
        """The path of the metadata (RFC 9728 §3.1)."""
        self._metadata_url = f"{parts.scheme}://{parts.netloc}{self.path}"

    def metadata(self, issuer: str, scopes: Sequence[str]) -> dict[str, Any]:
        """Return the metadata (RFC 9728 §2)."""
        document: dict[str, Any] = {
            "resource": self.url,
            "authorization_servers": [issuer],
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": list(PROOF_ALGORITHMS),
        }
        return document | ({"scopes_supported": list(scopes)} if scopes else {})

    def describe(self, challenge: str, scope: str) -> str:
        """Return a challenge with the scopes that are needed and the URL of the metadata (RFC 9728 §5.1, RFC 6750 §3)."""
        more = [f'scope="{scope}"'] if scope and " scope=" not in challenge else []
        more.append(f'resource_metadata="{self._metadata_url}"')
        return f"{challenge}{',' if '=' in challenge else ''} {', '.join(more)}"
