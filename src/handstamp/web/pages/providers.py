"""The way to another service with which people sign in, and back; and adding one to an account.

The browser comes back by a link or a form of that service's page: without the cookies that are `SameSite=Strict`, and from a
form without any. So the first answer is a page that loads the same address again, from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from ...domain.attempt import Attempt
from ...domain.issuer import origin_of
from ...errors import (
    EmailNotVerified,
    HandstampError,
    IdentityTaken,
    InsufficientAuthentication,
    InvalidChallenge,
    InvalidProviderAnswer,
    InvalidRequest,
    LastWay,
    NotLinked,
    NotSignedIn,
    ProofRequired,
    ProviderRefused,
    ProviderUnavailable,
)
from ...service.accounts.factor_changes import hold_session
from ...service.parts.one_time import keep_browser_secret
from ...service.parts.provider_trips import Away
from ...service.sessions.living import require_account
from ...text import mark
from ..body import read_fields, read_form
from ..cookies import clear_trip, set_trip
from ..edge import Call, Edge
from ..operation import UseCases
from .destination import Destination
from .factors import FactorPages
from .forms import CORRECTABLE
from .mailed import redirect_to_code
from .second_step import PATH as SECOND_STEP
from .second_step import finish_sign_in
from .sign_in_page import write_sign_in
from .visitor import require_visitor
from .writer import SECOND_REQUEST, PageWriter

CALLBACK = "/sign-in/with/{provider}/callback"
ANSWER = ("code", "state", "iss", "error", "error_description", "user")
"""The fields with which browsers come back (RFC 6749 §4.1.2, RFC 9207 §2; `user` is Apple's)."""
REFUSED = (
    InvalidChallenge,
    InvalidProviderAnswer,
    ProviderRefused,
    ProviderUnavailable,
    NotLinked,
    IdentityTaken,
    InsufficientAuthentication,
    *CORRECTABLE,
)
"""Errors after which the visitor chooses another way, or begins again."""
_STATE = re.compile(r"[A-Za-z0-9_-]{43,4096}", re.ASCII)
_NO_COOKIE = mark(
    "Your browser has not kept the cookie with which this sign-in began. "
    "Allow cookies for this site, and sign in again in the same browser."
)


class ProviderForm(msgspec.Struct):
    """The form that adds a provider to an account."""

    provider: str = ""


class IdentityForm(msgspec.Struct):
    """The form that removes one."""

    id: str = ""


@dataclass(frozen=True, slots=True)
class ProviderPages:
    """The handlers of these pages."""

    use: UseCases
    edge: Edge
    writer: PageWriter
    factors: FactorPages

    async def leave(self, call: Call) -> Response:
        """Send the browser to the provider, or show the sign-in page with what is wrong."""
        destination = Destination.parse(call.request.query_params, self.edge)
        if self._comes_from_a_stranger(call):
            return self.writer.redirect(f"/sign-in{destination.query}")
        try:
            away = await self.use.provider_sign_in.begin(
                call.request.path_params["provider"],
                call.caller_with_browser(),
                delivery=destination.delivery or "split",
                return_to=destination.return_to,
                login_hint=call.request.query_params.get("login_hint", ""),
                again="again" in call.request.query_params,
            )
        except ProviderUnavailable as error:
            return await write_sign_in(self.use, self.writer, call, error, **destination.template_values())
        response = self.writer.redirect_to_url(away.url)
        set_trip(response, away, call.trip_cookies, call.cookies)
        return response

    async def come_back(self, call: Call) -> Response:
        """Finish what the browser has left for, or send its answer on to the application that has begun it."""
        answer = {name: value for name, value in call.request.query_params.items() if name in ANSWER}
        state = answer.get("state", "")
        if _STATE.fullmatch(state) is None:
            raise InvalidRequest(mark("The link to this page is not complete. Begin the sign-in again."))
        relay = self.use.provider_sign_in.trips.find_relay(state, call.caller)
        if relay:
            return self.writer.redirect_to_url(f"{relay}{'&' if '?' in relay else '?'}{urlencode(answer)}")
        if SECOND_REQUEST not in call.request.query_params:
            return self._load_from_here(call, answer)
        attempt: Attempt | None = None
        try:
            attempt = self._open(call, state)
            finish = self._link if attempt.purpose == "provider_link" else self._sign_in
            response = await finish(call, attempt, answer)
        except REFUSED as error:
            response = await self._refuse(call, attempt, error)
        clear_trip(response, state, call.cookies)
        return response

    async def come_back_by_form(self, call: Call) -> Response:
        """Load the address of `come_back` with the fields of the form. A form of another site brings no cookies."""
        fields = await read_fields(call.request)
        return self._load_from_here(call, {name: value for name, value in fields.items() if name in ANSWER})

    async def submit_identity(self, call: Call) -> Response:
        """Send a person who is signed in to a provider, to add it to the account."""
        form = await read_form(call.request, ProviderForm)
        session, account = await require_visitor(self.use, call)
        holder = hold_session(session, account, call.caller)
        try:
            away = await self.use.own_identities.begin(holder, form.provider, call.caller_with_browser())
        except ProviderUnavailable as error:
            return await self.factors.write(call, holder.account, error)
        return self._leave_form(call, away)

    async def submit_identity_removal(self, call: Call) -> Response:
        """Remove one from the account, or say why it must stay."""
        form = await read_form(call.request, IdentityForm)
        session, account = await require_visitor(self.use, call)
        holder = hold_session(session, account, call.caller)
        try:
            await self.use.own_identities.remove(holder, form.id, call.caller)
        except LastWay as error:
            return await self.factors.write(call, holder.account, error)
        return self.writer.redirect("/account/sign-in?done=unlinked")

    def _comes_from_a_stranger(self, call: Call) -> bool:
        """Return whether a page that is not trusted has led the visitor here, who may not know. They press the button themselves.

        Where a provider asks nothing, that page could otherwise sign them in to another account, or give them a new one.
        """
        if call.headers.get("sec-fetch-site") != "cross-site":
            return False
        try:
            return origin_of(call.headers.get("referer", "")) not in self.edge.trusted_origins
        except ValueError:
            return True

    def _load_from_here(self, call: Call, answer: dict[str, str]) -> Response:
        name = call.request.path_params["provider"]
        self.use.provider_sign_in.trips.require(name)  # another name could contain the address of another page
        path = CALLBACK.format(provider=name)
        here = f"{self.edge.issuer.path}{path}?{urlencode({**answer, SECOND_REQUEST: ''})}"
        return self.writer.write_page("arriving.html", call, there=here)

    def _leave_form(self, call: Call, away: Away) -> Response:
        """Return a page that leaves: browsers apply `form-action` to redirects after a form, and it names no provider."""
        response = self.writer.write_page("arriving.html", call, there=away.url)
        set_trip(response, away, call.trip_cookies, call.cookies)
        return response

    def _open(self, call: Call, state: str) -> Attempt:
        sealed = call.trip_cookie(state)
        if not sealed:
            raise InvalidChallenge("elsewhere", detail=_NO_COOKIE)
        name = call.request.path_params["provider"]
        return self.use.provider_sign_in.trips.open_any(sealed, name, call.caller_with_browser())

    async def _sign_in(self, call: Call, attempt: Attempt, answer: dict[str, str]) -> Response:
        presented = call.tokens_in_cookies()
        begun = self.use.provider_sign_in(
            attempt,
            answer,
            call.caller_with_browser(),
            presented=presented,
            earlier=call.earlier_sign_ins(),
            language=call.person_language,
        )
        destination = self._destination(attempt)
        try:
            return await finish_sign_in(self.use, self.writer, call, begun, destination=destination, presented=presented)
        except EmailNotVerified as refused:
            browser = keep_browser_secret(call.grant_cookie)
            await self.use.verify_address.ask(refused.subject, call.caller, browser=browser)
            return redirect_to_code(self.writer, call, "verify_email", browser)
        except InvalidChallenge as error:
            if error.verdict != "used":
                raise
            return await self._go_on(call, destination, error)

    async def _go_on(self, call: Call, destination: Destination, error: InvalidChallenge) -> Response:
        """Return where a sign-in that was complete before has led: the way back in the browser ends here, too."""
        if call.attempt_cookie:
            return self.writer.redirect(f"{SECOND_STEP}{destination.query}")
        try:
            await require_visitor(self.use, call)
        except (NotSignedIn, ProofRequired):
            raise error from None
        if destination.return_to:
            return self.writer.redirect_to_url(destination.return_to)
        return self.writer.redirect("/account")

    async def _link(self, call: Call, attempt: Attempt, answer: dict[str, str]) -> Response:
        session, _ = await require_visitor(self.use, call)
        if session.id != attempt.sid:
            raise InvalidChallenge("elsewhere")
        await self.use.own_identities.finish(attempt, answer, call.caller_with_browser())
        destination = self._destination(attempt)
        if destination.return_to:
            return self.writer.redirect_to_url(destination.return_to)
        return self.writer.redirect("/account/sign-in?done=linked")

    async def _refuse(self, call: Call, attempt: Attempt | None, error: HandstampError) -> Response:
        if attempt is not None and attempt.purpose == "provider_link":
            _, account = await require_visitor(self.use, call)
            return await self.factors.write(call, require_account(account), error)
        values = {} if attempt is None else self._destination(attempt).template_values()
        return await write_sign_in(self.use, self.writer, call, error, **values)

    def _destination(self, attempt: Attempt) -> Destination:
        delivery = "" if attempt.delivery == "json" else attempt.delivery
        return Destination.parse({"return_to": attempt.return_to, "delivery": delivery}, self.edge)
