"""`GET /healthz` and `GET /readyz`: probes for load balancers and orchestrators."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from ...errors import InvalidClient, TooManyAttempts
from ...wire.basic import basic_credential
from ..answers import write_json
from ..edge import Call
from ..operation import Operation, UseCases
from ..stopping import STOPPING
from .shapes import AnswerShape, described


class HealthAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The state of the service, in one word."""

    status: str
    parts: Annotated[dict[str, str], described("The state of each part: `ok`, or what is wrong")] = msgspec.field(
        default_factory=dict
    )


async def healthz(_use: UseCases, _call: Call, _: None) -> Response:
    """Answer that the process is alive."""
    return write_json(HealthAnswer(status="alive"))


async def readyz(use: UseCases, call: Call, _: None) -> Response:
    """Answer that requests can be served, and to holders of a service credential also the state of each part.

    Raises:
        Unavailable: If the process is stopping, the clock is in doubt, the store does not answer or no key is active.
    """
    credential = basic_credential(call.headers.getlist("authorization"))
    if credential is None:
        await use.readiness.require(call.now_ms, is_stopping=STOPPING.is_on)
        return write_json(HealthAnswer(status="ready"))
    await use.credentials.recognise(credential, call.ending_caller)
    return write_json(HealthAnswer(status="ready", parts=await use.readiness.look(is_stopping=STOPPING.is_on)))


OPERATIONS = (
    Operation(method="GET", path="/healthz", run=healthz, summary="The process is alive", answer=HealthAnswer, budget=None),
    Operation(
        method="GET",
        path="/readyz",
        run=readyz,
        summary="Requests can be served; with a service credential, the state of each part",
        answer=HealthAnswer,
        errors=(InvalidClient, TooManyAttempts),
        budget=None,
    ),
)
