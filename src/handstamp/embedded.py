"""Handstamp inside an application: its endpoints mounted, its sessions called, its tokens verified, all in one process.

```python
auth = Handstamp(database="sqlite:///app.db", issuer="https://app.example.com/auth")
app = FastAPI(lifespan=auth.lifespan)
app.mount("/auth", auth.asgi)
require = Require(auth.verifier)
```

Needs `handstamp[server]`. Any number of worker processes of one machine may do this on one database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from . import logs
from .assemble import Service, service
from .clock import Clock, now_ms
from .config import load
from .domain.grant import grant_of
from .domain.session import Delivery, Session
from .service.caller import Caller
from .service.granting import Hook
from .service.tokens import TokenPair
from .web.local_verifier import LocalVerifier
from .web.transport import Cookies, write_pair

__all__ = ["Handstamp", "Session", "Sessions", "TokenPair"]


class Sessions:
    """Sessions of the application's own users: no account of Handstamp's is needed, a subject is any text."""

    def __init__(self, running: Service) -> None:
        """Take the service; an application gets this object from `Handstamp.sessions`."""
        self._running = running

    async def start(
        self,
        subject: str,
        *,
        claims: Mapping[str, Any] | None = None,
        scope: str = "",
        roles: Sequence[str] = (),
        delivery: Delivery = "json",
        amr: Sequence[str] = ("pwd",),
        ip: str = "",
        user_agent: str = "",
    ) -> TokenPair:
        """Start a session for somebody whom the application has just signed in, and return its tokens.

        `subject` is the application's own id for them, 1 to 255 characters. `scope` (RFC 6749 §3.3), `roles` and `claims` stand
        in every access token of the session, up to 1,536 bytes as JSON together. `amr` says how they signed in (RFC 8176).
        `ip` and `user_agent` show in the list of their devices. Raises `InvalidFields` and `Unavailable`.
        """
        grant = grant_of(scope=scope, roles=tuple(roles), claims=claims)
        caller = Caller(now_ms=self._running.clock(), ip=ip, user_agent=user_agent)
        return await self._running.start(subject, grant=grant, delivery=delivery, amr=tuple(amr), caller=caller)

    async def refresh(self, refresh_token: str, *, delivery: Delivery = "json", ip: str = "") -> TokenPair:
        """Return the tokens that follow a refresh token; `outcome` says whether it was rotated or answered again.

        `delivery` is the session's: a token that travels as a cookie is not taken from a body, nor the other way round.
        Raises `InvalidToken`, `SessionEnded` with its reason, after which the client forgets its tokens, and `Unavailable`.
        """
        caller = Caller(now_ms=self._running.clock(), ip=ip)
        return await self._running.refresh(refresh_token, way="body" if delivery == "json" else "cookie", caller=caller)

    async def end(self, session_id: str) -> bool:
        """End a session; say whether it lived. Its tokens are refused from now on. Raises `Unavailable`."""
        return await self._running.sign_out.one(session_id, Caller(now_ms=self._running.clock()))

    async def end_all(self, subject: str) -> int:
        """End every session of a subject; return how many lived. Raises `Unavailable`."""
        return await self._running.sign_out.everywhere(subject, Caller(now_ms=self._running.clock()))

    async def of(self, subject: str) -> list[Session]:
        """Return the living sessions of a subject, last seen first. Raises `Unavailable`."""
        return await self._running.sessions.of(subject, Caller(now_ms=self._running.clock()))


class Handstamp:
    """One deployment, living in an application."""

    def __init__(self, *, claims: Hook | None = None, clock: Clock = now_ms, **settings: Any) -> None:
        """Take settings by the names of the reference in small letters; those that are absent come from the environment.

        `claims` is asked at each mint what a subject's tokens say beyond the session: it takes the subject and returns
        `{"scope": …, "roles": …, "claims": …}`, and may be a coroutine function. If it fails nothing is issued. Log lines go to
        the application's `logging`, under `handstamp`.
        Raises `ConfigurationError` naming every mistake.
        """
        logs.hand_over()
        self._service = service(load(**settings), clock=clock, claims=claims)
        self._application = self._service.asgi()
        self._cookies = Cookies(secure=self._service.settings.issuer.startswith("https://"))
        self._open: AsyncExitStack | None = None
        self.sessions = Sessions(self._service)
        """Sessions of the application's own users."""
        self.verifier = LocalVerifier(verifier=self._service.verifier, sessions=self._service.sessions, clock=self._service.clock)
        """Verifies access tokens, for the adapters or by hand; a sign-out in any process shows on the next request."""

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve Handstamp's endpoints: mount this where the issuer says."""
        if scope["type"] != "lifespan" and self._open is None:
            raise RuntimeError(
                "Handstamp has not been started: use FastAPI(lifespan=auth.lifespan), or 'async with auth:' in yours."
            )
        await self._application(scope, receive, send)

    def answer(self, pair: TokenPair) -> Response:
        """Return the token answer for a client, each token where the session's delivery puts it: JSON or cookie."""
        return write_pair(pair, self._cookies)

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncIterator[None]:
        """Run from an application's start to its stop: `FastAPI(lifespan=auth.lifespan)`."""
        async with self:
            yield

    async def __aenter__(self) -> Self:
        """Open the database, bring it up to date, and begin housekeeping. Raises `ConfigurationError`."""
        if self._open is not None:
            raise RuntimeError("Handstamp has been started already.")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._service.running())
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish what was begun and let go of the database."""
        if self._open is not None:
            opened, self._open = self._open, None
            await opened.aclose()
