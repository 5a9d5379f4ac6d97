"""For Django REST framework: an authentication class, and a permission that says what a view needs.

```python
HANDSTAMP = {"ISSUER": "https://auth.example.com", "AUDIENCE": "https://api.example.com", "CREDENTIAL": CREDENTIAL}  # settings.py
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["handstamp.verify.drf.HandstampAuthentication"]}

class Orders(APIView):
    permission_classes = [require(scope="orders:read")]
    def get(self, request): return orders_of(request.auth.sub)
```

`request.auth` is the claims, `request.user` a `Principal`. The settings are those of `handstamp.verify.django`, whose middleware
is not needed. The framework's `IsAuthenticated` works too; its 401 has the right header and a body of the framework's own. A
middleware that answers CORS preflights comes before any view.
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
from .bearer import Needs, refuse, suffices
from .django import bearer, header_values
from .verifier import Check

__all__ = ["HandstampAuthentication", "Needed", "Principal", "Refused", "require"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose token it is, as `request.user`: no row of any table."""

    claims: AccessClaims
    is_authenticated = True
    is_anonymous = False

    @property
    def pk(self) -> str:
        """The subject; the framework counts requests by it."""
        return self.claims.sub

    id = pk

    def __str__(self) -> str:
        return self.claims.sub


class HandstampAuthentication(BaseAuthentication):
    """Tells who asks. A request without a token is nobody's, and the view's permissions decide on it."""

    def authenticate(self, request: Request) -> tuple[Principal, AccessClaims] | None:
        """Return the person and the claims, None where no token came. Raises `Refused` for a token that does not hold."""
        needs = Needs(check=_declared(request.parser_context["view"]))
        try:
            claims = bearer().authenticate(request.method, header_values(request), needs)
        except MissingToken:
            return None
        except HandstampError as error:
            raise _refused(request, error) from error
        return Principal(claims), claims

    def authenticate_header(self, _: Request) -> str:
        """Return what a 401 of the framework's own says (RFC 6750 §3: bare where no token came)."""
        return "Bearer"


class Needed(BasePermission):
    """Lets in whoever has a token with all that is needed. It refuses by raising: in an `A | B`, let it be the last."""

    needs = Needs()

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return True; raise `Refused` where something is wanting; return False for somebody whom another class authenticated."""
        if not isinstance(request.auth, AccessClaims) and request.successful_authenticator is not None:
            return False
        try:
            if not isinstance(request.auth, AccessClaims):
                raise MissingToken
            if self.needs.check in (None, _declared(view)):
                suffices(request.auth, self.needs)
            else:
                bearer().authenticate(request.method, header_values(request), self.needs)
        except HandstampError as error:
            raise _refused(request, error) from error
        return True


class Refused(APIException):
    """A request that is refused: the problem in `detail`, which the framework writes as it is."""

    def __init__(self, sent: Refusal) -> None:
        """Take the answer."""
        super().__init__()
        self.status_code = sent.status
        self.detail = msgspec.json.decode(sent.body)


def require(*, scope: str = "", role: str = "", check: Check | None = None) -> type[Needed]:
    """Return a permission class: the view runs with `request.auth`, or the request is refused and the answer says why.

    `scope` is a space-separated list, all of which are needed.
    """
    return type("Needed", (Needed,), {"needs": Needs(scope, role, check)})


class _ProblemRenderer(JSONRenderer):
    """Writes a refusal with its headers and its media type, whatever the client would rather read (RFC 9457 §3)."""

    media_type = MEDIA_TYPE

    def __init__(self, sent: Refusal) -> None:
        self._sent = sent

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:
        """Return the body, and give the answer its headers on the way: an exception can carry only two of them."""
        for name, value in self._sent.headers.items():
            renderer_context["response"][name] = value
        return super().render(data, accepted_media_type, renderer_context)


def _refused(request: Request, error: HandstampError) -> Refused:
    """Return the refusal, after choosing how this request's answer is written."""
    sent = refuse(error)
    request.accepted_renderer, request.accepted_media_type = _ProblemRenderer(sent), MEDIA_TYPE
    return Refused(sent)


def _declared(view: Any) -> Check | None:
    """Return the `check` that the view's own list of permissions declares.

    Authentication comes before permissions. If it followed another policy, an outage that the view has allowed for would stop it.
    """
    listed = (permission for permission in getattr(view, "permission_classes", ()) if isinstance(permission, type))
    return next((it.needs.check for it in listed if issubclass(it, Needed) and it.needs.check), None)
