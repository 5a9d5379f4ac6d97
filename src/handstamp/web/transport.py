"""The one place where tokens enter and leave.

A session's *delivery* is fixed at sign-in: what travels as a cookie never appears in a body, whatever is asked, so that a
script that got into a page cannot turn an HttpOnly cookie into something to carry away (T7).
"""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..clock import Clock
from ..domain.keyring import JWKS_MAX_AGE_S
from ..errors import InvalidFields, InvalidRequest, MissingToken, RequestTooLarge, UnsupportedMediaType
from ..service.parts.caller import Caller
from ..service.parts.tokens import TokenPair
from ..service.sessions.refresh import Way
from ..wire.basic import basic_credential
from ..wire.bearer import bearer_token
from ..wire.cookies import access_cookie, only_value, parse_cookies, refresh_cookie
from .messages import TokenAnswer, field_problems

MAX_BODY_BYTES = 64 * 1024
MAX_TOKENS = 8
MAX_FIELDS = 32
FORM = "application/x-www-form-urlencoded"
BODY_PATIENCE_S = 20.0
SHOWN_LENGTH = 256
_T = TypeVar("_T", bound=msgspec.Struct)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encode = msgspec.json.Encoder().encode
_LONG_AGO = "Thu, 01 Jan 1970 00:00:00 GMT"


class ClientFields(Protocol):
    """A form in which a service can name itself."""

    @property
    def client_id(self) -> str:
        """Its id."""

    @property
    def client_secret(self) -> str:
        """Its secret."""


class Cookies(msgspec.Struct, frozen=True):
    """The credential cookies. The `__Host-` prefix keeps sibling subdomains from setting them (ASVS 3.3)."""

    secure: bool

    @property
    def access(self) -> str:
        """The name of the access token's cookie."""
        return access_cookie(secure=self.secure)

    @property
    def refresh(self) -> str:
        """The name of the refresh token's cookie."""
        return refresh_cookie(secure=self.secure)

    def header(self, name: str, value: str, max_age_s: int) -> str:
        """Return a `Set-Cookie` value; `max_age_s=0` deletes, which needs the very attributes that it was set with."""
        # Lax lets the first page after a link find the person signed in; renewing is never part of a navigation.
        same_site = "Lax" if name == self.access else "Strict"
        secure = "Secure; " if self.secure else ""
        expires = f"; Expires={_LONG_AGO}" if max_age_s == 0 else ""
        return f"{name}={value}; Path=/; Max-Age={max_age_s}{expires}; {secure}HttpOnly; SameSite={same_site}"


class Call:
    """One request, read strictly."""

    def __init__(self, request: Request, *, clock: Clock, cookies: Cookies) -> None:
        """Wrap a Starlette request."""
        self.request = request
        self.headers = request.headers
        self.cookies = cookies
        self.judged: str | None = None
        """The name of the cookie that this request stands or falls with; its session's end then deletes it."""
        self._clock = clock
        self._now_ms: int | None = None
        self._cookie_values: dict[str, set[str]] | None = None

    @property
    def now_ms(self) -> int:
        """When it is. The clock is read once, at the first look, which comes after the body has arrived.

        A body may take its time. If the time were that of the headers, the grace window could be over before the answer is sent.
        """
        if self._now_ms is None:
            self._now_ms = self._clock()
        return self._now_ms

    @property
    def caller(self) -> Caller:
        """Who asks, and when."""
        client = self.request.scope["client"]
        user_agent = shown(self.headers.get("user-agent", ""))
        return Caller(now_ms=self.now_ms, ip=client[0] if client else "", user_agent=user_agent)

    async def body(self, shape: type[_T]) -> _T | None:
        """Return the JSON body as a `shape`, None where none was sent.

        Raises `RequestTooLarge`, `UnsupportedMediaType`, `InvalidRequest`, and `InvalidFields` naming every field that is wrong.
        """
        data = await _read(self.request)
        if not data:
            return None
        media_type = self.headers.get("content-type", "").split(";")[0].strip().lower()
        if media_type != "application/json":
            raise UnsupportedMediaType("Send the body as JSON, with 'Content-Type: application/json'.")
        try:
            return msgspec.json.decode(data, type=shape)
        except _UNREADABLE:
            raise _what_is_wrong(data, shape) from None

    async def form(self, shape: type[_T]) -> _T:
        """Return the form in the body as a `shape`; parameters without a value count as absent (RFC 6749 §3.2).

        Raises `RequestTooLarge`, `UnsupportedMediaType`, `InvalidRequest` also for a parameter that comes twice.
        """
        data = await _read(self.request)
        media_type = self.headers.get("content-type", "").split(";")[0].strip().lower()
        if media_type != FORM:
            raise UnsupportedMediaType(f"Send the body as a form, with 'Content-Type: {FORM}'.")
        try:
            pairs = parse_qsl(data.decode("ascii"), errors="strict", max_num_fields=MAX_FIELDS)
        except ValueError:
            raise InvalidRequest("The body is not a form.") from None
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise InvalidRequest("A parameter comes more than once.")
        try:
            return msgspec.convert(fields, shape)
        except msgspec.ValidationError as problem:
            raise InvalidRequest(f"{problem}.") from None

    def client_credential(self, form: ClientFields | None = None) -> tuple[str, str] | None:
        """Return the (id, secret) of a service, by HTTP Basic or in the form, never both (RFC 6749 §2.3.1)."""
        in_form = (form.client_id, form.client_secret) if form is not None and form.client_secret else None
        in_header = basic_credential(self.headers.getlist("authorization"))
        if in_form is not None and in_header is not None:
            raise InvalidRequest("The service's credential came both in the header and in the form: send one of them.")
        return in_header or in_form

    def access_token(self) -> str:
        """Return the access token from `Authorization`, or else from its cookie. Raises `MissingToken`."""
        token = bearer_token(self.headers.getlist("authorization"))
        if token is None:
            token = self._cookie(self.cookies.access)
            self.judged = self.cookies.access
        if token is None:
            raise MissingToken
        return token

    def refresh_token(self, in_body: str | None) -> tuple[str, Way]:
        """Return the refresh token and the way it came: by cookie or in the body, never both."""
        in_cookie = self._cookie(self.cookies.refresh)
        if in_cookie is not None and in_body is not None:
            raise InvalidRequest("The refresh token came both as a cookie and in the body: send one of them.")
        if in_cookie is not None:
            self.judged = self.cookies.refresh
            return in_cookie, "cookie"
        if in_body is not None:
            return in_body, "body"
        raise MissingToken("This request needs a refresh token: send it as 'refreshToken' in the body, or its cookie.")

    def tokens_in_cookies(self) -> list[str]:
        """Return whatever credential cookies hold, all values of each: what is ended by mistake was offered twice."""
        names = (self.cookies.refresh, self.cookies.access)
        return _few([token for name in names for token in self._all_cookies().get(name, set()) if token])

    def all_tokens(self, *in_body: str | msgspec.UnsetType) -> list[str]:
        """Return every token that came, by whatever way: signing out takes any and refuses none."""
        bearers = [header.partition(" ")[2].strip(" ") for header in self.headers.getlist("authorization")]
        sent = [token for token in in_body if token is not msgspec.UNSET]
        return _few([*self.tokens_in_cookies(), *bearers, *sent])

    @property
    def carries_cookie(self) -> bool:
        """Whether a credential cookie came, even an empty or a doubtful one."""
        return not self._all_cookies().keys().isdisjoint((self.cookies.access, self.cookies.refresh))

    @property
    def carries_refresh_cookie(self) -> bool:
        """Whether a refresh cookie came: other sites' links bring none."""
        return self.cookies.refresh in self._all_cookies()

    def _cookie(self, name: str) -> str | None:
        return only_value(name, self._all_cookies().get(name, set()))

    def _all_cookies(self) -> dict[str, set[str]]:
        if self._cookie_values is None:  # read when somebody asks: most requests bring their token in a header
            self._cookie_values = parse_cookies(self.headers.getlist("cookie"))
        return self._cookie_values


def write_pair(pair: TokenPair, cookies: Cookies) -> Response:
    """Return the token answer: each token in the body or as a cookie, as the session's delivery says (RFC 6749 §5.1)."""
    access_as_cookie, refresh_as_cookie = pair.delivery == "cookie", pair.delivery != "json"
    answer = TokenAnswer(
        access_token=msgspec.UNSET if access_as_cookie else pair.access_token,
        token_type="Bearer",  # noqa: S106 - the name of a scheme
        expires_in=pair.expires_in_s,
        refresh_token=msgspec.UNSET if refresh_as_cookie else pair.refresh_token,
        refresh_expires_in=pair.refresh_expires_in_s,
        session_id=pair.session_id,
    )
    response = write_json(answer)
    set_pair(response, pair, cookies)
    return response


def set_pair(response: Response, pair: TokenPair, cookies: Cookies) -> None:
    """Set the tokens that travel as cookies.

    Both live as long as the refresh token, so that an access token that is over is seen as such, not as missing.
    """
    if pair.delivery != "json":
        _set(response, cookies.header(cookies.refresh, pair.refresh_token, pair.refresh_expires_in_s))
    if pair.delivery == "cookie":
        _set(response, cookies.header(cookies.access, pair.access_token, pair.refresh_expires_in_s))


def clear_judged(response: Response, call: Call) -> Response:
    """Delete what named a session that is over for good.

    An access cookie goes alone: a successor's cookies may have been set while this request was under way, and the refresh cookie
    among them heals the rest (T5).
    """
    if call.judged == call.cookies.access:
        _set(response, call.cookies.header(call.cookies.access, "", 0))
    elif call.judged == call.cookies.refresh:
        clear_cookies(response, call.cookies)
    return response


def clear_cookies(response: Response, cookies: Cookies, *, but_for: TokenPair | None = None) -> Response:
    """Delete the credential cookies, except those that `but_for` has just set. Only for a session that is over for good."""
    if but_for is None or but_for.delivery == "json":
        _set(response, cookies.header(cookies.refresh, "", 0))
    if but_for is None or but_for.delivery != "cookie":
        _set(response, cookies.header(cookies.access, "", 0))
    return response


class _Answer(Response):
    """JSON whose headers stand as they go on the wire; Starlette would put them together anew for each answer."""

    def __init__(self, body: bytes, status: int, media_type: bytes) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        length = b"%d" % len(body)
        self.raw_headers = [(b"content-length", length), (b"content-type", media_type), (b"cache-control", b"no-store")]


def write_json(answer: msgspec.Struct, status: int = 200, media_type: bytes = b"application/json") -> Response:
    """Return an answer that no cache keeps: it holds tokens or somebody's data."""
    return _Answer(_encode(answer), status, media_type)


def write_public(document: bytes, call: Call) -> Response:
    """Return a JSON document that everybody may see and keep for a while (RFC 9111 §5.2.2)."""
    etag = f'"{hashlib.sha256(document).hexdigest()[:32]}"'
    has_already = {tag.strip().removeprefix("W/") for tag in call.headers.get("if-none-match", "").split(",")}
    headers = {"cache-control": f"public, max-age={JWKS_MAX_AGE_S}", "etag": etag}
    if has_already & {etag, "*"}:  # weakly, RFC 9110 §13.1.2: a proxy that compresses makes tags weak
        return Response(status_code=304, headers=headers)
    return Response(document, media_type="application/json", headers=headers)


def _set(response: Response, cookie: str) -> None:
    response.headers.append("set-cookie", cookie)


async def _read(request: Request) -> bytes:
    """Return the whole body, or refuse it as soon as it is known to be too large."""
    declared = request.headers.get("content-length")
    if declared is not None and (not declared.isdigit() or int(declared) > MAX_BODY_BYTES):
        raise RequestTooLarge(f"The body must have at most {MAX_BODY_BYTES} bytes.")
    data: bytes = b""
    try:
        async with asyncio.timeout(BODY_PATIENCE_S):
            while True:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise InvalidRequest("The connection was closed before the body had arrived.")
                data += message.get("body", b"")
                if len(data) > MAX_BODY_BYTES:
                    raise RequestTooLarge(f"The body must have at most {MAX_BODY_BYTES} bytes.")
                if not message.get("more_body", False):
                    return data
    except TimeoutError:
        raise InvalidRequest("The body did not arrive in time.") from None


def _what_is_wrong(data: bytes, shape: type[msgspec.Struct]) -> InvalidRequest:
    """Say why a body does not fit its shape. It is read once more, whole: a wrong field may hide broken JSON behind it."""
    try:
        members = msgspec.json.decode(data)
    except _UNREADABLE:
        return InvalidRequest("The body is not JSON.")
    if not isinstance(members, dict):
        return InvalidRequest("The body must be a JSON object.")
    return InvalidFields(field_problems(shape, members))


def _few(tokens: list[str]) -> list[str]:
    """Return them, unless there are so many that checking their signatures would hold up everybody."""
    if len(tokens) > MAX_TOKENS:
        raise InvalidRequest(f"There are more than {MAX_TOKENS} tokens in one request.")
    return tokens


def shown(text: str) -> str:
    """Return what of a stranger's text is kept to be shown in a list: printable, and no longer than honest ones are."""
    if not text.isprintable():
        text = "".join(character for character in text if not unicodedata.category(character).startswith("C"))
    return text[:SHOWN_LENGTH]
