"""For Django: a middleware that protects every view, a decorator for single ones, or both.

```python
HANDSTAMP = {"ISSUER": "https://auth.example.com", "AUDIENCE": "https://api.example.com", "CREDENTIAL": CREDENTIAL}  # settings.py
MIDDLEWARE = ["handstamp.verify.django.HandstampMiddleware", ...]  # above CsrfViewMiddleware

@require(scope="orders:read")
def orders(request): return orders_of(request.claims.sub)
```

The names in `HANDSTAMP` are those of `Verifier`'s arguments, in capitals, and `TRUSTED_ORIGINS`: origins whose pages may use the
access cookie here. A middleware that answers CORS preflights goes above ours: browsers send them without credentials. Decorate a
class-based view as a whole: `require()(Orders.as_view())`. A project without our middleware may use the decorator alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, wraps
from inspect import signature
from threading import Lock
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse

from ..errors import ConfigurationError, HandstampError
from .bearer import Bearer, HeaderValues, Needs, refuse
from .verifier import Check, Verifier

__all__ = ["HandstampMiddleware", "bearer", "public", "require"]

View = Callable[..., Any]
_CSRF = "django.middleware.csrf.CsrfViewMiddleware"
_OURS = "handstamp.verify.django.HandstampMiddleware"
_once = Lock()


class HandstampMiddleware:
    """Protects every view but those marked `public`, and gives it `request.claims`. What `require` declares holds here too."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: View) -> None:
        """Take what comes next. Raises `ConfigurationError` naming every mistake in the settings."""
        bearer()
        order = [name for name in settings.MIDDLEWARE if name in (_OURS, _CSRF)]
        if order == [_CSRF, _OURS]:
            raise ConfigurationError(
                f"In MIDDLEWARE, {_OURS} must stand above {_CSRF}, which refuses what carries a token alone."
            )
        self._get_response = get_response
        self.process_view: View = self._view
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)
            self.process_view = self._view_async

    def __call__(self, request: HttpRequest) -> Any:
        """Go on to the view; only when Django has found it is known what it needs."""
        return self._get_response(request)

    def _view(self, request: HttpRequest, view: View, *_: Any) -> HttpResponse | None:
        needs = _needs(view)
        return None if needs is None else _csrf_done(request, _admit(request, needs))

    async def _view_async(self, request: HttpRequest, view: View, *_: Any) -> HttpResponse | None:
        needs = _needs(view)
        return None if needs is None else _csrf_done(request, await _admit_async(request, needs))


def require(*, scope: str = "", role: str = "", check: Check | None = None) -> Callable[[View], View]:
    """Return a decorator: the view runs with `request.claims`, or the request is refused and the answer says why.

    `scope` is a space-separated list, all of which are needed. Views may be `async`.
    """
    needs = Needs(scope, role, check)

    def decorate(view: View) -> View:
        @wraps(view)
        def protected(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            refusal = _admit(request, needs)
            return view(request, *args, **kwargs) if refusal is None else refusal

        @wraps(view)
        async def protected_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            refusal = await _admit_async(request, needs)
            return await view(request, *args, **kwargs) if refusal is None else refusal

        wrapper = protected_async if iscoroutinefunction(view) else protected
        # Nobody forges a request to this view: other sites' pages cannot send our header, and an unsafe request with our cookie
        # must come from a trusted origin. Django's own check would only refuse those who have a token and no form.
        return _marked(wrapper, handstamp_needs=needs, csrf_exempt=True)

    return decorate


def public(view: View) -> View:
    """Let everybody use this view: the middleware passes it over."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:  # a copy: elsewhere the same view may be protected
        return view(request, *args, **kwargs)

    return _marked(markcoroutinefunction(wrapper) if iscoroutinefunction(view) else wrapper, handstamp_needs=None)


def bearer() -> Bearer:
    """Return this process's one bearer, made of the settings when first needed.

    Raises `ConfigurationError` naming every setting that is unknown or missing.
    """
    with _once:
        return _bearer()


def header_values(request: HttpRequest) -> HeaderValues:
    """Return how a request's headers are looked up. Django joins those that came twice into one, which then does not pass."""

    def values(name: str) -> Sequence[str]:
        value = request.headers.get(name)
        return () if value is None else (value,)

    return values


@cache
def _bearer() -> Bearer:
    given: dict[str, Any] = dict(getattr(settings, "HANDSTAMP", None) or {})
    known = {name.upper() for name in signature(Verifier).parameters} | {"TRUSTED_ORIGINS"}
    problems = [f"HANDSTAMP in the Django settings needs {name!r}." for name in ("ISSUER", "AUDIENCE") if not given.get(name)]
    problems += [
        f"HANDSTAMP[{name!r}] is not known; known are {', '.join(sorted(known))}." for name in given if name not in known
    ]
    if problems:
        raise ConfigurationError(*problems)
    trusted_origins = given.pop("TRUSTED_ORIGINS", ())
    return Bearer(Verifier(**{name.lower(): value for name, value in given.items()}), trusted_origins=trusted_origins)


def _needs(view: View) -> Needs | None:
    """Return what a view needs, None where it is public. A mark that a decorator has lost leaves the view protected."""
    needs: Needs | None = getattr(view, "handstamp_needs", Needs())
    return needs


def _marked(view: View, **marks: object) -> View:
    vars(view).update(marks)
    return view


def _admit(request: HttpRequest, needs: Needs) -> HttpResponse | None:
    """Set the claims of a request, or return its refusal."""
    if _is_admitted(request, needs):
        return None
    try:
        claims = bearer().authenticate(request.method, header_values(request), needs)
    except HandstampError as error:
        return _refused(error)
    request.claims, request.handstamp_admitted = claims, needs
    return None


async def _admit_async(request: HttpRequest, needs: Needs) -> HttpResponse | None:
    """Do the same without holding up the event loop."""
    if _is_admitted(request, needs):
        return None
    try:
        claims = await bearer().authenticate_async(request.method, header_values(request), needs)
    except HandstampError as error:
        return _refused(error)
    request.claims, request.handstamp_admitted = claims, needs
    return None


def _is_admitted(request: HttpRequest, needs: Needs) -> bool:
    """Whether the middleware has asked for just this: asking the service a second time would cost and tell nothing."""
    return bool(getattr(request, "handstamp_admitted", None) == needs)


def _csrf_done(request: HttpRequest, refusal: HttpResponse | None) -> HttpResponse | None:
    """Tell Django's CSRF middleware, which comes after ours, that an admitted request was not forged: see `require` for why."""
    if refusal is None:
        request.csrf_processing_done = True
    return refusal


def _refused(error: HandstampError) -> HttpResponse:
    sent = refuse(error)
    return HttpResponse(sent.body, status=sent.status, headers=sent.headers)


def _forget(*, setting: str, **_: Any) -> None:
    """Obey `override_settings` in tests."""
    if setting == "HANDSTAMP":
        _bearer.cache_clear()


setting_changed.connect(_forget)
