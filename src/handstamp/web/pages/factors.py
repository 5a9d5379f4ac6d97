"""The page about how one signs in: the password, and what else proves who one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from ...domain.account import Account
from ...errors import HandstampError, InvalidCredentials, InvalidFields, SessionEnded
from ...service.parts.tokens import TokenPair
from ...service.sessions.living import require_account
from ...text import mark
from ..body import read_form
from ..cookies import set_pair
from ..edge import Call
from ..operation import UseCases
from ..repeatable import repeatable_form
from .forms import CORRECTABLE
from .visitor import arrives_from_elsewhere, require_visitor
from .writer import PageWriter

_DONE = {"password": mark("Your password is changed, and every other device is signed out.")}
"""What the page says after a redirect to it, by the `done` of the query."""


class PasswordForm(msgspec.Struct):
    """The form that changes the password."""

    current_password: str = ""
    new_password: str = ""
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
        return await self._write(call, require_account(account))

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
            return await self._write(call, require_account(account), wrong)
        except CORRECTABLE as error:
            return await self._write(call, require_account(account), error)
        return self._redirect_changed(pair, call)

    def _redirect_changed(self, pair: TokenPair, call: Call) -> Response:
        response = self.writer.redirect("/account/sign-in?done=password")
        set_pair(response, pair, call.cookies)
        self.use.remember_device(response, call, pair)
        return response

    async def _write(self, call: Call, account: Account, error: HandstampError | None = None) -> Response:
        values: dict[str, Any] = {"visitor": account.email, "has_password": account.password_hash != ""}
        if error is not None:
            return self.writer.write_form_again("factors.html", error, call, **values)
        done = _DONE.get(call.request.query_params.get("done", ""))
        notice = call.language.translate(done) if done else ""
        return self.writer.write_page("factors.html", call, notice=notice, notice_kind="good", **values)
