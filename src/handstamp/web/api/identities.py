"""`/identities`: the other services with which a person signs in, and their tokens for the application."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from ...domain.delivery import Delivery
from ...errors import (
    CredentialLacksScope,
    CrossSite,
    IdentityTaken,
    InsufficientAuthentication,
    InvalidChallenge,
    InvalidClient,
    LastWay,
    NotFound,
    ProviderRefused,
    ProviderUnavailable,
)
from ...service.accounts.factor_changes import hold_session
from ...service.sessions.living import require_account
from ...wire.basic import basic_credential
from ...wire.cross_site import is_from_browser
from ..answers import write_json, write_nothing
from ..body import require_body
from ..edge import Call
from ..operation import ACCESS_ERRORS, BODY_ERRORS, Operation, UseCases
from .providers import FINISHING, CompleteRequest, LeaveAnswer, ReturnTo, require_return, write_away
from .shapes import AnswerShape, RequestShape, Time, Token, described, utc


class LinkRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Begin to add another service to the account. `returnTo` is that of `/login/with/{provider}`."""

    return_to: ReturnTo = ""


class IdentityEntry(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A service with which the person signs in."""

    id: str
    provider: Annotated[str, described("Its name in the settings")]
    label: Annotated[str, described("What people call it")]
    email: Annotated[str, described("The person's address there; empty if it tells none")]
    created_at: Time
    used_at: Time


class IdentitiesAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The services with which the person signs in, oldest first."""

    identities: tuple[IdentityEntry, ...]


class ProviderTokenRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Ask for the token of a person at another service, whose settings have `keep_tokens`."""

    provider: Annotated[str, described("Its name in the settings", max_length=64)]
    access_token: Annotated[Token, described("The access token of the person here, with which the request came")]


class ProviderTokenAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A token for the API of the other service, valid for a minute at least."""

    access_token: str
    scope: Annotated[str, described("What it allows; empty if the service does not say")]
    expires_at: Time | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        """Return a text without the token."""
        return "ProviderTokenAnswer(****)"


async def identities(use: UseCases, call: Call, _: None) -> Response:
    """Return the identities of the person."""
    account = require_account((await use.require_session(call))[1])
    label_of = use.provider_sign_in.label_of
    found = tuple(
        IdentityEntry(
            id=each.id,
            provider=each.provider,
            label=label_of(each.provider),
            email=each.email,
            created_at=utc(each.created_at_ms),
            used_at=utc(each.used_at_ms),
        )
        for each in await use.own_identities.list_of(account)
    )
    return write_json(IdentitiesAnswer(identities=found))


async def link_identity(use: UseCases, call: Call, body: LinkRequest | None) -> Response:
    """Begin to add one. Nothing is stored."""
    session, account = await use.require_session(call)
    delivery: Delivery = "split" if is_from_browser(call.headers.getlist) else "json"
    away = await use.own_identities.begin(
        hold_session(session, account, call.caller),
        call.request.path_params["provider"],
        call.caller_with_browser(),
        return_to=require_return(use, "" if body is None else body.return_to, delivery),
        relays=delivery == "json",
    )
    return write_away(away, call, delivery)


async def complete_link(use: UseCases, call: Call, body: CompleteRequest | None) -> Response:
    """Add the person who has come back to the account of the session."""
    session, _ = await use.require_session(call)
    body, name = require_body(body), call.request.path_params["provider"]
    caller = call.caller_with_browser(body.ticket)
    attempt = use.provider_sign_in.trips.open(body.challenge, name, caller, "provider_link")
    if attempt.sid != session.id:
        raise InvalidChallenge("elsewhere")
    await use.own_identities.finish(attempt, body.answer, caller)
    return await identities(use, call, None)


async def unlink_identity(use: UseCases, call: Call, _: None) -> Response:
    """Remove one."""
    session, account = await use.require_session(call)
    holder = hold_session(session, account, call.caller)
    await use.own_identities.remove(holder, call.request.path_params["id"], call.caller)
    return write_nothing()


async def provider_token(use: UseCases, call: Call, body: ProviderTokenRequest | None) -> Response:
    """Return a token to a server of the application, which shows its own credential and the person's access token.

    Neither is enough alone: a credential that leaks opens no person's account elsewhere, nor does a page that was taken over.
    """
    await use.credentials.authenticate(basic_credential(call.headers.getlist("authorization")), call.caller, scope="read")
    body = require_body(body)
    claims = use.verifier.verify(body.access_token, now_ms=call.now_ms, proved="any")
    _, account = await use.sessions.require_living(claims.sid, call.now_ms)
    found = await use.kept_tokens(require_account(account).id, body.provider, call.caller)
    return write_json(
        ProviderTokenAnswer(
            access_token=found.access_token,
            scope=found.scope,
            expires_at=msgspec.UNSET if found.expires_at_ms is None else utc(found.expires_at_ms),
        )
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/identities",
        run=identities,
        summary="The other services with which the person signs in",
        answer=IdentitiesAnswer,
        errors=(*ACCESS_ERRORS, NotFound),
        credential="access",
    ),
    Operation(
        method="POST",
        path="/identities/with/{provider}",
        run=link_identity,
        summary="Begin to add another service",
        body=LinkRequest,
        body_required=False,
        answer=LeaveAnswer,
        errors=(*BODY_ERRORS, *ACCESS_ERRORS, InsufficientAuthentication, ProviderUnavailable, CrossSite, NotFound),
        credential="access",
    ),
    Operation(
        method="POST",
        path="/identities/with/{provider}/complete",
        run=complete_link,
        summary="Add another service",
        body=CompleteRequest,
        answer=IdentitiesAnswer,
        errors=(*BODY_ERRORS, *ACCESS_ERRORS, *FINISHING, InsufficientAuthentication, IdentityTaken),
        credential="access",
    ),
    Operation(
        method="DELETE",
        path="/identities/{id}",
        run=unlink_identity,
        summary="Remove another service",
        status=204,
        errors=(*ACCESS_ERRORS, InsufficientAuthentication, LastWay, CrossSite, NotFound),
        credential="access",
    ),
    Operation(
        method="POST",
        path="/identities/token",
        run=provider_token,
        summary="The person's token for the API of another service",
        body=ProviderTokenRequest,
        answer=ProviderTokenAnswer,
        errors=(
            *BODY_ERRORS,
            *ACCESS_ERRORS,
            CredentialLacksScope,
            InvalidClient,
            ProviderRefused,
            ProviderUnavailable,
            NotFound,
        ),
        credential="client",
        budget=None,
    ),
)
