"""The table of operations, and the route that finds what is served at a path with one look-up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..clock import monotonic_s
from ..errors import HandstampError, InvalidRequest, NotFound
from ..languages.catalogue import open_catalogue
from ..languages.choice import accepted_language
from ..text import mark
from ..wire.problems import MethodNotAllowed
from .admin import accounts as admin_accounts
from .admin import delivery as admin_delivery
from .admin import impersonation as admin_impersonation
from .admin import service as admin_service
from .admin import sessions as admin_sessions
from .admin import statistics as admin_statistics
from .answers import write_problem
from .api import (
    accounts,
    change_email,
    device,
    diagnostics,
    factors,
    health,
    identities,
    keys,
    login,
    login_code,
    metrics,
    own_data,
    passkeys,
    password,
    profile,
    providers,
    refresh,
    reset_password,
    revocations,
    second_factor,
    sessions,
    sign_out,
    verify_email,
)
from .api.tokens import TokenAnswer
from .body import read_form, read_json
from .edge import Call, Edge, Handler
from .headers import SecurityHeaders, TimeRequest
from .oauth import introspect, metadata, revoke, token
from .operation import Operation, UseCases
from .repeatable import read_repeatable

OPERATIONS: tuple[Operation, ...] = (
    *accounts.OPERATIONS,
    *login.OPERATIONS,
    *login_code.OPERATIONS,
    *second_factor.OPERATIONS,
    *factors.OPERATIONS,
    *passkeys.OPERATIONS,
    *providers.OPERATIONS,
    *identities.OPERATIONS,
    *verify_email.OPERATIONS,
    *refresh.OPERATIONS,
    *device.OPERATIONS,
    *profile.OPERATIONS,
    *sign_out.OPERATIONS,
    *sessions.OPERATIONS,
    *password.OPERATIONS,
    *reset_password.OPERATIONS,
    *change_email.OPERATIONS,
    *own_data.OPERATIONS,
    *keys.OPERATIONS,
    *metadata.OPERATIONS,
    *token.OPERATIONS,
    *revoke.OPERATIONS,
    *introspect.OPERATIONS,
    *revocations.OPERATIONS,
    *metrics.OPERATIONS,
    *diagnostics.OPERATIONS,
    *health.OPERATIONS,
    *admin_accounts.OPERATIONS,
    *admin_impersonation.OPERATIONS,
    *admin_sessions.OPERATIONS,
    *admin_service.OPERATIONS,
    *admin_statistics.OPERATIONS,
    *admin_delivery.OPERATIONS,
)


def operation_routes(use: UseCases, edge: Edge) -> list[Route]:
    """Return the routes of all operations. A route has the name of its operation's handler."""
    routes = [_route(operation, operation.path, use, edge) for operation in OPERATIONS]
    if edge.issuer.path:  # RFC 8414 §3.1 appends the issuer's path; a proxy may pass either path on to us
        routes += [_route(each, f"{each.path}{edge.issuer.path}", use, edge) for each in metadata.OPERATIONS]
    return routes


def _route(operation: Operation, path: str, use: UseCases, edge: Edge) -> Route:
    endpoint = edge.endpoint(
        _handler(operation, use),
        path=path,
        write_error=operation.write_error,
        signs_in=operation.signs_in,
        begins_session=operation.signs_in and operation.answer is TokenAnswer,
        is_public=operation.is_public,
        own_pages_only=operation.own_pages_only,
        budget=operation.budget,
    )
    return Route(path, endpoint, methods=[operation.method], name=operation.run.__name__)


def _handler(operation: Operation, use: UseCases) -> Handler:
    """Return what decodes the body of an operation and runs it. If it is for operators only, that is checked before all else."""
    if operation.credential != "operator":
        return _reader(operation, use)

    async def admit_and_run(call: Call) -> Response:
        await use.admit_operator(call)
        body = None if operation.body is None else await read_json(call.request, operation.body)
        if operation.is_repeatable:
            name, content = f"{operation.method} {call.request.scope['path']}", msgspec.json.encode(body).decode()
            call.admit(msgspec.structs.replace(call.operator, request=read_repeatable(call, name, content)))
        return await operation.run(use, call, body)

    return admit_and_run


def _reader(operation: Operation, use: UseCases) -> Handler:
    run, body, form = operation.run, operation.body, operation.form
    if body is not None and operation.runs_without_body:

        async def run_in_any_case(call: Call) -> Response:
            try:
                decoded = await read_json(call.request, body)
            except InvalidRequest:
                response = await run(use, call, None)
                if not call.all_tokens():
                    raise
                return response
            return await run(use, call, decoded)

        return run_in_any_case
    if body is not None:

        async def run_with_json(call: Call) -> Response:
            return await run(use, call, await read_json(call.request, body))

        return run_with_json
    if form is not None:

        async def run_with_form(call: Call) -> Response:
            return await run(use, call, await read_form(call.request, form))

        return run_with_form
    return lambda call: run(use, call, None)


class Routes:
    """All routes of the application: exact paths are found in a dictionary, the few with parameters one by one.

    `scope["route"]` is then the route that serves the request, for middleware that measures or traces.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        others: ASGIApp,
        headers: SecurityHeaders,
        *,
        issuer_path: str = "",
        time_request: TimeRequest | None = None,
    ) -> None:
        """Serve these routes.

        Args:
            routes: Their endpoints take a request and return the answer; they may raise `HTTPException`.
            others: The application for everything that is not a request.
            headers: What every answer gets.
            time_request: What each answered request is reported to, if they are timed.
            issuer_path: The path of the issuer. A proxy may remove it from each request or leave it there, and both are served.
                If one of the routes begins with the same segment, requests with and without it could be confused: then it must
                be removed.
        """
        by_path: dict[str, dict[str, Route]] = defaultdict(dict)
        for route in routes:
            by_path[route.path] |= dict.fromkeys(route.methods or (), route)
        self._others = others
        self._headers = headers
        self._time_request = time_request
        is_unique = _first_segment(issuer_path) not in {_first_segment(path) for path in by_path}
        self._kept = issuer_path if is_unique else ""
        self._allowed = {path: ", ".join(sorted(by_method)) for path, by_method in by_path.items()}
        self._exact = {path: by_method for path, by_method in by_path.items() if "{" not in path}
        self._patterns = [by_method for path, by_method in by_path.items() if "{" in path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        began_s = 0.0 if self._time_request is None else monotonic_s()
        by_method, route = self._find(scope), None
        if by_method is None:
            response = await _write_routing_problem(404, "", scope)
        else:
            scope["route"] = route = by_method.get(scope["method"]) or _any_of(by_method)
            try:
                if scope["method"] not in by_method:
                    raise HTTPException(405)  # noqa: TRY301 - as files do
                run: Callable[[Request], Awaitable[Response]] = route.endpoint
                response = await run(Request(scope, receive, send))
            except HTTPException as error:
                response = await _write_routing_problem(error.status_code, self._allowed[route.path], scope)
        self._headers.add_to(response)
        await response(scope, receive, send)
        if self._time_request is not None:
            path = "other" if route is None else route.path
            self._time_request(path, scope["method"], response.status_code, monotonic_s() - began_s)

    def _find(self, scope: Scope) -> dict[str, Route] | None:
        """Return the routes of a path by method, and put into the scope what the path says."""
        path: str = scope["path"]
        if root := scope.get("root_path"):
            path = path.removeprefix(root)
        elif self._kept and f"{path}/".startswith(f"{self._kept}/"):
            path = path.removeprefix(self._kept) or "/"
            scope["root_path"] = self._kept
        if by_method := self._exact.get(path):
            return by_method
        for by_method in self._patterns:
            route = by_method.get(scope["method"]) or _any_of(by_method)
            match, child_scope = route.matches(scope)
            if match is not Match.NONE:
                scope.update(child_scope)
                return by_method
        return None


def _first_segment(path: str) -> str:
    return path.split("/")[1] if path else ""


def _any_of(by_method: dict[str, Route]) -> Route:
    return next(iter(by_method.values()))


async def _write_routing_problem(status: int, allowed: str, scope: Scope) -> Response:
    problem: HandstampError
    match status:
        case 404:
            problem = NotFound(mark("There is nothing at this address. /docs lists what there is."))
        case 405:
            problem = MethodNotAllowed(mark("This address does not allow this method. It allows %(methods)s.", methods=allowed))
        case _:
            problem = InvalidRequest(mark("The request cannot be understood."))
    accepted = Headers(scope=scope).get("accept-language", "")
    response = write_problem(problem, scope, await open_catalogue(accepted_language(accepted)))
    if status == 405:
        response.headers["allow"] = allowed  # RFC 9110 §15.5.6
    return response
