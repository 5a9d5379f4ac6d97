"""The page of one's account: where one is signed in, signing out, and changing the name and the language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from ...domain.account import Account
from ...domain.session import Session
from ...errors import HandstampError, SessionEnded
from ...languages.choice import LANGUAGES
from ...text import mark
from ..body import read_form
from ..cookies import set_language
from ..edge import Call
from ..operation import UseCases
from .change_email import ADDRESS_CHANGED
from .destination import query_of
from .forms import CORRECTABLE
from .passkeys import write_signals
from .times import describe_time
from .verify import VERIFIED
from .visitor import arrives_from_elsewhere, name_of, name_session, require_visitor
from .writer import PageWriter

MAX_DEVICES = 12
"""Shown on the page. A hundred would take 10 ms to write."""
_DONE = {
    "profile": mark("Your profile is saved."),
    "session": mark("That device is signed out."),
    "address": ADDRESS_CHANGED,
    "verified": VERIFIED,
}
"""What the page says after a redirect to it, by the `done` of the query."""


class EndSessionForm(msgspec.Struct):
    """The form beside a device."""

    id: str = ""


class ProfileForm(msgspec.Struct):
    """The form that changes the name and the language."""

    name: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class AccountPages:
    """The handlers of the page. All but `submit_sign_out` raise `MissingToken`, `InvalidToken` or `SessionEnded`."""

    use: UseCases
    writer: PageWriter

    async def show_account(self, call: Call) -> Response:
        """Return the page."""
        if arrives_from_elsewhere(call):
            return self.writer.load_again(call)
        session, account = await require_visitor(self.use, call, impersonation=True)
        done = _DONE.get(call.request.query_params.get("done", ""))
        notice = call.language.translate(done) if done else ""
        has_changed = call.request.query_params.get("done", "") in ("profile", "address")
        signals = await write_signals(self.use, account) if account is not None and has_changed else ""
        return await self._write(call, session, account, notice=notice, notice_kind="good", signals=signals)

    async def submit_end_session(self, call: Call) -> Response:
        """Sign one of the visitor's devices out."""
        form = await read_form(call.request, EndSessionForm)
        session, _ = await require_visitor(self.use, call)
        await self.use.sign_out.end_own(session.subject, form.id, call.caller)
        return self.writer.redirect("/account?done=session")

    async def submit_profile(self, call: Call) -> Response:
        """Change the name and the language, or show the form again with what is wrong."""
        form = await read_form(call.request, ProfileForm)
        session, account = await require_visitor(self.use, call)
        try:
            await self.use.change_profile(session, account, call.caller, name=form.name, language=form.language)
        except CORRECTABLE as error:
            return await self._write(call, session, account, error, name=form.name, account_language=form.language)
        response = self.writer.redirect("/account?done=profile")
        set_language(response, "", call.cookies)
        return response

    async def submit_sign_out(self, call: Call) -> Response:
        """End the sessions of the cookies, if there are any, and delete the cookies."""
        await self.use.sign_out.end_by_tokens(call.tokens_in_cookies(), call.ending_caller)
        return self.writer.end_visit(self.writer.redirect(f"/signed-out{query_of(call.request.query_params)}"), call)

    async def submit_sign_out_everywhere(self, call: Call) -> Response:
        """End all of the visitor's sessions, unless that has been done."""
        try:
            session, _ = await require_visitor(self.use, call)
            await self.use.sign_out.end_all(session.subject, call.caller)
        except SessionEnded as ended:
            if ended.reason != "logout_everywhere":
                raise
        return self.writer.end_visit(self.writer.redirect("/signed-out?from=everywhere"), call)

    async def _write(
        self, call: Call, session: Session, account: Account | None, error: HandstampError | None = None, **values: Any
    ) -> Response:
        page = await self.use.sessions.list_page(session.subject, call.caller, limit=MAX_DEVICES + 1)
        this_first = [session, *(each for each in page.sessions if each.id != session.id)][:MAX_DEVICES]
        if account is not None:
            values = {"name": account.name, "account_language": account.language} | values
        values |= {
            "visitor": name_of(session, account),
            "since": call.language.write_date(account.created_at_ms) if account else "",
            "has_account": account is not None and session.impersonator is None,
            "administers": session.impersonator is None and self.use.administration.may_administer(account),
            "languages": LANGUAGES,
            "mail_is_on": self.use.mail_is_on,
            "is_verified": account is not None and account.email_verified,
            "is_cut": page.following is not None,
            "devices": [_describe(each, this=session.id, call=call) for each in this_first],
        }
        if error is not None:
            return self.writer.write_form_again("account.html", error, call, **values)
        return self.writer.write_page("account.html", call, **values)


def _describe(session: Session, *, this: str, call: Call) -> dict[str, Any]:
    return {
        "id": session.id,
        "name": name_session(session, call),
        "is_this": session.id == this,
        "is_bound": session.bound_key is not None,
        "ip": session.ip if session.impersonator is None else "",
        "reason": "" if session.impersonator is None else session.impersonator.reason,
        "seen": describe_time(session.seen_at_ms, call),
        "created": describe_time(session.created_at_ms, call),
    }
