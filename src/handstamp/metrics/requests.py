"""Time every request, as a layer around the ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..clock import monotonic_s
from ..service.parts.meter import Meter

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class TimedRequests:
    """Reports each request to a meter. Strangers choose paths and methods: what no route has is counted as `other`."""

    def __init__(self, app: ASGIApp, meter: Meter) -> None:
        """Wrap an application whose router stores the route as `scope["route"]`."""
        self._app = app
        self._meter = meter
        self._known: dict[tuple[str, str, int], Callable[[float], None]] = {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Run the application, and measure if it answers a request. No coroutine of its own: that would double the cost."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        began, status = monotonic_s(), 0

        def send_and_measure(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body"):
                route = scope.get("route")
                key = "other" if route is None else route.path, scope["method"], status
                add = self._known.get(key) or self._find(*key)
                add(monotonic_s() - began)
            return send(message)

        return self._app(scope, receive, send_and_measure)

    def _find(self, path: str, method: str, status: int) -> Callable[[float], None]:
        """Return what takes the seconds of such a request. It is kept unless a stranger has made up the method."""
        if method not in _METHODS:
            return self._meter.request_timer(path, "other", status)
        add = self._known[path, method, status] = self._meter.request_timer(path, method, status)
        return add
