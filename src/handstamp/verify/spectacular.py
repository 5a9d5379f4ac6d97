"""For drf-spectacular: describes `HandstampAuthentication` in the OpenAPI document.

Import it once, for example in `urls.py`: `import handstamp.verify.spectacular`. drf-spectacular finds extensions that have been
imported.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from ..wire.bearer import BOUND_TOKEN
from .django import authenticator

__all__ = ["HandstampScheme"]


class HandstampScheme(OpenApiAuthenticationExtension):
    """The headers and the cookie in which a token may come."""

    target_class: str = "handstamp.verify.drf.HandstampAuthentication"

    @property
    def name(self) -> Any:
        """The names of the security schemes."""
        return list(_describe())

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:  # noqa: ARG002 - the extension's signature
        """Return the security schemes, in the order of their names."""
        return list(_describe().values())

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[str]]]:  # noqa: ARG002
        """Return that any one of them is enough."""
        return [{name: []} for name in _describe()]


def _describe() -> dict[str, dict[str, str]]:
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access token"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": authenticator().cookie},
    }
    if authenticator().accepts_bound_tokens:
        schemes["dpop"] = {"type": "http", "scheme": "DPoP", "description": BOUND_TOKEN}
    return schemes
