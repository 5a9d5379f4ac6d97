"""The token answer, by which every operation that signs in or refreshes hands out a pair (RFC 6749 §5.1)."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from ...domain.delivery import DELIVERIES
from ...service.parts.tokens import TokenPair
from ..answers import write_json
from ..cookies import Cookies, set_pair
from .shapes import AnswerShape, Seconds, SessionId


class TokenAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A session's tokens, without those that travel as cookies. Lifetimes are whole seconds."""

    access_token: str | msgspec.UnsetType = msgspec.UNSET
    token_type: str
    expires_in: Seconds
    refresh_token: str | msgspec.UnsetType = msgspec.UNSET
    refresh_expires_in: Seconds
    session_id: SessionId

    def __repr__(self) -> str:
        """Show the session, not its tokens."""
        return f"TokenAnswer(session_id={self.session_id!r})"


def write_pair(pair: TokenPair, cookies: Cookies) -> Response:
    """Return the token answer. The session's delivery decides which tokens are in the body and which are cookies."""
    rule = DELIVERIES[pair.delivery]
    answer = TokenAnswer(
        access_token=msgspec.UNSET if rule.access_is_cookie else pair.access_token,
        token_type="Bearer",  # noqa: S106 - the name of a scheme
        expires_in=pair.expires_in_s,
        refresh_token=msgspec.UNSET if rule.refresh_is_cookie else pair.refresh_token,
        refresh_expires_in=pair.refresh_expires_in_s,
        session_id=pair.session_id,
    )
    response = write_json(answer)
    set_pair(response, pair, cookies)
    return response
