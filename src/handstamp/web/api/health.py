"""`GET /healthz` and `GET /readyz`: probes for load balancers and orchestrators."""

from __future__ import annotations

from starlette.responses import Response

from ..answers import write_json
from ..edge import Call
from ..operation import Operation, UseCases
from .shapes import AnswerShape


class HealthAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The state of the service, in one word."""

    status: str


async def healthz(_use: UseCases, _call: Call, _: None) -> Response:
    """Answer that the process is alive."""
    return write_json(HealthAnswer(status="alive"))


async def readyz(use: UseCases, call: Call, _: None) -> Response:
    """Answer that requests can be served. Raises `Unavailable` if the store does not answer or no key is active."""
    await use.keys.require_ready(call.now_ms)
    return write_json(HealthAnswer(status="ready"))


OPERATIONS = (
    Operation(method="GET", path="/healthz", run=healthz, summary="The process is alive", answer=HealthAnswer, budget=None),
    Operation(
        method="GET",
        path="/readyz",
        run=readyz,
        summary="Requests can be served: the store answers and a signing key is active",
        answer=HealthAnswer,
        budget=None,
    ),
)
