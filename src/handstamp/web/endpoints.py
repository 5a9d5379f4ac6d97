"""What each endpoint does: read the request, call one use case, write the answer. Rules live in the use cases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar

from starlette.responses import Response

from ..domain.account import Account
from ..domain.session import Session
from ..errors import InvalidFields, InvalidRequest, NotFound
from ..service.accounts.accounts import Accounts
from ..service.operating.credentials import Credentials
from ..service.operating.keys import Keys
from ..service.sessions.living import LivingSessions
from ..service.sessions.refresh import Refresh
from ..service.sessions.revocations import HEARTBEAT_S, Revocations
from ..service.sessions.sign_out import SignOut
from ..service.signing_in.password import PasswordSignIn
from ..verify.verifier import Verifier
from .messages import (
    HealthAnswer,
    LoginRequest,
    LogoutRequest,
    PasswordRequest,
    RefreshRequest,
    RegisterAnswer,
    RegisterRequest,
    SessionsAnswer,
    profile,
    revocations,
    session_entry,
    user,
)
from .origin import is_from_browser
from .transport import Call, clear_cookies, write_json, write_pair, write_public

_Body = TypeVar("_Body")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints over their use cases. Each takes the call and its decoded body, and returns the answer."""

    sign_in: PasswordSignIn
    refresher: Refresh
    sign_out: SignOut
    sessions: LivingSessions
    accounts: Accounts
    credentials: Credentials
    revocations: Revocations
    keys: Keys
    verifier: Verifier
    metadata: bytes
    registration_open: bool

    async def register(self, call: Call, body: RegisterRequest | None) -> Response:
        """Make an account."""
        if not self.registration_open:
            raise NotFound("Accounts are made by the people who run this service.")
        body = _needed(body)
        account = await self.accounts.register(body.email, body.password, call.caller)
        return write_json(RegisterAnswer(user=user(account)), status=201)

    async def login(self, call: Call, body: LoginRequest | None) -> Response:
        """Sign in; always a new session. A session that cookies presented is over, so they are replaced or deleted."""
        body = _needed(body)
        presented = call.tokens_in_cookies()
        pair = await self.sign_in(
            body.email,
            body.password,
            delivery=body.delivery or ("split" if is_from_browser(call.headers) else "json"),
            caller=call.caller,
            presented=presented,
        )
        response = write_pair(pair, call.cookies)
        return clear_cookies(response, call.cookies, but_for=pair) if presented else response

    async def refresh(self, call: Call, body: RefreshRequest | None) -> Response:
        """Renew the pair."""
        token, way = call.refresh_token(body.refresh_token if body else None)
        return write_pair(await self.refresher(token, way=way, caller=call.caller), call.cookies)

    async def profile(self, call: Call, _: None) -> Response:
        """Say who is signed in."""
        session, account = await self._signed_in(call)
        return write_json(profile(session, account))

    async def logout(self, call: Call, body: LogoutRequest | None) -> Response:
        """End the sessions of every token that came; 204 whatever came."""
        tokens = call.all_tokens(body.refresh_token, body.access_token) if body else call.all_tokens()
        await self.sign_out.end_by_tokens(tokens, call.caller)
        return clear_cookies(_nothing(), call.cookies)

    async def logout_everywhere(self, call: Call, _: None) -> Response:
        """End every session of this person."""
        session, _account = await self._signed_in(call)
        await self.sign_out.end_all(session.subject, call.caller)
        return _nothing() if session.delivery == "json" else clear_cookies(_nothing(), call.cookies)

    async def list_sessions(self, call: Call, _: None) -> Response:
        """List this person's living sessions."""
        session, _account = await self._signed_in(call)
        found = await self.sessions.list_living(session.subject, call.caller)
        return write_json(SessionsAnswer(sessions=tuple(session_entry(entry, current=session.id) for entry in found)))

    async def end_session(self, call: Call, _: None) -> Response:
        """End one of this person's sessions, perhaps this one."""
        session, _account = await self._signed_in(call)
        sid = call.request.path_params["id"]
        await self.sign_out.end_own(session.subject, sid, call.caller)
        is_this = sid == session.id and session.delivery != "json"
        return clear_cookies(_nothing(), call.cookies) if is_this else _nothing()

    async def change_password(self, call: Call, body: PasswordRequest | None) -> Response:
        """Change the password; every session ends and this one is replaced."""
        session, _account = await self._signed_in(call)
        body = _needed(body)
        pair = await self.accounts.change_password(session, body.current_password, body.new_password, call.caller)
        return write_pair(pair, call.cookies)

    async def jwks(self, call: Call, _: None) -> Response:
        """Publish the keys, for caches and verifiers."""
        return write_public(self.keys.jwks, call)

    async def authorization_server(self, call: Call, _: None) -> Response:
        """Publish where things are."""
        return write_public(self.metadata, call)

    async def revoked(self, call: Call, _: None) -> Response:
        """Tell what ended since the cursor `after`; wait up to `wait` seconds for something to end."""
        await self.credentials.authenticate(call.client_credential())
        after, wait = (call.request.query_params.get(name, "") for name in ("after", "wait"))
        if not (re.fullmatch("[0-9]?", wait, re.ASCII) and int(wait or 0) <= HEARTBEAT_S):
            raise InvalidFields([("wait", f"must be whole seconds from 0 to {HEARTBEAT_S}")])
        page = await self.revocations.after(after, wait_s=int(wait or 0), caller=call.caller)
        return write_json(revocations(page, call.now_ms))

    async def healthz(self, _call: Call, _: None) -> Response:
        """Say that the process answers."""
        return write_json(HealthAnswer(status="alive"))

    async def readyz(self, call: Call, _: None) -> Response:
        """Say that requests can be served: the store is there and a key is active. Raises `Unavailable` otherwise."""
        await self.keys.require_ready(call.now_ms)
        return write_json(HealthAnswer(status="ready"))

    async def _signed_in(self, call: Call) -> tuple[Session, Account | None]:
        claims = self.verifier.verify(call.access_token(), now_ms=call.now_ms)
        return await self.sessions.require_living(claims.sid, call.now_ms)


def _nothing() -> Response:
    return Response(status_code=204, headers={"cache-control": "no-store"})


def _needed(body: _Body | None) -> _Body:
    if body is None:
        raise InvalidRequest("This request needs a JSON body.")
    return body
