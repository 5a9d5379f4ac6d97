"""Start spans. They hold names, routes, sizes and statuses: never an address, an id of a person, a token or an error's text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Status, StatusCode, Tracer, get_current_span
from opentelemetry.util.types import AttributeValue

from ..current_request import CURRENT


def is_recorded() -> bool:
    """Return whether a span is recorded here. If there is none, as usual, the library's own look-up takes much longer."""
    request = CURRENT.get()
    return (request is None or request.is_traced) and bool(get_current()) and get_current_span().is_recording()


@contextmanager
def in_span(
    tracer: Tracer,
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, AttributeValue] | None = None,
    context: Context | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    """Run a block in a span, which becomes the current one. If the block raises, the span names only the class of the error.

    Args:
        tracer: Makes the span.
        name: A constant. Values that vary belong in `attributes`.
        kind: Which side of a request it is.
        attributes: Those that are known when the span starts.
        context: The context of the parent, None for the current one.
        links: Other spans that it is related to.
    """
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=kind,
        attributes=attributes,
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise


def in_inner_span(
    tracer: Tracer, name: str, attributes: Mapping[str, AttributeValue] | None = None
) -> AbstractContextManager[Span]:
    """Run a block in a span if it is part of a request that is recorded. Otherwise it costs next to nothing."""
    return in_span(tracer, name, attributes=attributes) if is_recorded() else nullcontext(INVALID_SPAN)
