"""Run Handstamp in the process of an application: mount its endpoints, start sessions, verify tokens.

```python
auth = Handstamp(database="sqlite:///app.db", issuer="https://app.example.com/auth")
app = FastAPI(lifespan=auth.lifespan)
app.mount("/auth", auth.asgi)
require = Require(auth.verifier)
```

Needs `handstamp[server]`. Several worker processes of one machine can share one database.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..assemble.application import make_application
from ..assemble.deployment import Deployment
from ..assemble.tracing import Tracing
from ..clock import Clock
from ..config.loading import load
from ..domain.delivery import DELIVERIES, Delivery
from ..domain.grant import parse_grant, parse_subject
from ..domain.proof import Proof
from ..domain.provider import ProviderTokens
from ..domain.session import Session
from ..errors import HandstampError, InvalidFields, InvalidToken
from ..service.parts.caller import Caller
from ..service.parts.granting import Hook
from ..service.parts.tokens import TokenPair
from ..web.answers import write_problem
from ..web.api.tokens import write_pair
from ..web.cookies import Cookies
from ..web.edge import sanitise_text
from .server_check import warn_about_server
from .verifier import LocalVerifier

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

_METHOD = re.compile(r"[\x21-\x7e]{1,64}")

__all__ = ["Handstamp", "Session", "Sessions", "TokenPair"]


class Sessions:
    """Sessions of the application's own users. They need no account of Handstamp; a subject is any text.

    Every method raises `RuntimeError` unless its `Handstamp` has been started.
    """

    def __init__(self, running: Callable[[], Deployment]) -> None:
        """Create it. Applications use `Handstamp.sessions`."""
        self._service = running

    async def start(
        self,
        subject: str,
        *,
        claims: Mapping[str, Any] | None = None,
        scope: str = "",
        roles: Sequence[str] = (),
        delivery: Delivery = "json",
        amr: Sequence[str] = ("pwd",),
        acr: str | None = "pwd",
        ip: str = "",
        user_agent: str = "",
        bind: bool = False,
    ) -> TokenPair:
        """Start a session for a person whom the application has just signed in, and return its tokens.

        `subject` is the application's own id for them, 1 to 255 characters. `scope` (RFC 6749 §3.3), `roles` and `claims` stand
        in every access token of the session, up to 1,536 bytes as JSON together. `amr` says how they signed in (RFC 8176), and
        `acr` how strongly: "pwd", "mfa", "phr" or a class of your own, which `require(acr=…)` asks for.
        `ip` and `user_agent` show in the list of their devices. `bind` invites the browser to bind the session to its device:
        say so if Handstamp's own `/refresh` and `/device/refresh` are mounted, because `refresh` does not renew such a session.
        Raises `InvalidFields`, `ProofRequired` if sessions must be bound and this one cannot be, and `Unavailable` also where the
        hook fails.
        """
        service = self._service()
        grant = parse_grant(scope=scope, roles=roles, claims=claims)
        _require_sound(delivery, ip, user_agent, amr, acr)
        caller = Caller(now_ms=service.clock(), ip=sanitise_text(ip), user_agent=sanitise_text(user_agent), actor="application")
        proof = Proof(subject=parse_subject(subject), amr=tuple(amr), acr=acr, authenticated_at_ms=caller.now_ms, grant=grant)
        return await service.begin_session(proof, delivery=delivery, caller=caller, invites=bind)

    async def refresh(self, refresh_token: str, *, delivery: Delivery = "json", ip: str = "") -> TokenPair:
        """Return the tokens that follow a refresh token; `outcome` says whether it was rotated or answered again.

        `delivery` is the session's: a token that travels as a cookie is not taken from a body, nor the other way round.
        Raises `InvalidToken`, `ProofRequired` if the session is bound to its device, `SessionEnded` with its reason, after which
        the client forgets its tokens, `InvalidFields` for a delivery that does not exist, and `Unavailable`.
        """
        service = self._service()
        _require_sound(delivery, ip)
        if not isinstance(refresh_token, str):
            raise InvalidToken("not a text")
        caller = Caller(now_ms=service.clock(), ip=sanitise_text(ip))
        return await service.refresh(refresh_token, way="body" if delivery == "json" else "cookie", caller=caller)

    async def step_up(
        self, session_id: str, *, subject: str, amr: Sequence[str], acr: str | None, ip: str = "", user_agent: str = ""
    ) -> None:
        """Record that the person of a session has just proved again who they are (RFC 9470). The next refresh carries it.

        Only the time, `amr` and `acr` of the proof change, to what was proved now, also if it is weaker than before.

        Args:
            session_id: The session that asked for the proof: `claims.sid`.
            subject: The person whose proof the application has checked. So the proof of one person never counts for another.
            amr: How they proved it (RFC 8176), as in `start`.
            acr: How strongly: "pwd", "mfa", "phr" or a class of your own, None for none.
            ip: Their address, shown in the history of the session; "" if it is not known.
            user_agent: Their browser, shown there.

        Raises:
            SessionEnded: If the session has ended or does not exist.
            InvalidFields: If a value is not allowed, if `subject` is not the person of the session, or if they have an account of
                Handstamp: then they prove it at `/login/step-up`.
            Unavailable: If the store does not answer.
        """
        service = self._service()
        _require_sound("json", ip, user_agent, amr, acr)
        caller = Caller(now_ms=service.clock(), ip=sanitise_text(ip), user_agent=sanitise_text(user_agent), actor="application")
        await service.prove_again(_parse_session_id(session_id), parse_subject(subject), caller, amr=amr, acr=acr)

    async def end(self, session_id: str) -> bool:
        """End a session; return whether it was active. Its tokens are refused at once. Raises `InvalidFields`, `Unavailable`."""
        service = self._service()
        return await service.sign_out.end_one(_parse_session_id(session_id), _application(service))

    async def end_all(self, subject: str) -> int:
        """End every session of a subject; return how many were active. Raises `InvalidFields` and `Unavailable`."""
        service = self._service()
        return await service.sign_out.end_all(parse_subject(subject), _application(service))

    async def of(self, subject: str) -> list[Session]:
        """Return the active sessions of a subject, last seen first. Raises `InvalidFields` and `Unavailable`."""
        service = self._service()
        found, _ = await service.sessions.list_all(parse_subject(subject), Caller(now_ms=service.clock()))
        return found


def _parse_session_id(session_id: object) -> str:
    """Return the id of a session, "" for what no session is named. Raises `InvalidFields` if it is no text."""
    if not isinstance(session_id, str):
        raise InvalidFields([("session_id", "must be a text")])
    return session_id if session_id.isascii() else ""


def _application(service: Deployment) -> Caller:
    return Caller(now_ms=service.clock.estimate(), actor="application")


def _require_sound(delivery: object, ip: object, user_agent: object = "", amr: object = (), acr: object = None) -> None:
    """Raise `InvalidFields` with every value that is not allowed."""
    problems = []
    if not isinstance(delivery, str) or delivery not in DELIVERIES:
        problems.append(("delivery", f"must be one of {', '.join(DELIVERIES)}"))
    if not isinstance(amr, list | tuple) or not all(isinstance(word, str) and _METHOD.fullmatch(word) for word in amr):
        problems.append(("amr", "must be a list of short words (RFC 8176 §2)"))
    if acr is not None and not (isinstance(acr, str) and _METHOD.fullmatch(acr)):
        problems.append(("acr", "must be one short word (RFC 9470 §4), or None"))
    problems += [(name, "must be text") for name, value in (("ip", ip), ("user_agent", user_agent)) if not isinstance(value, str)]
    if problems:
        raise InvalidFields(problems)


class Handstamp:
    """One deployment inside an application."""

    def __init__(
        self,
        *,
        claims: Hook | None = None,
        clock: Clock | None = None,
        tracer_provider: TracerProvider | None = None,
        **settings: Any,
    ) -> None:
        """Create it from settings, named as in the reference in lower case. Other settings come from the environment.

        `claims` is asked at each mint what a subject's tokens say beyond the session: it takes the subject and returns
        `{"scope": …, "roles": …, "claims": …}`, and may be a coroutine function. If it fails nothing is issued. Log lines go to
        the application's `logging`, under `handstamp`.
        `clock` is for tests: it returns milliseconds since 1970.
        `tracer_provider` is that of the application's OpenTelemetry, to make spans with (`handstamp[otel]`).
        Raises `ConfigurationError` with every mistake.
        """
        self._deployment = Deployment(load(**settings), clock=clock, claims=claims, tracing=Tracing(tracer_provider))
        self._application = make_application(self._deployment)
        self.cookies: Cookies = Cookies(self._deployment.issuer)
        """The names of the two cookies that carry tokens: `access` and `refresh`."""
        self._has_seen_server = False
        self._open: AsyncExitStack | None = None
        self.sessions: Sessions = Sessions(self._running)
        """Sessions of the application's own users."""
        self.verifier: LocalVerifier = LocalVerifier(
            self._running, verifier=self._deployment.verifier, sessions=self._deployment.sessions, clock=self._deployment.clock
        )
        """Verifies access tokens, for the adapters or by hand. A sign-out in any process takes effect at the next request."""

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve Handstamp's endpoints. Mount it at the path of the issuer."""
        if scope["type"] != "lifespan":
            self._running()
        if not self._has_seen_server and scope["type"] == "http":
            self._has_seen_server = True
            warn_about_server(receive)
        await self._application(scope, receive, send)

    def answer(self, result: TokenPair | HandstampError) -> Response:
        """Return the HTTP answer: tokens, where the session's delivery puts them, or the problem of an error (RFC 9457)."""
        return write_problem(result) if isinstance(result, HandstampError) else write_pair(result, self.cookies)

    async def provider_tokens(self, subject: str, provider: str) -> ProviderTokens:
        """Return the tokens of a person at a provider whose settings have `keep_tokens`, valid for a minute at least.

        `subject` is the id of the account. Raises `NotFound` if none are kept, `ProviderRefused` if the person must sign in there
        again, and `Unavailable`.
        """
        service = self._running()
        return await service.kept_tokens(subject, provider, Caller(now_ms=service.clock()))

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncIterator[None]:
        """Run from an application's start to its stop: `FastAPI(lifespan=auth.lifespan)`."""
        async with self:
            yield

    async def __aenter__(self) -> Self:
        """Open the database, migrate it, and start housekeeping. Raises `ConfigurationError`."""
        if self._open is not None:
            raise RuntimeError("Handstamp has been started already.")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._deployment.run())
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish running work and close the database."""
        if self._open is not None:
            opened, self._open = self._open, None
            await opened.aclose()

    def _running(self) -> Deployment:
        """Return the service. Raises `RuntimeError` while it is not running."""
        if self._open is None:
            raise RuntimeError(
                "Handstamp has not been started: use FastAPI(lifespan=auth.lifespan), or 'async with auth:' in yours."
            )
        return self._deployment
