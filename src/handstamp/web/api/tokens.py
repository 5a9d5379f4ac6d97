"""The token answer, by which every operation that signs in or refreshes hands out a pair (RFC 6749 §5.1)."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from starlette.responses import Response

from ...domain.delivery import DELIVERIES, Delivery
from ...errors import InvalidFields
from ...service.parts.tokens import TokenPair
from ...text import mark
from ...wire.cross_site import is_from_browser
from ..answers import write_json
from ..cookies import Cookies, clear_cookies, set_pair
from ..edge import Call
from ..operation import UseCases
from .shapes import Acting, AnswerShape, Seconds, SessionId, describe_actor

NO_BROWSER = mark(
    "needs a browser: this request has neither Origin nor Sec-Fetch-Site, and later ones with cookies need one of them. "
    'A program uses "json". A server that signs a browser in passes on the Origin that the browser sent'
)


class TokenAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A session's tokens, without those that travel as cookies. Lifetimes are whole seconds."""

    access_token: str | msgspec.UnsetType = msgspec.UNSET
    token_type: str
    expires_in: Seconds
    refresh_token: str | msgspec.UnsetType = msgspec.UNSET
    refresh_expires_in: Seconds
    session_id: SessionId
    actor: Acting = msgspec.UNSET

    def __repr__(self) -> str:
        """Show the session, not its tokens."""
        return f"TokenAnswer(session_id={self.session_id!r})"


def write_pair(pair: TokenPair, cookies: Cookies) -> Response:
    """Return the token answer. The session's delivery decides which tokens are in the body and which are cookies."""
    rule = DELIVERIES[pair.delivery]
    answer = TokenAnswer(
        access_token=msgspec.UNSET if rule.access_is_cookie else pair.access_token,
        token_type=pair.token_type,
        expires_in=pair.expires_in_s,
        refresh_token=msgspec.UNSET if rule.refresh_is_cookie else pair.refresh_token,
        refresh_expires_in=pair.refresh_expires_in_s,
        session_id=pair.session_id,
        actor=msgspec.UNSET if pair.impersonator is None else describe_actor(pair.impersonator),
    )
    response = write_json(answer)
    set_pair(response, pair, cookies)
    return response


def write_signed_in(use: UseCases, call: Call, pair: TokenPair, presented: Collection[str]) -> Response:
    """Return the token answer of a new session. The cookies of `presented`, which has ended, are replaced or deleted."""
    response = write_pair(pair, call.cookies)
    use.remember_device(response, call, pair)
    return clear_cookies(response, call.cookies, bound=call.bound_cookie, but_for=pair) if presented else response


def choose_delivery(wanted: Delivery | None, call: Call) -> Delivery:
    """Return how the tokens travel. Raises `InvalidFields` if they would travel as cookies of a client that is no browser."""
    if is_from_browser(call.headers.getlist):
        return wanted or "split"
    if wanted is not None and DELIVERIES[wanted].refresh_is_cookie:
        raise InvalidFields([("delivery", NO_BROWSER)])
    return "json"
