"""The edge: every request enters here and every answer leaves here, for the JSON API, OAuth and the pages alike.

What differs between the three are values: how an error is written, and whether the operation signs a browser in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from starlette.requests import Request
from starlette.responses import Response

from ..clock import Clock
from ..domain.issuer import Issuer
from ..errors import HandstampError
from ..logger import Logger
from ..wire.cross_site import SAFE_METHODS
from . import origin
from .transport import Call, Cookies

Handler = Callable[[Call], Awaitable[Response]]
"""Reads a call, calls one use case and returns the answer. Raises errors of the family."""
ErrorWriter = Callable[[HandstampError, Call], Response]
"""Writes an error in the words of one face: a problem (RFC 9457), an OAuth error (RFC 6749 §5.2) or a page."""
_log = Logger("handstamp.web")


class Edge:
    """Turns handlers into endpoints that check the origin of each request and turn every error into an answer."""

    def __init__(self, *, clock: Clock, issuer: Issuer, trusted_origins: Collection[str]) -> None:
        """Serve an issuer.

        Args:
            clock: Read once per request, when its body has arrived.
            issuer: The public URL of the service. Its cookies are `Secure` if it is https.
            trusted_origins: Origins whose pages may send requests with this service's cookies.
        """
        self.issuer = issuer
        self.trusted_origins = frozenset(trusted_origins)
        self.cookies = Cookies(secure=issuer.is_https)
        self._clock = clock
        self._own_origin = issuer.origin

    def endpoint(
        self, handler: Handler, *, path: str, write_error: ErrorWriter, signs_in: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return a Starlette endpoint that never raises.

        Args:
            handler: What to call once the request may come from where it comes from.
            path: The path of the route, for the log. A request's own path may hold ids.
            write_error: Turns an error into the answer. An unexpected exception is logged and becomes a `HandstampError`.
            signs_in: True if the operation signs a browser in, so that the origin is checked even without a cookie.
        """

        async def endpoint(request: Request) -> Response:
            call = Call(request, clock=self._clock, cookies=self.cookies)
            try:
                if request.method not in SAFE_METHODS:
                    self._require_allowed_origin(call, signs_in=signs_in)
                return await handler(call)
            except HandstampError as error:
                return write_error(error, call)
            except Exception:  # noqa: BLE001 - the client gets an answer without details; the log gets all of them
                _log.exception("unexpected_error", method=request.method, path=path)
                return write_error(HandstampError("The request failed. The details are in the service's log."), call)

        return endpoint

    def _require_allowed_origin(self, call: Call, *, signs_in: bool) -> None:
        origin.check(
            call.headers,
            carries_cookie=call.carries_cookie,
            signs_in=signs_in,
            own=self._own_origin,
            trusted=self.trusted_origins,
        )
