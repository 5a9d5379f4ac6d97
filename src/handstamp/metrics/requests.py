"""Time every request, as a layer around the ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable

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
                path = "other" if route is None else route.path
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._meter.time_request(path, method, status, monotonic_s() - began)
            return send(message)

        return self._app(scope, receive, send_and_measure)
