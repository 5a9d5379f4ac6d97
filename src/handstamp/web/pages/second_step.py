"""The pages of the second step of a sign-in, and those on which a person adds the factor that the service asks for.

The challenge is in a cookie, so that pages can be loaded again, and in each form, so that two tabs do not mix their sign-ins. It
is never in a URL.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable
from dataclasses import dataclass

from starlette.responses import Response

from ...errors import HandstampError, InvalidChallenge, InvalidCredentials, SecondFactorRequired
from ...service.parts.tokens import TokenPair
from ...text import mark
from ..body import read_form
from ..cookies import clear_cookies, set_attempt, set_grant, set_pair
from ..edge import Call, Edge
from ..operation import UseCases
from ..repeatable import repeatable_form
from .destination import Destination
from .forms import CORRECTABLE
from .new_totp import TotpForm, TotpPage
from .passkey_offer import find_offer
from .passkeys import NewPasskeyPage, PasskeyForm
from .proving import ProofForm, ProofPage
from .sign_in_page import write_sign_in
from .visitor import require_browser
from .writer import PageWriter

PATH = "/sign-in/second-step"
ENROL_PATH = "/sign-in/enrol"
_RESTART = (InvalidChallenge, InvalidCredentials)
"""Errors after which the sign-in begins again."""


class SecondStepForm(ProofForm):
    """The form of the second step."""

    challenge: str = ""
    return_to: str = ""
    passkeys: str = ""


class EnrolForm(TotpForm):
    """The form that adds an authenticator app while signing in."""

    challenge: str = ""
    return_to: str = ""


async def finish_sign_in(
    use: UseCases,
    writer: PageWriter,
    call: Call,
    begun: Awaitable[TokenPair],
    *,
    destination: Destination,
    presented: list[str],
    passkeys: str = "",
) -> Response:
    """Return a redirect to where the visitor wanted to go, or to the second step if the sign-in needs one.

    The cookies of the new session take the place of those of `presented`. `passkeys` is "on" if the form says that this device
    can keep passkeys: then one may be offered on the way.
    """
    try:
        pair = await begun
    except SecondFactorRequired as needed:
        response = writer.redirect(f"{PATH if needed.methods else ENROL_PATH}{destination.query}")
        set_grant(response, needed.browser, call.cookies)
        set_attempt(response, needed.challenge, needed.expires_in_s, call.cookies)
        return response
    return_to = destination.return_to
    offer = await find_offer(use, call, passkeys, pair.subject, return_to)
    response = writer.redirect_to_url(return_to) if return_to and not offer else writer.redirect(offer or "/account")
    set_pair(response, pair, call.cookies)
    if call.attempt_cookie:
        set_attempt(response, "", 0, call.cookies)
    use.remember_device(response, call, pair)
    return clear_cookies(response, call.cookies, bound=call.bound_cookie, but_for=pair) if presented else response


class EnrolPasskeyForm(PasskeyForm):
    """The form that adds a passkey while signing in."""

    challenge: str = ""
    return_to: str = ""


@dataclass(frozen=True, slots=True)
class SecondStepPages:
    """The handlers of these pages. Where the sign-in must begin again, they show the sign-in page, which says why."""

    use: UseCases
    edge: Edge
    writer: PageWriter

    async def show_second_step(self, call: Call) -> Response:
        """Return the page that asks for the second factor."""
        return await self._ask(call, SecondStepForm(challenge=call.attempt_cookie, return_to=_return_to(call)))

    async def submit_second_step(self, call: Call) -> Response:
        """Sign in, or show the page again: with what is wrong, or for another factor."""
        require_browser(call)
        form = await read_form(call.request, SecondStepForm)
        if form.other:
            return await self._ask(call, form)
        destination = self._destination(form.return_to)
        presented, answer = call.tokens_in_cookies(), form.answer()
        key = repeatable_form(
            form.idempotency_key, "login/second-factor", form.challenge, answer.code, answer.recovery_code, answer.passkey
        )
        begun = self.use.second_factor(
            form.challenge,
            answer,
            call.caller_with_browser(),
            presented=presented,
            earlier=call.earlier_sign_ins(),
            request=key,
        )
        try:
            return await finish_sign_in(
                self.use, self.writer, call, begun, destination=destination, presented=presented, passkeys=form.passkeys
            )
        except _RESTART as error:
            return await self._restart(call, destination, error)
        except CORRECTABLE as error:
            return await self._ask(call, form, error)

    async def show_enrol(self, call: Call) -> Response:
        """Return the page on which the person chooses a factor to add."""
        destination = self._destination(_return_to(call))
        try:
            needed = await self._find_lacking(call, call.attempt_cookie)
        except _RESTART as error:
            return await self._restart(call, destination, error)
        if not needed.enrol:
            return self.writer.redirect(f"{PATH}{destination.query}")
        return self.writer.write_page("enrol.html", call, ways=needed.enrol, **destination.template_values())

    async def show_enrol_totp(self, call: Call) -> Response:
        """Return the page on which an authenticator app is added. Nothing changes before its first code."""
        return await self._write_totp(call, EnrolForm(challenge=call.attempt_cookie, return_to=_return_to(call)))

    async def submit_enrol_totp(self, call: Call) -> Response:
        """Add the app and show the recovery codes, after which the sign-in goes on; or show the page again."""
        require_browser(call)
        form = await read_form(call.request, EnrolForm)
        destination = self._destination(form.return_to)
        try:
            holder = await self.use.second_factor.hold(_require(form.challenge), call.caller_with_browser())
            return await self._totp_page(form, destination).confirm(call, holder, form)
        except _RESTART as error:
            return await self._restart(call, destination, error)
        except CORRECTABLE as error:
            return await self._write_totp(call, form, error)

    async def show_enrol_passkey(self, call: Call) -> Response:
        """Return the page on which a passkey is created."""
        return await self._write_passkey(call, EnrolPasskeyForm(challenge=call.attempt_cookie, return_to=_return_to(call)))

    async def submit_enrol_passkey(self, call: Call) -> Response:
        """Add the passkey and show the recovery codes, after which the sign-in goes on; or show the page again."""
        require_browser(call)
        form = await read_form(call.request, EnrolPasskeyForm)
        destination = self._destination(form.return_to)
        try:
            holder = await self.use.second_factor.hold(_require(form.challenge), call.caller_with_browser())
            codes = await self._passkey_page(form, destination).confirm(call, holder, form)
            return codes or await self._ask(call, SecondStepForm(challenge=form.challenge, return_to=form.return_to))
        except _RESTART as error:
            return await self._restart(call, destination, error)
        except CORRECTABLE as error:
            return await self._write_passkey(call, form, error)

    async def _ask(self, call: Call, form: SecondStepForm, error: HandstampError | None = None) -> Response:
        destination = self._destination(form.return_to)
        try:
            needed = await self._find_lacking(call, form.challenge)
        except _RESTART as refused:
            return await self._restart(call, destination, refused)
        if needed.enrol:
            return self.writer.redirect(f"{ENROL_PATH}{destination.query}")
        page = ProofPage(
            title=mark("One more step"),
            action=PATH,
            ways=needed.methods or ("",),
            hidden={"challenge": form.challenge, "return_to": destination.return_to},
            leave=f"/sign-in{destination.query}",
            begin=functools.partial(
                self.use.passkey_sign_in.begin_factor, self.use.second_factor, form.challenge, call.caller_with_browser()
            ),
        )
        return await page.write(self.writer, call, form.other or form.way, error)

    async def _write_totp(self, call: Call, form: EnrolForm, error: HandstampError | None = None) -> Response:
        destination = self._destination(form.return_to)
        try:
            holder = await self.use.second_factor.hold(_require(form.challenge), call.caller_with_browser())
            return await self._totp_page(form, destination).write(call, holder, form, error)
        except _RESTART as refused:
            return await self._restart(call, destination, refused)

    async def _write_passkey(self, call: Call, form: EnrolPasskeyForm, error: HandstampError | None = None) -> Response:
        destination = self._destination(form.return_to)
        try:
            holder = await self.use.second_factor.hold(_require(form.challenge), call.caller_with_browser())
            return await self._passkey_page(form, destination).write(call, holder, error)
        except _RESTART as refused:
            return await self._restart(call, destination, refused)

    def _passkey_page(self, form: EnrolPasskeyForm, destination: Destination) -> NewPasskeyPage:
        return NewPasskeyPage(
            self.use,
            self.writer,
            action=f"{ENROL_PATH}/passkey",
            leave=f"{ENROL_PATH}{destination.query}",
            onward=PATH,
            hidden={"challenge": form.challenge, "return_to": destination.return_to},
        )

    def _totp_page(self, form: EnrolForm, destination: Destination) -> TotpPage:
        return TotpPage(
            self.use,
            self.writer,
            action=f"{ENROL_PATH}/totp",
            leave=f"{ENROL_PATH}{destination.query}",
            onward=PATH,
            hidden={"challenge": form.challenge, "return_to": destination.return_to},
        )

    async def _find_lacking(self, call: Call, challenge: str) -> SecondFactorRequired:
        return await self.use.second_factor.find_lacking(_require(challenge), call.caller_with_browser())

    def _destination(self, return_to: str) -> Destination:
        return Destination.parse({"return_to": return_to}, self.edge)

    async def _restart(self, call: Call, destination: Destination, error: HandstampError) -> Response:
        """Return the sign-in page, which says why the sign-in begins again and leads to where the visitor wanted to go."""
        response = await write_sign_in(self.use, self.writer, call, error, **destination.template_values())
        set_attempt(response, "", 0, call.cookies)
        return response


def _require(challenge: str) -> str:
    """Return a challenge. Raises `InvalidChallenge` for none: the cookie has expired with it."""
    if not challenge:
        raise InvalidChallenge("expired")
    return challenge


def _return_to(call: Call) -> str:
    return call.request.query_params.get("return_to", "")
