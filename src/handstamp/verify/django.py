"""For Django: a middleware that protects every view, and a decorator for single views.

```python
HANDSTAMP = {"ISSUER": "https://auth.example.com", "AUDIENCE": "https://api.example.com", "CREDENTIAL": CREDENTIAL}  # settings.py
MIDDLEWARE = ["handstamp.verify.django.HandstampMiddleware", ...]  # above CsrfViewMiddleware

@require(scope="orders:read")
def orders(request): return orders_of(request.claims.sub)
```

The keys of `HANDSTAMP` are the arguments of `Verifier` in capitals, and `TRUSTED_ORIGINS`: origins whose pages may send unsafe
requests with the access cookie. Middleware that answers CORS preflights goes above ours: browsers send them without credentials.
Class-based views: `require()(Orders.as_view())`, or `@method_decorator(require(), name="dispatch")`. The decorator also works
without the middleware.

`RESOURCE` is the URL of this API: refusals then say where tokens come from (RFC 9728); route `resource_metadata`.
`ON_REFUSAL` in the settings writes refusals in your own form. It is a function, or its dotted path, that gets the request and the
refusal (`status`, `headers`, `body`, `code`) and returns a response.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, wraps
from inspect import signature
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.module_loading import import_string

from ..errors import ConfigurationError, HandstampError
from ..forking import ProcessLock
from ..wire import HeaderValues
from ..wire.problems import Refusal
from .authenticator import Authenticator, Impersonation, Needs, make_needs
from .verifier import Check, Verifier

__all__ = ["HandstampMiddleware", "authenticator", "public", "require", "resource_metadata"]

View = Callable[..., Any]
_CSRF = "django.middleware.csrf.CsrfViewMiddleware"
_OURS = "handstamp.verify.django.HandstampMiddleware"
_lock = ProcessLock()
_scopes: set[str] = set()
"""What views have declared, for the metadata: decorators run before there is an authenticator."""


class HandstampMiddleware:
    """Protects every view that is not marked `public`, and sets `request.claims`. It also enforces what `require` declares."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: View) -> None:
        """Create it, as Django does at start-up.

        Raises:
            ConfigurationError: A setting is missing or unknown, or the middleware stands below Django's CSRF middleware.
        """
        authenticator()
        _writer()
        order = [name for name in settings.MIDDLEWARE if name in (_OURS, _CSRF)]
        if order == [_CSRF, _OURS]:
            raise ConfigurationError(f"Move {_OURS} above {_CSRF} in MIDDLEWARE: the latter refuses requests with a token alone.")
        self._get_response = get_response
        self.process_view: View = self._process_view
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)
            self.process_view = self._process_view_async

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on. What it needs is known when Django has found its view."""
        return self._get_response(request)

    def _process_view(self, request: HttpRequest, view: View, *_: Any) -> HttpResponse | None:
        needs = _needs_of(view)
        return None if needs is None else _skip_csrf(request, _admit(request, needs))

    async def _process_view_async(self, request: HttpRequest, view: View, *_: Any) -> HttpResponse | None:
        needs = _needs_of(view)
        return None if needs is None else _skip_csrf(request, await _admit_async(request, needs))


def require(
    *,
    scope: str = "",
    role: str = "",
    check: Check | None = None,
    fresh: str | int | None = None,
    acr: str = "",
    impersonation: Impersonation = "safe",
) -> Callable[[View], View]:
    """Return a decorator. The view runs with `request.claims`; every other request gets an answer that says why.

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
    needs = declare(scope, role, check, fresh, acr, impersonation=impersonation)

    def decorate(view: View) -> View:
        @wraps(view)
        def protected(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            refusal = _admit(request, needs)
            return view(request, *args, **kwargs) if refusal is None else refusal

        @wraps(view)
        async def protected_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            refusal = await _admit_async(request, needs)
            return await view(request, *args, **kwargs) if refusal is None else refusal

        wrapper = protected_async if _is_async(view) else protected
        # Requests to this view cannot be forged: a page of another site cannot send our header, and an unsafe request with our
        # cookie must come from a trusted origin. Django's check would only refuse requests that have a token and no form.
        return _mark(wrapper, handstamp_needs=needs, csrf_exempt=True)

    return decorate


def public(view: View) -> View:
    """Let the middleware pass every request to this view."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:  # a copy: the same view may be protected elsewhere
        return view(request, *args, **kwargs)

    return _mark(markcoroutinefunction(wrapper) if iscoroutinefunction(view) else wrapper, handstamp_needs=None)


def authenticator() -> Authenticator:
    """Return the process's authenticator; the first call creates it from the settings.

    Raises:
        ConfigurationError: A setting is missing or unknown. It names all of them.
    """
    with _lock:
        return _create_authenticator()


def declare(
    scope: str, role: str, check: Check | None, fresh: str | int | None, acr: str, *, impersonation: Impersonation
) -> Needs:
    """Return the requirements of a view. Only a `check` needs the settings. Raises `ConfigurationError`, see `require`."""
    _scopes.update(scope.split())
    needs = make_needs(scope, role, check, fresh, acr, impersonation=impersonation)
    return needs if check is None else authenticator().declare(scope, role, check, fresh, acr, impersonation=impersonation)


def header_values(request: HttpRequest) -> HeaderValues:
    """Return the function that looks up headers of a request. Django joins repeated headers into one, which is then refused."""

    def values(name: str) -> Sequence[str]:
        value = request.headers.get(name)
        return () if value is None else (value,)

    return values


@cache
def _create_authenticator() -> Authenticator:
    given: dict[str, Any] = dict(getattr(settings, "HANDSTAMP", None) or {})
    known = {name.upper() for name in signature(Verifier).parameters} | {"TRUSTED_ORIGINS", "ON_REFUSAL", "RESOURCE"}
    problems = [f"HANDSTAMP in the Django settings needs {name!r}." for name in ("ISSUER", "AUDIENCE") if not given.get(name)]
    problems += [
        f"HANDSTAMP[{name!r}] in the Django settings is unknown. Known are {', '.join(sorted(known))}."
        for name in given
        if name not in known
    ]
    if problems:
        raise ConfigurationError(*problems)
    trusted_origins, resource = given.pop("TRUSTED_ORIGINS", ()), given.pop("RESOURCE", None)
    given.pop("ON_REFUSAL", None)
    verifier = Verifier(**{name.lower(): value for name, value in given.items()})
    return Authenticator(verifier, trusted_origins=trusted_origins, resource=resource)


def _needs_of(view: View) -> Needs | None:
    """Return what a view requires, None if it is public. If another decorator has lost our mark, the view stays protected."""
    needs: Needs | None = getattr(view, "handstamp_needs", Needs())
    return needs


def _mark(view: View, **marks: object) -> View:
    vars(view).update(marks)
    return view


def _is_async(view: View) -> bool:
    """Return whether Django awaits the view. `method_decorator` passes `dispatch` of an object, whose class says so."""
    owner = getattr(getattr(view, "func", None), "__self__", None)
    return iscoroutinefunction(view) or bool(getattr(owner, "view_is_async", False))


def _admit(request: HttpRequest, needs: Needs) -> HttpResponse | None:
    """Set the claims of a request and return None, or return the answer that refuses it."""
    try:
        request.claims = authenticator().authenticate(
            request.method, header_values(request), needs, path=request.path, memory=vars(request)
        )
    except HandstampError as error:
        return _refusal(request, error, needs)
    return None


async def _admit_async(request: HttpRequest, needs: Needs) -> HttpResponse | None:
    """Do the same as `_admit` without blocking the event loop."""
    try:
        request.claims = await authenticator().authenticate_async(
            request.method, header_values(request), needs, path=request.path, memory=vars(request)
        )
    except HandstampError as error:
        return _refusal(request, error, needs)
    return None


def _skip_csrf(request: HttpRequest, refusal: HttpResponse | None) -> HttpResponse | None:
    """Tell Django's CSRF middleware, which runs after ours, to skip an admitted request; `require` says why that is safe."""
    if refusal is None:
        request.csrf_processing_done = True
    return refusal


def _refusal(request: HttpRequest, error: HandstampError, needs: Needs) -> HttpResponse:
    refusal = authenticator().refuse(error, needs)
    response: HttpResponse = _writer()(request, refusal)
    for name, value in refusal.headers.items():
        response.headers.setdefault(name, value)
    return response


def _write(_: HttpRequest, refusal: Refusal) -> HttpResponse:
    return HttpResponse(refusal.body, refusal.media_type, refusal.status)


@cache
def _writer() -> View:
    """Return the function that writes refusals. Raises `ConfigurationError` if the setting names none."""
    given = settings.HANDSTAMP.get("ON_REFUSAL", _write)
    try:
        write: View = import_string(given) if isinstance(given, str) else given
    except ImportError as error:
        raise ConfigurationError(f"HANDSTAMP['ON_REFUSAL'] in the Django settings: {error}") from None
    if not callable(write):
        raise ConfigurationError("HANDSTAMP['ON_REFUSAL'] in the Django settings must be a function or its dotted path.")
    return write


@public
def resource_metadata(_: HttpRequest) -> HttpResponse:
    """Answer with the metadata of this API (RFC 9728 §2). A view for `/.well-known/oauth-protected-resource`, then its path.

    Raises:
        ConfigurationError: `RESOURCE` is not in the settings.
    """
    current = authenticator()
    for scope in tuple(_scopes):  # another thread may import a view
        current.declare(scope, "", None)
    return JsonResponse(current.resource_metadata())


def _reset(*, setting: str, **_: Any) -> None:
    """Create the authenticator again after `override_settings` in tests."""
    if setting == "HANDSTAMP":
        _create_authenticator.cache_clear()
        _writer.cache_clear()


setting_changed.connect(_reset)
