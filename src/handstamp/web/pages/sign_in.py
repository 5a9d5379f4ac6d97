"""The pages on which people sign in and create an account, and the page after signing out."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from ...domain.reasons import sentence_of
from ...errors import EmailNotVerified, InvalidChallenge, InvalidToken, MissingToken, ProofRequired, SessionEnded
from ...service.parts.one_time import keep_browser_secret
from ...service.parts.tokens import TokenPair
from ...text import mark
from ..body import read_form
from ..edge import Call, Edge
from ..operation import UseCases
from ..repeatable import repeatable_form
from .change_email import ADDRESS_CHANGED
from .destination import Destination, query_of
from .forms import CORRECTABLE
from .mailed import redirect_to_code
from .passkeys import PasskeyForm
from .reset_password import RESET
from .second_step import finish_sign_in
from .sign_in_page import write_sign_in, write_unknown
from .verify import VERIFIED
from .visitor import arrives_from_elsewhere, name_of, require_browser, require_visitor
from .writer import PageWriter

_DONE = {"address": ADDRESS_CHANGED, "reset": RESET, "verified": VERIFIED}
"""What the sign-in page says after a redirect to it, by the `done` of the query."""


class SignInForm(msgspec.Struct):
    """The forms for signing in and for creating an account."""

    email: str = ""
    password: str = ""
    return_to: str = ""
    delivery: str = ""
    passkeys: str = ""
    idempotency_key: str = ""

    def destination(self) -> dict[str, str]:
        """Return where the visitor wants to go afterwards."""
        return {"return_to": self.return_to, "delivery": self.delivery}


class PasskeySignInForm(PasskeyForm):
    """The form that signs in with a passkey."""

    return_to: str = ""
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class SignInPages:
    """The handlers of these pages. A method `show_…` answers GET, a method `submit_…` the POST of the page's form."""

    use: UseCases
    edge: Edge
    writer: PageWriter

    async def show_start(self, _: Call) -> Response:
        """Redirect to the account's page."""
        return self.writer.redirect("/account")

    async def show_sign_in(self, call: Call) -> Response:
        """Return the sign-in form, or who is signed in already, with `?again` the form in any case."""
        destination = Destination.parse(call.request.query_params, self.edge).template_values()
        if arrives_from_elsewhere(call):
            return self.writer.load_again(call)
        done = _DONE.get(call.request.query_params.get("done", ""), "")
        try:
            session, account = await require_visitor(self.use, call, impersonation=True)
        except (MissingToken, InvalidToken, ProofRequired):
            notice = call.language.translate(done) if done else ""
            return await write_sign_in(self.use, self.writer, call, notice=notice, notice_kind="good", **destination)
        except SessionEnded as ended:
            notice = call.language.translate(done or sentence_of(ended.reason, otherwise=mark("You are signed out.")))
            response = await write_sign_in(self.use, self.writer, call, notice=notice, **destination)
            return self.writer.end_visit(response, call)
        if account is not None and "again" in call.request.query_params:
            notice = call.language.translate(mark("To go on, confirm that it is you: sign in again."))
            values = destination | {"delivery": session.delivery, "email": account.email, "notice": notice, "again": True}
            return await write_sign_in(self.use, self.writer, call, **values)
        return self.writer.write_page("sign_in.html", call, visitor=name_of(session, account), **destination)

    async def submit_sign_in(self, call: Call) -> Response:
        """Sign in, or show the form again with what is wrong."""
        require_browser(call)
        form = await read_form(call.request, SignInForm)
        destination = Destination.parse(msgspec.structs.asdict(form), self.edge)
        try:
            return await self._sign_in_or_verify(call, form, destination)
        except CORRECTABLE as error:
            values = destination.template_values()
            return await write_sign_in(self.use, self.writer, call, error, email=form.email, **values)

    async def submit_passkey(self, call: Call) -> Response:
        """Sign in with a passkey alone, or show the sign-in page again with what is wrong."""
        require_browser(call)
        form = await read_form(call.request, PasskeySignInForm)
        destination = Destination.parse({"return_to": form.return_to, "delivery": form.delivery}, self.edge)
        presented, delivery = call.tokens_in_cookies(), destination.delivery or "split"
        key = repeatable_form(form.idempotency_key, "login/passkey", form.passkey_challenge, form.passkey, delivery)
        begun = self.use.passkey_sign_in(
            form.passkey,
            form.passkey_challenge,
            delivery=delivery,
            caller=call.caller_with_browser(),
            presented=presented,
            earlier=call.earlier_sign_ins(),
            request=key,
        )
        try:
            return await self._finish_or_verify(call, begun, destination, presented)
        except (*CORRECTABLE, InvalidChallenge) as error:
            values = destination.template_values() | {"signals": write_unknown(self.use, error, form.passkey)}
            return await write_sign_in(self.use, self.writer, call, error, **values)

    async def show_create_account(self, call: Call) -> Response:
        """Return the form. Raises `NotFound` if registration is closed."""
        self.use.require_open_registration()
        destination = Destination.parse(call.request.query_params, self.edge)
        return self.writer.write_page("create_account.html", call, **destination.template_values())

    async def submit_create_account(self, call: Call) -> Response:
        """Create an account and sign in, or show the form again. Raises `NotFound` if registration is closed."""
        self.use.require_open_registration()
        require_browser(call)
        form = await read_form(call.request, SignInForm)
        destination = Destination.parse(msgspec.structs.asdict(form), self.edge)
        try:
            if self.use.confirms_sign_up:
                return await self._ask_to_sign_up(call, form, destination)
            request = repeatable_form(form.idempotency_key, "register", form.email, form.password)
            await self.use.register(form.email, form.password, call.caller, language=call.person_language, request=request)
            return await self._sign_in_or_verify(call, form, destination)
        except CORRECTABLE as error:
            values = destination.template_values()
            return self.writer.write_form_again("create_account.html", error, call, email=form.email, **values)

    async def show_signed_out(self, call: Call) -> Response:
        """Return what signing out has ended, with a link for signing in again."""
        query = query_of(call.request.query_params)
        return self.writer.write_page("signed_out.html", call, ended=call.request.query_params.get("from", ""), query=query)

    async def _ask_to_sign_up(self, call: Call, form: SignInForm, destination: Destination) -> Response:
        browser, language = keep_browser_secret(call.grant_cookie), call.person_language
        await self.use.sign_up.ask(
            form.email, form.password, call.caller, browser=browser, language=language, remembered=form.destination()
        )
        return redirect_to_code(self.writer, call, "register", browser, query=destination.query)

    async def _sign_in_or_verify(self, call: Call, form: SignInForm, destination: Destination) -> Response:
        presented, delivery = call.tokens_in_cookies(), destination.delivery or "split"
        request = repeatable_form(form.idempotency_key, "login", form.email, form.password, delivery)
        begun = self.use.sign_in(
            form.email,
            form.password,
            delivery=delivery,
            caller=call.caller_with_browser(),
            presented=presented,
            earlier=call.earlier_sign_ins(),
            request=request,
        )
        return await self._finish_or_verify(call, begun, destination, presented, form.passkeys)

    async def _finish_or_verify(
        self, call: Call, begun: Awaitable[TokenPair], destination: Destination, presented: list[str], passkeys: str = ""
    ) -> Response:
        """Sign in. If the address must be verified first, send the mail and go on to the page that takes its code."""
        try:
            return await finish_sign_in(
                self.use, self.writer, call, begun, destination=destination, presented=presented, passkeys=passkeys
            )
        except EmailNotVerified as refused:
            browser = keep_browser_secret(call.grant_cookie)
            await self.use.verify_address.ask(refused.subject, call.caller, browser=browser)
            return redirect_to_code(self.writer, call, "verify_email", browser)
