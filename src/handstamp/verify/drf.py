"""For Django REST framework: an authentication class, and permissions that say what a view requires.

```python
HANDSTAMP = {"ISSUER": "https://auth.example.com", "AUDIENCE": "https://api.example.com", "CREDENTIAL": CREDENTIAL}  # settings.py
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["handstamp.verify.drf.HandstampAuthentication"]}

class Orders(APIView):
    permission_classes = [require(scope="orders:read")]
    def get(self, request): return orders_of(request.auth.sub)
```

`request.auth` is the claims, `request.user` a `Principal`. The settings are those of `handstamp.verify.django`, whose middleware
is not needed. The framework's `IsAuthenticated` works too; its 401 has the right header and a body of the framework's own.
Middleware that answers CORS preflights runs before any view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from ..domain.claims import AccessClaims
from ..errors import HandstampError, MissingToken
from ..wire.problems import MEDIA_TYPE, Refusal
from .authenticator import Needs, refuse, require_scope_and_role
from .django import authenticator, header_values
from .verifier import Check

__all__ = ["HandstampAuthentication", "HandstampPermission", "Principal", "Refused", "require"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The person of an access token, as `request.user`. It is no row of any table."""

    claims: AccessClaims
    is_authenticated = True
    is_anonymous = False

    @property
    def pk(self) -> str:
        """The subject. The framework's throttles count requests by it."""
        return self.claims.sub

    id = pk

    def __str__(self) -> str:
        return self.claims.sub


class HandstampAuthentication(BaseAuthentication):
    """Authenticates requests that carry an access token. The view's permissions decide about all others."""

    def authenticate(self, request: Request) -> tuple[Principal, AccessClaims] | None:
        """Return the person and the claims, or None without a token.

        Raises:
            Refused: The token is not valid.
        """
        needs = Needs(check=_declared_check(request.parser_context["view"]))
        try:
            claims = authenticator().authenticate(request.method, header_values(request), needs)
        except MissingToken:
            return None
        except HandstampError as error:
            raise _exception_for(request, error) from error
        return Principal(claims), claims

    def authenticate_header(self, _: Request) -> str:
        """Return the challenge of the framework's own 401: without an error code, since there was no token (RFC 6750 §3)."""
        return "Bearer"


class HandstampPermission(BasePermission):
    """Requires an access token with the scopes and the role of `needs`. It refuses by raising: put it last in `A | B`."""

    needs: Needs = Needs()

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return True if the requirements are met, False for a person whom another class has authenticated.

        Raises:
            Refused: There is no valid token, or it lacks a scope or the role.
        """
        if not isinstance(request.auth, AccessClaims) and request.successful_authenticator is not None:
            return False
        try:
            if not isinstance(request.auth, AccessClaims):
                raise MissingToken
            if self.needs.check in (None, _declared_check(view)):
                require_scope_and_role(request.auth, self.needs)
            else:
                authenticator().authenticate(request.method, header_values(request), self.needs)
        except HandstampError as error:
            raise _exception_for(request, error) from error
        return True


class Refused(APIException):
    """A refused request. `detail` is the problem (RFC 9457), which the framework writes as it is."""

    __reduce__ = HandstampError.__reduce__

    def __init__(self, refusal: Refusal) -> None:
        """Create the exception from the answer to send."""
        super().__init__()
        self.status_code: int = refusal.status
        self.detail: Any = msgspec.json.decode(refusal.body)


def require(*, scope: str = "", role: str = "", check: Check | None = None) -> type[HandstampPermission]:
    """Return a permission class. The view runs with `request.auth`; every other request gets an answer that says why.

    Args:
        scope: A space-separated list of scopes, all of which are required.
        role: A role that is required.
        check: How to learn that a session has ended, by default as in the settings.
    """
    return type("HandstampPermission", (HandstampPermission,), {"needs": Needs(scope, role, check)})


class _ProblemRenderer(JSONRenderer):
    """Writes a refusal with its headers and its media type, whatever the client prefers (RFC 9457 §3)."""

    media_type = MEDIA_TYPE

    def __init__(self, refusal: Refusal) -> None:
        self._refusal = refusal

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:
        """Return the body, and set the headers of the answer: the framework takes only two of them from an exception."""
        for name, value in self._refusal.headers.items():
            renderer_context["response"][name] = value
        return super().render(data, accepted_media_type, renderer_context)


def _exception_for(request: Request, error: HandstampError) -> Refused:
    """Return the exception for a refusal, and choose its renderer for this request."""
    refusal = refuse(error)
    request.accepted_renderer, request.accepted_media_type = _ProblemRenderer(refusal), MEDIA_TYPE
    return Refused(refusal)


def _declared_check(view: Any) -> Check | None:
    """Return the `check` that the view's own list of permissions declares.

    The framework authenticates before it looks at permissions. With another policy, authentication could fail in an outage that
    the view allows for.
    """
    listed = (permission for permission in getattr(view, "permission_classes", ()) if isinstance(permission, type))
    return next((it.needs.check for it in listed if issubclass(it, HandstampPermission) and it.needs.check), None)
