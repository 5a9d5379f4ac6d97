"""A decorator for Flask.

```python
require = Require(Verifier("https://auth.example.com", audience="https://api.example.com", credential=CREDENTIAL))

@app.get("/orders")
@require(scope="orders:read")
def orders(): return orders_of(g.claims.sub)
```

A whole blueprint: decorate an empty function with `@blueprint.before_request` and, below it, `@require(role="admin")`. CORS
preflights pass, because browsers send them without credentials (Fetch §4.8): Flask or a decorator such as Flask-CORS answers
them.

With an application factory: `require = Require()` beside the views, and `require.init_app(app, verifier)` in the factory.

An error handler of the application's own for `Refused`, `HTTPException` or the status writes refusals.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from flask import Flask, Response, after_this_request, current_app, request
from flask import g as flask_globals
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, ServiceUnavailable, Unauthorized

from ..errors import ConfigurationError, HandstampError, reduce_error
from ..wire.problems import Refusal
from .authenticator import Authenticator, Impersonation, Needs, make_needs
from .verifier import Check, Verifier

__all__ = ["Refused", "Require"]

View = Callable[..., Any]


class Refused(HTTPException):
    """A refused request. It is answered with the problem (RFC 9457), unless the application has a handler for it.

    Attributes:
        refusal: The answer: `status`, `headers`, `body`, `code`.
    """

    def __init__(self, refusal: Refusal) -> None:
        """Create the exception from the answer to send."""
        HTTPException.__init__(self, refusal.code)
        self.refusal: Refusal = refusal
        self.code: int = refusal.status

    def get_response(self, *_: Any, **__: Any) -> Response:
        """Return the answer."""
        return Response(self.refusal.body, self.refusal.status, content_type=self.refusal.media_type)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how pickle and copy restore the exception."""
        return reduce_error(self)


class _BadRequest(Refused, BadRequest):
    """Status 400. Flask finds the handler of a status by this base class."""


class _Unauthorized(Refused, Unauthorized):
    """Status 401."""


class _Forbidden(Refused, Forbidden):
    """Status 403."""


class _ServiceUnavailable(Refused, ServiceUnavailable):
    """Status 503."""


_BY_STATUS: dict[int, type[Refused]] = {400: _BadRequest, 401: _Unauthorized, 403: _Forbidden, 503: _ServiceUnavailable}


class Require:
    """Makes the decorators of views. Create one per application and call it for each view."""

    def __init__(
        self,
        verifier: Verifier | Callable[[], Verifier] | None = None,
        *,
        trusted_origins: Collection[str] = (),
        resource: str | None = None,
    ) -> None:
        """Create it.

        Args:
            verifier: Verifies the access tokens. A function creates the verifier at the first request. Without one, call
                `init_app` before the first request.
            trusted_origins: Origins (`https://app.example.com`) whose pages may send unsafe requests with the access cookie.
            resource: The public URL of this API. Without it, no token that is bound to a key can be used here (RFC 9449).
                Refusals say where tokens come from (RFC 9728): serve `resource_metadata()`.

        Raises:
            ConfigurationError: An origin is not in the form that browsers send, or `resource` is no https URL without query.
        """
        self._declared: list[Needs] = []
        self._authenticator = (
            None if verifier is None else Authenticator(verifier, trusted_origins=trusted_origins, resource=resource)
        )
        self._trusted_origins, self._resource = trusted_origins, resource

    def init_app(
        self,
        app: Flask,
        verifier: Verifier,
        *,
        trusted_origins: Collection[str] | None = None,
        resource: str | None = None,
    ) -> None:
        """Use a verifier for one application. It replaces the verifier of the constructor there.

        Args:
            app: The application.
            verifier: Verifies the access tokens.
            trusted_origins: As in the constructor, whose value is the default.
            resource: As in the constructor, whose value is the default.

        Raises:
            ConfigurationError: An origin is not in the form that browsers send, or a `check` that a view declares needs a
                credential that the verifier does not have.
        """
        origins = self._trusted_origins if trusted_origins is None else trusted_origins
        authenticator = Authenticator(verifier, trusted_origins=origins, resource=resource or self._resource)
        for needs in self._declared:
            authenticator.declare(needs.scope, needs.role, needs.check)
        app.extensions.setdefault("handstamp", {})[self] = authenticator

    def __call__(
        self,
        *,
        scope: str = "",
        role: str = "",
        check: Check | None = None,
        fresh: str | int | None = None,
        acr: str = "",
        impersonation: Impersonation = "safe",
    ) -> Callable[[View], View]:
        """Return a decorator. The view runs with `flask.g.claims`; every other request gets an answer that says why.

        Args:
            scope: A space-separated list of scopes, all of which are required.
            role: A role that is required.
            check: How to learn that a session has ended, by default the verifier's `check`.
            fresh: The longest time since the person proved who they are, as "5m" or in seconds. Later, they are asked again.
            acr: How strongly they must have proved it: "mfa" for a second factor, "phr" for a passkey.
            impersonation: When it serves an operator who acts in the place of the person, for support: "safe" for reading alone
                unless the token has the scope `write`, "write" only with that scope, "always" or "never".

        Raises:
            ConfigurationError: An argument is malformed, or `check` needs a credential that the verifier does not have.
                Without a verifier, `init_app` raises the latter.
        """
        needs = make_needs(scope, role, check, fresh, acr, impersonation=impersonation)
        self._declared.append(needs)
        if self._authenticator is not None:
            self._authenticator.declare(scope, role, check)

        def decorate(view: View) -> View:
            @wraps(view)
            def protected(*args: Any, **kwargs: Any) -> Any:
                if not _is_preflight():
                    self._authenticate(needs)
                elif _answers_preflights(view):
                    after_this_request(_without_body)
                elif _precedes_answer_to_preflight(protected):
                    after_this_request(_without_body)
                    return None  # from `before_request`: Flask goes on
                else:
                    self._authenticate(needs)
                return current_app.ensure_sync(view)(*args, **kwargs)  # the view may be `async`

            return protected

        return decorate

    def resource_metadata(self) -> dict[str, Any]:
        """Return the metadata (RFC 9728 §2) for a view at `/.well-known/oauth-protected-resource`, followed by the API's path.

        Raises:
            ConfigurationError: `resource` was not given.
        """
        return self._current().resource_metadata()

    def _current(self) -> Authenticator:
        """Return the authenticator of the current application. Raises `ConfigurationError`."""
        found: Authenticator | None = current_app.extensions.get("handstamp", {}).get(self, self._authenticator)
        if found is None:
            raise ConfigurationError("Require has no verifier: call require.init_app(app, verifier) when you create the app.")
        return found

    def _authenticate(self, needs: Needs) -> None:
        """Set `flask.g.claims`. Raises `Refused`."""
        authenticator = self._current()
        try:
            flask_globals.claims = authenticator.authenticate(
                request.method,
                request.headers.getlist,
                needs,
                path=request.script_root + request.path,
                memory=request.environ,
            )
        except HandstampError as error:
            refusal = authenticator.refuse(error, needs)
            after_this_request(_add_headers(refusal))
            raise _BY_STATUS.get(refusal.status, Refused)(refusal) from error


def _add_headers(refusal: Refusal) -> Callable[[Response], Response]:
    """Return a function that adds the headers of a refusal to any answer."""

    def add(response: Response) -> Response:
        for name, value in refusal.headers.items():
            response.headers.setdefault(name, value)
        return response

    return add


def _is_preflight() -> bool:
    """Return whether a browser asks if it may send a request (Fetch §4.8)."""
    return request.method == "OPTIONS" and "origin" in request.headers and "access-control-request-method" in request.headers


def _precedes_answer_to_preflight(function: View) -> bool:
    """Return whether a function runs before the view, and Flask or a decorator of the view will answer the preflight."""
    rule = request.url_rule
    if rule is None:
        return False
    part: View | None = current_app.view_functions[rule.endpoint]
    if not getattr(rule, "provide_automatic_options", False) and not _answers_preflights(part):
        return False
    while part is not None and part is not function:
        part = getattr(part, "__wrapped__", None)
    return part is None


def _answers_preflights(view: View | None) -> bool:
    """Return whether a decorator such as Flask-CORS's answers `OPTIONS`: it sets these attributes of Flask's views."""
    return getattr(view, "provide_automatic_options", None) is False and "OPTIONS" in getattr(view, "required_methods", ())


def _without_body(response: Response) -> Response:
    """Remove the body. A preflight needs none, and a view that answers `OPTIONS` by itself must not give anything away."""
    response.set_data(b"")
    return response
