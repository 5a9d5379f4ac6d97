"""Operators look after what the service sends: mails, and the audit trail to its receivers."""

from __future__ import annotations

from typing import Annotated

from starlette.responses import Response

from ...domain.mail import MailKind
from ...errors import AdministratorProtected, InvalidFields, NotFound
from ...service.mailing.queue import WaitingMail
from ...service.operating.audit_receivers import ReceiverStatus
from ..answers import write_json, write_nothing
from ..api.shapes import AnswerShape, Time, described, utc
from ..edge import Call
from ..operation import UseCases
from .shapes import AFTER, declare, read_id, read_limit


class AdminMail(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A mail that waits to be sent."""

    id: str
    kind: MailKind
    to: Annotated[str | None, described("The address; null if another master secret sealed it")]
    tries: int
    created_at: Time
    next_at: Annotated[Time | None, described("When it is tried next; null for one that is only shown in the development inbox")]
    error: Annotated[str, described("Why the last try failed")]


class AdminMailsAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The newest mails that wait."""

    mails: tuple[AdminMail, ...]
    more: Annotated[bool, described("Whether more mails wait")]


class AdminRetriedAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """Mails that failed are tried again now."""

    retried: Annotated[int, described("How many")]


class AdminReceiver(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """How far a receiver of the audit trail is."""

    name: str
    configured: Annotated[bool, described("Whether the settings name it")]
    sent_to: Annotated[int, described("The number of the last event that it has accepted")]
    sent_at: Time | None
    waiting_since: Annotated[Time | None, described("The time of the first event that it has not accepted")]
    tries: int
    next_at: Time | None
    lost: Annotated[int, described("Events that were deleted before it accepted them")]
    error: str


class AdminReceiversAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The receivers of the audit trail."""

    receivers: tuple[AdminReceiver, ...]


class AdminResetMailAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A mail with which a person chooses a new password."""

    sent: Annotated[
        bool,
        described(
            "False if no mail was sent: the account is disabled, or its mailbox has got so many in the last hour that it has a "
            "link which works"
        ),
    ]


async def admin_send_reset_mail(use: UseCases, call: Call, _: None) -> Response:
    """Send the person of an account the mail with which they choose a new password. Until they use it, nothing changes."""
    use.require_mail()
    return write_json(AdminResetMailAnswer(sent=await use.reset_password.send(read_id(call), call.operator)))


async def admin_list_mails(use: UseCases, call: Call, _: None) -> Response:
    """List the mails that wait, newest first, with the last error of each."""
    found, is_cut = await use.mail_queue.list_newest(limit=read_limit(call))
    return write_json(AdminMailsAnswer(mails=tuple(map(_describe_mail, found)), more=is_cut))


async def admin_retry_mails(use: UseCases, call: Call, _: None) -> Response:
    """Try all mail that failed again now."""
    return write_json(AdminRetriedAnswer(retried=await use.mail_queue.retry(call.operator)))


async def admin_drop_mail(use: UseCases, call: Call, _: None) -> Response:
    """Delete a mail that waits."""
    await use.mail_queue.drop(call.request.path_params["id"], call.operator)
    return write_nothing()


async def admin_list_receivers(use: UseCases, _: Call, __: None) -> Response:
    """Show how far each receiver of the audit trail is, and why its last message failed."""
    return write_json(AdminReceiversAnswer(receivers=tuple(map(_describe_receiver, await use.read_receivers()))))


def _describe_mail(waiting: WaitingMail) -> AdminMail:
    mail = waiting.mail
    return AdminMail(
        id=mail.id,
        kind=mail.kind,
        to=waiting.to,
        tries=mail.tries,
        created_at=utc(mail.created_at_ms),
        next_at=None if mail.next_at_ms is None else utc(mail.next_at_ms),
        error=mail.error,
    )


def _describe_receiver(status: ReceiverStatus) -> AdminReceiver:
    receiver = status.receiver
    return AdminReceiver(
        name=receiver.name,
        configured=status.is_configured,
        sent_to=receiver.sent_to,
        sent_at=None if receiver.sent_at_ms is None else utc(receiver.sent_at_ms),
        waiting_since=None if status.waiting_since_ms is None else utc(status.waiting_since_ms),
        tries=receiver.tries,
        next_at=utc(receiver.next_at_ms) if receiver.next_at_ms else None,
        lost=receiver.lost,
        error=receiver.error,
    )


OPERATIONS = (
    declare(
        method="POST",
        path="/admin/accounts/{id}/reset-mail",
        run=admin_send_reset_mail,
        summary="Send a person the mail to choose a new password",
        answer=AdminResetMailAnswer,
        errors=(NotFound,),
    ),
    declare(
        method="GET",
        path="/admin/mails",
        run=admin_list_mails,
        summary="The mails that wait to be sent, newest first",
        query={"limit": AFTER["limit"]},
        answer=AdminMailsAnswer,
        errors=(InvalidFields,),
    ),
    declare(
        method="POST",
        path="/admin/mails/retry",
        run=admin_retry_mails,
        summary="Try all mail that failed again now",
        answer=AdminRetriedAnswer,
    ),
    declare(
        method="DELETE",
        path="/admin/mails/{id}",
        run=admin_drop_mail,
        summary="Delete a mail that waits to be sent",
        status=204,
        errors=(AdministratorProtected, NotFound),
    ),
    declare(
        method="GET",
        path="/admin/receivers",
        run=admin_list_receivers,
        summary="How far the receivers of the audit trail are",
        answer=AdminReceiversAnswer,
    ),
)
