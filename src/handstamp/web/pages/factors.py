"""The page about how one signs in: passkeys, the password, the authenticator app, and recovery codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from ...domain.account import Account
from ...domain.identity import Identity
from ...domain.passkey import UNNAMED, Passkey
from ...errors import FactorRequired, HandstampError, InvalidChallenge, InvalidCredentials, InvalidFields, LastWay, SessionEnded
from ...service.accounts.factor_changes import hold_session
from ...service.parts.tokens import TokenPair
from ...service.sessions.living import require_account
from ...text import mark
from ..body import read_form
from ..cookies import set_pair
from ..edge import Call
from ..operation import UseCases
from ..repeatable import repeatable_form
from .forms import CORRECTABLE
from .new_totp import TotpForm, TotpPage, write_recovery_codes
from .passkeys import NewPasskeyPage, PasskeyForm, write_signals
from .times import describe_time
from .visitor import arrives_from_elsewhere, require_confirmed, require_visitor
from .writer import PageWriter

_DONE = {
    "password": mark("Your password is changed, and every other device is signed out."),
    "passkey": mark("Your passkey is created."),
    "renamed": mark("Your passkey has its new name."),
    "passkey_removed": mark("Your passkey is removed."),
    "totp": mark("Your authenticator app is set up."),
    "linked": mark("You can sign in with it from now on."),
    "unlinked": mark("It no longer signs you in."),
    "totp_removed": mark("Your authenticator app is removed."),
}
"""What the page says after a redirect to it, by the `done` of the query."""


class PasswordForm(msgspec.Struct):
    """The form that changes the password."""

    current_password: str = ""
    new_password: str = ""
    idempotency_key: str = ""


class RemovePasskeyForm(msgspec.Struct):
    """The form that removes a passkey."""

    id: str = ""


class RenamePasskeyForm(msgspec.Struct):
    """The form that gives a passkey another name."""

    id: str = ""
    name: str = ""


class CodesForm(msgspec.Struct):
    """The form that makes new recovery codes."""

    idempotency_key: str = ""


@dataclass(frozen=True, slots=True)
class FactorPages:
    """The handlers of the page. All raise `MissingToken`, `InvalidToken`, `SessionEnded`, and `NotFound` without an account."""

    use: UseCases
    writer: PageWriter

    async def show_factors(self, call: Call) -> Response:
        """Return the page."""
        if arrives_from_elsewhere(call):
            return self.writer.load_again(call)
        _, account = await require_visitor(self.use, call)
        return await self.write(call, require_account(account))

    async def submit_password(self, call: Call) -> Response:
        """Change the password, which replaces this session and ends all others; or show the form again with what is wrong."""
        form = await read_form(call.request, PasswordForm)
        request = repeatable_form(form.idempotency_key, "password", form.current_password, form.new_password)
        try:
            session, account = await require_visitor(self.use, call)
        except SessionEnded:
            repeated = await self.use.change_password.repeat(call.refresh_token(None)[0], request, call.caller)
            if repeated is None:
                raise
            return self._redirect_changed(repeated, call)
        try:
            pair = await self.use.change_password(
                session, account, form.current_password, form.new_password, call.caller, request=request
            )
        except InvalidCredentials:
            wrong = InvalidFields([("currentPassword", mark("That is not your current password."))])
            return await self.write(call, require_account(account), wrong)
        except CORRECTABLE as error:
            return await self.write(call, require_account(account), error)
        return self._redirect_changed(pair, call)

    async def show_new_passkey(self, call: Call) -> Response:
        """Return the page on which a passkey is created."""
        if arrives_from_elsewhere(call):
            return self.writer.load_again(call)
        session, account = await require_confirmed(self.use, call)
        holder = hold_session(session, account, call.caller)
        try:
            return await self._passkey_page().write(call, holder)
        except InvalidFields as error:  # there are as many as there may be
            return await self.write(call, account, error)

    async def submit_passkey(self, call: Call) -> Response:
        """Add the passkey and show the recovery codes that came with it; or show the page again with what is wrong."""
        form = await read_form(call.request, PasskeyForm)
        session, account = await require_visitor(self.use, call)
        holder = hold_session(session, account, call.caller)
        page = self._passkey_page()
        try:
            return await page.confirm(call, holder, form) or self.writer.redirect(page.onward)
        except (*CORRECTABLE, InvalidChallenge) as error:
            return await page.write(call, holder, error)

    async def submit_passkey_name(self, call: Call) -> Response:
        """Give a passkey another name, or show the page again with what is wrong."""
        form = await read_form(call.request, RenamePasskeyForm)
        session, account = await require_visitor(self.use, call)
        holder = hold_session(session, account, call.caller)
        try:
            await self.use.own_passkeys.rename(holder, form.id, form.name, call.caller)
        except InvalidFields as error:
            return await self.write(call, holder.account, error, renaming=form.id)
        return self.writer.redirect("/account/sign-in?done=renamed")

    async def submit_passkey_removal(self, call: Call) -> Response:
        """Remove a passkey, or say why it must stay."""
        form = await read_form(call.request, RemovePasskeyForm)
        session, account = await require_visitor(self.use, call)
        holder = hold_session(session, account, call.caller)
        try:
            await self.use.own_passkeys.remove(holder, form.id, call.caller)
        except (FactorRequired, LastWay) as error:
            return await self.write(call, holder.account, error)
        return self.writer.redirect("/account/sign-in?done=passkey_removed")

    async def show_totp(self, call: Call) -> Response:
        """Return the page on which an authenticator app is added. Nothing changes before its first code."""
        if arrives_from_elsewhere(call):
            return self.writer.load_again(call)
        session, account = await require_confirmed(self.use, call)
        return await self._totp_page().write(call, hold_session(session, account, call.caller), TotpForm())

    async def submit_totp(self, call: Call) -> Response:
        """Add the app and show the recovery codes that came with it; or show the page again with what is wrong."""
        form = await read_form(call.request, TotpForm)
        session, account = await require_visitor(self.use, call)
        holder = hold_session(session, account, call.caller)
        try:
            return await self._totp_page().confirm(call, holder, form)
        except CORRECTABLE as error:
            return await self._totp_page().write(call, holder, form, error)

    async def submit_totp_removal(self, call: Call) -> Response:
        """Remove the app, or say why it must stay."""
        session, account = await require_visitor(self.use, call)
        try:
            await self.use.authenticator_app.remove(hold_session(session, account, call.caller), call.caller)
        except FactorRequired as error:
            return await self.write(call, require_account(account), error)
        return self.writer.redirect("/account/sign-in?done=totp_removed")

    async def submit_recovery_codes(self, call: Call) -> Response:
        """Make new recovery codes, and show them once."""
        form = await read_form(call.request, CodesForm)
        session, account = await require_visitor(self.use, call)
        request = repeatable_form(form.idempotency_key, "recovery-codes")
        holder = hold_session(session, account, call.caller)
        codes = await self.use.replace_recovery_codes(holder, call.caller, request=request)
        return write_recovery_codes(self.writer, call, codes, action="/account/sign-in", hidden={})

    def _describe_identity(self, identity: Identity, call: Call) -> dict[str, Any]:
        return {
            "id": identity.id,
            "label": self.use.provider_sign_in.label_of(identity.provider),
            "email": identity.email,
            "created": describe_time(identity.created_at_ms, call),
            "used": describe_time(identity.used_at_ms, call),
        }

    def _passkey_page(self) -> NewPasskeyPage:
        page = "/account/sign-in"
        return NewPasskeyPage(
            self.use, self.writer, action="/account/passkeys", leave=page, onward=f"{page}?done=passkey", hidden={}
        )

    def _totp_page(self) -> TotpPage:
        page = "/account/sign-in"
        return TotpPage(self.use, self.writer, action="/account/totp", leave=page, onward=f"{page}?done=totp", hidden={})

    def _redirect_changed(self, pair: TokenPair, call: Call) -> Response:
        response = self.writer.redirect("/account/sign-in?done=password")
        set_pair(response, pair, call.cookies)
        self.use.remember_device(response, call, pair)
        return response

    async def write(
        self,
        call: Call,
        account: Account,
        error: HandstampError | None = None,
        *,
        renaming: str = "",
    ) -> Response:
        """Return the page of an account, which says what was wrong or what was done. `renaming` is the id of a passkey."""
        found, passkeys = await self.use.list_factors(account), (await self.use.own_passkeys.list_of(account)).passkeys
        values: dict[str, Any] = {
            "visitor": account.email,
            "has_password": found.has_password,
            "totp": None if found.totp is None else {"created": describe_time(found.totp.created_at_ms, call)},
            "identities": [self._describe_identity(each, call) for each in await self.use.own_identities.list_of(account)],
            "passkeys": [_describe(each, call) for each in passkeys],
            "renaming": renaming,
            "has_codes": found.factors.is_any,
            "recovery_left": found.factors.recovery_codes,
            "support": self.use.support_contact,
            "signals": await write_signals(self.use, account),
        }
        if error is not None:
            return self.writer.write_form_again("factors.html", error, call, **values)
        text = _DONE.get(call.request.query_params.get("done", ""))
        notice = call.language.translate(text) if text else ""
        return self.writer.write_page("factors.html", call, notice=notice, notice_kind="good", **values)


def _describe(passkey: Passkey, call: Call) -> dict[str, Any]:
    is_used = passkey.used_at_ms > passkey.created_at_ms
    return {
        "id": passkey.id,
        "name": passkey.name or call.language.translate(UNNAMED),
        "is_backed_up": passkey.is_backed_up,
        "created": describe_time(passkey.created_at_ms, call),
        "used": describe_time(passkey.used_at_ms, call) if is_used else None,
    }
