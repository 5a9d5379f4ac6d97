"""`GET /me/export` and `POST /me/delete`: people get all that is stored about them, and delete their account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from starlette.responses import Response, StreamingResponse

from ...errors import CrossSite, DeletionBlocked, InsufficientAuthentication, NotFound
from ...transfer.own_data import Pages, write_own_data
from ..answers import write_nothing
from ..body import require_body
from ..cookies import clear_cookies
from ..edge import Call
from ..operation import ACCESS_ERRORS, BODY_ERRORS, Operation, UseCases
from .shapes import AnswerShape, Email, RequestShape, Time, described

_Rows = Annotated[tuple[dict[str, Any], ...], described("Each with all that is stored, in the words of the reference")]


class ExportAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """All that is stored about a person, but for secrets. It is sent piece by piece."""

    id: str
    exported_at: Time
    account: _Rows
    second_factors: _Rows
    identities: _Rows
    sessions: _Rows
    events: _Rows
    failed_sign_ins: _Rows
    mails: _Rows
    links: _Rows


class DeleteRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Delete the account. `email` is its address, which the person types to confirm."""

    email: Email


async def export_data(use: UseCases, call: Call, _: None) -> Response:
    """Return all that is stored about this person, as a file. Needs a fresh sign-in."""
    session, account = await use.require_session(call)
    return write_export(session.subject, await use.export_data(session, account, call.caller), call)


def write_export(subject: str, sections: Mapping[str, Pages], call: Call, *, name: str = "my-data.json") -> Response:
    """Return an export that is sent as it is read, as a file with this name.

    If the store fails meanwhile, the connection is closed before the end.
    """
    headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(write_own_data(subject, sections, call.now_ms), headers=headers, media_type="application/json")


async def delete_account(use: UseCases, call: Call, body: DeleteRequest | None) -> Response:
    """Delete the account with all that belongs to it. Needs a fresh sign-in, and the address typed as a confirmation."""
    session, account = await use.require_session(call)
    email = require_body(body).email
    await use.delete_account(session, account, email, call.caller)
    return (
        clear_cookies(write_nothing(), call.cookies, bound=call.bound_cookie) if session.delivery != "json" else write_nothing()
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/me/export",
        run=export_data,
        summary="All that is stored about this person, as a file",
        answer=ExportAnswer,
        errors=(*ACCESS_ERRORS, InsufficientAuthentication),
        credential="access",
    ),
    Operation(
        method="POST",
        path="/me/delete",
        run=delete_account,
        summary="Delete the account and all that belongs to it",
        body=DeleteRequest,
        status=204,
        errors=(*BODY_ERRORS, *ACCESS_ERRORS, InsufficientAuthentication, DeletionBlocked, CrossSite, NotFound),
        credential="access",
    ),
)
