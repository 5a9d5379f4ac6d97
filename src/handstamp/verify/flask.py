"""A decorator for Flask.

```python
require = Require(Verifier("https://auth.example.com", audience="https://api.example.com", credential=CREDENTIAL))

@app.get("/orders")
@require(scope="orders:read")
def orders(): return orders_of(g.claims.sub)
```

A whole blueprint: decorate an empty function with `@blueprint.before_request` and, below it, `@require(role="admin")`. Flask
answers CORS preflights without calling the view, so they pass; `before_request` refuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from flask import Response, current_app, g, request

from ..errors import HandstampError
from .authenticator import Authenticator, Needs, refuse
from .verifier import Check, Verifier

__all__ = ["Require"]

View = Callable[..., Any]


class Require:
    """Makes the decorators of views. Create one per application and call it for each view."""

    def __init__(self, verifier: Verifier, *, trusted_origins: Collection[str] = ()) -> None:
        """Create it.

        Args:
            verifier: Verifies the access tokens.
            trusted_origins: Origins (`https://app.example.com`) whose pages may send unsafe requests with the access cookie.

        Raises:
            ConfigurationError: An origin is not in the form that browsers send.
        """
        self._authenticator = Authenticator(verifier, trusted_origins=trusted_origins)

    def __call__(self, *, scope: str = "", role: str = "", check: Check | None = None) -> Callable[[View], View]:
        """Return a decorator. The view runs with `flask.g.claims`; every other request gets an answer that says why.

        Args:
            scope: A space-separated list of scopes, all of which are required.
            role: A role that is required.
            check: How to learn that a session has ended, by default the verifier's `check`.
        """
        needs = Needs(scope, role, check)

        def decorate(view: View) -> View:
            @wraps(view)
            def protected(*args: Any, **kwargs: Any) -> Any:
                try:
                    g.claims = self._authenticator.authenticate(request.method, request.headers.getlist, needs)
                except HandstampError as error:
                    refusal = refuse(error)
                    return Response(refusal.body, refusal.status, refusal.headers, content_type=refusal.media_type)
                return current_app.ensure_sync(view)(*args, **kwargs)  # the view may be `async`

            return protected

        return decorate
