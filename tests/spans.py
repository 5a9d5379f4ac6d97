"""A collector of OpenTelemetry: a real HTTP server that reads OTLP (http/protobuf)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.hostile import Hostile, answer

PATH = "/v1/traces"
_PATIENCE_S = 60.0


class Span(NamedTuple):
    """A span as it was exported."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, Any]
    links: frozenset[str]
    is_error: bool


class Collector(Hostile):
    """A server that accepts spans."""

    def __init__(self) -> None:
        """Listen."""
        super().__init__()
        self.answers[PATH] = answer(b"", 200, content_type="application/x-protobuf")

    @property
    def raw(self) -> bytes:
        """All that was exported."""
        return b"".join(asked.body for asked in self.asked if asked.path == PATH)

    @property
    def spans(self) -> list[Span]:
        """The spans that were exported."""
        return [
            Span(
                span.name,
                span.kind,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes},
                frozenset(link.span_id.hex() for link in span.links),
                span.status.code == 2,
            )
            for asked in self.asked
            if asked.path == PATH
            for resource in ExportTraceServiceRequest.FromString(asked.body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def resource(self) -> dict[str, str]:
        """Return the attributes of the resource that exported first."""
        first = ExportTraceServiceRequest.FromString(next(asked.body for asked in self.asked if asked.path == PATH))
        return {each.key: each.value.string_value for each in first.resource_spans[0].resource.attributes}

    def wait_for(self, *names: str) -> list[Span]:
        """Return all spans once those with these names have come."""
        deadline = time.monotonic() + _PATIENCE_S
        while not set(names) <= {span.name for span in self.spans}:
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.02)
        return self.spans
