"""`GET /sessions` and `DELETE /sessions/{id}`: people see their active sessions and end single ones."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from starlette.responses import Response

from ...domain.session import Session
from ...errors import CrossSite, InvalidFields, NotFound, SessionEnded
from ...storage.store.sessions import Place
from ...text import mark
from ..answers import write_json, write_nothing
from ..cookies import clear_cookies, clear_ended
from ..edge import Call
from ..operation import ACCESS_ERRORS, READ_ERRORS, Operation, UseCases
from .shapes import Acting, AnswerShape, How, Time, describe_actor, described, utc


class SessionEntry(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """One of a person's active sessions."""

    id: str
    current: bool
    created_at: Time
    seen_at: Time
    expires_at: Time
    user_agent: str
    ip: str
    delivery: How
    bound: Annotated[bool, described("Whether it is bound to its device, so that copies of its tokens renew nothing")]
    actor: Acting = msgspec.UNSET


class SessionsAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A person's active sessions, last seen first. If there are more, the next page has those that began earlier."""

    sessions: tuple[SessionEntry, ...]
    next: Annotated[str | None, described("If the list goes on: send it as `after` to get the next page")]


async def list_sessions(use: UseCases, call: Call, _: None) -> Response:
    """List this person's active sessions."""
    session, _account = await use.require_session(call, impersonation=True)
    before = _parse_place(call.request.query_params.get("after", ""))
    page = await use.sessions.list_page(session.subject, call.caller, before=before)
    return write_json(
        SessionsAnswer(
            sessions=tuple(_entry(each, current=session.id) for each in page.sessions),
            next=None if page.following is None else ".".join(map(str, page.following)),
        )
    )


async def end_session(use: UseCases, call: Call, _: None) -> Response:
    """End one of this person's sessions, which may be this one, or has ended. Raises `NotFound` for any other id."""
    sid = call.request.path_params["id"]
    try:
        session, _account = await use.require_session(call)
    except SessionEnded as ended:
        if ended.reason != "logout" or use.read_access(call).sid != sid:
            raise
        return clear_ended(write_nothing(), call.cookies, call.identified_by, bound=call.bound_cookie)
    await use.sign_out.end_own(session.subject, sid, call.caller)
    is_this = sid == session.id and session.delivery != "json"
    return clear_cookies(write_nothing(), call.cookies, bound=call.bound_cookie) if is_this else write_nothing()


def _parse_place(text: str) -> Place | None:
    match = re.fullmatch(r"(\d{1,15})\.([A-Za-z0-9_-]{1,64})", text, re.ASCII)
    if text and match is None:
        raise InvalidFields([("after", mark("must be the `next` of an earlier answer"))])
    return (int(match[1]), match[2]) if match else None


def _entry(session: Session, *, current: str) -> SessionEntry:
    is_own = session.impersonator is None  # the place of an operator is not shown to the person
    return SessionEntry(
        id=session.id,
        current=session.id == current,
        created_at=utc(session.created_at_ms),
        seen_at=utc(session.seen_at_ms),
        expires_at=utc(session.expires_at_ms),
        user_agent=session.user_agent if is_own else "",
        ip=session.ip if is_own else "",
        delivery=session.delivery,
        bound=session.bound_key is not None,
        actor=msgspec.UNSET if session.impersonator is None else describe_actor(session.impersonator),
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/sessions",
        run=list_sessions,
        summary="This person's active sessions, last seen first",
        query={"after": "The `next` of the page before; without it, the first page is returned"},
        answer=SessionsAnswer,
        errors=(*READ_ERRORS, InvalidFields),
        credential="access",
        budget=None,
    ),
    Operation(
        method="DELETE",
        path="/sessions/{id}",
        run=end_session,
        summary="End one of this person's sessions",
        status=204,
        errors=(*ACCESS_ERRORS, CrossSite, NotFound),
        credential="access",
    ),
)
