"""The table of endpoints: what is served where, what it takes and what it can answer.

Requests are routed by it and the OpenAPI document is made of it, so the document cannot say anything else than what happens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Literal

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..clock import Clock
from ..errors import (
    AccountExists,
    CrossSite,
    ExpiredToken,
    HandstampError,
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
from . import origin
from .endpoints import Endpoints
from .messages import (
    HealthAnswer,
    JwksAnswer,
    LoginRequest,
    LogoutRequest,
    PasswordRequest,
    ProfileAnswer,
    RefreshRequest,
    RegisterAnswer,
    RegisterRequest,
    SessionsAnswer,
    TokenAnswer,
)
from .problems import write_problem
from .transport import Call, Cookies, clear_judged

_BODY = (InvalidRequest, InvalidFields, RequestTooLarge, UnsupportedMediaType)
_ACCESS = (InvalidRequest, MissingToken, InvalidToken, ExpiredToken, SessionEnded)
_log = structlog.get_logger("handstamp.web")


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint. `errors` come on top of `Unavailable`, which every endpoint may answer."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    run: Callable[[Endpoints, Call, Any], Awaitable[Response]]
    summary: str
    body: type[msgspec.Struct] | None = None
    body_required: bool = True
    answer: type[msgspec.Struct] | None = None
    status: int = 200
    errors: tuple[type[HandstampError], ...] = ()
    credential: Literal["access", "refresh", "any"] | None = None
    signs_in: bool = False

    @property
    def is_unsafe(self) -> bool:
        """Whether it may change something, and so must not be caused by another site's page."""
        return self.method not in origin.SAFE_METHODS


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
    Operation(method="GET", path="/healthz", run=Endpoints.healthz, summary="The process is alive", answer=HealthAnswer),
    Operation(
        method="GET",
        path="/readyz",
        run=Endpoints.readyz,
        summary="Requests can be served: the store answers and a signing key is active",
        answer=HealthAnswer,
    ),
)


def routes(
    endpoints: Endpoints, *, clock: Clock, cookies: Cookies, own_origin: str, trusted_origins: Collection[str]
) -> list[Route]:
    """Return the routes of all operations."""

    def serve(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            call = Call(request, clock=clock, cookies=cookies)
            try:
                if operation.is_unsafe:
                    origin.check(
                        call.headers,
                        carries_cookie=call.carries_cookie,
                        signs_in=operation.signs_in,
                        own=own_origin,
                        trusted=trusted_origins,
                    )
                return await operation.run(endpoints, call, await call.body(operation.body))
            except SessionEnded as over:
                response = write_problem(over)
                return response if over.session_lives else clear_judged(response, call)
            except HandstampError as error:
                return write_problem(error)
            except Exception:  # noqa: BLE001 - whoever asked gets an answer without details, the log gets all of them
                _log.exception("unexpected_error", method=operation.method, path=operation.path)
                return write_problem(HandstampError("The request failed, and its details are in the service's log."))

        return handle

    return [Route(operation.path, serve(operation), methods=[operation.method]) for operation in OPERATIONS]
