"""The pages on which administrators look people up. They only read; `/admin/…` of the API and the command line change things."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ...domain.account import Account
from ...errors import InsufficientAuthentication, NotFound
from ...service.parts.caller import Caller
from ...text import mark
from ..edge import Call
from ..operation import UseCases
from .history import MAX_ENTRIES
from .times import describe_time
from .visitor import arrives_from_elsewhere, name_session, require_visitor
from .writer import PageWriter

MAX_PEOPLE = 20
"""Shown on the page. Whoever needs another one types more of the address."""
MAX_SESSIONS = 12


@dataclass(frozen=True, slots=True)
class AdministrationPages:
    """The handlers of the pages. They raise as `Administration.admit_account` does."""

    use: UseCases
    writer: PageWriter

    async def show_people(self, call: Call) -> Response:
        """Return the page with the accounts whose address begins with the `email` of the query."""
        operator = await self.admit(call)
        if isinstance(operator, Response):
            return operator
        email = call.request.query_params.get("email", "")
        found = await self.use.accounts.list_page(prefix=email, limit=MAX_PEOPLE + 1)
        locked = await self.use.accounts.find_locked(found, operator)
        people = [_describe(each, locked) for each in found[:MAX_PEOPLE]]
        return self.writer.write_page("people.html", call, email=email, people=people, is_cut=len(found) > MAX_PEOPLE)

    async def show_person(self, call: Call) -> Response:
        """Return the page of the account with the `id` of the query: how the person signs in, where, and what has happened."""
        operator = await self.admit(call)
        if isinstance(operator, Response):
            return operator
        account_id = call.request.query_params.get("id", "")
        if not account_id:  # a proof leads back to the page without its query
            return self.writer.redirect("/admin")
        if "@" in account_id or not account_id.isprintable():
            raise NotFound(mark("There is no account with this id."))
        found = await self.use.accounts.list_factors(account_id, operator)
        locked = await self.use.accounts.find_locked([found.account], operator)
        page = await self.use.sessions.list_page(account_id, operator, limit=MAX_SESSIONS)
        history = await self.use.histories.of_subject(account_id, found.account, operator)
        translate = call.language.translate
        return self.writer.write_page(
            "person.html",
            call,
            person=_describe(found.account, locked),
            may_look=self.use.impersonate.may_look_at(found.account),
            since=call.language.write_date(found.account.created_at_ms),
            has_password=found.account.password_hash != "",
            has_totp=found.factors.has_totp,
            recovery_codes=found.factors.recovery_codes,
            passkeys=[each.name for each in found.passkeys],
            identities=[each.provider for each in found.identities],
            sessions=[
                {
                    "name": name_session(each, call),
                    "ip": each.ip,
                    "seen": describe_time(each.seen_at_ms, call),
                    "created": describe_time(each.created_at_ms, call),
                }
                for each in page.sessions
            ],
            entries=[
                {"time": describe_time(entry.at_ms, call), "sentence": translate(entry.sentence)}
                for entry in history.entries[: -MAX_ENTRIES - 1 : -1]
            ],
        )

    async def admit(self, call: Call) -> Caller | Response:
        """Return the administrator who visits, or the page that leads on. A proof of a second factor needs one to be there."""
        if arrives_from_elsewhere(call):
            return self.writer.load_again(call)
        session, account = await require_visitor(self.use, call)
        try:
            return self.use.administration.admit_account(session, account, call.caller)
        except InsufficientAuthentication:
            if account is not None and not (await self.use.list_factors(account)).factors.is_any:
                return self.writer.redirect("/account/sign-in")
            raise


def _describe(account: Account, locked: set[str]) -> dict[str, object]:
    return {
        "id": account.id,
        "email": account.email,
        "name": account.name,
        "roles": account.roles,
        "is_verified": account.email_verified,
        "is_disabled": account.disabled_at_ms is not None,
        "is_locked": account.email in locked,
    }
