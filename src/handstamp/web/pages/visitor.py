"""Who looks at a page.

A page recognises its visitor by the refresh cookie, which both deliveries of browsers have, and never holds an access token.
"""

from __future__ import annotations

from typing import Any

from ...devices import describe_device
from ...domain.account import Account
from ...domain.session import Session
from ...errors import Impersonated, InvalidRequest
from ...service.sessions.living import require_account, require_fresh, require_strong
from ...text import mark
from ...wire.cross_site import is_from_browser
from ..edge import Call
from ..operation import UseCases
from .languages import prefer_account_language


async def require_visitor(use: UseCases, call: Call, *, impersonation: bool = False) -> tuple[Session, Account | None]:
    """Return the session of the refresh cookie, and its account if the subject has one here. Answer in its language.

    Args:
        use: The use cases.
        call: The request.
        impersonation: True to serve an operator who acts in the place of the person. See `UseCases.require_session`.

    Raises:
        Impersonated: An operator acts in the place of the person.
        MissingToken, InvalidToken, SessionEnded, ProofRequired: as their names say.
    """
    token, _ = call.refresh_token(None)
    session, account = await use.recognise(token, call.caller, use.find_credential_end(call))
    if session.impersonator is not None:
        call.impersonated = session
        if not impersonation:
            raise Impersonated
    await prefer_account_language(call, account)
    return session, account


async def require_confirmed(use: UseCases, call: Call) -> tuple[Session, Account]:
    """As `require_visitor`, for a page with which people change who owns the account.

    Raises:
        InsufficientAuthentication: If the proof of the session is too old, or not as strong as the account can give.
        NotFound: If the session belongs to no account.
    """
    session, account = await require_visitor(use, call)
    require_fresh(session, call.now_ms)
    account = require_account(account)
    require_strong(session, (await use.list_factors(account)).factors)
    return session, account


def require_browser(call: Call) -> None:
    """Raise `InvalidRequest` for a program: the session's cookies would be of no use to it."""
    if not is_from_browser(call.headers.getlist):
        raise InvalidRequest(mark("This form is for browsers, which send Origin with it. A program signs in with POST /login."))


def name_of(session: Session, account: Account | None) -> str:
    """Return what a visitor is called on a page: the e-mail address, or the subject without an account."""
    return account.email if account else session.subject


def arrives_from_elsewhere(call: Call) -> bool:
    """Return whether another site's link brought the visitor: then the browser sent no strict cookie (RFC 6265bis §5.6.7)."""
    is_second_request = call.request.query_params.get("here") is not None
    is_cross_site = call.headers.get("sec-fetch-site") == "cross-site"
    return is_cross_site and not is_second_request and not call.carries_refresh_cookie


def name_session(session: Session, call: Call) -> str:
    """Return what a session is called in a list: its device, or that it is one of support."""
    name = describe_device(session.user_agent) if session.impersonator is None else mark("Support of this service")
    return call.language.translate(name)


def describe_support(call: Call) -> dict[str, Any] | None:
    """Return what the banner of a page says of the operator who looks at it in the place of a person; None without one."""
    session = call.impersonated
    if session is None or session.impersonator is None:
        return None
    return {
        "reason": session.impersonator.reason,
        "writes": session.impersonator.writes,
        "until": call.language.write_time(session.expires_at_ms),
    }
