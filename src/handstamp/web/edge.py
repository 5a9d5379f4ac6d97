"""The edge: every request enters here and every answer leaves here, for the JSON API, OAuth and the pages alike.

What differs between the three are values: how an error is written, and whether the operation signs a browser in.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable, Collection
from typing import Literal, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..crypto.dpop import DpopProofs, Proved
from ..crypto.proofs import ProofKey, thumbprint_of
from ..domain.binding import DeviceKey
from ..domain.claims import AccessClaims
from ..domain.issuer import Issuer
from ..domain.limits import Rate
from ..domain.session import Session
from ..errors import (
    HandstampError,
    InvalidDpopProof,
    InvalidRequest,
    MissingToken,
)
from ..languages.catalogue import ENGLISH, Catalogue, open_catalogue
from ..languages.choice import ENGLISH_TAG, accepted_language
from ..service.parts.bounded_logger import BoundedLogger
from ..service.parts.caller import Caller
from ..service.parts.common_clock import CommonClock
from ..service.parts.devices import EarlierSignIns
from ..service.parts.network_budget import NetworkBudget
from ..service.sessions.refresh import Way
from ..text import mark
from ..wire.bearer import sent_token
from ..wire.cookies import only_value, parse_cookies
from ..wire.cross_site import SAFE_METHODS, require_allowed_origin
from .body import MAX_ESCAPES
from .cookies import Cookies
from .fields import HeaderFields
from .proxies import PLAIN_HTTP

MAX_TOKENS = 8
"""Tokens that one request may carry. Each costs a signature check."""
USER_AGENT_LENGTH = 256
_NEEDS_TLS = mark(
    "The proxy reports that this request came over http, where others can read passwords and tokens. Redirect http to https in "
    "the proxy. If TLS ends at another server in front of it, pass the X-Forwarded-Proto of that server on."
)
MAX_QUERY_FIELDS = 32
"""Fields in the query of a request. No operation has more than a handful."""
MAX_QUERY_BYTES = 8 * 1024
"""Of the query of a request. The longest that pages need is an address to return to, of 2,048 characters."""
Handler = Callable[["Call"], Awaitable[Response]]
"""Reads a call, calls one use case and returns the answer. Raises errors of the family."""
ErrorWriter = Callable[[HandstampError, "Call"], Response]
"""Writes an error in the words of one face: a problem (RFC 9457), an OAuth error (RFC 6749 §5.2) or a page."""
Budget = Literal["requests", "sign_outs"]
"""What a request is counted as, for the limits of its network. Renewals that are refused leave sign-outs possible."""
_log = BoundedLogger("handstamp.web")


class Edge:
    """Turns handlers into endpoints that check the origin of each request and turn every error into an answer."""

    def __init__(
        self,
        *,
        clock: CommonClock,
        issuer: Issuer,
        trusted_origins: Collection[str],
        rate: Rate,
        dpop: DpopProofs,
        binds_programs: bool,
    ) -> None:
        """Serve an issuer.

        Args:
            clock: Read once per request, when its body has arrived.
            issuer: The public URL of the service. Its cookies are `Secure` if it is https.
            trusted_origins: Origins whose pages may send requests with this service's cookies.
            dpop: Reads the proofs of programs.
            rate: How many requests of each budget one network may send.
            binds_programs: False to ignore the proofs of sign-ins.
        """
        self.issuer = issuer
        self.trusted_origins: frozenset[str] = frozenset(trusted_origins)
        self.cookies: Cookies = Cookies(issuer)
        self._clock = clock
        self._dpop = dpop
        self._binds_programs = binds_programs
        budgets: tuple[Budget, ...] = get_args(Budget)
        self._budgets = {name: NetworkBudget(name, rate) for name in budgets}

    def endpoint(
        self,
        handler: Handler,
        *,
        path: str,
        write_error: ErrorWriter,
        signs_in: bool = False,
        begins_session: bool = False,
        is_public: bool = False,
        own_pages_only: bool = False,
        budget: Budget | None = "requests",
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return a Starlette endpoint that never raises.

        Args:
            handler: What to call if the request may come from where it comes from.
            path: The path of the route, for the log. A request's own path may hold ids.
            write_error: Turns an error into the answer. An unexpected exception is logged and becomes a `HandstampError`.
            signs_in: True if the operation signs a browser in, so that the origin is checked even without a cookie.
            begins_session: True if it answers the tokens of a new session, which is bound to a key that the request proves.
            is_public: True if neither the request nor the answer holds a secret. All others are refused over plain http.
            own_pages_only: True if pages of trusted origins may not use it, not even to read with the cookies of the service.
            budget: What the requests are counted as, None if they are not counted for their network.
        """
        own, trusted = self.issuer.origin, frozenset[str]() if own_pages_only else self.trusted_origins
        needs_tls = self.issuer.is_https and not is_public
        counted = None if budget is None else self._budgets[budget]

        async def endpoint(request: Request) -> Response:
            call, scope = Call(request, self._clock, self.cookies, self._dpop), request.scope
            try:
                client = scope.get("client")
                if counted is not None and client is not None:
                    counted.take(client[0])
                if needs_tls and scope.get(PLAIN_HTTP):
                    raise InvalidRequest(_NEEDS_TLS)  # noqa: TRY301 - answered below
                if scope["query_string"]:
                    _require_short_query(scope["query_string"])
                if own_pages_only or scope["method"] not in SAFE_METHODS:
                    require_allowed_origin(
                        call.headers.getlist,
                        carries_cookie=call.carries_cookie,
                        own=own,
                        trusted=trusted,
                        signs_in=signs_in,
                    )
                    if begins_session and self._binds_programs and "dpop" in call.headers:
                        call.key = call.check_proof().key  # not remembered: its key is new, and no session is bound to it
                return await handler(call)
            except HandstampError as error:
                error.is_dpop = call.is_dpop
                await call.load_language()
                return write_error(error, call)
            except Exception:  # noqa: BLE001 - the client gets an answer without details; the log gets all of them
                _log.exception("unexpected_error", method=request.method, path=path)
                return write_error(HandstampError(mark("The request failed. The details are in the service's log.")), call)

        return endpoint


class Call:
    """One request: who sends it, when, and with which tokens. Tokens enter here alone.

    A session's *delivery* is fixed at sign-in. A token that travels as a cookie never appears in a body, so that a script that
    got into a page cannot turn an HttpOnly cookie into something to carry away (T7).
    """

    # What most requests never set is kept in the class: setting it for each request takes as long as routing it.
    key: ProofKey | None = None
    """The key that the request has proved (DPoP). Set by the methods that read proofs."""
    refused_proof: InvalidDpopProof | None = None
    is_dpop: bool = False
    """Whether the access token came with the scheme DPoP, so that `prove_token` must follow. Set by `access_token`."""
    has_proved_factor: bool = False
    """Whether the person has proved a factor in this very request."""
    impersonated: Session | None = None
    """The session of the visitor of a page, if an operator acts in it in the place of its person."""
    identified_by: str | None = None
    """The name of the cookie whose token identified the session, if a cookie did. Set by the methods that read tokens."""
    language: Catalogue = ENGLISH
    """The language of the answer. English until it is chosen: pages do so first, the API when it answers with a problem."""
    _proved = ""  # the thumbprint of the key whose proof was accepted
    _operator: Caller | None = None
    _has_language = False
    _now_ms: int | None = None
    _cookie_values: dict[str, set[str]] | None = None

    def __init__(self, request: Request, clock: CommonClock, cookies: Cookies, dpop: DpopProofs) -> None:
        """Wrap a Starlette request."""
        self.request = request
        self.headers: HeaderFields = HeaderFields(request.scope["headers"])
        self.cookies = cookies
        self._dpop = dpop
        self._clock = clock

    @property
    def now_ms(self) -> int:
        """The time of this request, in milliseconds since 1970. The clock is read once, at the first use.

        That is after the body has arrived. With the time of the head, a slow body could outlast the grace window.

        Raises:
            Unavailable: If the clock has leapt and is not believed yet.
        """
        if self._now_ms is None:
            self._now_ms = self._clock()
        return self._now_ms

    async def load_language(self, preferred: str = "") -> None:
        """Choose the language of the answer and load its catalogue.

        Args:
            preferred: A tag of `handstamp.languages.choice.LANGUAGES`. If it is empty, and no language was preferred earlier in
                this request, `Accept-Language` decides.
        """
        if preferred or not self._has_language:
            self._has_language = True
            tag = preferred or accepted_language(self.headers.get("accept-language", ""))
            self.language = ENGLISH if tag == ENGLISH_TAG else await open_catalogue(tag)

    @property
    def person_language(self) -> str:
        """The tag of the language that the person reads, as far as the request shows it; "" if it does not."""
        if self._has_language:
            return self.language.tag
        accepted = self.headers.get("accept-language")
        return accepted_language(accepted) if accepted else ""

    @property
    def caller(self) -> Caller:
        """Who sends the request, and when. Raises `Unavailable` as `now_ms` does."""
        return self._caller_at(self.now_ms)

    @property
    def operator(self) -> Caller:
        """The operator who sends the request. Raises `LookupError` unless `admit` was called: nothing else makes an operator."""
        if self._operator is None:
            raise LookupError("this request was not admitted as an operator's")
        return self._operator

    def admit(self, operator: Caller) -> None:
        """Keep the operator as whom the request is admitted."""
        self._operator = operator

    def caller_with_browser(self, ticket: str | None = None) -> Caller:
        """As `caller`, with the secret of the browser, or the ticket that a client without cookies has sent instead."""
        return msgspec.structs.replace(self.caller, browser=ticket or self.grant_cookie)

    @property
    def ending_caller(self) -> Caller:
        """As `caller`, for requests that only end sessions or tell about ended ones: a clock that has leapt stops neither."""
        return self._caller_at(self._clock.estimate())

    def _caller_at(self, now_ms: int) -> Caller:
        client = self.request.scope.get("client")  # optional (ASGI)
        user_agent = sanitise_text(self.headers.get("user-agent", ""))
        key = None if self.key is None else DeviceKey(self.key.jwk, "dpop")
        return Caller(now_ms=now_ms, ip=client[0] if client else "", user_agent=user_agent, key=key)

    def check_proof(self) -> Proved:
        """Return the proof of a program's key, which may have been used before. Raises `InvalidDpopProof`."""
        return self._dpop.check(self.headers.getlist("dpop"), method=self._method, path=self._path, now_ms=self.now_ms)

    def find_fault(self, session: Session) -> str | None:
        """Return what is wrong with the proof of a program's key for a bound session, as `Refresh` asks. Sets `refused_proof`."""
        if session.bound_key is None or session.bound_by != "dpop" or "dpop" not in self.headers:
            return ""
        thumbprint = thumbprint_of(session.bound_key)
        if self._proved != thumbprint and self.refused_proof is None:  # once: the store may judge more than once
            try:
                self._dpop.use(self.check_proof(), thumbprint, self.now_ms)
                self._proved = thumbprint
            except InvalidDpopProof as refused:
                self.refused_proof = refused
        return None if self.refused_proof is None else self.refused_proof.why

    def access_token(self) -> str:
        """Return the access token from `Authorization`, or else from its cookie. Raises `MissingToken` if there is none."""
        token, self.is_dpop = sent_token(self.headers.getlist("authorization"))
        if token is None:
            token = self._cookie(self.cookies.access)
            self.identified_by = self.cookies.access
        if token is None:
            raise MissingToken
        return token

    def prove_token(self, claims: AccessClaims, token: str) -> None:
        """Read the proof of a valid token that came with the scheme DPoP, once. Raises as `DpopProofs.require`."""
        if claims.cnf is None or self._proved != claims.cnf.jkt:
            self.key = self._dpop.require(
                claims, token, self.headers.getlist("dpop"), method=self._method, path=self._path, now_ms=self.now_ms
            )
            self._proved = self.key.thumbprint

    @property
    def _method(self) -> str:
        method: str = self.request.scope["method"]
        return method

    @property
    def _path(self) -> str:
        path: str = self.request.scope["path"]
        return path.removeprefix(self.request.scope.get("root_path", ""))

    def refresh_token(self, in_body: str | None) -> tuple[str, Way]:
        """Return the refresh token and the way it came.

        Args:
            in_body: The token in the body, if there was one.

        Raises:
            InvalidRequest: It came both as a cookie and in the body, or in two different cookies.
            MissingToken: It did not come at all.
        """
        in_cookie = self._cookie(self.cookies.refresh)
        if in_cookie is not None and in_body is not None:
            raise InvalidRequest(mark("The refresh token came both as a cookie and in the body: send one of them."))
        if in_cookie is not None:
            self.identified_by = self.cookies.refresh
            return in_cookie, "cookie"
        if in_body is not None:
            return in_body, "body"
        raise MissingToken(mark("This request needs a refresh token: send it as 'refreshToken' in the body, or its cookie."))

    def tokens_in_cookies(self) -> list[str]:
        """Return all values of both cookies. Raises `InvalidRequest` if there are more than `MAX_TOKENS`."""
        names = (self.cookies.refresh, self.cookies.access)
        return _require_few([token for name in names for token in self._all_cookies().get(name, set()) if token])

    def all_tokens(self, *in_body: str | None) -> list[str]:
        """Return every token of the request, by whatever way it came. Raises `InvalidRequest` as `tokens_in_cookies` does."""
        bearers = [header.partition(" ")[2].strip(" ") for header in self.headers.getlist("authorization")]
        sent = [token for token in in_body if token is not None]
        return _require_few([*self.tokens_in_cookies(), *bearers, *sent])

    def earlier_sign_ins(self, *in_body: str | None) -> EarlierSignIns:
        """Return what the request shows of earlier sign-ins: the device cookie, and every token as `all_tokens` returns them."""
        return EarlierSignIns(cookie=self.device_cookie, tokens=tuple(self.all_tokens(*in_body)))

    @property
    def device_cookie(self) -> str:
        """The cookie by which a browser is recognised; "" if there is none, or more than one."""
        return self._lone_cookie(self.cookies.device)

    @property
    def grant_cookie(self) -> str:
        """The secret of a browser that has asked for a mail; "" if there is none, or more than one."""
        return self._lone_cookie(self.cookies.grant)

    @property
    def bound_cookie(self) -> str:
        """The pass of a session that is bound to its browser; "" if there is none, or more than one."""
        return self._lone_cookie(self.cookies.bound)

    @property
    def access_cookie(self) -> str:
        """The access token of the cookie, whatever else the request has; "" if there is none, or more than one."""
        return self._lone_cookie(self.cookies.access)

    @property
    def attempt_cookie(self) -> str:
        """The challenge of a sign-in that waits for its second step; "" if there is none, or more than one."""
        return self._lone_cookie(self.cookies.attempt)

    def trip_cookie(self, state: str) -> str:
        """What was kept of the sign-in at a provider that has this `state`; "" if there is none."""
        return self._lone_cookie(self.cookies.trip_of(state))

    @property
    def trip_cookies(self) -> list[str]:
        """The names of the cookies of sign-ins at providers, oldest first."""
        return [name for name in self._all_cookies() if name.startswith(f"{self.cookies.trip}-")]

    @property
    def offer_cookie(self) -> str:
        """Not empty if a person has declined to create a passkey in this browser."""
        return self._lone_cookie(self.cookies.offer)

    @property
    def language_cookie(self) -> str:
        """The tag of the language that an application has asked for in this browser; "" if there is none."""
        return next(iter(self._all_cookies().get(self.cookies.language, set())), "")

    @property
    def carries_cookie(self) -> bool:
        """Whether a cookie of a token came, even an empty or a duplicate one. The other cookies are no sign-in."""
        return not self._all_cookies().keys().isdisjoint((self.cookies.access, self.cookies.refresh))

    @property
    def carries_access_cookie(self) -> bool:
        """Whether an access cookie came."""
        return self.cookies.access in self._all_cookies()

    @property
    def carries_refresh_cookie(self) -> bool:
        """Whether a refresh cookie came. A browser that follows a link from another site sends none."""
        return self.cookies.refresh in self._all_cookies()

    def _lone_cookie(self, name: str) -> str:
        values = self._all_cookies().get(name, set())
        return next(iter(values)) if len(values) == 1 else ""

    def _cookie(self, name: str) -> str | None:
        return only_value(name, self._all_cookies().get(name, set()))

    def _all_cookies(self) -> dict[str, set[str]]:
        if self._cookie_values is None:  # lazily: most requests bring their token in a header
            sent = self.headers.getlist("cookie")
            self._cookie_values = parse_cookies(sent) if sent else {}
        return self._cookie_values


def sanitise_text(text: str) -> str:
    """Return what is kept of a text from outside, to be shown in a list: printable, and at most 256 characters."""
    text = text[: 2 * USER_AGENT_LENGTH]  # first, because looking at each character of a long text takes milliseconds
    if not text.isprintable():
        text = "".join(character for character in text if not unicodedata.category(character).startswith("C"))
    return text[:USER_AGENT_LENGTH]


def _require_short_query(query: bytes) -> None:
    if len(query) > MAX_QUERY_BYTES:
        raise InvalidRequest(mark("The query has more than %(limit)s bytes.", limit=MAX_QUERY_BYTES))
    if query.count(b"&") >= MAX_QUERY_FIELDS:
        raise InvalidRequest(mark("The query has more than %(limit)s fields.", limit=MAX_QUERY_FIELDS))
    if query.count(b"%") > MAX_ESCAPES:
        raise InvalidRequest(mark("The query has more than %(limit)s percent-encoded bytes.", limit=MAX_ESCAPES))


def _require_few(tokens: list[str]) -> list[str]:
    if len(tokens) > MAX_TOKENS:
        raise InvalidRequest(mark("There are more than %(limit)s tokens in one request.", limit=MAX_TOKENS))
    return tokens
