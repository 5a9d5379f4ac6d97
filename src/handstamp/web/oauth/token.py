"""`POST /token`: refreshing in the words of OAuth (RFC 6749 §6)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from ...errors import CrossSite, InvalidClient, InvalidRequest, InvalidToken
from ..answers import write_json
from ..api.shapes import Seconds, SessionId, Token, described
from ..edge import Call
from ..operation import BODY_ERRORS, Operation, UseCases
from .common import Form, RefusedGrant, require_first_party, write_oauth_error


class TokenForm(Form, frozen=True, kw_only=True):
    """Refresh (RFC 6749 §6), for software that speaks OAuth 2. `client_id` is `handstamp` or absent; there is no secret."""

    grant_type: Annotated[str, described("`refresh_token`", examples=["refresh_token"])]
    refresh_token: Token = ""
    scope: Annotated[str, described("Leave it out: a session keeps its scope")] = ""


class OAuthTokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The new pair (RFC 6749 §5.1). Lifetimes are whole seconds."""

    access_token: str
    token_type: str
    expires_in: Seconds
    refresh_token: str
    refresh_expires_in: Seconds
    session_id: SessionId

    def __repr__(self) -> str:
        """Show the session, not its tokens."""
        return f"OAuthTokenAnswer(session_id={self.session_id!r})"


async def token(use: UseCases, call: Call, form: TokenForm) -> Response:
    """Return the next pair of a session whose tokens travel in bodies."""
    await require_first_party(use, call, form)
    if form.grant_type != "refresh_token":
        raise RefusedGrant("unsupported_grant_type", "The one grant here is refresh_token. People sign in with POST /login.")
    if not form.refresh_token:
        raise InvalidRequest("refresh_token is missing.")
    if form.scope:
        raise RefusedGrant("invalid_scope", "A session has the scope that it was given: leave scope out.")
    pair = await use.renew(call, form.refresh_token, "body")
    answer = OAuthTokenAnswer(
        access_token=pair.access_token,
        token_type=pair.token_type,
        expires_in=pair.expires_in_s,
        refresh_token=pair.refresh_token,
        refresh_expires_in=pair.refresh_expires_in_s,
        session_id=pair.session_id,
    )
    response = write_json(answer)
    response.headers["pragma"] = "no-cache"  # RFC 6749 §5.1 requires it beside Cache-Control
    return response


OPERATIONS = (
    Operation(
        method="POST",
        path="/token",
        run=token,
        summary="Refresh, in the words of OAuth (RFC 6749 §6)",
        form=TokenForm,
        answer=OAuthTokenAnswer,
        errors=(*BODY_ERRORS, InvalidToken, InvalidClient, CrossSite),
        write_error=write_oauth_error,
    ),
)
