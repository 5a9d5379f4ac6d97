"""`/login/passkey`, `/passkeys`: people sign in with passkeys, and keep them. Shapes of Web Authentication Level 3 §5.1."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from ...domain.passkey import UNNAMED, Passkey
from ...errors import (
    CrossSite,
    EmailNotVerified,
    FactorRequired,
    InsufficientAuthentication,
    InvalidChallenge,
    InvalidCredentials,
    InvalidPasskey,
    LastWay,
    NotFound,
    UnknownPasskey,
)
from ...service.accounts.passkeys import PasskeyList
from ...service.parts.ceremonies import Ceremony
from ...service.sessions.living import require_account
from ...wire.bearer import sent_token
from ...wire.cross_site import is_from_browser
from ..answers import write_json, write_public
from ..body import require_body
from ..cookies import set_grant
from ..edge import Call
from ..operation import ACCESS_ERRORS, BODY_ERRORS, Operation, UseCases
from ..repeatable import read_repeatable
from .factors import EnrolRequest, hold
from .shapes import AnswerShape, Challenge, How, RequestShape, Ticket, Time, Token, described, utc
from .tokens import TokenAnswer, choose_delivery, write_signed_in

RELATED_MAX_AGE_S = 3600
Answered = Annotated[dict[str, Any], described("What the browser returned, as its `toJSON()`")]
PasskeyName = Annotated[str, described("What the person calls it", max_length=256, examples=["My phone"])]


class CeremonyAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """What begins a ceremony. `publicKey` is for `PublicKeyCredential.parse…OptionsFromJSON`."""

    challenge: Annotated[str, described("To be sent back with what the browser returns")]
    public_key: Annotated[dict[str, Any], described("The options for the browser")]
    expires_in: Annotated[int, described("Seconds for which the challenge is accepted")]
    ticket: Annotated[str, described("For clients without cookies: to be sent with the challenge")] | msgspec.UnsetType = (
        msgspec.UNSET
    )


class PasskeyLoginOptionsRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Begin to use a passkey: any one; with the `challenge` of a sign-in, one of that account, as its second factor."""

    challenge: Challenge | None = None
    ticket: Ticket | None = None


class PasskeyLoginRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Sign in with a passkey alone. `delivery` and `refreshToken` are those of `/login`."""

    challenge: Challenge
    passkey: Answered
    delivery: How | None = None
    refresh_token: Token | None = None
    ticket: Ticket | None = None


class PasskeyEntry(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """One passkey."""

    id: Annotated[str, described("Its credential id")]
    name: str
    backed_up: Annotated[bool, described("Whether it is synced to other devices")]
    created_at: Time
    used_at: Time


class PasskeysAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The passkeys, oldest first, and what the signal methods of browsers take (`PublicKeyCredential.signal…`)."""

    passkeys: tuple[PasskeyEntry, ...]
    rp_id: str
    user_id: Annotated[str, described("By what authenticators know the account")]
    all_accepted_credential_ids: tuple[str, ...]
    name: str
    display_name: str


class PasskeyRequest(EnrolRequest, frozen=True, kw_only=True, rename="camel"):
    """Add a passkey."""

    passkey_challenge: Annotated[str, described("The `challenge` of `POST /passkeys/options`", max_length=1024)]
    passkey: Answered
    name: PasskeyName | None = None
    conditional: Annotated[bool, described("Whether the browser made it by itself after a sign-in")] = False


class PasskeyAddedAnswer(PasskeysAnswer, frozen=True, kw_only=True, rename="camel"):
    """As `GET /passkeys`, with the id of the new one."""

    id: str
    recovery_codes: Annotated[tuple[str, ...], described("Ten with the first second factor, else none")]

    def __repr__(self) -> str:
        """Return a text without the codes."""
        return "PasskeyAddedAnswer(****)"


class PasskeyNameRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Give a passkey another name."""

    name: PasskeyName


class RelatedOriginsAnswer(AnswerShape, frozen=True, kw_only=True):
    """Origins whose pages may use the passkeys of this service (Web Authentication Level 3 §5.11)."""

    origins: tuple[str, ...]


async def passkey_login_options(use: UseCases, call: Call, body: PasskeyLoginOptionsRequest | None) -> Response:
    """Begin: with an access token, to prove again in its session; with a challenge, as a second factor; else to sign in."""
    body = body or PasskeyLoginOptionsRequest()
    caller = call.caller_with_browser(body.ticket)
    if body.challenge is not None:
        ceremony = await use.passkey_sign_in.begin_factor(use.second_factor, body.challenge, caller)
    elif sent_token(call.headers.getlist("authorization"))[0] is not None or call.carries_access_cookie:
        session, account = await use.require_session(call)
        require_account(account)
        ceremony = await use.passkey_sign_in.begin_in_session(session, caller)
    else:
        ceremony = await use.passkey_sign_in.begin(caller)
    return _write_ceremony(ceremony, call)


async def passkey_login(use: UseCases, call: Call, body: PasskeyLoginRequest | None) -> Response:
    """Sign in, always with a new session, as `/login` does."""
    body = require_body(body)
    presented, delivery = call.tokens_in_cookies(), choose_delivery(body.delivery, call)
    answer = msgspec.json.encode(body.passkey).decode()
    pair = await use.passkey_sign_in(
        answer,
        body.challenge,
        delivery=delivery,
        caller=call.caller_with_browser(body.ticket),
        presented=presented,
        earlier=call.earlier_sign_ins(body.refresh_token),
        request=read_repeatable(call, "login/passkey", body.challenge, answer, delivery),
    )
    return write_signed_in(use, call, pair, presented)


async def passkeys(use: UseCases, call: Call, _: None) -> Response:
    """Return the passkeys of the person."""
    account = require_account((await use.require_session(call))[1])
    return write_json(PasskeysAnswer(**_describe(await use.own_passkeys.list_of(account))))


async def passkey_options(use: UseCases, call: Call, body: EnrolRequest | None) -> Response:
    """Begin to add a passkey."""
    holder = await hold(use, call, body)
    ticket = None if body is None else body.ticket
    return _write_ceremony(await use.own_passkeys.begin(holder, call.caller_with_browser(ticket)), call)


async def add_passkey(use: UseCases, call: Call, body: PasskeyRequest | None) -> Response:
    """Add a passkey. The first factor brings ten recovery codes."""
    body = require_body(body)
    holder = await hold(use, call, body)
    answer = msgspec.json.encode(body.passkey).decode()
    passkey, codes = await use.own_passkeys.confirm(
        holder,
        body.passkey_challenge,
        answer,
        call.caller_with_browser(body.ticket),
        name=body.name or "",
        is_silent=body.conditional,
        request=read_repeatable(call, "passkeys", body.passkey_challenge, answer),
    )
    found = _describe(await use.own_passkeys.list_of(holder.account))
    return write_json(PasskeyAddedAnswer(**found, id=passkey.id, recovery_codes=tuple(codes)), status=201)


async def rename_passkey(use: UseCases, call: Call, body: PasskeyNameRequest | None) -> Response:
    """Give a passkey another name."""
    body = require_body(body)
    holder = await hold(use, call, None)
    return write_json(_entry(await use.own_passkeys.rename(holder, call.request.path_params["id"], body.name, call.caller)))


async def remove_passkey(use: UseCases, call: Call, _: None) -> Response:
    """Remove a passkey."""
    holder = await hold(use, call, None)
    await use.own_passkeys.remove(holder, call.request.path_params["id"], call.caller)
    return write_json(PasskeysAnswer(**_describe(await use.own_passkeys.list_of(holder.account))))


async def related_origins(use: UseCases, call: Call, _: None) -> Response:
    """Publish the origins whose pages may use the passkeys of this service."""
    return write_public(msgspec.json.encode(RelatedOriginsAnswer(origins=use.related_origins)), call, max_age_s=RELATED_MAX_AGE_S)


def _write_ceremony(ceremony: Ceremony, call: Call) -> Response:
    is_browser = is_from_browser(call.headers.getlist)
    response = write_json(
        CeremonyAnswer(
            challenge=ceremony.challenge,
            public_key=ceremony.options,
            expires_in=ceremony.expires_in_s,
            ticket=msgspec.UNSET if is_browser else ceremony.browser,
        )
    )
    if is_browser:
        set_grant(response, ceremony.browser, call.cookies)
    return response


def _entry(passkey: Passkey) -> PasskeyEntry:
    return PasskeyEntry(
        id=passkey.id,
        name=passkey.name or UNNAMED,
        backed_up=passkey.is_backed_up,
        created_at=utc(passkey.created_at_ms),
        used_at=utc(passkey.used_at_ms),
    )


def _describe(found: PasskeyList) -> dict[str, Any]:
    return {
        "passkeys": tuple(_entry(each) for each in found.passkeys),
        "rp_id": found.rp_id,
        "user_id": found.handle,
        "all_accepted_credential_ids": tuple(each.id for each in found.passkeys),
        "name": found.account.email,
        "display_name": found.account.name or found.account.email,
    }


_CHANGES = (*ACCESS_ERRORS, InsufficientAuthentication, InvalidChallenge, CrossSite, NotFound)

OPERATIONS = (
    Operation(
        method="POST",
        path="/login/passkey/options",
        run=passkey_login_options,
        summary="Begin to use a passkey",
        body=PasskeyLoginOptionsRequest,
        body_required=False,
        answer=CeremonyAnswer,
        errors=(*BODY_ERRORS, *ACCESS_ERRORS, InvalidChallenge, CrossSite, NotFound),
        signs_in=True,
    ),
    Operation(
        method="POST",
        path="/login/passkey",
        run=passkey_login,
        summary="Sign in with a passkey",
        body=PasskeyLoginRequest,
        answer=TokenAnswer,
        errors=(
            *BODY_ERRORS,
            InvalidChallenge,
            InvalidPasskey,
            UnknownPasskey,
            InvalidCredentials,
            EmailNotVerified,
            CrossSite,
        ),
        signs_in=True,
        is_repeatable=True,
    ),
    Operation(
        method="GET",
        path="/passkeys",
        run=passkeys,
        summary="The person's passkeys",
        answer=PasskeysAnswer,
        errors=(*ACCESS_ERRORS, NotFound),
        credential="access",
    ),
    Operation(
        method="POST",
        path="/passkeys/options",
        run=passkey_options,
        summary="Begin to add a passkey",
        body=EnrolRequest,
        body_required=False,
        answer=CeremonyAnswer,
        errors=(*BODY_ERRORS, *_CHANGES),
        credential="access",
    ),
    Operation(
        method="POST",
        path="/passkeys",
        run=add_passkey,
        summary="Add a passkey",
        body=PasskeyRequest,
        answer=PasskeyAddedAnswer,
        status=201,
        errors=(*BODY_ERRORS, *_CHANGES, InvalidPasskey),
        credential="access",
        is_repeatable=True,
    ),
    Operation(
        method="PATCH",
        path="/passkeys/{id}",
        run=rename_passkey,
        summary="Give a passkey another name",
        body=PasskeyNameRequest,
        answer=PasskeyEntry,
        errors=(*BODY_ERRORS, *_CHANGES),
        credential="access",
    ),
    Operation(
        method="DELETE",
        path="/passkeys/{id}",
        run=remove_passkey,
        summary="Remove a passkey",
        answer=PasskeysAnswer,
        errors=(*_CHANGES, FactorRequired, LastWay),
        credential="access",
    ),
    Operation(
        method="GET",
        path="/.well-known/webauthn",
        run=related_origins,
        summary="Origins whose pages may use the passkeys of this service",
        answer=RelatedOriginsAnswer,
        budget=None,
    ),
)
