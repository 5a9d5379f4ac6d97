"""Set up OpenTelemetry from its environment variables (OpenTelemetry specification, environment variables of SDKs)."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

from ..errors import ConfigurationError
from .requests import DecidedIds

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def make_provider(environment: Mapping[str, str], *, version: str) -> TracerProvider:
    """Return a provider that makes spans and exports them.

    The libraries read `OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*`, `OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME` and
    `OTEL_RESOURCE_ATTRIBUTES` themselves. The default name of the service is `handstamp`.

    Raises:
        ConfigurationError: If they name an exporter or a protocol that is not supported.
    """
    resource = Resource.create({"service.version": version})
    if str(resource.attributes.get("service.name", "unknown_service")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "handstamp"}))
    provider = TracerProvider(resource=resource, id_generator=DecidedIds())
    provider.add_span_processor(_make_processor(environment))
    return provider


def _make_processor(environment: Mapping[str, str]) -> SpanProcessor:
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter == "console":
        return SimpleSpanProcessor(ConsoleSpanExporter())
    if exporter != "otlp":
        raise ConfigurationError(f"OTEL_TRACES_EXPORTER is {exporter!r}: it can be otlp, console or none.")
    protocol = next(filter(None, (environment.get(name, "").strip() for name in _PROTOCOLS)), "http/protobuf")
    if protocol != "http/protobuf":
        raise ConfigurationError(
            f"The protocol of OTLP is {protocol!r}, and Handstamp speaks http/protobuf, usually on port 4318. "
            f"Set {_PROTOCOLS[0]}=http/protobuf."
        )
    return BatchSpanProcessor(OTLPSpanExporter())
