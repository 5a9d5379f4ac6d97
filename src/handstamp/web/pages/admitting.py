"""The gate of the pages of administrators."""

from __future__ import annotations

import functools

import msgspec
from starlette.responses import Response

from ...domain.session import Session
from ...errors import InsufficientAuthentication, NewProofRequired, NotFound
from ...text import mark
from ..body import read_fields
from ..edge import Call, Handler
from ..operation import UseCases
from ..repeatable import repeatable_form
from .visitor import arrives_from_elsewhere, require_visitor
from .writer import TAG, PageWriter

MAX_ID = 256
"""Characters of an id of an account, a session or a subject."""


def for_administrators(handle: Handler, use: UseCases, writer: PageWriter) -> Handler:
    """Return a handler that runs for administrators only, who have just proved a second factor. `Call.operator` is who visits.

    It raises as `Administration.admit_account` does.
    Without a second factor, the visitor is led to where one is added. A form has one effect, however often it is sent. If it asks
    for what needs a new proof of the session's key, the browser gives that proof and sends the form again by itself.
    """

    @functools.wraps(handle)
    async def admit_and_handle(call: Call) -> Response:
        if call.request.method == "GET" and arrives_from_elsewhere(call):
            return writer.load_again(call)
        session, account = await require_visitor(use, call)
        try:
            call.admit(use.administration.admit_account(session, account, call.caller))
        except InsufficientAuthentication:
            if account is not None and not (await use.list_factors(account)).factors.is_any:
                return writer.redirect("/account/sign-in")
            raise
        if call.request.method == "POST":
            return await _handle_form(call, session)
        return await handle(call)

    async def _handle_form(call: Call, session: Session) -> Response:
        fields = await read_fields(call.request)
        content = [text for pair in sorted(fields.items()) for text in pair]
        request = repeatable_form(fields.get("idempotency_key", ""), handle.__name__, *content)
        form, tag = msgspec.json.encode([handle.__name__, *content]).decode(), call.request.query_params.get(TAG, "")
        token, _ = call.refresh_token(None)
        has_proved = call.has_proved_factor or (tag != "" and use.recognise.has_proved_since(session, token, tag, form))
        lacks_proof = call.operator.lacks_proof and not has_proved
        call.admit(msgspec.structs.replace(call.operator, request=request, lacks_proof=lacks_proof))
        try:
            return await handle(call)
        except NewProofRequired:
            if tag or session.bound_by != "dbsc":  # the browser was asked already, and did not prove the key
                raise
            return writer.send_again(call, use.recognise.tag_form(session, token, form), session.delivery)

    return admit_and_handle


def require_id(text: str) -> str:
    """Return an id from a query or a form. Raises `NotFound` for an address, and for what no id contains."""
    if not text or "@" in text or len(text) > MAX_ID or not text.isprintable():
        raise NotFound(mark("There is no account with this id."))
    return text
