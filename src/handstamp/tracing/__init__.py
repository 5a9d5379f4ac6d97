"""Spans for OpenTelemetry (`handstamp[otel]`). Nothing here is imported unless traces are switched on."""
