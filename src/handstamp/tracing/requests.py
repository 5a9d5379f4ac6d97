"""A span for every request, as a layer around the ASGI application (semantic conventions for HTTP spans, server)."""

from __future__ import annotations

import random

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    format_trace_id,
    get_current_span,
    set_span_in_context,
    use_span,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..current_request import CURRENT, CurrentRequest, parse_traceparent

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class TracedRequests:
    """Makes a span for each request. Its name is the route: paths may contain ids."""

    def __init__(self, app: ASGIApp, tracer: Tracer, sampler: Sampler | None) -> None:
        """Wrap an application whose router stores the route as `scope["route"]`.

        Args:
            app: What answers.
            tracer: Makes the spans.
            sampler: Decides which traces of strangers are recorded. None to let their `traceparent` decide.
        """
        self._app = app
        self._tracer = tracer
        self._sampler = sampler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, in a span if it answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        request = CURRENT.get()
        attributes = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        if request is not None:
            attributes["handstamp.request_id"] = request.id
        span = self._tracer.start_span(method, self._find_parent(scope, request), SpanKind.SERVER, attributes)
        if request is not None:
            request.trace_id = format_trace_id(span.get_span_context().trace_id)
        if not span.is_recording():
            await self._app(scope, receive, send)
            return

        async def send_and_look(message: Message) -> None:
            if message["type"] == "http.response.start":
                status: int = message["status"]
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(Status(StatusCode.ERROR))
            await send(message)

        with use_span(span, end_on_exit=True, record_exception=False):
            try:
                await self._app(scope, receive, send_and_look)
            finally:
                route = scope.get("route")
                if route is not None:
                    span.update_name(f"{method} {route.path}")
                    span.set_attribute("http.route", route.path)

    def _find_parent(self, scope: Scope, request: CurrentRequest | None) -> Context | None:
        """Return the context of the caller's span; None for that of the application around us, if it has one.

        Whether a stranger's trace is recorded is decided here and not by the stranger.
        """
        if get_current_span().get_span_context().is_valid:
            return None
        found = parse_traceparent(scope["headers"])
        if found is None:
            return Context()
        trace_id, span_id, flags = int(found[0], 16), int(found[1], 16), found[2]
        if self._sampler is not None and not (request is not None and request.is_from_proxy):
            decided = self._sampler.should_sample(None, random.getrandbits(128), "request").decision
            flags = TraceFlags.DEFAULT if decided is Decision.DROP else TraceFlags.SAMPLED
        parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & TraceFlags.SAMPLED))
        return set_span_in_context(NonRecordingSpan(parent), Context())
