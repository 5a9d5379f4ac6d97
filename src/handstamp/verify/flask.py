"""For Flask: a decorator that lets in whoever is signed in.

```python
require = Require(Verifier("https://auth.example.com", audience="https://api.example.com", credential=CREDENTIAL))

@app.get("/orders")
@require(scope="orders:read")
def orders(): return orders_of(g.claims.sub)
```

For a whole blueprint, decorate a function that does nothing: `@blueprint.before_request`, below it `@require(role="admin")`.
Flask answers CORS preflights without calling the view, so they pass; before `before_request` they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from flask import Response, current_app, g, request

from ..errors import HandstampError
from .bearer import Bearer, Needs, refuse
from .verifier import Check, Verifier

__all__ = ["Require"]

View = Callable[..., Any]


class Require:
    """What views need. Make one for the application and call it for each view."""

    def __init__(self, verifier: Verifier, *, trusted_origins: Collection[str] = ()) -> None:
        """Take the verifier, and the origins whose pages may use the access cookie here."""
        self._bearer = Bearer(verifier, trusted_origins=trusted_origins)

    def __call__(self, *, scope: str = "", role: str = "", check: Check | None = None) -> Callable[[View], View]:
        """Return a decorator: the view runs with `flask.g.claims`, or the request is refused and the answer says why.

        `scope` is a space-separated list, all of which are needed. Views may be `async`.
        """
        needs = Needs(scope, role, check)

        def decorate(view: View) -> View:
            @wraps(view)
            def protected(*args: Any, **kwargs: Any) -> Any:
                try:
                    g.claims = self._bearer.authenticate(request.method, request.headers.getlist, needs)
                except HandstampError as error:
                    sent = refuse(error)
                    return Response(sent.body, sent.status, sent.headers)
                return current_app.ensure_sync(view)(*args, **kwargs)

            return protected

        return decorate
