"""The page about one person, on which administrators look after the account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from ...domain.session import Session
from ...errors import AdministratorProtected, HandstampError, InvalidFields, InvalidRequest, NotFound
from ...languages.choice import LANGUAGES
from ...service.accounts.administer import FactorsOf
from ...service.parts.caller import Caller, Operator
from ...text import mark
from ..api.own_data import write_export
from ..body import read_form
from ..edge import Call
from ..operation import UseCases
from .administration import describe_person
from .admitting import require_id
from .entries import describe_entries
from .forms import CORRECTABLE
from .sure import Sure, write_sure
from .times import describe_time
from .visitor import name_session
from .writer import PageWriter

MAX_SESSIONS = 12
MAX_ROLE = 256
"""Characters of a role, as in the API."""


class PersonForm(msgspec.Struct):
    """Each form of the page. `action` is "export" or one of `ACTIONS`; `sure` is set by the page that asks for confirmation."""

    id: str = ""
    action: str = ""
    sure: str = ""
    email: str = ""
    name: str = ""
    language: str = ""
    role: str = ""
    session: str = ""
    new_password: str = ""


class Action(msgspec.Struct, frozen=True):
    """What a form does, the sentence when it is done, and what is asked before."""

    run: Callable[[UseCases, PersonForm, Caller], Awaitable[Any]]
    done: str
    sure: Sure | None = None


async def _change_role(change: Callable[[str, str, Caller], Awaitable[Any]], form: PersonForm, operator: Caller) -> None:
    role = form.role.strip()
    if not role or len(role) > MAX_ROLE or not role.isprintable():
        raise InvalidFields([("role", mark("must have 1 to %(most)s characters", most=MAX_ROLE))])
    await change(form.id, role, operator)


async def _send_reset(use: UseCases, form: PersonForm, operator: Caller) -> str:
    use.require_mail()
    return "reset" if await use.reset_password.send(form.id, operator) else "not_sent"


async def _set_password(use: UseCases, form: PersonForm, operator: Caller) -> None:
    if use.mail_is_on:  # then nobody but the person needs to know it
        raise InvalidRequest(mark("The person chooses a password by mail."))
    await use.accounts.set_password(form.id, form.new_password, operator)


async def _sign_out(use: UseCases, form: PersonForm, operator: Caller) -> None:
    await use.sign_out.end_all((await use.accounts.get(form.id)).id, operator, why="admin")


async def _delete(use: UseCases, form: PersonForm, operator: Caller) -> None:
    account = await use.accounts.get(form.id)
    if form.email.strip().lower() != account.email:
        raise InvalidFields([("email", mark("is not the address of this account"))])
    await use.accounts.delete(form.id, operator)


ACTIONS = {
    "profile": Action(
        lambda use, form, operator: use.accounts.change_profile(form.id, operator, name=form.name, language=form.language),
        mark("The name and the language are saved."),
    ),
    "rename": Action(
        lambda use, form, operator: use.accounts.rename(form.id, form.email, operator),
        mark("The account has its new address, which is not verified yet."),
    ),
    "grant": Action(
        lambda use, form, operator: _change_role(use.accounts.grant_role, form, operator),
        mark("The account has the role. Access tokens contain it from their next refresh on."),
    ),
    "revoke": Action(
        lambda use, form, operator: _change_role(use.accounts.revoke_role, form, operator),
        mark("The account does not have the role any more. Access tokens lose it with their next refresh."),
    ),
    "disable": Action(
        lambda use, form, operator: use.accounts.disable(form.id, operator),
        mark("The account is disabled, and signed out everywhere."),
    ),
    "enable": Action(lambda use, form, operator: use.accounts.enable(form.id, operator), mark("The account is enabled again.")),
    "unlock": Action(
        lambda use, form, operator: use.accounts.unlock(form.id, operator), mark("The failed attempts are forgotten.")
    ),
    "reset": Action(_send_reset, mark("A mail is on its way. Its link works once, for one hour.")),
    "password": Action(_set_password, mark("The password is set, and the account is signed out everywhere.")),
    "end_session": Action(
        lambda use, form, operator: use.sign_out.end_by_operator(require_id(form.session), operator),
        mark("That device is signed out."),
    ),
    "sign_out": Action(_sign_out, mark("The person is signed out everywhere.")),
    "reset_factors": Action(
        lambda use, form, operator: use.accounts.reset_factors(form.id, operator),
        mark("All second factors and recovery codes are removed, and the person is told by mail."),
        Sure(
            mark("Remove all second factors?"),
            mark(
                "The authenticator app, the passkeys and the recovery codes of this account are removed. "
                "Make sure that it is the person who asks for it: the password alone opens the account then."
            ),
            mark("Remove all second factors"),
        ),
    ),
    "delete": Action(
        _delete,
        mark("The account is deleted."),
        Sure(
            mark("Delete the account?"),
            mark(
                "The account and all that belongs to it are deleted at once, and every device is signed out. "
                "This cannot be undone."
            ),
            mark("Delete the account"),
            types_email=True,
        ),
    ),
}
_DONE = {name: action.done for name, action in ACTIONS.items()} | {"created": mark("The account is created.")}
_NOT_SENT = mark("No mail was sent: this address has got several in the last hour. The link in the last one works.")


@dataclass(frozen=True, slots=True)
class PersonPages:
    """The handlers of the page. They run behind `for_administrators`, and raise `NotFound` without such an account."""

    use: UseCases
    writer: PageWriter

    async def show_person(self, call: Call) -> Response:
        """Return the page of the account with the `id` of the query: how the person signs in, where, and what has happened."""
        account_id = call.request.query_params.get("id", "")
        if not account_id:
            return self.writer.redirect("/admin")
        done = call.request.query_params.get("done", "")
        text = _NOT_SENT if done == "not_sent" else _DONE.get(done, "")
        kind = "wrong" if text is _NOT_SENT else "good"
        return await self._write(
            call, require_id(account_id), notice=call.language.translate(text) if text else "", notice_kind=kind
        )

    async def submit_person(self, call: Call) -> Response:
        """Do what the form asks for, after a question if it cannot be undone; or show the page again with what is wrong.

        The form `export` is answered with a file, by POST because that is recorded.
        """
        form = await read_form(call.request, PersonForm)
        if form.action == "export":
            account = await self.use.accounts.get(require_id(form.id))
            return write_export(account.id, await self.use.export_data.of(account, call.operator), call, name="person.json")
        action = ACTIONS.get(form.action)
        if action is None:
            raise InvalidRequest(mark("This form asks for something that does not exist."))
        require_id(form.id)
        if action.sure is not None and not form.sure:
            return await self._ask(call, form, action.sure)
        done = form.action
        try:
            told = await action.run(self.use, form, call.operator)
            done = told if isinstance(told, str) else done
        except NotFound:
            pass  # it is done already: the form was sent twice. Without an account, the next page says so.
        except (*CORRECTABLE, AdministratorProtected) as error:
            if action.sure is not None and isinstance(error, InvalidFields):
                return await self._ask(call, form, action.sure, error)
            return await self._write(call, form.id, form, error)
        query = {"done": "deleted"} if form.action == "delete" else {"id": form.id, "done": done}
        return self.writer.redirect(f"/admin{'' if form.action == 'delete' else '/person'}?{urlencode(query)}")

    async def _ask(self, call: Call, form: PersonForm, sure: Sure, error: HandstampError | None = None) -> Response:
        account = await self.use.accounts.get(form.id)
        return write_sure(
            self.writer,
            call,
            sure,
            error,
            about=account.email,
            page="/admin/person",
            leave=f"/admin/person?{urlencode({'id': form.id})}",
            hidden={"id": form.id, "action": form.action},
        )

    async def _write(
        self, call: Call, account_id: str, form: PersonForm | None = None, error: HandstampError | None = None, **values: Any
    ) -> Response:
        """Return the page, with what was typed in one of its forms and what is wrong with it."""
        found = await self.use.accounts.list_factors(account_id, call.operator)
        locked = await self.use.accounts.find_locked([found.account], call.operator)
        page = await self.use.sessions.list_page(account_id, call.operator, limit=MAX_SESSIONS)
        history = await self.use.histories.of_subject(account_id, found.account, call.operator)
        person = describe_person(found.account, locked | ({found.account.email} if found.is_locked else set()))
        typed = {} if form is None else _typed_in(form)
        values |= {
            "person": person,
            "typed": person | {"new_email": person["email"], "role": ""} | typed,
            "may_look": self.use.impersonate.may_look_at(found.account),
            "is_own": call.operator.operator == Operator("account", account_id),
            "since": call.language.write_date(found.account.created_at_ms),
            "languages": LANGUAGES,
            "mail_is_on": self.use.mail_is_on,
            **_describe_factors(found),
            "sessions": [_describe_session(each, call) for each in page.sessions],
            "is_cut": page.following is not None,
            "entries": describe_entries(history, call),
        }
        if error is not None:
            return self.writer.write_form_again("person.html", error, call, **values)
        return self.writer.write_page("person.html", call, **values)


def _typed_in(form: PersonForm) -> dict[str, str]:
    """Return what was typed in the form of an action, by the name of its field."""
    match form.action:
        case "profile":
            return {"name": form.name, "language": form.language}
        case "rename":
            return {"new_email": form.email}
        case "grant":
            return {"role": form.role}
        case _:
            return {}


def _describe_factors(found: FactorsOf) -> dict[str, Any]:
    return {
        "has_password": found.account.password_hash != "",
        "has_totp": found.factors.has_totp,
        "has_factor": found.factors.is_any,
        "recovery_codes": found.factors.recovery_codes,
        "passkeys": [each.name for each in found.passkeys],
        "identities": [each.provider for each in found.identities],
    }


def _describe_session(session: Session, call: Call) -> dict[str, Any]:
    return {
        "id": session.id,
        "name": name_session(session, call),
        "ip": session.ip,
        "is_bound": session.bound_key is not None,
        "seen": describe_time(session.seen_at_ms, call),
        "created": describe_time(session.created_at_ms, call),
    }
