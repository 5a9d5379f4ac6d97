"""`GET /profile`: who is signed in. `POST /profile`: change one's name and language."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from ...domain.account import Account
from ...domain.grant import NOTHING
from ...domain.session import Session
from ...errors import CrossSite, NotFound
from ..answers import write_json
from ..body import require_body
from ..edge import Call
from ..operation import ACCESS_ERRORS, BODY_ERRORS, READ_ERRORS, Operation, UseCases
from .shapes import Acting, AnswerShape, Language, Name, RequestShape, Time, describe_actor, utc


class ThisSession(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The session of the access token."""

    id: str
    created_at: Time
    authenticated_at: Time
    expires_at: Time
    actor: Acting = msgspec.UNSET


class ProfileAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """Who is signed in. `email` and `createdAt` are null if the subject has no account in this service.

    `name` is what the person wants to be called, `language` that of the person's pages and mails; "" if unknown.
    """

    id: str
    email: str | None
    email_verified: bool
    name: str
    language: str
    roles: tuple[str, ...]
    created_at: Time | None
    session: ThisSession


async def profile(use: UseCases, call: Call, _: None) -> Response:
    """Return who is signed in, and by which session."""
    return write_json(_profile(use, *await use.require_session(call, impersonation=True)))


class ProfileRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Change the name or the language of the account; "" removes it."""

    name: Name | None = None
    language: Language | None = None


async def change_profile(use: UseCases, call: Call, body: ProfileRequest | None) -> Response:
    """Change the name or the language of the account, and return who is signed in."""
    body = require_body(body)
    session, account = await use.require_session(call)
    changed = await use.change_profile(session, account, call.caller, name=body.name, language=body.language)
    return write_json(_profile(use, session, changed))


def _profile(use: UseCases, session: Session, account: Account | None) -> ProfileAnswer:
    return ProfileAnswer(
        id=session.subject,
        email=account.email if account else None,
        email_verified=account.email_verified if account else False,
        name=account.name if account else "",
        language=account.language if account else "",
        roles=use.granting.combine(session, account, NOTHING).roles,
        created_at=utc(account.created_at_ms) if account else None,
        session=ThisSession(
            id=session.id,
            created_at=utc(session.created_at_ms),
            authenticated_at=utc(session.authenticated_at_ms),
            expires_at=utc(session.expires_at_ms),
            actor=msgspec.UNSET if session.impersonator is None else describe_actor(session.impersonator),
        ),
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/profile",
        run=profile,
        summary="Who is signed in",
        answer=ProfileAnswer,
        errors=READ_ERRORS,
        credential="access",
        budget=None,
    ),
    Operation(
        method="POST",
        path="/profile",
        run=change_profile,
        summary="Change the name or the language of the account",
        body=ProfileRequest,
        answer=ProfileAnswer,
        errors=(*BODY_ERRORS, *ACCESS_ERRORS, CrossSite, NotFound),
        credential="access",
    ),
)
