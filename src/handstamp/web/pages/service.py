"""The page about the service itself: its health, its signing keys, and the credentials of programs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from ...domain.credential import CredentialScope
from ...domain.keyring import KeyTimes
from ...errors import ConfigurationError, InvalidFields, InvalidRequest, NotFound
from ...service.operating.health import MOST_COUNTED
from ...service.parts.caller import Caller
from ...text import mark
from ..admin.service import WRONG_NAME
from ..body import read_form
from ..edge import Call
from ..operation import UseCases
from ..stopping import STOPPING
from .sure import Sure, write_sure
from .times import describe_time
from .writer import PageWriter

PATH = "/admin/service"
_SCOPES: dict[str, tuple[CredentialScope, ...]] = {"read": ("read",), "admin": ("admin",), "both": ("read", "admin")}


class ServiceForm(msgspec.Struct):
    """Each form of the page. `id` is that of a key or a credential."""

    action: str = ""
    sure: str = ""
    id: str = ""
    name: str = ""
    scopes: str = ""


class Action(msgspec.Struct, frozen=True):
    """What a form does, what is asked before, and the sentence when it is done."""

    run: Callable[[UseCases, ServiceForm, Caller], Awaitable[Any]]
    sure: Sure
    done: str


ACTIONS = {
    "rotate": Action(
        lambda use, _, operator: use.keys.rotate(operator),
        Sure(
            mark("Publish a new key?"),
            mark("It is published now, and signs as soon as every verifier has had time to fetch it. No session ends."),
            mark("Publish a new key"),
        ),
        mark("The new key is published."),
    ),
    "retire": Action(
        lambda use, form, operator: use.keys.retire(form.id, operator),
        Sure(
            mark("Stop signing with this key?"),
            mark(
                "It stops as soon as its successor has been published for long enough. No session ends, and no token is refused."
            ),
            mark("Stop signing"),
        ),
        mark("The key stops signing."),
    ),
    "void": Action(
        lambda use, form, operator: use.keys.void(form.id, operator),
        Sure(
            mark("Revoke all that this key has signed?"),
            mark(
                "For a key that has leaked. All access tokens that it has signed are refused at once, here and at each verifier, "
                "and clients renew them. No session ends. This cannot be undone."
            ),
            mark("Revoke the key"),
        ),
        mark("The key is revoked, with all that it has signed."),
    ),
    "remove": Action(
        lambda use, form, operator: use.credentials.remove(form.id, operator),
        Sure(
            mark("Remove this credential?"),
            mark("The program that uses it is refused from its next request on. This cannot be undone."),
            mark("Remove the credential"),
        ),
        mark("The credential is removed."),
    ),
}


@dataclass(frozen=True, slots=True)
class ServicePages:
    """The handlers of the page. They run behind `for_administrators`."""

    use: UseCases
    writer: PageWriter

    async def show_service(self, call: Call) -> Response:
        """Return the page."""
        action = ACTIONS.get(call.request.query_params.get("done", ""))
        return await self._write(call, notice=call.language.translate(action.done) if action else "", notice_kind="good")

    async def submit_service(self, call: Call) -> Response:
        """Do what the form asks for, after a question; or show the page again with what is wrong."""
        form = await read_form(call.request, ServiceForm)
        if form.action == "create":
            return await self._create(call, form)
        action = ACTIONS.get(form.action)
        if action is None or not form.id.isprintable():
            raise InvalidRequest(mark("This form asks for something that does not exist."))
        if not form.sure:
            hidden = {"action": form.action, "id": form.id}
            about = "" if form.action == "rotate" else form.name or form.id
            return write_sure(self.writer, call, action.sure, about=about, page=PATH, leave=PATH, hidden=hidden)
        with suppress(NotFound):  # it is done already: the form was sent twice
            await action.run(self.use, form, call.operator)
        return self.writer.redirect(f"{PATH}?done={form.action}")

    async def _create(self, call: Call, form: ServiceForm) -> Response:
        """Create a credential, and show its secret once."""
        try:
            made, secret = await self.use.credentials.create(form.name, call.operator, scopes=_SCOPES.get(form.scopes, ("read",)))
        except ConfigurationError:
            return await self._write(call, InvalidFields([("name", WRONG_NAME)]), name=form.name, scopes=form.scopes)
        return self.writer.write_page("new_credential.html", call, name=made.name, shown=f"id:     {made.id}\nsecret: {secret}")

    async def _write(self, call: Call, error: InvalidFields | None = None, **values: Any) -> Response:
        health = await self.use.look_at_health(is_stopping=STOPPING.is_on)
        keys = await self.use.keys.read_timetable(call.now_ms)
        values = {"scopes": "read"} | values
        values |= {
            "health": health,
            "mails": f"{health.mails:,}{'+' if health.mails == MOST_COUNTED else ''}",
            "ahead": f"{health.clock_offset_ms} ms",
            "oldest": _describe_time(health.oldest_mail_ms, call),
            "receivers": [
                {
                    "name": each.receiver.name,
                    "is_configured": each.is_configured,
                    "error": each.receiver.error,
                    "waiting": _describe_time(each.waiting_since_ms, call),
                }
                for each in health.receivers
            ],
            "keys": [_describe_key(each, call) for each in keys],
            "credentials": [
                {
                    "id": each.id,
                    "name": each.name,
                    "scopes": each.scopes,
                    "created": describe_time(each.created_at_ms, call),
                }
                for each in await self.use.credentials.list_all()
            ],
        }
        if error is not None:
            return self.writer.write_form_again("service.html", error, call, **values)
        return self.writer.write_page("service.html", call, **values)


def _describe_key(key: KeyTimes, call: Call) -> dict[str, Any]:
    return {
        "kid": key.kid,
        "algorithm": key.algorithm,
        "state": key.state,
        "published": describe_time(key.published_ms, call),
        "signs": describe_time(key.signs_ms, call),
        "retires": describe_time(key.retires_ms, call),
        "removed": describe_time(key.removed_ms, call),
    }


def _describe_time(at_ms: int | None, call: Call) -> dict[str, str] | None:
    return None if at_ms is None else describe_time(at_ms, call)
