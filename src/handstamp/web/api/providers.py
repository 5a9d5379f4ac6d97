"""`/login/with/{provider}`: people sign in with other services, and are signed out by them."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from ...domain.delivery import Delivery
from ...errors import (
    CrossSite,
    EmailNotVerified,
    InvalidChallenge,
    InvalidCredentials,
    InvalidFields,
    InvalidProviderAnswer,
    InvalidToken,
    NotFound,
    NotLinked,
    ProviderRefused,
    ProviderUnavailable,
)
from ...service.parts.provider_trips import Away
from ...text import mark
from ..answers import write_json, write_public
from ..body import require_body
from ..cookies import set_trip
from ..edge import Call
from ..oauth.common import Form, RefusedGrant, write_oauth_error
from ..operation import BODY_ERRORS, Operation, UseCases
from ..pages.destination import may_return_to
from .shapes import AnswerShape, Challenge, How, RequestShape, Ticket, Token, described
from .tokens import TokenAnswer, choose_delivery, write_signed_in

MAX_AGE_S = 300
ReturnTo = Annotated[
    str, described("Where the visitor goes afterwards: a page of the service or of a trusted origin", max_length=2048)
]


class ProviderEntry(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A service with which people can sign in."""

    name: Annotated[str, described("For `/login/with/{provider}` and `/sign-in/with/{provider}`")]
    label: Annotated[str, described("What people call it")]


class ProvidersAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The services with which people can sign in here, in the order of the settings."""

    providers: tuple[ProviderEntry, ...]


class LeaveRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Begin to sign in with another service.

    From a browser, the service itself completes the sign-in and sends the visitor on to `returnTo`. A program opens the `url` in
    a browser, gets the answer at its own `returnTo`, such as `http://127.0.0.1:PORT/…` (RFC 8252 §7.3), and completes it.
    """

    return_to: ReturnTo = ""
    delivery: How | None = None
    again: Annotated[bool, described("Whether the person must prove there again who they are")] = False
    login_hint: Annotated[str, described("The address that the person may have there", max_length=254)] = ""


class LeaveAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """Where the browser goes. `challenge` and `ticket` are for programs, which complete the sign-in with them."""

    url: str
    expires_in: Annotated[int, described("Seconds that the person has")]
    challenge: str | msgspec.UnsetType = msgspec.UNSET
    ticket: str | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        """Return a text without the secrets."""
        return "LeaveAnswer(****)"


class CompleteRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Complete what `POST /login/with/{provider}` or `POST /identities/with/{provider}` has begun.

    `answer` has the fields of the query with which the browser came to `returnTo`: `state`, and `code` or `error`.
    """

    challenge: Challenge
    ticket: Ticket
    answer: Annotated[dict[str, str], described("The fields of the query", max_length=16)]
    refresh_token: Token | None = None


class LogoutForm(Form, frozen=True, kw_only=True):
    """The logout token of a provider (OpenID Connect Back-Channel Logout 1.0 §2.5)."""

    logout_token: Token


async def list_providers(use: UseCases, call: Call, _: None) -> Response:
    """Return the providers."""
    found = tuple(ProviderEntry(name=each.name, label=each.label) for each in use.provider_sign_in.trips.settings)
    return write_public(msgspec.json.encode(ProvidersAnswer(providers=found)), call, max_age_s=MAX_AGE_S)


async def login_with(use: UseCases, call: Call, body: LeaveRequest | None) -> Response:
    """Begin. Nothing is stored."""
    body = body or LeaveRequest()
    delivery = choose_delivery(body.delivery, call)
    away = await use.provider_sign_in.begin(
        call.request.path_params["provider"],
        call.caller_with_browser(),
        delivery=delivery,
        return_to=require_return(use, body.return_to, delivery),
        login_hint=body.login_hint,
        again=body.again,
        relays=delivery == "json",
    )
    return write_away(away, call, delivery)


async def complete_login_with(use: UseCases, call: Call, body: CompleteRequest | None) -> Response:
    """Sign in, always with a new session, as `/login` does."""
    body = require_body(body)
    presented, caller = call.tokens_in_cookies(), call.caller_with_browser(body.ticket)
    attempt = use.provider_sign_in.trips.open(body.challenge, call.request.path_params["provider"], caller)
    pair = await use.provider_sign_in(
        attempt,
        body.answer,
        caller,
        presented=presented,
        earlier=call.earlier_sign_ins(body.refresh_token),
        language=call.person_language,
    )
    return write_signed_in(use, call, pair, presented)


async def backchannel_logout(use: UseCases, call: Call, form: LogoutForm) -> Response:
    """End the sessions that began through the session that has ended there."""
    name = call.request.path_params["provider"]
    try:
        await use.provider_logouts(name, form.logout_token, call.ending_caller)
    except InvalidToken as refused:
        raise RefusedGrant("invalid_request", "The logout token is not valid, or was used before.", why=refused.why) from None
    return Response(status_code=200, headers={"cache-control": "no-store"})


def require_return(use: UseCases, return_to: str, delivery: Delivery) -> str:
    """Return the address to return to. Raises `InvalidFields` if it is not trusted, or if a program has given none."""
    is_own_program = delivery == "json" and _is_own_machine(return_to)
    if not is_own_program and return_to and not may_return_to(return_to, own=use.issuer.origin, trusted=use.trusted_origins):
        raise InvalidFields([("returnTo", mark("is not a page of this service or of a trusted origin"))])
    if delivery == "json" and not return_to.startswith("http"):
        raise InvalidFields([("returnTo", mark("is needed: the address at which the program gets the answer"))])
    return return_to


def _is_own_machine(url: str) -> bool:
    """Return whether a URL leads to a program on the machine of the browser, by address and not by name (RFC 8252 §7.3, §8.3)."""
    return re.fullmatch(r"http://(127\.0\.0\.1|\[::1\]):[0-9]{1,5}/[!-\[\]-~]{0,1024}", url, re.ASCII) is not None


def write_away(away: Away, call: Call, delivery: Delivery) -> Response:
    """Return the answer that begins: a browser keeps the secrets as cookies, a program gets them."""
    is_program = delivery == "json"
    answer: dict[str, Any] = {"challenge": away.sealed, "ticket": away.browser} if is_program else {}
    response = write_json(LeaveAnswer(url=away.url, expires_in=away.expires_in_s, **answer))
    if not is_program:
        set_trip(response, away, call.trip_cookies, call.cookies)
    return response


FINISHING = (InvalidChallenge, InvalidProviderAnswer, ProviderRefused, ProviderUnavailable, CrossSite, NotFound)

OPERATIONS = (
    Operation(
        method="GET",
        path="/providers",
        run=list_providers,
        summary="The services with which people can sign in",
        answer=ProvidersAnswer,
        budget=None,
    ),
    Operation(
        method="POST",
        path="/login/with/{provider}",
        run=login_with,
        summary="Begin to sign in with another service",
        body=LeaveRequest,
        body_required=False,
        answer=LeaveAnswer,
        errors=(*BODY_ERRORS, ProviderUnavailable, CrossSite, NotFound),
        signs_in=True,
    ),
    Operation(
        method="POST",
        path="/login/with/{provider}/complete",
        run=complete_login_with,
        summary="Complete a sign-in with another service",
        body=CompleteRequest,
        answer=TokenAnswer,
        errors=(*BODY_ERRORS, *FINISHING, NotLinked, InvalidCredentials, EmailNotVerified),
        signs_in=True,
    ),
    Operation(
        method="POST",
        path="/backchannel-logout/{provider}",
        run=backchannel_logout,
        summary="End the sessions that began with another service (OpenID Connect Back-Channel Logout 1.0)",
        form=LogoutForm,
        errors=(*BODY_ERRORS, ProviderUnavailable, NotFound),
        write_error=write_oauth_error,
        budget="sign_outs",
    ),
)
