"""Operators look at accounts as their persons, for support: `/admin/accounts/{id}/impersonate` (RFC 8693 §1.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from starlette.responses import Response

from ...domain.impersonation import LIFETIME_MS, LINK_MS, REASON_MAX_LENGTH
from ...errors import AdministratorProtected, InvalidFields, NewProofRequired, NotFound, PersonRequired
from ...text import mark
from ..answers import write_json
from ..api.shapes import AnswerShape, RequestShape, Seconds, described
from ..api.tokens import TokenAnswer, write_pair
from ..body import require_body
from ..edge import Call
from ..operation import UseCases
from ..pages.destination import may_return_to
from .shapes import declare, read_id

Reason = Annotated[
    str,
    described(
        "Why. The person reads it, in a mail and on the page of the account",
        max_length=REASON_MAX_LENGTH,
        examples=["Ticket 4711: the invoice is missing"],
    ),
]
Write = Annotated[bool, described("Whether applications may accept changes, where HANDSTAMP_IMPERSONATION is `write`")]


class AdminImpersonateRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Look at an account as its person."""

    reason: Reason
    write: Write = False


class AdminImpersonationLinkRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Make a link that looks at an account as its person."""

    reason: Reason
    write: Write = False
    return_to: Annotated[
        str, described("Where the browser goes then: a URL of this service or of a trusted origin", max_length=2048)
    ] = ""
    delivery: Annotated[Literal["split", "cookie"], described("How the tokens travel")] = "split"


class AdminImpersonationLinkAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A link that works once. Open it in a private window, so that you stay signed in here."""

    link: str
    expires_in: Seconds


async def admin_impersonate(use: UseCases, call: Call, body: AdminImpersonateRequest | None) -> Response:
    """Begin a session of at most 30 minutes in the place of a person, who is told by mail. It ends with your own."""
    body = require_body(body)
    pair = await use.impersonate(read_id(call), call.operator, reason=body.reason, writes=body.write)
    return write_pair(pair, call.cookies)


async def admin_make_impersonation_link(use: UseCases, call: Call, body: AdminImpersonationLinkRequest | None) -> Response:
    """Make a link that begins such a session once, within two minutes, in a browser in which nobody is signed in."""
    body = require_body(body)
    if body.return_to and not may_return_to(body.return_to, own=use.issuer.origin, trusted=use.trusted_origins):
        raise InvalidFields([("returnTo", mark("must be an address of this service or of a trusted origin"))])
    link = await use.impersonate.make_link(
        read_id(call),
        call.operator,
        reason=body.reason,
        writes=body.write,
        destination={"return_to": body.return_to, "delivery": body.delivery},
    )
    return write_json(AdminImpersonationLinkAnswer(link=link, expires_in=LINK_MS // 1000), status=201)


_ERRORS = (AdministratorProtected, NewProofRequired, NotFound, PersonRequired)

OPERATIONS = (
    declare(
        method="POST",
        path="/admin/accounts/{id}/impersonate",
        run=admin_impersonate,
        summary=f"Look at an account as its person, for at most {LIFETIME_MS // 60_000} minutes (RFC 8693)",
        body=AdminImpersonateRequest,
        answer=TokenAnswer,
        errors=_ERRORS,
    ),
    declare(
        method="POST",
        path="/admin/accounts/{id}/impersonation-link",
        run=admin_make_impersonation_link,
        summary="A link that does so in another browser",
        body=AdminImpersonationLinkRequest,
        answer=AdminImpersonationLinkAnswer,
        status=201,
        errors=_ERRORS,
        is_repeatable=False,  # it begins nothing
    ),
)
