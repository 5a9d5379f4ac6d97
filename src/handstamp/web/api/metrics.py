"""`GET /metrics`: what Prometheus reads with a service credential."""

from __future__ import annotations

from starlette.responses import Response

from ...errors import CredentialLacksScope, InvalidClient, NotFound, TooManyAttempts
from ...text import mark
from ...wire.basic import basic_credential
from ..edge import Call
from ..operation import Operation, UseCases


async def metrics(use: UseCases, call: Call, _: None) -> Response:
    """Return all metrics. Raises `NotFound` if they are off."""
    presented = basic_credential(call.headers.getlist("authorization"))
    await use.credentials.authenticate(presented, call.ending_caller, scope="read")
    if use.render_metrics is None:
        raise NotFound(mark("Metrics are turned off here."))
    body, media_type = await use.render_metrics(call.headers.get("accept", ""))
    return Response(body, headers={"content-type": media_type, "cache-control": "no-store"})


OPERATIONS = (
    Operation(
        method="GET",
        path="/metrics",
        run=metrics,
        summary="Metrics for Prometheus",
        errors=(NotFound, InvalidClient, CredentialLacksScope, TooManyAttempts),
        credential="client",
    ),
)
