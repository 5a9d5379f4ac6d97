"""The table of endpoints: what is served where, what it takes and what it can answer.

Requests are routed by it and the OpenAPI document is made of it, so the document cannot say anything else than what happens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import (
    AccountExists,
    CrossSite,
    ExpiredToken,
    HandstampError,
    InvalidClient,
    InvalidCredentials,
    InvalidFields,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    NotFound,
    RequestTooLarge,
    SessionEnded,
    TooManyAttempts,
    UnsupportedMediaType,
)
from .edge import Edge
from .endpoints import Endpoints
from .messages import (
    HealthAnswer,
    IntrospectAnswer,
    IntrospectForm,
    JwksAnswer,
    LoginRequest,
    LogoutRequest,
    MetadataAnswer,
    OAuthTokenAnswer,
    PasswordRequest,
    ProfileAnswer,
    RefreshRequest,
    RegisterAnswer,
    RegisterRequest,
    RevocationsAnswer,
    RevokeForm,
    SessionsAnswer,
    TokenAnswer,
    TokenForm,
)
from .oauth.endpoints import OAuthEndpoints, write_oauth_error
from .problems import write_problem
from .transport import Call, clear_judged

_BODY = (InvalidRequest, InvalidFields, RequestTooLarge, UnsupportedMediaType)
_ACCESS = (InvalidRequest, MissingToken, InvalidToken, ExpiredToken, SessionEnded)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint. `errors` come on top of `Unavailable`, which every endpoint may answer.

    One that takes a form speaks OAuth, and is a method of `OAuthEndpoints`; the others are of `Endpoints`.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    run: Callable[[Any, Call, Any], Awaitable[Response]]
    summary: str
    body: type[msgspec.Struct] | None = None
    body_required: bool = True
    form: type[msgspec.Struct] | None = None
    query: Mapping[str, str] = {}
    answer: type[msgspec.Struct] | None = None
    status: int = 200
    errors: tuple[type[HandstampError], ...] = ()
    credential: Literal["access", "refresh", "any", "client"] | None = None
    signs_in: bool = False


OPERATIONS = (
    Operation(
        method="POST",
        path="/register",
        run=Endpoints.register,
        summary="Make an account",
        body=RegisterRequest,
        answer=RegisterAnswer,
        status=201,
        errors=(*_BODY, CrossSite, NotFound, AccountExists, TooManyAttempts),
    ),
    Operation(
        method="POST",
        path="/login",
        run=Endpoints.login,
        summary="Sign in",
        body=LoginRequest,
        answer=TokenAnswer,
        errors=(*_BODY, InvalidCredentials, CrossSite, TooManyAttempts),
        signs_in=True,
    ),
    Operation(
        method="POST",
        path="/refresh",
        run=Endpoints.refresh,
        summary="Renew the access token; the refresh token is replaced too",
        body=RefreshRequest,
        body_required=False,
        answer=TokenAnswer,
        errors=(*_BODY, MissingToken, InvalidToken, SessionEnded, CrossSite),
        credential="refresh",
    ),
    Operation(
        method="GET",
        path="/profile",
        run=Endpoints.profile,
        summary="Who is signed in",
        answer=ProfileAnswer,
        errors=_ACCESS,
        credential="access",
    ),
    Operation(
        method="POST",
        path="/logout",
        run=Endpoints.logout,
        summary="Sign out with any token of the session, or with none",
        body=LogoutRequest,
        body_required=False,
        status=204,
        errors=(*_BODY, CrossSite),
        credential="any",
    ),
    Operation(
        method="POST",
        path="/logout-everywhere",
        run=Endpoints.logout_everywhere,
        summary="End every session of this person",
        status=204,
        errors=(*_ACCESS, CrossSite),
        credential="access",
    ),
    Operation(
        method="GET",
        path="/sessions",
        run=Endpoints.list_sessions,
        summary="This person's living sessions, last seen first",
        answer=SessionsAnswer,
        errors=_ACCESS,
        credential="access",
    ),
    Operation(
        method="DELETE",
        path="/sessions/{id}",
        run=Endpoints.end_session,
        summary="End one of this person's sessions",
        status=204,
        errors=(*_ACCESS, CrossSite, NotFound),
        credential="access",
    ),
    Operation(
        method="POST",
        path="/password",
        run=Endpoints.change_password,
        summary="Change the password; every other session ends, this one is replaced",
        body=PasswordRequest,
        answer=TokenAnswer,
        errors=(*_BODY, *_ACCESS, InvalidCredentials, CrossSite, NotFound, TooManyAttempts),
        credential="access",
    ),
    Operation(
        method="GET",
        path="/.well-known/jwks.json",
        run=Endpoints.jwks,
        summary="The public keys of the access tokens (RFC 7517)",
        answer=JwksAnswer,
    ),
    Operation(
        method="GET",
        path="/.well-known/oauth-authorization-server",
        run=Endpoints.authorization_server,
        summary="Where things are, for software that speaks OAuth 2 (RFC 8414)",
        answer=MetadataAnswer,
    ),
    Operation(
        method="POST",
        path="/token",
        run=OAuthEndpoints.token,
        summary="Renew the access token, in OAuth's words (RFC 6749 §6)",
        form=TokenForm,
        answer=OAuthTokenAnswer,
        errors=(*_BODY, InvalidToken, InvalidClient, CrossSite),
    ),
    Operation(
        method="POST",
        path="/revoke",
        run=OAuthEndpoints.revoke,
        summary="Sign out with a token of either kind, in OAuth's words (RFC 7009)",
        form=RevokeForm,
        errors=(*_BODY, InvalidClient, CrossSite),
    ),
    Operation(
        method="POST",
        path="/introspect",
        run=OAuthEndpoints.introspect,
        summary="Whether an access token holds, for other services (RFC 7662)",
        form=IntrospectForm,
        answer=IntrospectAnswer,
        errors=(*_BODY, InvalidClient, CrossSite),
        credential="client",
    ),
    Operation(
        method="GET",
        path="/revocations",
        run=Endpoints.revoked,
        summary="Which sessions ended, for other services that verify tokens",
        query={
            "after": "The cursor of the last answer; without it, everything",
            "wait": "How many seconds to wait for something to end, 0 to 5",
        },
        answer=RevocationsAnswer,
        errors=(InvalidFields, InvalidClient),
        credential="client",
    ),
    Operation(method="GET", path="/healthz", run=Endpoints.healthz, summary="The process is alive", answer=HealthAnswer),
    Operation(
        method="GET",
        path="/readyz",
        run=Endpoints.readyz,
        summary="Requests can be served: the store answers and a signing key is active",
        answer=HealthAnswer,
    ),
)


def routes(endpoints: Endpoints, oauth: OAuthEndpoints, edge: Edge) -> list[Route]:
    """Return the routes of all operations."""

    def endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def handle(call: Call) -> Response:
            if operation.form is not None:
                return await operation.run(oauth, call, await call.form(operation.form))
            body = None if operation.body is None else await call.body(operation.body)
            return await operation.run(endpoints, call, body)

        write_error = _write_problem if operation.form is None else _write_oauth_error
        return edge.endpoint(handle, path=operation.path, write_error=write_error, signs_in=operation.signs_in)

    found = [Route(operation.path, endpoint(operation), methods=[operation.method]) for operation in OPERATIONS]
    # RFC 8414 §3.1 puts the issuer's path behind the well-known name; a proxy may pass either on to us.
    by_path = [
        Route(f"{operation.path}{edge.issuer.path}", endpoint(operation), methods=["GET"])
        for operation in OPERATIONS
        if edge.issuer.path and operation.run is Endpoints.authorization_server
    ]
    return [*found, *by_path]


def _write_problem(error: HandstampError, call: Call) -> Response:
    response = write_problem(error)
    return clear_judged(response, call) if isinstance(error, SessionEnded) and not error.session_lives else response


def _write_oauth_error(error: HandstampError, _: Call) -> Response:
    return write_oauth_error(error)
