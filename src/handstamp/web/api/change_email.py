"""`POST /email/change`, its confirmation and its undoing: people give their account another address."""

from __future__ import annotations

from typing import Annotated

from starlette.responses import Response

from ...errors import AccountExists, CrossSite, InsufficientAuthentication, InvalidCode, NotFound
from ...service.parts.one_time import Shown
from ..answers import write_json, write_nothing
from ..body import require_body
from ..edge import Call
from ..operation import ACCESS_ERRORS, BODY_ERRORS, Operation, UseCases
from .mailed import ConfirmRequest, MailAnswer, browser_of, read_shown, write_mail_sent
from .shapes import Email, RequestShape, described
from .verify_email import VerifyAnswer


class ChangeEmailRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Ask for a mail to the new address. The account keeps its address until that mail is used."""

    email: Email


class ChangeEmailConfirmRequest(ConfirmRequest, frozen=True, kw_only=True, rename="camel"):
    """Give the account its new address with the link or the code of the mail."""


class UndoRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Give the account its old address back with the link of the mail to that address."""

    token: Annotated[str, described("The `token` of the link's query", max_length=64)]


async def email_change(use: UseCases, call: Call, body: ChangeEmailRequest | None) -> Response:
    """Send a link and a code to the new address. Needs a fresh sign-in. Raises `NotFound` if this service sends no mail."""
    use.require_mail()
    session, account = await use.require_session(call)
    email, browser = require_body(body).email, browser_of(call)
    email = await use.change_email.ask(session, account, email, call.caller, browser=browser)
    return write_mail_sent(call, email, browser)


async def email_change_confirm(use: UseCases, call: Call, body: ChangeEmailConfirmRequest | None) -> Response:
    """Give the account its new address. Its sessions go on, and both addresses are told."""
    use.require_mail()
    account = await use.change_email.confirm(read_shown(call, require_body(body)), call.caller)
    return write_json(VerifyAnswer(email=account.email, email_verified=account.email_verified))


async def email_change_undo(use: UseCases, call: Call, body: UndoRequest | None) -> Response:
    """Give the account its old address back. All sessions end, and that address gets a mail for a new password."""
    use.require_mail()
    await use.undo("undo_change", Shown(token=require_body(body).token), call.caller)
    return write_nothing()


OPERATIONS = (
    Operation(
        method="POST",
        path="/email/change",
        run=email_change,
        summary="Ask for a mail that gives the account a new address",
        body=ChangeEmailRequest,
        answer=MailAnswer,
        status=202,
        errors=(*BODY_ERRORS, *ACCESS_ERRORS, InsufficientAuthentication, CrossSite, NotFound),
        credential="access",
    ),
    Operation(
        method="POST",
        path="/email/change/confirm",
        run=email_change_confirm,
        summary="Give the account its new address with the link or the code of the mail",
        body=ChangeEmailConfirmRequest,
        answer=VerifyAnswer,
        errors=(*BODY_ERRORS, InvalidCode, AccountExists, CrossSite, NotFound),
        signs_in=True,
    ),
    Operation(
        method="POST",
        path="/email/change/undo",
        run=email_change_undo,
        summary="Give the account its old address back; every session ends",
        body=UndoRequest,
        status=204,
        errors=(*BODY_ERRORS, InvalidCode, AccountExists, CrossSite, NotFound),
        signs_in=True,
    ),
)
