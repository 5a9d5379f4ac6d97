"""For drf-spectacular: describes `HandstampAuthentication` in the OpenAPI document.

Import it once, for example in `urls.py`: `import handstamp.verify.spectacular`. drf-spectacular finds extensions that have been
imported.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from .django import authenticator

__all__ = ["HandstampScheme"]


class HandstampScheme(OpenApiAuthenticationExtension):
    """The header and the cookie in which a token may come."""

    target_class: str = "handstamp.verify.drf.HandstampAuthentication"
    name: Any = ("bearer", "cookie")

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:  # noqa: ARG002 - the extension's signature
        """Return the security schemes, in the order of their names."""
        return [
            {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access token"},
            {"type": "apiKey", "in": "cookie", "name": authenticator().cookie},
        ]

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[str]]]:  # noqa: ARG002
        """Return that either of them is enough."""
        return [{name: []} for name in self.name]
