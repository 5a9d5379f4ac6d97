"""`GET /diagnostics`: what arrived of a request, for `handstamp doctor --url`. It shows what proxies have made of it."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

from starlette.responses import Response

from ...crypto.identifiers import new_id
from ...errors import CredentialLacksScope, InvalidClient, TooManyAttempts
from ...wire.basic import basic_credential
from ..answers import write_json
from ..edge import Call
from ..idle import IDLE_CLOSINGS
from ..operation import Operation, UseCases
from ..proxies import PEER
from .shapes import AnswerShape, described

MAX_PADDING_BYTES = 8 * 1024
_LONGEST = 256
_STARTED = new_id()
"""With the process id, a name of this process on whatever machine. A process that was forked off has the same id here."""


class ArrivedRequest(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The request as it arrived. A header field that did not come is null."""

    client: Annotated[str, described("The address that limits and the audit trail go by")]
    peer: Annotated[str, described("The address at the other end of the connection")]
    is_peer_trusted: bool
    is_tls: Annotated[bool, described("Whether TLS ended at the service itself")]
    path: str
    host: str | None
    x_forwarded_for: str | None
    x_forwarded_proto: str | None
    connection: str | None
    origin: str | None
    sec_fetch_site: str | None
    idle_closings: Annotated[int, described("Idle connections of this peer that the service closed first, since it started")]


class DiagnosticsAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """What arrived of the request, and what the service would do with others."""

    process: Annotated[str, described("The process that answers: a new name each time it starts")]
    id: Annotated[str, described("A new one in each answer: two equal ones come from a cache")]
    now_ms: Annotated[int, described("The service's time, milliseconds since 1970")]
    issuer: str
    trusted_origins: tuple[str, ...]
    keep_alive: Annotated[int, described("How long it keeps idle connections, in seconds")]
    request: ArrivedRequest


async def diagnostics(use: UseCases, call: Call, _: None) -> Response:
    """Return what arrived of the request. `padding` adds so many bytes of header fields to the answer, at most 8 KiB."""
    caller = call.ending_caller
    await use.credentials.authenticate(basic_credential(call.headers.getlist("authorization")), caller, scope="read")
    answer = DiagnosticsAnswer(
        process=f"{_STARTED}.{os.getpid()}",
        id=new_id(),
        now_ms=caller.now_ms,
        issuer=use.issuer.url,
        trusted_origins=tuple(sorted(use.trusted_origins)),
        keep_alive=use.keep_alive_s,
        request=_describe(call, client=caller.ip),
    )
    response = write_json(answer)
    if re.fullmatch("[0-9]{1,6}", padding := call.request.query_params.get("padding", ""), re.ASCII):
        response.headers["handstamp-padding"] = "x" * min(int(padding), MAX_PADDING_BYTES)
    return response


def _describe(call: Call, *, client: str) -> ArrivedRequest:
    scope: Any = call.request.scope
    peer, scheme = scope.get(PEER) or (client, scope["scheme"])

    def field(name: str) -> str | None:
        values = call.headers.getlist(name)
        return ", ".join(values)[:_LONGEST] if values else None

    return ArrivedRequest(
        client=client,
        peer=peer,
        is_peer_trusted=PEER in scope,
        is_tls=scheme == "https",
        path=scope["path"][:_LONGEST],
        host=field("host"),
        x_forwarded_for=field("x-forwarded-for"),
        x_forwarded_proto=field("x-forwarded-proto"),
        connection=field("connection"),
        origin=field("origin"),
        sec_fetch_site=field("sec-fetch-site"),
        idle_closings=IDLE_CLOSINGS.of(peer),
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/diagnostics",
        run=diagnostics,
        summary="What arrived of the request: shows what proxies have made of it",
        query={"padding": f"How many bytes of header fields the answer gets in addition, at most {MAX_PADDING_BYTES}"},
        answer=DiagnosticsAnswer,
        errors=(InvalidClient, CredentialLacksScope, TooManyAttempts),
        credential="client",
    ),
)
