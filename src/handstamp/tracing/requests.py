"""A span for every request, as a layer around the ASGI application (semantic conventions for HTTP spans, server)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import getrandbits, randrange

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, ParentBasedTraceIdRatio, Sampler, TraceIdRatioBased
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

_LEFT_OUT = Context()
"""The parent of requests that are not recorded."""
_ALL = TraceIdRatioBased.TRACE_ID_LIMIT + 1
"""As many ids as the usual sampler tells apart: it looks at 64 bits."""
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class TracedRequests:
    """Makes a span for each request. Its name is the route: paths may contain ids."""

    def __init__(self, app: ASGIApp, tracer: Tracer, sampler: Sampler | None, *, is_outermost: bool) -> None:
        """Wrap an application whose router stores the route as `scope["route"]`.

        Args:
            app: The application.
            tracer: Makes the spans.
            sampler: Decides which traces of strangers are recorded. None to let their `traceparent` decide.
            is_outermost: True if no application around this one can have started a span.
        """
        self._app = app
        self._tracer = tracer
        self._is_outermost = is_outermost
        generator = getattr(tracer, "id_generator", None)
        self._ids = generator if isinstance(generator, DecidedIds) else None
        usual = _find_usual(sampler)
        self._drops = None if sampler is None else _decide_by(usual or sampler)
        self._bound = _ALL if usual is None or not is_outermost or self._ids is None else usual.bound
        self.share: float = self._bound / _ALL
        """As `handstamp.web.proxies.TracedApp` says."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer a request, in a span if it is recorded."""
        request = CURRENT.get()
        bound = _ALL if request is None or request.has_trusted_trace else self._bound
        parent = self._find_parent(scope, request, getrandbits(64) << 64 | randrange(bound))  # noqa: S311 - no secret
        if parent is _LEFT_OUT:
            if request is not None:
                request.is_traced = False
            return self._app(scope, receive, send)
        return self._run(scope, receive, send, request, parent)

    async def _run(
        self, scope: Scope, receive: Receive, send: Send, request: CurrentRequest | None, parent: Context | None
    ) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        if request is not None:
            attributes["handstamp.request_id"] = request.id
        span = self._tracer.start_span(method, parent, SpanKind.SERVER, attributes)
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

    def _find_parent(self, scope: Scope, request: CurrentRequest | None, trace_id: int) -> Context | None:
        """Return the context of the caller's span; None if the application that embeds us has started a span.

        The sampler decides whether a request is recorded, not its `traceparent`, unless a trusted proxy sends it. If a request is
        not recorded, OpenTelemetry is not called: a span that is not recorded costs ten times as much as this layer.
        """
        if not self._is_outermost and get_current() and get_current_span().get_span_context().is_valid:
            return None
        is_trusted = request is not None and request.has_trusted_trace
        found = parse_traceparent(scope["headers"]) if is_trusted or self._drops is None else None
        flags = TraceFlags.DEFAULT if found is None else found[2]
        if self._drops is not None and found is None:
            is_dropped = self._drops(trace_id)
            if is_dropped and self._ids is not None:
                return _LEFT_OUT
            found = None if is_trusted else parse_traceparent(scope["headers"])
            if found is None and self._ids is not None:
                self._ids.decided = trace_id
            flags = TraceFlags.DEFAULT if is_dropped else TraceFlags.SAMPLED
        if found is None:
            return Context()
        parent = SpanContext(
            int(found[0], 16), int(found[1], 16), is_remote=True, trace_flags=TraceFlags(flags & TraceFlags.SAMPLED)
        )
        return set_span_in_context(NonRecordingSpan(parent), Context())


def _find_usual(sampler: Sampler | None) -> TraceIdRatioBased | None:
    """Return the sampler that keeps a share of the traces without a parent, if this is it."""
    root = getattr(sampler, "_root", None) if type(sampler) in (ParentBased, ParentBasedTraceIdRatio) else sampler
    return root if type(root) is TraceIdRatioBased else None


def _decide_by(sampler: Sampler) -> Callable[[int], bool]:
    """Return a function that says whether a sampler drops the trace of an id that has no parent.

    The usual sampler compares the low half of the id with a number. Asking it makes an object with the state of a parent, which
    takes ten times as long.
    """
    if type(sampler) is TraceIdRatioBased:
        bound = sampler.bound
        return lambda trace_id: trace_id % _ALL >= bound
    return lambda trace_id: sampler.should_sample(None, trace_id, "request").decision is Decision.DROP


class DecidedIds(RandomIdGenerator):
    """Makes the ids of traces. The next trace gets the id that the sampler has already decided on, if there is one."""

    decided: int | None = None

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        decided, self.decided = self.decided, None
        return decided or super().generate_trace_id()
