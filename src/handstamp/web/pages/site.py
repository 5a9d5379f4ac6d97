"""The pages for people: sign in, create an account, and see and end one's own sessions. Rendered here; script only helps.

A page knows its visitor by the refresh cookie, which both deliveries of browsers have, and never holds an access token.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import jinja2
import msgspec
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ...domain.account import Account
from ...domain.delivery import Delivery
from ...domain.reasons import sentence_of
from ...domain.session import Session
from ...errors import (
    HandstampError,
    InvalidCredentials,
    InvalidFields,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    NotFound,
    SessionEnded,
)
from ...wire.problems import headers_of, row_of
from ...words import format_distance, format_time
from ..answers import log_failure
from ..body import read_form
from ..cookies import clear_cookies, set_pair
from ..edge import Call, Edge
from ..operation import UseCases
from .devices import device_in_words
from .forms import ASKS_AGAIN, Errors, told
from .return_to import may_return_to

_DONE = {
    "password": "Your password is changed, and every other device is signed out.",
    "session": "That device is signed out.",
}


class Credentials(msgspec.Struct):
    """The forms for signing in and for making an account."""

    email: str = ""
    password: str = ""
    return_to: str = ""
    delivery: str = ""


class EndSession(msgspec.Struct):
    """The form beside a device."""

    id: str = ""


class NewPassword(msgspec.Struct):
    """The form that changes the password."""

    current_password: str = ""
    new_password: str = ""


@dataclass(frozen=True)
class Pages:
    """The pages over their use cases."""

    use: UseCases
    edge: Edge
    password_min_length: int

    def routes(self) -> list[Route]:
        """Return the routes of all pages."""
        table: tuple[tuple[str, str, Callable[[Call], Awaitable[Response]]], ...] = (
            ("GET", "/", self._show_start),
            ("GET", "/sign-in", self._show_sign_in),
            ("POST", "/sign-in", self._take_sign_in),
            ("GET", "/create-account", self._show_create_account),
            ("POST", "/create-account", self._take_create_account),
            ("GET", "/account", self._show_account),
            ("POST", "/account/end-session", self._take_end_session),
            ("POST", "/account/password", self._take_password),
            ("POST", "/account/sign-out", self._take_sign_out),
            ("POST", "/account/sign-out-everywhere", self._take_sign_out_everywhere),
            ("GET", "/signed-out", self._show_signed_out),
        )
        return [
            Route(
                path,
                self.edge.endpoint(handle, path=path, write_error=self._write_error, signs_in=True),
                methods=[method],
                name=handle.__name__.strip("_"),
            )
            for method, path, handle in table
        ]

    async def _show_start(self, _: Call) -> Response:
        return self._to("/account")

    async def _show_sign_in(self, call: Call) -> Response:
        asked = self._asked(call.request.query_params)
        if self._arrives_from_elsewhere(call):
            return self._arriving(call)
        try:
            session, account = await self._visitor(call)
        except (MissingToken, InvalidToken):
            return self._page("sign_in.html", **asked)
        except SessionEnded as ended:
            notice = sentence_of(ended.reason, otherwise="You are signed out.")
            response = self._page("sign_in.html", notice=notice, **asked)
            return clear_cookies(response, call.cookies)
        return self._page("sign_in.html", visitor=_name_of(session, account), **asked)

    async def _take_sign_in(self, call: Call) -> Response:
        form = await read_form(call.request, Credentials)
        asked = self._asked(msgspec.structs.asdict(form))
        try:
            return await self._signed_in(call, form, asked)
        except ASKS_AGAIN as error:
            return self._page("sign_in.html", **told(error), email=form.email, **asked)

    async def _show_create_account(self, call: Call) -> Response:
        self._check_open()
        return self._page("create_account.html", **self._asked(call.request.query_params))

    async def _take_create_account(self, call: Call) -> Response:
        self._check_open()
        form = await read_form(call.request, Credentials)
        asked = self._asked(msgspec.structs.asdict(form))
        try:
            await self.use.register(form.email, form.password, call.caller)
            return await self._signed_in(call, form, asked)
        except ASKS_AGAIN as error:
            return self._page("create_account.html", **told(error), email=form.email, **asked)

    async def _signed_in(self, call: Call, form: Credentials, asked: Mapping[str, Any]) -> Response:
        presented = call.tokens_in_cookies()
        delivery: Delivery = "cookie" if asked["delivery"] == "cookie" else "split"
        pair = await self.use.sign_in(form.email, form.password, delivery=delivery, caller=call.caller, presented=presented)
        response = self._to(asked["return_to"] or "/account", is_whole=bool(asked["return_to"]))
        set_pair(response, pair, call.cookies)
        return clear_cookies(response, call.cookies, but_for=pair) if presented else response

    async def _show_account(self, call: Call) -> Response:
        if self._arrives_from_elsewhere(call):
            return self._arriving(call)
        session, account = await self._visitor(call)
        notice = _DONE.get(call.request.query_params.get("done", ""), "")
        return await self._account_page(call, session, account, notice=notice, notice_kind="good")

    async def _take_end_session(self, call: Call) -> Response:
        form = await read_form(call.request, EndSession)
        session, _ = await self._visitor(call)
        await self.use.sign_out.end_own(session.subject, form.id, call.caller)
        return self._to("/account?done=session")

    async def _take_password(self, call: Call) -> Response:
        form = await read_form(call.request, NewPassword)
        session, account = await self._visitor(call)
        try:
            pair = await self.use.change_password(session, form.current_password, form.new_password, call.caller)
        except InvalidCredentials:
            wrong = InvalidFields([("currentPassword", "That is not your current password.")])
            return await self._account_page(call, session, account, **told(wrong))
        except ASKS_AGAIN as error:
            return await self._account_page(call, session, account, **told(error))
        response = self._to("/account?done=password")
        set_pair(response, pair, call.cookies)
        return response

    async def _take_sign_out(self, call: Call) -> Response:
        await self.use.sign_out.end_by_tokens(call.tokens_in_cookies(), call.caller)
        return clear_cookies(self._to(f"/signed-out{_wanted(call.request.query_params)}"), call.cookies)

    async def _take_sign_out_everywhere(self, call: Call) -> Response:
        session, _ = await self._visitor(call)
        await self.use.sign_out.end_all(session.subject, call.caller)
        return clear_cookies(self._to("/signed-out?from=everywhere"), call.cookies)

    async def _show_signed_out(self, call: Call) -> Response:
        is_everywhere = call.request.query_params.get("from") == "everywhere"
        where = "On every device" if is_everywhere else "In this browser"
        sentence = f"{where}, and for every application that you had open with it."
        return self._page("signed_out.html", sentence=sentence, query=_wanted(call.request.query_params))

    async def _visitor(self, call: Call) -> tuple[Session, Account | None]:
        token, _ = call.refresh_token(None)
        return await self.use.recognise(token, call.caller)

    async def _account_page(
        self, call: Call, session: Session, account: Account | None, *, status: int = 200, **shown: Any
    ) -> Response:
        now_ms = call.now_ms
        found = await self.use.sessions.list_living(session.subject, call.caller)
        devices = [
            {
                "id": one.id,
                "name": device_in_words(one.user_agent),
                "is_this": one.id == session.id,
                "ip": one.ip,
                "seen": _time(now_ms, one.seen_at_ms),
                "created": _time(now_ms, one.created_at_ms),
            }
            for one in sorted(found, key=lambda one: one.id != session.id)
        ]
        return self._page(
            "account.html",
            status,
            visitor=_name_of(session, account),
            since=_time(now_ms, account.created_at_ms) if account else None,
            has_password=account is not None,
            devices=devices,
            **shown,
        )

    def _asked(self, said: Mapping[str, str]) -> dict[str, Any]:
        """Return where the visitor wants to go afterwards, and how the tokens shall travel. Raises `InvalidRequest`."""
        return_to, delivery = said.get("return_to", ""), said.get("delivery", "")
        if delivery not in ("", "split", "cookie"):
            raise InvalidRequest("The link to this page asks for a delivery that is neither split nor cookie.")
        if return_to and not may_return_to(return_to, own=self.edge.issuer.origin, trusted=self.edge.trusted_origins):
            raise InvalidRequest(
                "The link to this page wants to send you on to an address that this service does not trust. "
                "If it is yours, add its origin to the trusted origins."
            )
        return {"return_to": return_to, "delivery": delivery, "query": _wanted(said)}

    def _arrives_from_elsewhere(self, call: Call) -> bool:
        """Whether another site's link brought the visitor, so that the browser held the strict cookies back (RFC 6265bis)."""
        has_come = call.request.query_params.get("here") is not None
        return not has_come and not call.carries_refresh_cookie and call.headers.get("sec-fetch-site") == "cross-site"

    def _arriving(self, call: Call) -> Response:
        here = f"{self._base}{call.request.scope['path'].removeprefix(call.request.scope.get('root_path', ''))}"
        return self._page("arriving.html", here=f"{here}?{urlencode({**call.request.query_params, 'here': ''})}")

    def _check_open(self) -> None:
        if not self.use.registration_open:
            raise NotFound("Registration is closed. The people who run this service create accounts.")

    def _write_error(self, error: HandstampError, _: Call) -> Response:
        if isinstance(error, MissingToken | InvalidToken | SessionEnded):
            return self._to("/sign-in")  # which says why
        return self._problem(error)

    def _problem(self, error: HandstampError) -> Response:
        status, title = row_of(type(error))
        response = self._page(
            "problem.html", status, title=title, detail=str(error), fits_again=status >= 500, instance=log_failure(error)
        )
        response.headers.update(headers_of(error))
        return response

    def _page(self, template: str, status: int = 200, **shown: Any) -> Response:
        defaults = {
            "base": self._base,
            "visitor": "",
            "email": "",
            "errors": Errors(),
            "notice": "",
            "notice_kind": "",
            "registration_open": self.use.registration_open,
            "password_min_length": self.password_min_length,
        }
        text = _TEMPLATES.get_template(template).render(defaults | shown)
        return Response(text, status, self._headers, "text/html")

    def _to(self, where: str, *, is_whole: bool = False) -> Response:
        return RedirectResponse(where if is_whole else self._base + where, 303, {"cache-control": "no-store"})

    @cached_property
    def _base(self) -> str:
        return self.edge.issuer.path

    @cached_property
    def _headers(self) -> dict[str, str]:
        sources = " ".join(["'self'", *sorted(self.edge.trusted_origins)])
        return {
            "cache-control": "no-store",
            # Browsers hold the forms' redirects against form-action too, and those lead back to the applications.
            "content-security-policy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
                f"form-action {sources}; base-uri 'none'; frame-ancestors 'none'"
            ),
            # With no-referrer, browsers send a form with "Origin: null", and those without Fetch Metadata would be refused.
            "referrer-policy": "same-origin",
        }


def _wanted(said: Mapping[str, str]) -> str:
    """Return the query that takes along, from page to page, what the application asked for. Whoever acts on it checks it."""
    wanted = {name: said[name] for name in ("return_to", "delivery") if said.get(name)}
    return f"?{urlencode(wanted)}" if wanted else ""


def _name_of(session: Session, account: Account | None) -> str:
    return account.email if account else session.subject


def _time(now_ms: int, at_ms: int) -> dict[str, str]:
    at = datetime.datetime.fromtimestamp(at_ms // 1000, tz=datetime.UTC)
    words = "just now" if abs(now_ms - at_ms) < 60_000 else format_distance(now_ms, at_ms)
    return {"iso": at.isoformat(), "exact": f"{format_time(at_ms)} UTC", "words": words, "date": f"{at.day} {at:%B %Y}"}


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("handstamp.web.pages"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
