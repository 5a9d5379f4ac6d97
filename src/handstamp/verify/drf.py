"""For Django REST framework: an authentication class, and permissions that say what a view requires.

```python
HANDSTAMP = {"ISSUER": "https://auth.example.com", "AUDIENCE": "https://api.example.com", "CREDENTIAL": CREDENTIAL}  # settings.py
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["handstamp.verify.drf.HandstampAuthentication"]}

class Orders(APIView):
    permission_classes = [require(scope="orders:read")]
    def get(self, request): return orders_of(request.auth.sub)
```

`request.auth` is the claims, `request.user` a `Principal`. The settings are those of `handstamp.verify.django`, whose middleware
is not needed. The framework's own permissions work too. A 401 of `IsAuthenticated` has the right header and a body of the
framework's own. Permissions that ask Django's user model (`IsAdminUser`, `DjangoModelPermissions`) refuse with 403: tokens have
scopes and roles instead. Middleware that answers CORS preflights runs before any view.

`REST_FRAMEWORK["EXCEPTION_HANDLER"]` may write refusals in your own form, from `Refused.code` and `Refused.status_code`. For
drf-spectacular, import `handstamp.verify.spectacular` in `urls.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from ..domain.claims import AccessClaims
from ..errors import HandstampError, MissingToken, reduce_error
from ..wire.problems import MEDIA_TYPE, Refusal
from .authenticator import Impersonation, Needs
from .django import authenticator, declare, header_values
from .verifier import Check

__all__ = ["HandstampAuthentication", "HandstampPermission", "Principal", "Refused", "require"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The person of an access token, as `request.user`. It is no row of any table and has none of Django's permissions.

    It has the attributes that the framework's permissions, throttles and templates read from a user.
    """

    claims: AccessClaims
    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False
    is_superuser = False

    @property
    def pk(self) -> str:
        """The subject. The framework's throttles count requests by it."""
        return self.claims.sub

    id = pk

    @property
    def username(self) -> str:
        """The subject."""
        return self.claims.sub

    def __str__(self) -> str:
        return self.claims.sub

    def get_username(self) -> str:
        """Return the subject."""
        return self.claims.sub

    def has_perm(self, perm: str, obj: object = None) -> bool:  # noqa: ARG002 - the signature of Django's user
        """Return False: Django's permissions belong to users of its tables."""
        return False

    def has_perms(self, perm_list: Iterable[str], obj: object = None) -> bool:  # noqa: ARG002
        """Return whether no permission is asked for."""
        return not list(perm_list)

    def has_module_perms(self, app_label: str) -> bool:  # noqa: ARG002
        """Return False."""
        return False


class HandstampAuthentication(BaseAuthentication):
    """Authenticates requests that carry an access token. The view's permissions decide about all others."""

    def authenticate(self, request: Request) -> tuple[Principal, AccessClaims] | None:
        """Return the person and the claims, or None without a token.

        Raises:
            Refused: The token is not valid.
        """
        context = getattr(request, "parser_context", None) or {}  # without a view: a request that a test or middleware has made
        needed = _needed_by(context.get("view"))
        try:
            claims = authenticator().authenticate(
                request.method,
                header_values(request),
                Needs(check=needed.check, impersonation=needed.impersonation),
                path=request.path,
                memory=_memory(request),
            )
        except MissingToken:
            return None
        except HandstampError as error:
            raise _exception_for(request, error, needed) from error
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
            if self.needs.check in (None, _needed_by(view).check):
                authenticator().require(request.auth, self.needs, request.method)
            else:
                authenticator().authenticate(
                    request.method, header_values(request), self.needs, path=request.path, memory=_memory(request)
                )
        except HandstampError as error:
            raise _exception_for(request, error, self.needs) from error
        return True


class Refused(APIException):
    """A refused request. `detail` is the problem (RFC 9457), which the framework writes as it is.

    Attributes:
        code: What is wrong, for programs.
    """

    def __init__(self, refusal: Refusal) -> None:
        """Create the exception from the answer to send."""
        super().__init__()
        self.code: str = refusal.code
        self.status_code: int = refusal.status
        self.detail: Any = msgspec.json.decode(refusal.body)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how pickle and copy restore the exception."""
        return reduce_error(self)


def require(
    *,
    scope: str = "",
    role: str = "",
    check: Check | None = None,
    fresh: str | int | None = None,
    acr: str = "",
    impersonation: Impersonation = "safe",
) -> type[HandstampPermission]:
    """Return a permission class. The view runs with `request.auth`; every other request gets an answer that says why.

    Args:
        scope: A space-separated list of scopes, all of which are required.
        role: A role that is required.
        check: How to learn that a session has ended, by default as in the settings.
        fresh: The longest time since the person proved who they are, as "5m" or in seconds. Later, they are asked again.
        acr: How strongly they must have proved it: "mfa" for a second factor, "phr" for a passkey.
        impersonation: When it serves an operator who acts in the place of the person, for support: "safe" for reading alone
            unless the token has the scope `write`, "write" only with that scope, "always" or "never".

    Raises:
        ConfigurationError: An argument is malformed, or `check` needs a credential and the settings have none.
    """
    return type(
        "HandstampPermission",
        (HandstampPermission,),
        {"needs": declare(scope, role, check, fresh, acr, impersonation=impersonation)},
    )


class _ProblemRenderer(JSONRenderer):
    """Writes a refusal with its headers and its media type, whatever the client prefers (RFC 9457 §3).

    If the application's exception handler has replaced the problem, its data is written as the client and the view agreed.
    """

    media_type = MEDIA_TYPE

    def __init__(self, refusal: Refusal, problem: object, request: Request) -> None:
        self._refusal = refusal
        self._problem = problem
        self._agreed: Any = getattr(request, "accepted_renderer", None) or JSONRenderer()
        self._agreed_type: str = getattr(request, "accepted_media_type", None) or JSONRenderer.media_type

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:
        """Return the body, and set the headers of the answer: the framework takes only two of them from an exception."""
        response = renderer_context["response"]
        for name, value in self._refusal.headers.items():
            response.headers.setdefault(name, value)
        if data is self._problem:
            return super().render(data, accepted_media_type, renderer_context)
        response.accepted_renderer = renderer_context["request"].accepted_renderer = self._agreed
        charset = self._agreed.charset
        response["Content-Type"] = f"{self._agreed_type}; charset={charset}" if charset else self._agreed_type
        text = self._agreed.render(data, self._agreed_type, renderer_context)
        return text.encode(charset) if isinstance(text, str) and charset else text


def _exception_for(request: Request, error: HandstampError, needs: Needs) -> Refused:
    """Return the exception for a refusal, and choose its renderer for this request."""
    refusal = authenticator().refuse(error, needs)
    refused = Refused(refusal)
    request.accepted_renderer = _ProblemRenderer(refusal, refused.detail, request)
    request.accepted_media_type = MEDIA_TYPE
    return refused


def _memory(request: Request) -> dict[str, Any]:
    """Return the attributes of Django's own request, which the middleware uses too."""
    attributes: dict[str, Any] = vars(getattr(request, "_request", request))
    return attributes


def _needed_by(view: Any) -> Needs:
    """Return all scopes that the view's own list of permissions declares, and the first `check`.

    The framework authenticates before it looks at permissions. With another policy, authentication could fail in an outage that
    the view allows for.
    """
    listed = (permission for permission in getattr(view, "permission_classes", ()) if isinstance(permission, type))
    declared = [permission.needs for permission in listed if issubclass(permission, HandstampPermission)]
    scopes = dict.fromkeys(scope for needs in declared for scope in needs.scope.split())
    first = next((needs.check for needs in declared if needs.check), None)
    # A permission that declares when it serves operators decides that itself, afterwards.
    impersonation: Impersonation = "always" if declared else "safe"
    return Needs(" ".join(scopes), check=first, impersonation=impersonation)
