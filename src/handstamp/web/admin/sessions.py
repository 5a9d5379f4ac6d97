"""Operators see sessions, what has happened to them, and end them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from ...domain.session import Session
from ...errors import InvalidFields, NotFound
from ...service.operating.history import History
from ..answers import write_json, write_nothing
from ..api.shapes import Acting, AnswerShape, How, Time, describe_actor, described, utc
from ..edge import Call
from ..operation import UseCases
from .shapes import AFTER, Next, Place, Word, declare, read_cursor, read_id, read_limit, write_cursor


class AdminSession(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """An active session."""

    id: str
    subject: Annotated[str, described("Whose it is, as the tokens name them: the id of the account, if it has one here")]
    created_at: Time
    seen_at: Time
    expires_at: Time
    user_agent: str
    ip: str
    delivery: How
    bound: Annotated[bool, described("Whether it is bound to its device")]
    actor: Acting = msgspec.UNSET


class AdminSessionsAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """Some active sessions: those first that began last."""

    sessions: tuple[AdminSession, ...]
    next: Next


class AdminEndedAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """All sessions of a person have ended."""

    ended: Annotated[int, described("How many were active")]


class AdminHistoryEntry(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """One sentence, in the language of the request."""

    at: Time
    session: str | None
    sentence: str


class AdminHistoryAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """What has happened, oldest first."""

    subject: str
    living_sessions: tuple[str, ...]
    entries: tuple[AdminHistoryEntry, ...]
    cut: Annotated[bool, described("Whether there was more")]


async def admin_list_sessions(use: UseCases, call: Call, _: None) -> Response:
    """List the active sessions of everybody, or of one subject."""
    subject = call.request.query_params.get("subject", "")[:256] or None
    if subject is not None and not subject.isprintable():
        return write_json(AdminSessionsAnswer(sessions=(), next=None))
    before = read_cursor(call, tuple[Place, Word])
    page = await use.sessions.list_page(subject, call.operator, before=before, limit=read_limit(call))
    following = None if page.following is None else write_cursor(*page.following)
    return write_json(AdminSessionsAnswer(sessions=tuple(_describe(each) for each in page.sessions), next=following))


async def admin_end_session(use: UseCases, call: Call, _: None) -> Response:
    """End an active session."""
    await use.sign_out.end_by_operator(read_id(call), call.operator)
    return write_nothing()


async def admin_sign_out(use: UseCases, call: Call, _: None) -> Response:
    """End all sessions of an account, at once and everywhere. It takes power from nobody but a thief, so anybody's may end."""
    account = await use.accounts.get(read_id(call))
    ended = await use.sign_out.end_all(account.id, call.operator, why="admin")
    return write_json(AdminEndedAnswer(ended=ended))


async def admin_tell_session(use: UseCases, call: Call, _: None) -> Response:
    """Tell what has happened to a session."""
    return await _tell(use, call, read_id(call))


async def admin_tell_account(use: UseCases, call: Call, _: None) -> Response:
    """Tell what has happened to all sessions of an account."""
    return await _tell(use, call, read_id(call))


async def _tell(use: UseCases, call: Call, about: str) -> Response:
    history = await use.histories.of(about, call.operator)
    await call.load_language()
    return write_json(_describe_history(history, call))


def _describe_history(history: History, call: Call) -> AdminHistoryAnswer:
    return AdminHistoryAnswer(
        subject=history.subject,
        living_sessions=tuple(sorted(history.living)),
        entries=tuple(
            AdminHistoryEntry(at=utc(entry.at_ms), session=entry.sid, sentence=call.language.translate(entry.sentence))
            for entry in history.entries
        ),
        cut=history.is_cut,
    )


def _describe(session: Session) -> AdminSession:
    return AdminSession(
        id=session.id,
        subject=session.subject,
        created_at=utc(session.created_at_ms),
        seen_at=utc(session.seen_at_ms),
        expires_at=utc(session.expires_at_ms),
        user_agent=session.user_agent,
        ip=session.ip,
        delivery=session.delivery,
        bound=session.bound_key is not None,
        actor=msgspec.UNSET if session.impersonator is None else describe_actor(session.impersonator),
    )


OPERATIONS = (
    declare(
        method="GET",
        path="/admin/sessions",
        run=admin_list_sessions,
        summary="The active sessions, those first that began last",
        query={"subject": "Only those of this subject", **AFTER},
        answer=AdminSessionsAnswer,
        errors=(InvalidFields,),
    ),
    declare(
        method="DELETE",
        path="/admin/sessions/{id}",
        run=admin_end_session,
        summary="End a session",
        status=204,
        errors=(NotFound,),
    ),
    declare(
        method="GET",
        path="/admin/sessions/{id}/history",
        run=admin_tell_session,
        summary="What has happened to a session, in sentences",
        answer=AdminHistoryAnswer,
        errors=(NotFound,),
    ),
    declare(
        method="GET",
        path="/admin/accounts/{id}/history",
        run=admin_tell_account,
        summary="What has happened to a person's sessions, in sentences",
        answer=AdminHistoryAnswer,
        errors=(NotFound,),
    ),
    declare(
        method="POST",
        path="/admin/accounts/{id}/sign-out",
        run=admin_sign_out,
        summary="End all sessions of a person",
        answer=AdminEndedAnswer,
        errors=(NotFound,),
    ),
)
