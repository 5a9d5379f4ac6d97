"""`POST /refresh`: a refresh token is exchanged for the next pair."""

from __future__ import annotations

from starlette.responses import Response

from ...errors import CrossSite, InvalidToken, MissingToken, ProofRequired, SessionEnded
from ..edge import Call
from ..operation import BODY_ERRORS, Operation, UseCases
from .shapes import RequestShape, Token
from .tokens import TokenAnswer, write_pair


class RefreshRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Refresh. Sessions whose refresh token is a cookie send no body, or one without the token."""

    refresh_token: Token | None = None


async def refresh(use: UseCases, call: Call, body: RefreshRequest | None) -> Response:
    """Return the next pair."""
    token, way = call.refresh_token(body.refresh_token if body else None)
    pair = await use.renew(call, token, way)
    return write_pair(pair, call.cookies)


OPERATIONS = (
    Operation(
        method="POST",
        path="/refresh",
        run=refresh,
        summary="Refresh: a new access token, and a new refresh token",
        body=RefreshRequest,
        body_required=False,
        answer=TokenAnswer,
        errors=(*BODY_ERRORS, MissingToken, InvalidToken, SessionEnded, ProofRequired, CrossSite),
        credential="refresh",
    ),
)
